"""Run lengths of a bitmap as variable codes, least significant bits first. Pure tables and integers."""

from typing import Final

_TABLE: Final = (
    (2, 1, 0x00),
    (3, 2, 0x01),
    (5, 3, 0x03),
    (7, 4, 0x07),
    (10, 5, 0x0F),
    (14, 6, 0x1F),
    (21, 8, 0x3F),
    (29, 8, 0x7F),
    (42, 8, 0xBF),
    (64, 8, 0xFF),
)
"""Total bits, prefix bits, prefix."""


def _levels() -> tuple[tuple[int, int, int, int, int], ...]:
    levels, first = [], 1
    for total, prefix_bits, prefix in _TABLE:
        span = 1 << (total - prefix_bits)
        levels.append((total, prefix_bits, prefix, first, first + span))
        first += span
    return tuple(levels)


LEVELS: Final = _levels()
"""Total bits, prefix bits, prefix, first length, first length of the next level."""
MAX_RUN: Final = LEVELS[-1][4] - 1


def code_of(length: int) -> tuple[int, int]:
    """The code of a run of 1..MAX_RUN and its number of bits."""
    assert 1 <= length <= MAX_RUN, length
    for total, prefix_bits, prefix, first, after in LEVELS:
        if length < after:
            return prefix | (length - first) << prefix_bits, total
    raise AssertionError(length)


def _by_low_byte() -> tuple[tuple[int, int, int, int], ...]:
    entries = []
    for byte in range(256):
        for total, prefix_bits, prefix, first, _ in LEVELS:
            if byte & ((1 << prefix_bits) - 1) == prefix:
                entries.append((total, prefix_bits, (1 << (total - prefix_bits)) - 1, first))
                break
    assert len(entries) == 256, "the prefixes cover every byte"
    return tuple(entries)


DECODE: Final = _by_low_byte()
"""By the next eight bits: total bits, prefix bits, mask of the value, first length."""
