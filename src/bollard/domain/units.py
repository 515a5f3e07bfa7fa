"""Sizes with units; rounding is done here and nowhere else."""

from typing import NewType

Kib = NewType("Kib", int)
"""A count of 1024-byte units: the unit of the API."""

SECTOR_BYTES = 512
KIB = 1024
UNLIMITED_KIB = Kib(2**63 - 1)
"""What a pool without a limit reports (the API's convention)."""

VOLUME_SIZE_KIB_MIN = 4
VOLUME_SIZE_KIB_MAX = 2**40
"""1 PiB, the largest DRBD device."""


def align_up(value: int, step: int) -> int:
    """The smallest multiple of `step` that is at least `value`; step is at least 1."""
    assert step >= 1, step
    return -(-value // step) * step
