"""Runs of ordinary requests at the front of a client's input, parsed together. Pure: it never acts.

Ordinary: no flags, short, whole, inside of the volume, aligned. Anything else ends the run.
"""

from struct import Struct
from typing import Final

from bollard.replica.export import OWNED_BYTES, Client, Reading, Writing
from bollard.wire import nbd as wire
from bollard.wire.nbd import Command

__all__ = ["KIND_AT", "reads_at", "writes_at"]

KIND_AT: Final = 7
"""Where in a request the byte is that tells reads from writes."""

_READ: Final = int(Command.READ)
_WRITE: Final = int(Command.WRITE)
_MAGIC: Final = wire.REQUEST_MAGIC
_HEAD: Final = wire.REQUEST.size
_unpack: Final = wire.REQUEST.unpack_from
# A write's cookie is only ever sent back: it stays the bytes it is.
_unpack_write: Final = Struct(">IHH8sQI").unpack_from
_MOST_READS: Final = 64


def writes_at(
    view: memoryview, start: int, end: int, size_bytes: int, block_bytes: int, *, client: Client
) -> tuple[list[Writing], int]:
    """The writes from `start` on, their data being parts of `view`, and where they end."""
    found: list[Writing] = []
    mask = block_bytes - 1
    while end - start >= _HEAD:
        magic, flags, command, cookie, offset, length = _unpack_write(view, start)
        begin = start + _HEAD
        stop = begin + length
        if (
            command != _WRITE
            or magic != _MAGIC
            or flags
            or stop > end
            or length >= OWNED_BYTES
            or offset + length > size_bytes
            or (offset | length) & mask
        ):
            break
        found.append((offset, view[begin:stop], (client, cookie)))
        start = stop
    return found, start


def reads_at(
    view: memoryview, start: int, end: int, size_bytes: int, block_bytes: int
) -> tuple[list[Reading], int]:
    """The reads from `start` on, and where they end; some at a time when there are many."""
    found: list[Reading] = []
    mask = block_bytes - 1
    while end - start >= _HEAD and len(found) < _MOST_READS:
        magic, flags, command, cookie, offset, length = _unpack(view, start)
        if (
            command != _READ
            or magic != _MAGIC
            or flags
            or length >= OWNED_BYTES
            or offset + length > size_bytes
            or (offset | length) & mask
        ):
            break
        found.append((offset, length, cookie))
        start += _HEAD
    return found, start
