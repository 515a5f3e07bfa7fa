"""Clusters of real kernels on one machine: User Mode Linux nodes with disks, networks and faults."""
