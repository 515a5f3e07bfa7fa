"""Memory for long transfers that is used again: a fresh megabyte costs nearly as much as copying one.

Whoever uses a piece holds a memoryview of it; a piece that nobody views any more is free. Pure bookkeeping.
"""

from typing import Final

__all__ = ["Spare"]

_PIECES: Final = 8
_LONGEST: Final = 1 << 20


class Spare:
    """Up to 8 MiB, shared by everything that one thread does."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[bytearray] = []

    def take(self, length: int) -> bytearray:
        """So many bytes of any content. View them before the next call, for as long as they are used."""
        for place, piece in enumerate(self._kept):
            if len(piece) == length and _unseen(piece):
                # The one used last comes first: the processor's cache may still have it.
                self._kept.insert(0, self._kept.pop(place))
                return piece
        piece = bytearray(length)
        if length <= _LONGEST:
            self._kept.insert(0, piece)
            del self._kept[_PIECES:]
        return piece


def _unseen(piece: bytearray) -> bool:
    """No view of it is left: only then can its length change."""
    try:
        last = piece.pop()
    except BufferError:
        return False
    piece.append(last)
    return True
