"""A device's whole metadata area: what to write for a new one, and how to read an existing one.

Reads only through the function it is given, and writes nothing: it says what belongs where.
"""

from collections.abc import Callable, Iterator
from typing import assert_never

import msgspec

from bollard.domain.units import SECTOR_BYTES
from bollard.replica.metadata import superblock as v09
from bollard.replica.metadata.al_block import EXTENT_BYTES, INITIALISED_BLOCK, Replay, replay
from bollard.replica.metadata.bitmap import Bitmap
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.layout import (
    INDEXED_AREA_BYTES,
    PAGE_BYTES,
    Geometry,
    Layout,
    Place,
    external,
    indexed,
    internal,
)
from bollard.replica.metadata.superblock import DeviceFlag, PeerFlag, Superblock
from bollard.replica.metadata.superblock08 import Superblock08, decode08, encode08

__all__ = [
    "AnySuperblock",
    "Metadata",
    "Read",
    "Region",
    "encode_any",
    "fold_log",
    "fresh_image",
    "initialised_log",
    "read_metadata",
    "read_superblock",
    "zeros",
]

AnySuperblock = Superblock | Superblock08
Read = Callable[[int, int], bytes]
"""(offset_bytes, length_bytes) -> that many bytes of the metadata device; fewer only at its end."""

AL_BYTES_READ_MAX = 64 << 20
"""Longer rings are legal and of no use (292 KiB hold the largest log); reading one takes minutes."""

