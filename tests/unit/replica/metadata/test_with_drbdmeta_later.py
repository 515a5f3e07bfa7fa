"""drbdmeta as oracle for what happens later: applying the log, growth, outdating, restoring a dump."""

from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.metadata.activity_log import ActivityLog
from bollard.replica.metadata.al_block import INITIALISED_BLOCK
from bollard.replica.metadata.growth import Write, move
from bollard.replica.metadata.image import fold_log
from bollard.replica.metadata.layout import Geometry, internal
from bollard.replica.metadata.superblock import DeviceFlag, PeerFlag, PeerSlot, Superblock, fresh, with_peer
from bollard.replica.metadata.superblock08 import fresh08
from unit.replica.metadata import drbdmeta
from unit.replica.metadata.drbdmeta import RUNS, bits_of, load, oracle, with_bits, write_bitmap

pytestmark = drbdmeta.needs_drbdmeta

CRASHED = DeviceFlag.PRIMARY_IND | DeviceFlag.CRASHED_PRIMARY | DeviceFlag.CONSISTENT


def a_ring(extents: list[list[int]], slots: int) -> bytes:
    """The ring of a log that activated these, one transaction each."""
    log, ring = ActivityLog(slots=slots), [INITIALISED_BLOCK] * 8
    for group in extents:
        transaction = log.prepare(group)
        if transaction is not None:
            log.commit(transaction)
            ring[transaction.offset_bytes // 4096] = transaction.data
    return b"".join(ring)


@settings(oracle, max_examples=40)
@given(
    size=st.integers(40 << 20, 1 << 30),
    peers=st.integers(1, 7),
    extents=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), max_size=20),
    slots=st.sampled_from([67, 1237, 2000]),
    runs=RUNS,
    was_primary=st.booleans(),
    version=st.sampled_from(["v09", "v08"]),
)
def test_apply_al_agrees_with_our_replay(
    tmp_path: Path,
    *,
    size: int,
    peers: int,
    extents: list[list[int]],
    slots: int,
    runs: list[tuple[int, float, int]],
    was_primary: bool,
    version: str,
) -> None:
    layout = internal(size, Geometry(max_peers=peers if version == "v09" else 1))
    made = fresh(layout) if version == "v09" else fresh08(layout)
    superblock = msgspec.structs.replace(
        made,
        effective_size_sectors=layout.usable_bytes // 512,
        flags=CRASHED if was_primary else DeviceFlag.CONSISTENT,
        al_extents=slots,
    )
    path = drbdmeta.sparse_file(tmp_path / "device", size)
    drbdmeta.write_fresh(path, layout, superblock)
    write_bitmap(path, layout, with_bits(layout, superblock, runs))
    with path.open("r+b") as file:
        file.seek(layout.al_offset_bytes)
        file.write(a_ring(extents, slots))
    ours = load(path, layout)
    assert ours.log.complete
    fold_log(ours.superblock, ours.bitmap, ours.log)
    with drbdmeta.unused_minor() as minor:
        drbdmeta.run(minor, version, path, "internal", "apply-al")
    theirs = load(path, layout)
    assert bits_of(theirs.bitmap) == bits_of(ours.bitmap)
    assert not theirs.log.hot
    assert DeviceFlag.AL_CLEAN in theirs.superblock.flags


