"""The user-space replication engine: a DRBD peer."""
