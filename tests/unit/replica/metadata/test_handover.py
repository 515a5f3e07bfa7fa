"""Metadata from one version to the other: it says the same, and no crash in between makes it say less."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.metadata.activity_log import ActivityLog
from bollard.replica.metadata.al_block import EXTENT_BYTES
from bollard.replica.metadata.bitmap import Bitmap
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.growth import Flush, Write
from bollard.replica.metadata.handover import Steps, as_v08, as_v09
from bollard.replica.metadata.image import AnySuperblock, Metadata, fold_log, fresh_image, read_metadata
from bollard.replica.metadata.layout import Geometry, Layout, internal, internal_device_bytes
from bollard.replica.metadata.superblock import DeviceFlag, PeerFlag, PeerSlot, Superblock, fresh, with_peer
from bollard.replica.metadata.superblock08 import Superblock08, fresh08
from unit.replica.metadata.records import Disk

ME, PEER = 0, 3
CURRENT, BITMAP, FIRST, SECOND = 0xA0, 0xB0, 0xC0, 0xD0
DATA_BYTES = 16 << 20


def place(max_peers: int, room_for: int = 1) -> Layout:
    size = internal_device_bytes(DATA_BYTES, Geometry(max_peers=max(max_peers, room_for)))
    return internal(size, Geometry(max_peers=max_peers))


def v09(layout: Layout, *, slot: int = 0) -> Superblock:
    peer = PeerSlot(bitmap_uuid=BITMAP, bitmap_index=slot, flags=PeerFlag.DEVICE_SEEN | PeerFlag.NODE_EXISTS)
    record = msgspec.structs.replace(
        fresh(layout, node_id=ME),
        current_uuid=CURRENT,
        history=(FIRST, SECOND, *(0,) * 30),
        effective_size_sectors=DATA_BYTES // 512,
        flags=DeviceFlag.CONSISTENT | DeviceFlag.WAS_UP_TO_DATE | DeviceFlag.AL_CLEAN,
    )
    return with_peer(record, PEER, peer)


def v08(layout: Layout) -> Superblock08:
    return msgspec.structs.replace(
        fresh08(layout),
        current_uuid=CURRENT,
        bitmap_uuid=BITMAP,
        history=(FIRST, SECOND),
        effective_size_sectors=DATA_BYTES // 512,
        flags=DeviceFlag.CONSISTENT | DeviceFlag.WAS_UP_TO_DATE | DeviceFlag.AL_CLEAN,
    )


def disk_with(
    layout: Layout,
    superblock: AnySuperblock,
    runs: list[tuple[int, int]],
    slot: int = 0,
    hot: int | None = None,
) -> Disk:
    disk = Disk(layout.device_bytes, range(DATA_BYTES, layout.device_bytes))
    for region in fresh_image(layout, superblock):
        for offset, data in region.writes():
            disk.write(offset, data)
    bitmap = Bitmap(DATA_BYTES, max_peers=layout.geometry.max_peers)
    for first, count in runs:
        bitmap.set_bits(slot, first, min(count, bitmap.bits - first))
    disk.write(layout.bitmap_offset_bytes, bitmap.encode_pages(0, bitmap.pages))
    if hot is not None:
        log = ActivityLog(slots=67)
        transaction = log.prepare([hot])
        assert transaction is not None
        disk.write(layout.al_offset_bytes + transaction.offset_bytes, transaction.data)
    return disk


def load(disk: Disk, layout: Layout) -> Metadata:
    return read_metadata(disk.read, device_bytes=layout.device_bytes, place=layout.place)


def carry_out(disk: Disk, steps: Steps) -> None:
    for step in steps:
        if isinstance(step, Write):
            disk.write(step.offset_bytes, step.data)


RUNS = st.lists(st.tuples(st.integers(0, DATA_BYTES // 4096 - 1), st.integers(1, 300)), max_size=5)


@settings(max_examples=40, deadline=None)
@given(RUNS, st.integers(1, 7), st.integers(1, 7))
def test_there_and_back_says_the_same(runs: list[tuple[int, int]], slots: int, back: int) -> None:
    old = place(slots, back)
    disk = disk_with(old, v09(old, slot=slots - 1), runs, slots - 1)
    before = load(disk, old)
    carry_out(disk, as_v08(load(disk, old), peer_node_id=PEER))
    middle = load(disk, old)
    assert isinstance(middle.superblock, Superblock08)
    assert middle.superblock == msgspec.structs.replace(
        v08(middle.layout), al_extents=middle.superblock.al_extents
    )
    assert list(middle.bitmap.runs(0)) == list(before.bitmap.runs(slots - 1))
    carry_out(disk, as_v09(middle, node_id=ME, peer_node_id=PEER, max_peers=back))
    after = load(disk, old)
    assert isinstance(after.superblock, Superblock)
    assert after.superblock == v09(after.layout)
    assert list(after.bitmap.runs(0)) == list(before.bitmap.runs(slots - 1))
    assert all(not after.bitmap.count(slot) for slot in range(1, back))


def test_the_version_that_it_has_is_left_alone() -> None:
    layout = place(1)
    assert list(as_v09(load(disk_with(layout, v09(layout), []), layout), node_id=ME, peer_node_id=PEER)) == []
    assert list(as_v08(load(disk_with(layout, v08(layout), []), layout), peer_node_id=PEER)) == []


def test_with_one_slot_only_the_log_and_the_superblock_are_written() -> None:
    layout = place(1)
    found = load(disk_with(layout, v09(layout), [(3, 5)]), layout)
    written = [step.offset_bytes for step in as_v08(found, peer_node_id=PEER) if isinstance(step, Write)]
    assert written == [layout.al_offset_bytes, layout.superblock_offset_bytes]


@pytest.mark.parametrize("slots", [1, 4])
def test_what_a_crashed_primary_was_writing_is_out_of_sync_afterwards(slots: int) -> None:
    layout = place(slots)
    flags = DeviceFlag.CONSISTENT | DeviceFlag.PRIMARY_IND | DeviceFlag.CRASHED_PRIMARY
    crashed = msgspec.structs.replace(v09(layout), flags=flags)
    disk = disk_with(layout, crashed, [], hot=2)
    carry_out(disk, as_v08(load(disk, layout), peer_node_id=PEER))
    found = load(disk, layout)
    assert isinstance(found.superblock, Superblock08)
    assert found.superblock.flags & DeviceFlag.CRASHED_PRIMARY
    assert found.superblock.flags & DeviceFlag.AL_CLEAN
    assert not found.superblock.unclean
    per_extent = EXTENT_BYTES // 4096
    assert list(found.bitmap.runs(0)) == [(2 * per_extent, per_extent)]
    assert not found.log.hot


def test_an_unclean_disk_of_a_kernel_is_taken_over() -> None:
    layout = place(1)
    crashed = msgspec.structs.replace(
        v08(layout), unclean=True, flags=DeviceFlag.CONSISTENT | DeviceFlag.PRIMARY_IND
    )
    disk = disk_with(layout, crashed, [], hot=1)
    carry_out(disk, as_v09(load(disk, layout), node_id=ME, peer_node_id=PEER))
    found = load(disk, layout)
    assert isinstance(found.superblock, Superblock)
    assert found.superblock.flags & DeviceFlag.CRASHED_PRIMARY
    assert found.superblock.flags & DeviceFlag.AL_CLEAN
    assert found.bitmap.count(0) == EXTENT_BYTES // 4096


def test_a_peer_that_was_never_known_gets_everything() -> None:
    layout = place(2)
    alone = with_peer(v09(layout), PEER, PeerSlot())
    disk = disk_with(layout, alone, [])
    carry_out(disk, as_v08(load(disk, layout), peer_node_id=PEER))
    found = load(disk, layout)
    assert found.bitmap.count(0) == found.bitmap.bits


def test_other_peers_and_missing_room_are_refused() -> None:
    layout = place(2)
    two = with_peer(v09(layout), 5, PeerSlot(bitmap_index=1))
    with pytest.raises(MetadataError, match="5"):
        as_v08(load(disk_with(layout, two, []), layout), peer_node_id=PEER)
    tight = place(1)
    found = load(disk_with(tight, v08(tight), []), tight)
    with pytest.raises(MetadataError, match="room|bitmap slots"):
        as_v09(found, node_id=ME, peer_node_id=PEER, max_peers=31)


def to_v08(found: Metadata) -> Steps:
    return as_v08(found, peer_node_id=PEER)


def to_v09(found: Metadata) -> Steps:
    return as_v09(found, node_id=ME, peer_node_id=PEER, max_peers=5)


@pytest.mark.parametrize(
    ("slots", "older", "convert"), [(1, False, to_v08), (5, False, to_v08), (1, True, to_v09)]
)
def test_a_crash_at_any_write_loses_no_bit(
    slots: int, older: bool, convert: Callable[[Metadata], Steps]
) -> None:
    """Also when only some of the writes since the last flush reached the disk; and it can be repeated."""
    layout = place(slots, 5)
    record: AnySuperblock = v08(layout) if older else v09(layout)
    flags = record.flags | DeviceFlag.PRIMARY_IND | DeviceFlag.CRASHED_PRIMARY
    disk = disk_with(layout, msgspec.structs.replace(record, flags=flags), [(5, 7), (3000, 20)], hot=0)
    folded = load(disk, layout)
    fold_log(folded.superblock, folded.bitmap, folded.log)
    wanted = list(folded.bitmap.runs(0))
    since_flush: list[Write] = []
    for number, step in enumerate(convert(load(disk, layout))):
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
            for again in (False, True):
                if again:
                    carry_out(after, convert(load(after, layout)))
                found = load(after, layout)
                fold_log(found.superblock, found.bitmap, found.log)
                assert all(found.bitmap.count_range(0, *run) == run[1] for run in wanted), number
                assert found.superblock.current_uuid == CURRENT