@settings(oracle, max_examples=20)
@given(
    size=st.integers(8 << 20, 512 << 20),
    growth=st.one_of(st.integers(4096, 16 << 20), st.integers(4096, 512 << 20)),
    peers=st.integers(1, 7),
    runs=RUNS,
)
def test_growth_moves_as_check_resize_does(
    tmp_path: Path, size: int, growth: int, peers: int, runs: list[tuple[int, float, int]]
) -> None:
    """Bits are compared where the bitmap keeps its size: drbdmeta 9.22 moves a growing one to its area's end,
    where every bit stands for another block. (A running kernel keeps bits in their place, as we do.)"""
    size, growth = size // 4096 * 4096, growth // 4096 * 4096
    old, new = (internal(bytes_, Geometry(max_peers=peers)) for bytes_ in (size, size + growth))
    if new.usable_bytes < old.usable_bytes:
        return
    if old.bitmap_bytes != new.bitmap_bytes:
        runs = []
    superblock = msgspec.structs.replace(fresh(old), effective_size_sectors=old.usable_bytes // 512)
    theirs = drbdmeta.sparse_file(tmp_path / "theirs", size)
    ours = drbdmeta.sparse_file(tmp_path / "ours", size)
    with drbdmeta.unused_minor() as minor:
        drbdmeta.run(minor, "v09", theirs, "internal", "create-md", str(peers))  # notes the size
        for path in (theirs, ours):
            drbdmeta.write_fresh(path, old, superblock)
            write_bitmap(path, old, with_bits(old, superblock, runs))
        with theirs.open("r+b") as file:
            file.truncate(size + growth)
        drbdmeta.run(minor, "v09", theirs, "internal", "check-resize")
    bitmap = load(ours, old).bitmap
    with ours.open("r+b") as file:
        file.truncate(size + growth)
        for step in move(old, new, superblock, bitmap):
            if isinstance(step, Write):
                file.seek(step.offset_bytes)
                file.write(step.data)
    # Before the new area the tool may leave a part of an overlapping old log; we leave zeros.
    assert (drbdmeta.slice_of(theirs, new.area) == drbdmeta.slice_of(ours, new.area)) is True
    left = drbdmeta.slice_of(ours, range(old.area.start, new.area.start))
    assert left.count(0) == len(left)


def test_outdate_and_invalidate_are_read(tmp_path: Path) -> None:
    layout = internal(32 << 20, Geometry(max_peers=2))
    path = drbdmeta.sparse_file(tmp_path / "device", 32 << 20)
    up_to_date = DeviceFlag.CONSISTENT | DeviceFlag.WAS_UP_TO_DATE | DeviceFlag.AL_CLEAN
    superblock = msgspec.structs.replace(fresh(layout, node_id=0), flags=up_to_date, current_uuid=0x1234)
    superblock = with_peer(superblock, 1, PeerSlot(bitmap_index=0, flags=PeerFlag.NODE_EXISTS))
    drbdmeta.write_fresh(path, layout, superblock)
    with drbdmeta.unused_minor() as minor:
        drbdmeta.run(minor, "v09", path, "internal", "outdate")
        found = load(path, layout).superblock
        assert found.flags == up_to_date & ~DeviceFlag.WAS_UP_TO_DATE
        drbdmeta.run(minor, "v09", path, "internal", "invalidate")
    after = load(path, layout)
    assert isinstance(after.superblock, Superblock)
    assert after.superblock.flags == DeviceFlag.AL_CLEAN
    assert all(PeerFlag.FULL_SYNC in peer.flags for peer in after.superblock.peers)
    fold_log(after.superblock, after.bitmap, after.log)
    assert (after.bitmap.count(0), after.bitmap.count(1)) == (after.bitmap.bits, 0)


def test_a_restored_dump_is_what_it_was(tmp_path: Path) -> None:
    layout = internal(32 << 20, Geometry(max_peers=3))
    path = drbdmeta.sparse_file(tmp_path / "device", 32 << 20)
    superblock = msgspec.structs.replace(
        fresh(layout, node_id=2),
        effective_size_sectors=layout.usable_bytes // 512,
        current_uuid=0xABCDEF0123456788,
        history=tuple(range(0x100, 0x140, 2)),
    )
    superblock = with_peer(superblock, 0, PeerSlot(bitmap_uuid=77, bitmap_index=2))
    drbdmeta.write_fresh(path, layout, superblock)
    write_bitmap(path, layout, with_bits(layout, superblock, [(2, 0.3, 900), (0, 0.9, 70)]))
    before = drbdmeta.slice_of(path, layout.area)
    with drbdmeta.unused_minor() as minor:
        dump = tmp_path / "dump"
        dump.write_text(drbdmeta.run(minor, "v09", path, "internal", "dump-md"))
        drbdmeta.run(minor, "v09", path, "internal", "wipe-md")
        assert drbdmeta.slice_of(path, layout.area) != before
        drbdmeta.run(minor, "v09", path, "internal", "restore-md", str(dump))
    assert (drbdmeta.slice_of(path, layout.area) == before) is True