_BATCH_BYTES = 1 << 20


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """`block`, repeated `count` times from `offset_bytes` of the metadata device on."""

    offset_bytes: int
    block: bytes
    count: int = 1

    @property
    def length_bytes(self) -> int:
        """Bytes in all."""
        return len(self.block) * self.count

    def writes(self, limit_bytes: int = _BATCH_BYTES) -> Iterator[tuple[int, bytes]]:
        """The region as (offset, bytes) of at most `limit_bytes` (or one block) each."""
        batch = max(1, limit_bytes // len(self.block))
        for first in range(0, self.count, batch):
            yield self.offset_bytes + first * len(self.block), self.block * min(batch, self.count - first)


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """All that an area says. `bitmap` is as on the disk: log and FULL_SYNC flags are not folded in."""

    layout: Layout
    superblock: AnySuperblock
    bitmap: Bitmap
    log: Replay


def zeros(start_bytes: int, end_bytes: int) -> list[Region]:
    """Regions of zeros over [start, end)."""
    pages, rest = divmod(max(0, end_bytes - start_bytes), PAGE_BYTES)
    regions = [Region(offset_bytes=start_bytes, block=bytes(PAGE_BYTES), count=pages)] if pages else []
    if rest:
        regions.append(Region(offset_bytes=end_bytes - rest, block=bytes(rest)))
    return regions


def initialised_log(layout: Layout) -> Region:
    """An activity log in which nothing is hot."""
    return Region(
        offset_bytes=layout.al_offset_bytes, block=INITIALISED_BLOCK, count=layout.al_bytes // PAGE_BYTES
    )


def fresh_image(layout: Layout, superblock: AnySuperblock | None = None) -> list[Region]:
    """All regions of a new metadata area, byte for byte what `drbdmeta create-md` leaves.

    (Of an external bitmap drbdmeta zeroes the first page only; here all of it is zeroed.)
    Write them in order, with a flush before the last one: until the superblock nothing claims to be metadata.
    """
    chosen = v09.fresh(layout) if superblock is None else superblock
    end = layout.bitmap_offset_bytes + layout.bitmap_bytes
    return [
        *zeros(layout.bitmap_offset_bytes, end),
        initialised_log(layout),
        Region(offset_bytes=layout.superblock_offset_bytes, block=encode_any(chosen)),
    ]


def encode_any(superblock: AnySuperblock) -> bytes:
    """The 4096 bytes of either version's superblock."""
    match superblock:
        case Superblock():
            return v09.encode(superblock)
        case Superblock08():
            return encode08(superblock)
        case _:
            assert_never(superblock)


def read_superblock(
    read: Read, *, device_bytes: int, place: Place, index: int = 0
) -> tuple[AnySuperblock, Layout]:
    """The superblock of either version and the layout that follows from it and the device's size.

    Raises MetadataError when there is none, or when it describes a device of another size.
    """
    data = _read_exactly(read, _superblock_offset(device_bytes, place, index), PAGE_BYTES)
    magic = int.from_bytes(data[60:64], "big")
    is_v08 = magic in (v09.MAGIC_V08, v09.MAGIC_V08_UNCLEAN)
    superblock: AnySuperblock = decode08(data) if is_v08 else v09.decode(data)
    layout = _layout(superblock.geometry, device_bytes, place, index)
    expected = (layout.md_size_sectors, layout.al_offset_sectors, layout.bitmap_offset_sectors)
    found = (superblock.md_size_sectors, superblock.al_offset_sectors, superblock.bitmap_offset_sectors)
    if expected != found:
        raise MetadataError(
            f"it describes another device: size, log and bitmap are {found} sectors instead of {expected}",
            where=f"superblock of a device of {device_bytes} bytes",
            next_step="check that this is the right device; if it was resized, move its metadata",
        )
    agreed_bytes = superblock.effective_size_sectors * SECTOR_BYTES
    if agreed_bytes > layout.usable_bytes:
        raise MetadataError(
            f"the volume has {agreed_bytes} bytes, {layout.usable_bytes} are usable",
            where=f"superblock of a device of {device_bytes} bytes",
            next_step="give the device its former size back",
        )
    return superblock, layout


def read_metadata(
    read: Read, *, device_bytes: int, place: Place, index: int = 0, volume_bytes: int | None = None
) -> Metadata:
    """Superblock, activity log and bitmap of a device.

    The bitmap covers `volume_bytes`, or the superblock's agreed size, or (never agreed) all that is usable.
    Raises MetadataError for what cannot be used; a damaged log is no error but told in `log.complete`.
    """
    superblock, layout = read_superblock(read, device_bytes=device_bytes, place=place, index=index)
    agreed = superblock.effective_size_sectors * SECTOR_BYTES
    size = volume_bytes or agreed or layout.usable_bytes
    if not 0 < size <= layout.usable_bytes:
        raise MetadataError(
            f"{size} bytes wanted, {layout.usable_bytes} bytes are usable",
            where="volume",
            next_step="grow the device, or ask for the agreed size",
        )
    if layout.al_bytes > AL_BYTES_READ_MAX:
        raise MetadataError(
            f"the activity log has {layout.al_bytes} bytes, more than {AL_BYTES_READ_MAX}",
            where="superblock",
            next_step="create the metadata anew with the default log of 32 KiB",
        )
    geometry = layout.geometry
    bitmap = Bitmap(size, max_peers=geometry.max_peers, block_bytes=geometry.block_bytes)
    _load_bitmap(read, layout, bitmap)
    log = replay(_log_blocks(read, layout), stripes=geometry.al_stripes)
    return Metadata(layout=layout, superblock=superblock, bitmap=bitmap, log=log)


def fold_log(superblock: AnySuperblock, bitmap: Bitmap, log: Replay) -> int:
    """Bring into the bitmap what is only known otherwise: hot extents after a crash, and FULL_SYNC flags.

    Hot extents count (in all slots) only when some node was Primary; of a damaged or disabled log, everything
    does. Returns how many bits were clear. Write the bitmap, then an initialised log, then AL_CLEAN.
    """
    every = range(bitmap.max_peers)
    changed = 0
    if superblock.flags & DeviceFlag.PRIMARY_IND:
        if superblock.flags & DeviceFlag.AL_DISABLED or not log.complete:
            changed += sum(bitmap.set_all(slot) for slot in every)
        else:
            changed += sum(bitmap.mark(every, extent * EXTENT_BYTES, EXTENT_BYTES) for extent in log.hot)
    match superblock:
        case Superblock():
            full = [peer.bitmap_index for peer in superblock.peers if peer.flags & PeerFlag.FULL_SYNC]
        case Superblock08():
            full = [0] if superblock.flags & DeviceFlag.V08_FULL_SYNC else []
        case _:
            assert_never(superblock)
    return changed + sum(bitmap.set_all(slot) for slot in full if slot >= 0)


def _superblock_offset(device_bytes: int, place: Place, index: int) -> int:
    match place:
        case Place.INTERNAL:
            return max(0, device_bytes - PAGE_BYTES) & ~(PAGE_BYTES - 1)
        case Place.EXTERNAL:
            return 0
        case Place.INDEXED:
            return index * INDEXED_AREA_BYTES
        case _:
            assert_never(place)


def _layout(geometry: Geometry, device_bytes: int, place: Place, index: int) -> Layout:
    match place:
        case Place.INTERNAL:
            return internal(device_bytes, geometry)
        case Place.EXTERNAL:
            return external(device_bytes, geometry)
        case Place.INDEXED:
            return indexed(device_bytes, geometry, index=index)
        case _:
            assert_never(place)


def _load_bitmap(read: Read, layout: Layout, bitmap: Bitmap) -> None:
    # Whole groups of pages at a time: then a slot's chunk is filled in one go.
    group = bitmap.max_peers
    batch = max(1, _BATCH_BYTES // PAGE_BYTES // group) * group
    for first in range(0, bitmap.pages, batch):
        count = min(batch, bitmap.pages - first)
        offset = layout.bitmap_offset_bytes + first * PAGE_BYTES
        bitmap.load_pages(first, _read_exactly(read, offset, count * PAGE_BYTES))


def _log_blocks(read: Read, layout: Layout) -> Iterator[bytes]:
    for done in range(0, layout.al_bytes, _BATCH_BYTES):
        length = min(_BATCH_BYTES, layout.al_bytes - done)
        data = _read_exactly(read, layout.al_offset_bytes + done, length)
        for start in range(0, length, PAGE_BYTES):
            yield data[start : start + PAGE_BYTES]


def _read_exactly(read: Read, offset_bytes: int, length_bytes: int) -> bytes:
    data = read(offset_bytes, length_bytes)
    if len(data) != length_bytes:
        raise MetadataError(
            f"{len(data)} of {length_bytes} bytes at offset {offset_bytes}",
            where="metadata device",
            next_step="check that the device is as large as it says",
        )
    return data
