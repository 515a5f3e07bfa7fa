"""Replication engines on a virtual clock, network and disks; every run is repeatable from its seed."""
