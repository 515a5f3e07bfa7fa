"""Bollard: replicated, thin, snapshotted block volumes from the disks of ordinary Linux machines."""

from typing import Final

__version__: Final = "0.1.0"
