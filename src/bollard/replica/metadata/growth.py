"""Moving a device's metadata to where it belongs after the device was resized; may be cut anywhere.

Yields writes and flushes in order; the caller performs them. Needs the bitmap in memory, because old and new
area may overlap.
"""

from collections.abc import Iterator
from typing import assert_never

import msgspec

from bollard.replica.metadata.bitmap import Bitmap
from bollard.replica.metadata.image import AnySuperblock, encode_any, initialised_log, zeros
from bollard.replica.metadata.layout import PAGE_BYTES, Layout
from bollard.replica.metadata.superblock import DeviceFlag, PeerFlag, Superblock
from bollard.replica.metadata.superblock08 import Superblock08

__all__ = ["Flush", "Write", "distrustful", "left_behind", "move", "relocated"]

_BATCH_PAGES = 256


class Write(msgspec.Struct, frozen=True, tag=True):
    """Write these bytes to the metadata device."""

    offset_bytes: int
    data: bytes


class Flush(msgspec.Struct, frozen=True, tag=True):
    """Make all earlier writes durable before any later one."""


def relocated(superblock: AnySuperblock, layout: Layout) -> AnySuperblock:
    """The same superblock with the sizes and offsets of another layout of the same geometry."""
    assert superblock.geometry == layout.geometry, layout.geometry
    return msgspec.structs.replace(
        superblock,
        md_size_sectors=layout.md_size_sectors,
        al_offset_sectors=layout.al_offset_sectors,
        bitmap_offset_sectors=layout.bitmap_offset_sectors,
    )


def left_behind(old: Layout, new: Layout) -> range:
    """The bytes of the old area that are not the new area's: to be cleared, users may write there now.

    Small growths overlap: clearing all of the old area would then clear a part of the new bitmap.
    """
    return range(old.area.start, max(old.area.start, min(old.area.stop, new.area.start)))


def move(old: Layout, new: Layout, superblock: AnySuperblock, bitmap: Bitmap) -> Iterator[Write | Flush]:
    """All writes that move the metadata from `old` to `new` (of a grown device), and clear what it leaves.

    The log must be folded into `bitmap`, nobody may write through it, and the bitmap must fit the new layout.
    The agreed size stays. Until the last superblock is written, the one at the new place says that every peer
    needs a full sync: a crash in between costs time, never data. Afterwards the bitmap counts as written.
    """
    assert new.superblock_offset_bytes >= old.superblock_offset_bytes, "metadata moves forward only"
    assert bitmap.size_bytes <= new.usable_bytes, (bitmap.size_bytes, new.usable_bytes)
    final = relocated(superblock, new)
    at = new.superblock_offset_bytes
    yield Write(at, encode_any(distrustful(final)))
    yield Flush()
    for first in range(0, bitmap.pages, _BATCH_PAGES):
        count = min(_BATCH_PAGES, bitmap.pages - first)
        data = bitmap.encode_pages(first, count)
        yield Write(new.bitmap_offset_bytes + first * PAGE_BYTES, data)
    bitmap_end = new.bitmap_offset_bytes + new.bitmap_bytes
    rest = zeros(new.bitmap_offset_bytes + bitmap.pages * PAGE_BYTES, bitmap_end)
    for region in (*rest, initialised_log(new)):
        yield from (Write(offset, data) for offset, data in region.writes())
    left = left_behind(old, new)
    for region in zeros(left.start, left.stop):
        yield from (Write(offset, data) for offset, data in region.writes())
    yield Flush()
    yield Write(at, encode_any(final))
    yield Flush()
    bitmap.forget_dirty()


def distrustful(superblock: AnySuperblock) -> AnySuperblock:
    """The superblock while its bitmap is not there yet: all peers need everything, day 0 is forgotten."""
    match superblock:
        case Superblock():
            peers = tuple(
                msgspec.structs.replace(
                    peer,
                    flags=peer.flags | PeerFlag.FULL_SYNC,
                    bitmap_uuid=peer.bitmap_uuid if peer.bitmap_index >= 0 else 0,
                )
                for peer in superblock.peers
            )
            return msgspec.structs.replace(superblock, peers=peers)
        case Superblock08():
            flags = superblock.flags | DeviceFlag.V08_FULL_SYNC
            return msgspec.structs.replace(superblock, flags=flags)
        case _:
            assert_never(superblock)
