"""DRBD's on-disk metadata as bytes and values. Pure."""
