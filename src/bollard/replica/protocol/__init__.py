"""The replication protocol: events in, actions out. Pure."""
