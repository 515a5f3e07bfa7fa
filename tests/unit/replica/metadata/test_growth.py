"""Moving metadata of a grown device: the result, and a crash after any write."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.metadata.bitmap import Bitmap
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.growth import Flush, Write, left_behind, move
from bollard.replica.metadata.image import AnySuperblock, Metadata, fold_log, fresh_image, read_metadata
from bollard.replica.metadata.layout import Geometry, Layout, Place, external, internal
from bollard.replica.metadata.superblock import PeerSlot, Superblock, fresh, take_slot, with_peer
from bollard.replica.metadata.superblock08 import fresh08
from unit.replica.metadata.records import Disk


def prepared(old: Layout, new: Layout) -> tuple[Disk, Superblock, Bitmap]:
    """A device with the old layout, two peers with slots, a day-0 UUID and some bits."""
    area = range(min(old.area.start, new.area.start), max(old.area.stop, new.area.stop))
    disk = Disk(new.device_bytes, area)
    superblock, _ = take_slot(fresh(old), 4)
    superblock = with_peer(superblock, 9, PeerSlot(bitmap_uuid=0xDA0))
    superblock = msgspec.structs.replace(superblock, effective_size_sectors=old.usable_bytes // 512)
    for region in fresh_image(old, superblock):
        for offset, data in region.writes():
            disk.write(offset, data)
    bitmap = Bitmap(old.usable_bytes, max_peers=old.geometry.max_peers)
    bitmap.set_bits(0, 100, 50)
    bitmap.set_bits(bitmap.max_peers - 1, bitmap.bits - 3, 3)
    return disk, superblock, bitmap


def load(disk: Disk, layout: Layout) -> Metadata:
    return read_metadata(disk.read, device_bytes=layout.device_bytes, place=layout.place)


@pytest.mark.parametrize(("growth", "cleared"), [(0, 0), (4096, 0), (65536, 61440), (1 << 30, 1085440)])
def test_clearing_the_old_area_spares_the_new_one(growth: int, cleared: int) -> None:
    old, new = (internal(size, Geometry(max_peers=4)) for size in (8 << 30, (8 << 30) + growth))
    left = left_behind(old, new)
    assert len(left) == cleared
    assert not set(left[::4096]) & set(new.area[::4096])


SIZES = st.integers(2 << 20, 600 << 20).map(lambda size: size // 512 * 512)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.one_of(st.integers(1, 200).map(lambda n: n * 512), SIZES), st.integers(1, 31))
def test_the_moved_area_says_the_same(size: int, growth: int, peers: int) -> None:
    geometry = Geometry(max_peers=peers)
    old, new = internal(size, geometry), internal(size + growth, geometry)
    if new.usable_bytes < old.usable_bytes:
        return
    disk, superblock, bitmap = prepared(old, new)
    for step in move(old, new, superblock, bitmap):
        if isinstance(step, Write):
            disk.write(step.offset_bytes, step.data)
    found = load(disk, new)
    assert isinstance(found.superblock, Superblock)
    assert found.superblock.peers == superblock.peers
    assert found.superblock.current_uuid == superblock.current_uuid
    for slot in range(peers):
        assert list(found.bitmap.runs(slot)) == list(bitmap.runs(slot))
    assert not bitmap.is_dirty
    left = disk.bytes[: max(0, min(old.area.stop, new.area.start) - disk.area.start)]
    assert left.count(0) == len(left), "the old area is cleared"


@pytest.mark.parametrize("growth", [4096, 8192, 64 << 10, 8 << 20])
def test_a_crash_at_any_write_loses_no_bit(growth: int) -> None:
    """Also when only some of the writes since the last flush reached the disk."""
    geometry = Geometry(max_peers=2)
    old, new = internal(256 << 20, geometry), internal((256 << 20) + growth, geometry)
    disk, superblock, bitmap = prepared(old, new)
    wanted = {slot: set(bitmap.runs(slot)) for slot in range(2)}
    since_flush: list[Write] = []
    for number, step in enumerate(move(old, new, superblock, bitmap)):
        if isinstance(step, Flush):
            for write in since_flush:
                disk.write(write.offset_bytes, write.data)
            since_flush = []
        else:
            since_flush.append(step)
        for survivors in ([], since_flush[::2], since_flush[1::2], since_flush):
            after = Disk(disk.size_bytes, disk.area)
            after.bytes[:] = disk.bytes
            for write in survivors:
                after.write(write.offset_bytes, write.data)
            if number == 0 and not survivors:
                with pytest.raises(MetadataError):
                    load(after, new)  # nothing has happened yet: the old place still has all
                assert load(after, old).superblock == superblock
                continue
            try:
                found = load(after, new)
            except MetadataError:
                assert number <= 1
                continue
            fold_log(found.superblock, found.bitmap, found.log)
            has = found.bitmap
            assert all(has.count_range(0, *run) == run[1] for run in wanted[0]), number
            assert isinstance(found.superblock, Superblock)
            if has.count(1) != 3:
                assert found.superblock.peers[9].bitmap_uuid == 0, "day 0 is forgotten"


def test_v08_and_external_areas_grow_too() -> None:
    old, new = internal(64 << 20, Geometry()), internal(96 << 20, Geometry())
    moved = _moved(old, new, fresh08(old))
    assert moved.superblock == fresh08(new)
    old, new = (external(size << 20, Geometry(max_peers=2)) for size in (1, 2))
    moved = _moved(old, new, fresh(old))
    assert moved.superblock == fresh(new)
    assert moved.layout.place is Place.EXTERNAL


def _moved(old: Layout, new: Layout, superblock: AnySuperblock) -> Metadata:
    area = range(min(old.area.start, new.area.start), max(old.area.stop, new.area.stop))
    disk = Disk(new.device_bytes, area)
    bitmap = Bitmap(1 << 20, max_peers=old.geometry.max_peers)
    for step in move(old, new, superblock, bitmap):
        if isinstance(step, Write):
            disk.write(step.offset_bytes, step.data)
    return load(disk, new)


def test_metadata_does_not_move_back() -> None:
    old, new = internal(96 << 20, Geometry()), internal(64 << 20, Geometry())
    with pytest.raises(AssertionError, match="forward"):
        next(move(old, new, fresh(old), Bitmap(1 << 20, max_peers=1)))
