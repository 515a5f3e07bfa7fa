"""Size formulas: the reference's table, limits, and the inverse."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.layout import (
    INDEXED_AREA_BYTES,
    MAX_USABLE_BYTES,
    Geometry,
    bitmap_bytes,
    external,
    external_device_bytes,
    indexed,
    internal,
    internal_device_bytes,
)

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40

GEOMETRIES = st.builds(
    Geometry,
    max_peers=st.integers(1, 31),
    al_stripes=st.sampled_from([1, 2, 4]),
    al_stripe_bytes=st.sampled_from([32768, 65536]),
    block_bytes=st.sampled_from([4096, 8192, 1 << 20]),
)


@pytest.mark.parametrize(
    ("device_bytes", "peers", "bitmap", "total", "usable_kib"),
    [
        (64 * MIB, 7, 16384, 53248, 65484),
        (256 * MIB, 1, 8192, 45056, 262100),
        (256 * MIB, 3, 24576, 61440, 262084),
        (GIB, 3, 98304, 135168, 1048444),
        (10 * GIB, 1, 327680, 364544, 10485404),
        (TIB, 7, 234881024, 234917888, 1073512412),
        (TIB, 31, 1040187392, 1040224256, 1072725980),
    ],
)
def test_internal_sizes(device_bytes: int, peers: int, bitmap: int, total: int, usable_kib: int) -> None:
    layout = internal(device_bytes, Geometry(max_peers=peers))
    assert layout.bitmap_bytes == bitmap
    assert layout.md_size_sectors * 512 == total
    assert layout.usable_bytes == usable_kib * 1024
    assert layout.area == range(layout.usable_bytes, layout.usable_bytes + total)


@given(st.integers(1, 64 * TIB), GEOMETRIES)
def test_the_smallest_device_for_a_volume(volume_bytes: int, geometry: Geometry) -> None:
    device = internal_device_bytes(volume_bytes, geometry)
    assert device % 4096 == 0
    assert internal(device, geometry).usable_bytes >= volume_bytes
    if device > 68 << 10:
        try:
            smaller = internal(device - 4096, geometry)
        except MetadataError:
            return
        assert smaller.usable_bytes < volume_bytes


@given(st.integers(1, 64 * TIB), GEOMETRIES)
def test_the_smallest_external_device_for_a_volume(volume_bytes: int, geometry: Geometry) -> None:
    device = external_device_bytes(volume_bytes, geometry)
    layout = external(device, geometry)
    assert layout.usable_bytes >= volume_bytes
    if device > 68 << 10:
        try:
            smaller = external(device - 4096, geometry)
        except MetadataError:
            return
        assert smaller.usable_bytes < volume_bytes


@given(st.integers(1 * MIB, 64 * TIB), GEOMETRIES)
def test_the_parts_of_an_internal_area_do_not_overlap(device_bytes: int, geometry: Geometry) -> None:
    try:
        layout = internal(device_bytes, geometry)
    except MetadataError:
        return
    assert layout.bitmap_offset_bytes + layout.bitmap_bytes == layout.al_offset_bytes
    assert layout.al_offset_bytes + layout.al_bytes == layout.superblock_offset_bytes
    assert layout.superblock_offset_bytes + 4096 <= device_bytes
    blocks = -(-layout.usable_bytes // geometry.block_bytes)
    assert layout.bitmap_bytes * 8 // geometry.max_peers >= blocks


@given(st.integers(300 << 10, 64 * MIB), GEOMETRIES)
def test_the_bitmap_of_all_that_is_usable_fits_the_external_area(
    device_bytes: int, geometry: Geometry
) -> None:
    try:
        layout = external(device_bytes, geometry)
    except MetadataError:
        return
    peers, block = geometry.max_peers, geometry.block_bytes
    needed = bitmap_bytes(layout.usable_bytes, max_peers=peers, block_bytes=block)
    assert needed <= layout.bitmap_bytes
    more = bitmap_bytes(layout.usable_bytes + 512, max_peers=peers, block_bytes=block)
    assert more > layout.bitmap_bytes or layout.usable_bytes == MAX_USABLE_BYTES


def test_indexed_slots_are_128_mib_apart() -> None:
    layouts = [indexed(3 * INDEXED_AREA_BYTES, Geometry(max_peers=2), index=index) for index in range(3)]
    assert [layout.superblock_offset_bytes for layout in layouts] == [0, 128 * MIB, 256 * MIB]
    assert {layout.md_size_sectors for layout in layouts} == {262144}
    assert layouts[1].area == range(128 * MIB, 256 * MIB)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: internal(67 << 10, Geometry()),
        lambda: internal(1 * MIB, Geometry(al_stripes=4, al_stripe_bytes=512 << 10)),
        lambda: internal(64 * MIB, Geometry(max_peers=32)),
        lambda: internal(64 * MIB, Geometry(max_peers=0)),
        lambda: internal(64 * MIB, Geometry(block_bytes=5000)),
        lambda: internal(64 * MIB, Geometry(al_stripe_bytes=4096)),
        lambda: internal(64 * MIB, Geometry(al_stripe_bytes=32769)),
        lambda: internal(MAX_USABLE_BYTES * 2, Geometry()),
        lambda: external(40 << 10, Geometry()),
        lambda: indexed(INDEXED_AREA_BYTES, Geometry(), index=1),
        lambda: indexed(INDEXED_AREA_BYTES, Geometry(al_stripes=2), index=0),
        lambda: internal_device_bytes(0, Geometry()),
        lambda: external_device_bytes(MAX_USABLE_BYTES + 1, Geometry()),
    ],
)
def test_refuses_with_a_next_step(refused: Callable[[], object]) -> None:
    with pytest.raises(MetadataError) as caught:
        refused()
    assert caught.value.next_step
    assert caught.value.where
