"""How much of a device the LUKS layer takes. Arithmetic only."""

import re
from typing import Final

from bollard.domain.units import KIB, SECTOR_BYTES

__all__ = ["HEADER_KIB", "header_kib"]

HEADER_KIB: Final = 16 * 1024
"""Of LUKS2, as cryptsetup makes it when nothing is said."""
_HEADER1_KIB: Final = 2 * 1024
_OFFSET = re.compile(r"--offset[ =](\d+)")
_ALIGN = re.compile(r"--align-payload[ =](\d+)")
_TYPE1 = re.compile(r"--type[ =]luks1\b|-M ?luks1\b")


def header_kib(format_options: str = "") -> int:
    """Where data begins, by the options that luksFormat is given: `--offset` in sectors decides alone.

    `--align-payload` (in sectors) rounds the usual offset up.
    """
    if offset := _OFFSET.search(format_options):
        return -(-int(offset.group(1)) * SECTOR_BYTES // KIB)
    usual = _HEADER1_KIB if _TYPE1.search(format_options) else HEADER_KIB
    if align := _ALIGN.search(format_options):
        step_kib = max(1, int(align.group(1)) * SECTOR_BYTES // KIB)
        return -(-usual // step_kib) * step_kib
    return usual
