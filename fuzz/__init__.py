"""Fuzz targets for every decoder of bytes from a disk, a peer, a client or a store: `python -m fuzz`."""
