"""Growth of an attached disk: bitmap, log and superblock for the new size, moved to the new end if need be.

Nobody writes beyond the old size until all of it is durable; a crash anywhere in between leaves the old size.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from bollard.domain.units import SECTOR_BYTES
from bollard.replica.metadata import layout
from bollard.replica.metadata.growth import distrustful, relocated
from bollard.replica.metadata.image import zeros
from bollard.replica.metadata.running import encode_running
from bollard.replica.metadata.superblock import Superblock
from bollard.replica.protocol import actions as a
from bollard.replica.protocol.meta_writer import Pieces
from bollard.replica.protocol.model import Volume

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_STEP_PAGES: Final = 1024
_STEP_BYTES: Final = _STEP_PAGES * layout.PAGE_BYTES


class Growing:
    """The growing disks of one resource."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    def grow(self, volume: Volume, old_bytes: int, then: Callable[[], None]) -> None:
        """Make room for `volume.size_bytes`, more than `old_bytes`; `then()` once users may have it."""
        bitmap, writer = volume.bitmap, volume.writer
        assert bitmap is not None
        assert writer is not None
        bitmap.resize(volume.size_bytes, new_bits_set=False)
        volume.busy.hold_beyond(old_bytes)

        def ended() -> None:
            volume.busy.lift()
            if volume.writer is writer:
                then()

        writer.run(self._steps(volume), ended)

    def _steps(self, volume: Volume) -> Iterator[Pieces]:
        """What is written, one after another. Nothing else is being written from the beginning to the end."""
        superblock, bitmap = volume.superblock, volume.bitmap
        assert superblock is not None
        assert bitmap is not None
        if volume.internal and self.r.disks.capacity_bytes(volume) < volume.size_bytes:
            yield from self._move(volume, superblock)
        else:
            if not volume.internal:
                _reach_end(volume, superblock)
            start, area = _bitmap_area(volume)
            while runs := bitmap.take_dirty(area, limit_pages=_STEP_PAGES):
                yield tuple((start + run.offset_bytes, run.data) for run in runs)
        assert volume.superblock is not None
        sectors = volume.size_bytes // SECTOR_BYTES
        volume.superblock = msgspec.structs.replace(volume.superblock, effective_size_sectors=sectors)
        yield ((volume.superblock_offset_bytes, encode_running(volume.superblock, v08=volume.v08)),)
        self.core.out.append(a.MetadataAt(volume.number, volume.superblock_offset_bytes))

    def _move(self, volume: Volume, superblock: Superblock) -> Iterator[Pieces]:
        """As growth.move does, but beside a running log, and for a bitmap that goes on changing."""
        bitmap, log = volume.bitmap, volume.log
        assert bitmap is not None
        assert log is not None
        place = layout.internal(volume.backing_bytes, superblock.geometry)
        assert volume.size_bytes <= place.usable_bytes, "the room was asked for before"
        left = volume.superblock_offset_bytes + superblock.bitmap_offset_sectors * SECTOR_BYTES
        left_end = min(volume.superblock_offset_bytes + layout.PAGE_BYTES, place.area.start)
        volume.superblock_offset_bytes = place.superblock_offset_bytes
        moved = relocated(superblock, place)
        assert isinstance(moved, Superblock)
        volume.superblock = moved
        doubt = distrustful(moved)
        assert isinstance(doubt, Superblock)
        yield ((place.superblock_offset_bytes, encode_running(doubt, v08=volume.v08)),)
        yield ((place.al_offset_bytes, log.whole_ring()),)
        bitmap.mark_all_dirty()
        start, area = _bitmap_area(volume)
        while runs := bitmap.take_dirty(area, limit_pages=_STEP_PAGES):
            yield tuple((start + run.offset_bytes, run.data) for run in runs)
        yield from _zeroes(start + bitmap.pages * layout.PAGE_BYTES, place.al_offset_bytes)
        yield from _zeroes(left, left_end)


def _reach_end(volume: Volume, superblock: Superblock) -> None:
    """Metadata alone on a device that has grown: the bitmap goes up to its end, all else stays."""
    place = layout.external(volume.meta_bytes, superblock.geometry)
    if place.md_size_sectors > superblock.md_size_sectors:
        reached = relocated(superblock, place)
        assert isinstance(reached, Superblock)
        volume.superblock = reached


def left_by_growth(superblock: Superblock, capacity_bytes: int) -> range:
    """What users shall read as zeroes, but may hold metadata from before a growth that a crash cut off."""
    size = superblock.effective_size_sectors * SECTOR_BYTES
    cut_off = distrustful(superblock) == superblock and superblock.bitmap_offset_sectors < 0
    return range(size, max(size, capacity_bytes)) if cut_off and size else range(0)


def _bitmap_area(volume: Volume) -> tuple[int, range]:
    """Where the bitmap starts on the disk, and its pages that have a place there now."""
    superblock, bitmap = volume.superblock, volume.bitmap
    assert superblock is not None
    assert bitmap is not None
    start = volume.superblock_offset_bytes + superblock.bitmap_offset_sectors * SECTOR_BYTES
    return start, range(min(bitmap.pages, superblock.bitmap_pages))


def _zeroes(start: int, end: int) -> Iterator[Pieces]:
    for region in zeros(start, end):
        for piece in region.writes(_STEP_BYTES):
            yield (piece,)
