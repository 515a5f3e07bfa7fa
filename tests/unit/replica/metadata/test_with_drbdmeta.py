"""drbd-utils' drbdmeta as oracle: byte identity, dumps of what we write, its images read by us, growth."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bollard.replica.metadata.image import AnySuperblock
from bollard.replica.metadata.layout import Geometry, Layout, Place, external, indexed, internal
from bollard.replica.metadata.superblock import DeviceFlag, fresh
from bollard.replica.metadata.superblock08 import fresh08
from unit.replica.metadata import drbdmeta
from unit.replica.metadata.drbdmeta import RUNS, bits_of, load, oracle, with_bits, write_bitmap
from unit.replica.metadata.records import layouts, sizes, superblocks

pytestmark = drbdmeta.needs_drbdmeta

PLACES = {Place.INTERNAL: "internal", Place.EXTERNAL: "flex-external"}


def create(path: Path, layout: Layout, version: str = "v09", place: str | None = None) -> None:
    geometry = layout.geometry
    peers = [str(geometry.max_peers)] if version == "v09" else []
    stripes = [
        f"--al-stripes={geometry.al_stripes}",
        f"--al-stripe-size-kB={geometry.al_stripe_bytes // 1024}",
    ]
    with drbdmeta.unused_minor() as minor:
        where = place or PLACES[layout.place]
        drbdmeta.run(minor, version, path, where, "create-md", *peers, *stripes)


def both(tmp_path: Path, layout: Layout, superblock: AnySuperblock, **how: str) -> tuple[Path, Path]:
    """The tool's file and ours, both made over rubbish (of external metadata the tool zeroes only a part)."""
    dirt = layout.area if layout.place is Place.INTERNAL else range(40960)
    theirs = drbdmeta.sparse_file(tmp_path / "theirs", layout.device_bytes, dirt=dirt)
    ours = drbdmeta.sparse_file(tmp_path / "ours", layout.device_bytes, dirt=dirt)
    create(theirs, layout, **how)
    drbdmeta.write_fresh(ours, layout, superblock)
    return theirs, ours


@settings(oracle, max_examples=100)
@given(layout=layouts(3 << 30))
@example(layout=internal((1 << 40) + 12345 * 512, Geometry(max_peers=1)))
@example(layout=internal(200 << 30, Geometry(max_peers=7)))
def test_internal_is_byte_identical(tmp_path: Path, layout: Layout) -> None:
    theirs, ours = both(tmp_path, layout, fresh(layout))
    assert drbdmeta.slice_of(theirs, layout.area) == drbdmeta.slice_of(ours, layout.area)
    read = load(theirs, layout)
    assert read.superblock == fresh(layout)
    assert read.layout == layout
    assert read.log.complete
    assert not any(read.bitmap.count(slot) for slot in range(layout.geometry.max_peers))


