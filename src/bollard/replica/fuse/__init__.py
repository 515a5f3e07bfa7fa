"""Volumes as files: a FUSE file system, so that loop devices, qemu and dd use them without an NBD client."""
