"""Bollard: replicated, thin, snapshotted block volumes from the disks of ordinary Linux machines."""
