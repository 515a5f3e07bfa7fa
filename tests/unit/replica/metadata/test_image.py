"""Whole areas, in memory: fresh ones, reading, folding the log in, and every kind of damage."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.metadata.activity_log import ActivityLog
from bollard.replica.metadata.al_block import replay
from bollard.replica.metadata.bitmap import Bitmap
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.image import (
    AL_BYTES_READ_MAX,
    AnySuperblock,
    Metadata,
    encode_any,
    fold_log,
    fresh_image,
    read_metadata,
    read_superblock,
)
from bollard.replica.metadata.layout import Geometry, Layout, Place, external, indexed, internal
from bollard.replica.metadata.superblock import DeviceFlag, PeerFlag, PeerSlot, fresh, take_slot, with_peer
from bollard.replica.metadata.superblock08 import fresh08
from unit.replica.metadata.records import Disk, layouts, superblocks

SMALL = internal(64 << 20, Geometry(max_peers=3))


def made(layout: Layout, superblock: AnySuperblock | None = None) -> Disk:
    disk = Disk(layout.device_bytes, layout.area)
    for region in fresh_image(layout, superblock):
        for offset, data in region.writes(limit_bytes=10000):
            disk.write(offset, data)
    return disk


def load(disk: Disk, layout: Layout, index: int = 0) -> Metadata:
    return read_metadata(disk.read, device_bytes=disk.size_bytes, place=layout.place, index=index)


@settings(max_examples=40)
@given(st.data(), layouts(64 << 20))
def test_what_is_made_is_read(data: st.DataObject, layout: Layout) -> None:
    superblock = data.draw(superblocks(layout))
    found = load(made(layout, superblock), layout)
    assert found.superblock == superblock
    assert found.layout == layout
    assert found.log.complete
    assert not found.log.hot
    assert found.bitmap.size_bytes == (superblock.effective_size_sectors * 512 or layout.usable_bytes)
    assert not any(found.bitmap.count(slot) for slot in range(superblock.max_peers))


@pytest.mark.parametrize(
    ("layout", "index"),
    [
        (external(3 << 20, Geometry(max_peers=5)), 0),
        (external((1 << 20) + 512, Geometry(max_peers=2, al_stripes=2)), 0),
        (indexed(256 << 20, Geometry(max_peers=2), index=1), 1),
    ],
)
def test_other_places(layout: Layout, index: int) -> None:
    found = load(made(layout), layout, index)
    assert found.layout == layout
    assert found.superblock == fresh(layout)


def test_a_fresh_area_is_written_to_the_last_byte_superblock_last() -> None:
    disk = made(SMALL)
    assert b"\xd1" not in disk.bytes
    assert fresh_image(SMALL)[-1].offset_bytes == SMALL.superblock_offset_bytes


def test_v08_is_known_by_its_magic() -> None:
    layout = internal(64 << 20, Geometry())
    disk = made(layout, fresh08(layout))
    superblock, found = read_superblock(disk.read, device_bytes=disk.size_bytes, place=Place.INTERNAL)
    assert superblock == fresh08(layout)
    assert found == layout


def crashed(flags: DeviceFlag, *, extents: tuple[int, ...] = (3, 9)) -> tuple[Disk, Metadata]:
    disk = made(SMALL, msgspec.structs.replace(fresh(SMALL), flags=flags))
    transaction = ActivityLog().prepare(extents)
    assert transaction is not None
    disk.write(SMALL.al_offset_bytes + transaction.offset_bytes, transaction.data)
    return disk, load(disk, SMALL)


def test_hot_extents_of_a_crashed_primary_are_out_of_sync_in_all_slots() -> None:
    _, found = crashed(DeviceFlag.PRIMARY_IND | DeviceFlag.CRASHED_PRIMARY)
    assert fold_log(found.superblock, found.bitmap, found.log) == 3 * 2048
    for slot in range(3):
        assert list(found.bitmap.runs(slot)) == [(3 * 1024, 1024), (9 * 1024, 1024)]


def test_the_last_extent_ends_with_the_volume() -> None:
    _, found = crashed(DeviceFlag.PRIMARY_IND, extents=(15, 16, 4_000_000))
    fold_log(found.superblock, found.bitmap, found.log)
    assert found.bitmap.count(0) == found.bitmap.bits - 15 * 1024 < 1024


def test_without_a_primary_nothing_is_marked() -> None:
    _, found = crashed(DeviceFlag.CONSISTENT)
    assert fold_log(found.superblock, found.bitmap, found.log) == 0


def test_a_disabled_or_damaged_log_means_everything() -> None:
    _, found = crashed(DeviceFlag.PRIMARY_IND | DeviceFlag.AL_DISABLED)
    assert fold_log(found.superblock, found.bitmap, found.log) == 3 * found.bitmap.bits
    disk, _ = crashed(DeviceFlag.PRIMARY_IND)
    disk.write(SMALL.al_offset_bytes + 5 * 4096, bytes(4096))
    found = load(disk, SMALL)
    assert fold_log(found.superblock, found.bitmap, found.log) == 3 * found.bitmap.bits


def test_full_sync_flags_fill_their_slot() -> None:
    superblock, slot = take_slot(fresh(SMALL), 7)
    superblock = with_peer(superblock, 7, PeerSlot(flags=PeerFlag.FULL_SYNC, bitmap_index=slot))
    superblock = with_peer(superblock, 8, PeerSlot(flags=PeerFlag.FULL_SYNC))
    bitmap = Bitmap(1 << 20, max_peers=3)
    assert fold_log(superblock, bitmap, replay([])) == 256
    assert bitmap.count(slot) == 256
    old = internal(64 << 20, Geometry())
    marked = msgspec.structs.replace(fresh08(old), flags=DeviceFlag.V08_FULL_SYNC)
    assert fold_log(marked, Bitmap(1 << 20, max_peers=1), replay([])) == 256


def _other_size() -> object:
    disk = made(SMALL)
    data = bytes(disk.bytes)

    def read(offset: int, length: int) -> bytes:
        # The same area at the end of a device of twice the size.
        start = offset - (64 << 20) - SMALL.area.start
        return data[start : start + length]

    return read_metadata(read, device_bytes=128 << 20, place=Place.INTERNAL)


def _short_read() -> object:
    disk = made(SMALL)
    del disk.bytes[-100:]
    return load(disk, SMALL)


def _truncated_bitmap() -> object:
    disk = made(SMALL)
    return read_metadata(
        lambda offset, length: disk.read(offset, length)[: 4096 if length == 4096 else length - 1],
        device_bytes=disk.size_bytes,
        place=Place.INTERNAL,
    )


def _no_metadata() -> object:
    return load(Disk(64 << 20, SMALL.area), SMALL)


def _zeroed() -> object:
    return read_metadata(lambda _, length: bytes(length), device_bytes=1 << 30, place=Place.INTERNAL)


def _tiny_device() -> object:
    return read_metadata(lambda *_: b"", device_bytes=0, place=Place.INTERNAL)


def _volume_too_large() -> object:
    disk = made(SMALL)
    return read_metadata(disk.read, device_bytes=disk.size_bytes, place=Place.INTERNAL, volume_bytes=64 << 20)


def _huge_log() -> object:
    stripes = AL_BYTES_READ_MAX // (1 << 20) + 1
    layout = internal(1 << 30, Geometry(al_stripes=stripes, al_stripe_bytes=1 << 20))
    block = encode_any(fresh(layout))
    return read_metadata(lambda _, length: block[:length], device_bytes=1 << 30, place=Place.INTERNAL)


def test_metadata_of_another_size_is_named() -> None:
    with pytest.raises(MetadataError, match="another device"):
        _other_size()


@pytest.mark.parametrize(
    "attempt",
    [
        _short_read,
        _truncated_bitmap,
        _no_metadata,
        _zeroed,
        _tiny_device,
        _volume_too_large,
        _huge_log,
    ],
)
def test_unusable_areas_are_refused_with_a_next_step(attempt: Callable[[], object]) -> None:
    with pytest.raises(MetadataError) as caught:
        attempt()
    assert caught.value.next_step


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(-1400, -1), st.binary(min_size=1, max_size=8)), max_size=4),
    st.integers(0, 1 << 32),
    st.sampled_from(list(Place)),
)
def test_any_superblock_on_any_device(
    damage: list[tuple[int, bytes]], device_bytes: int, place: Place
) -> None:
    """Reads stay within the device and in batches, whatever the block says."""
    block = bytearray(encode_any(fresh(SMALL)))
    for offset, data in damage:
        start = 1400 + offset
        block[start : start + len(data)] = data

    def read(offset: int, length: int) -> bytes:
        assert 0 <= length <= 1 << 20
        available = max(0, min(length, device_bytes - offset))
        return bytes(block) if length == 4096 and available == 4096 else bytes(available)

    try:
        found = read_metadata(read, device_bytes=device_bytes, place=place)
    except MetadataError:
        return
    assert found.layout.area.stop <= device_bytes