@settings(oracle, max_examples=30)
@given(
    size=st.integers(300 << 10, 8 << 20),
    peers=st.integers(1, 31),
    stripes=st.sampled_from([(1, 32768), (2, 65536)]),
)
def test_external_is_byte_identical(tmp_path: Path, size: int, peers: int, stripes: tuple[int, int]) -> None:
    geometry = Geometry(max_peers=peers, al_stripes=stripes[0], al_stripe_bytes=stripes[1])
    layout = external(size // 512 * 512, geometry)
    theirs, ours = both(tmp_path, layout, fresh(layout))
    assert (theirs.read_bytes() == ours.read_bytes()) is True
    assert load(theirs, layout).superblock == fresh(layout)


@pytest.mark.parametrize("index", [0, 1])
def test_indexed_is_byte_identical(tmp_path: Path, index: int) -> None:
    layout = indexed(257 << 20, Geometry(max_peers=5), index=index)
    theirs = drbdmeta.sparse_file(tmp_path / "theirs", layout.device_bytes)
    ours = drbdmeta.sparse_file(tmp_path / "ours", layout.device_bytes)
    create(theirs, layout, place=str(index))
    drbdmeta.write_fresh(ours, layout)
    assert drbdmeta.slice_of(theirs, layout.area) == drbdmeta.slice_of(ours, layout.area)


@settings(oracle, max_examples=25)
@given(size=sizes(1, 3 << 30))
def test_v08_is_byte_identical(tmp_path: Path, size: int) -> None:
    layout = internal(size, Geometry())
    theirs, ours = both(tmp_path, layout, fresh08(layout), version="v08")
    assert drbdmeta.slice_of(theirs, layout.area) == drbdmeta.slice_of(ours, layout.area)
    assert load(theirs, layout).superblock == fresh08(layout)


@settings(oracle, max_examples=40)
@given(data=st.data(), layout=layouts(64 << 20), runs=RUNS)
def test_dump_reads_what_we_write(
    tmp_path: Path, data: st.DataObject, layout: Layout, runs: list[tuple[int, float, int]]
) -> None:
    drawn = data.draw(superblocks(layout))
    # Without AL_CLEAN the tool dumps nothing; without an agreed size no bits.
    superblock = msgspec.structs.replace(
        drawn,
        flags=drawn.flags | DeviceFlag.AL_CLEAN,
        effective_size_sectors=layout.usable_bytes // 512,
    )
    path = drbdmeta.sparse_file(tmp_path / "ours", layout.device_bytes)
    drbdmeta.write_fresh(path, layout, superblock)
    bitmap = with_bits(layout, superblock, runs)
    write_bitmap(path, layout, bitmap)
    with drbdmeta.unused_minor() as minor:
        dump = drbdmeta.run(minor, "v09", path, "internal", "dump-md")
    told = drbdmeta.dumped_numbers(dump.partition("peer[")[0])
    told |= drbdmeta.dumped_numbers(dump.partition("al-extents")[1] + dump.partition("al-extents")[2])
    assert told["max-peers"] == superblock.max_peers
    assert told["node-id"] == superblock.node_id
    assert told["current-uuid"] == superblock.current_uuid
    assert told["flags"] == superblock.flags
    assert told["al-extents"] == superblock.al_extents
    assert told["la-size-sect"] == superblock.effective_size_sectors
    assert told["device-uuid"] == superblock.device_uuid
    assert told["la-peer-max-bio-size"] == superblock.peer_max_bio_bytes
    assert told["md_offset"] == layout.superblock_offset_bytes
    assert told["al_offset"] == layout.al_offset_bytes
    assert told["bm_offset"] == layout.bitmap_offset_bytes
    assert drbdmeta.dumped_history(dump) == list(superblock.history)
    assert drbdmeta.dumped_peers(dump) == [
        (peer.bitmap_index, peer.bitmap_uuid, peer.bitmap_dagtag_sectors, peer.flags)
        for peer in superblock.peers
    ]
    assert drbdmeta.dumped_bits(dump) == bits_of(bitmap)
    again = load(path, layout)
    assert again.superblock == superblock
    assert bits_of(again.bitmap) == bits_of(bitmap)


@settings(oracle, max_examples=15)
@given(runs=RUNS, uuids=st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4))
def test_dump_reads_v08_too(tmp_path: Path, runs: list[tuple[int, float, int]], uuids: list[int]) -> None:
    layout = internal(40 << 20, Geometry())
    superblock = msgspec.structs.replace(
        fresh08(layout),
        effective_size_sectors=layout.usable_bytes // 512,
        current_uuid=uuids[0],
        bitmap_uuid=uuids[1],
        history=(uuids[2], uuids[3]),
    )
    path = drbdmeta.sparse_file(tmp_path / "ours", layout.device_bytes)
    drbdmeta.write_fresh(path, layout, superblock)
    bitmap = with_bits(layout, superblock, runs)
    write_bitmap(path, layout, bitmap)
    with drbdmeta.unused_minor() as minor:
        dump = drbdmeta.run(minor, "v08", path, "internal", "dump-md")
    told = dump.partition("uuid {")[2].partition("flags")[0]
    assert [int(uuid, 16) for uuid in told.replace(";", " ").split()] == uuids
    assert drbdmeta.dumped_numbers(dump)["la-size-sect"] == superblock.effective_size_sectors
    assert drbdmeta.dumped_bits(dump) == bits_of(bitmap)
    again = load(path, layout)
    assert again.superblock == superblock
