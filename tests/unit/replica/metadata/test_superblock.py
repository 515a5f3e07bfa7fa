"""The v09 superblock: round trips, strictness, slots and history."""

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.layout import Geometry, external, internal
from bollard.replica.metadata.superblock import (
    PeerSlot,
    Superblock,
    decode,
    encode,
    fresh,
    push_history,
    take_slot,
    with_peer,
    without_day_0,
)
from unit.replica.metadata.records import refuses, superblocks

FRESH = fresh(internal(64 << 20, Geometry(max_peers=7)))


@given(superblocks())
def test_round_trip(superblock: Superblock) -> None:
    data = encode(superblock)
    assert len(data) == 4096
    assert data[1392:] == bytes(4096 - 1392)
    assert decode(data) == superblock


def test_fields_are_where_the_format_has_them() -> None:
    peer = PeerSlot(bitmap_uuid=0x0102030405060708, bitmap_dagtag_sectors=9, bitmap_index=2)
    superblock = with_peer(
        msgspec.structs.replace(FRESH, node_id=4, effective_size_sectors=77, members=5), 1, peer
    )
    data = encode(push_history(superblock, 0xABCDEF))
    assert struct.unpack_from(">QQQ", data) == (77, 4, 5)
    assert struct.unpack_from(">II", data, 56) == (0x80, 0x8374026D)
    assert struct.unpack_from(">IiIi", data, 64) == (104, -64, 257, -96)
    assert struct.unpack_from(">III", data, 80) == (4096, 0, 7)
    assert struct.unpack_from(">iII", data, 92) == (4, 1, 8)
    assert struct.unpack_from(">QQIi", data, 112 + 32) == (0x0102030405060708, 9, 0, 2)
    assert struct.unpack_from(">i", data, 112 + 20) == (-1,)
    assert struct.unpack_from(">Q", data, 1136) == (0xABCDEE,)


def test_unknown_flags_survive() -> None:
    data = bytearray(encode(FRESH))
    data[56] = 0x40
    assert encode(decode(bytes(data))) == bytes(data)


def test_external_offsets_are_positive() -> None:
    superblock = fresh(external(1 << 20, Geometry(max_peers=3)))
    assert (superblock.al_offset_sectors, superblock.bitmap_offset_sectors) == (8, 72)
    assert decode(encode(superblock)) == superblock


@pytest.mark.parametrize(
    ("offset", "form", "value", "named"),
    [
        (60, ">I", 0x12345678, "magic"),
        (60, ">I", 0x8374026B, "v08"),
        (60, ">I", 0x8374026C, "v08"),
        (64, ">I", 105, "md_size"),
        (64, ">I", 72, "bm_offset"),
        (64, ">I", 112, "bm_offset"),
        (68, ">i", 64, "al_offset"),
        (68, ">i", -72, "al_offset"),
        (72, ">I", 0, "al_extents"),
        (72, ">I", 65535, "al_extents"),
        (76, ">i", -104, "bm_offset"),
        (76, ">i", 96, "bm_offset"),
        (80, ">I", 4097, "bytes per bitmap bit"),
        (80, ">I", 512, "bytes per bitmap bit"),
        (80, ">I", 2 << 20, "bytes per bitmap bit"),
        (88, ">I", 0, "peer slots"),
        (88, ">I", 32, "peer slots"),
        (92, ">i", 32, "node_id"),
        (92, ">i", -2, "node_id"),
        (96, ">I", 0, "stripes"),
        (100, ">I", 0, "stripes"),
        (100, ">I", 0xFFFFFFFF, "stripes"),
        (0, ">Q", 2**40, "effective_size"),
        (112 + 20, ">i", 7, "peers[0]"),
        (112 + 20, ">i", -2, "peers[0]"),
    ],
)
def test_one_wrong_field_is_refused_by_name(offset: int, form: str, value: int, named: str) -> None:
    data = bytearray(encode(FRESH))
    struct.pack_into(form, data, offset, value)
    with pytest.raises(MetadataError) as caught:
        decode(bytes(data))
    assert named in str(caught.value)


def test_two_peers_in_one_slot_are_refused() -> None:
    data = bytearray(encode(FRESH))
    for node in (3, 9):
        struct.pack_into(">i", data, 112 + 32 * node + 20, 5)
    with pytest.raises(MetadataError, match=r"peers\[9\].*slot 5 belongs to node id 3"):
        decode(bytes(data))


def test_a_slot_for_the_node_itself_is_refused() -> None:
    data = bytearray(encode(msgspec.structs.replace(FRESH, node_id=3)))
    struct.pack_into(">i", data, 112 + 32 * 3 + 20, 0)
    with pytest.raises(MetadataError, match="the node itself"):
        decode(bytes(data))


def test_encode_refuses_what_decode_refuses() -> None:
    for wrong in (
        {"max_peers": 40},
        {"node_id": 99},
        {"history": (1,)},
        {"current_uuid": -1},
        {"peers": (PeerSlot(),)},
        {"effective_size_sectors": 1 << 40},
        {"peer_max_bio_bytes": 1 << 32},
        {"peers": (PeerSlot(bitmap_uuid=1 << 64), *FRESH.peers[1:])},
        {"peers": (PeerSlot(bitmap_dagtag_sectors=-1), *FRESH.peers[1:])},
    ):
        assert refuses(encode, msgspec.structs.replace(FRESH, **wrong)), wrong


@given(st.binary(max_size=5000))
def test_any_bytes(data: bytes) -> None:
    refuses(decode, data)


@given(
    superblocks(),
    st.lists(st.tuples(st.integers(0, 1391), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_superblocks_are_refused_or_sound(
    superblock: Superblock, damage: list[tuple[int, int]]
) -> None:
    data = bytearray(encode(superblock))
    for offset, value in damage:
        data[offset] = value
    try:
        found = decode(bytes(data))
    except MetadataError:
        return
    assert decode(encode(found)) == found


def test_slots_are_given_lowest_first_and_kept() -> None:
    superblock = msgspec.structs.replace(FRESH, node_id=0)
    superblock, first = take_slot(superblock, 5)
    superblock, second = take_slot(superblock, 2)
    again, same = take_slot(superblock, 5)
    assert (first, second, same) == (0, 1, 0)
    assert again == superblock
    with pytest.raises(MetadataError, match="own"):
        take_slot(superblock, 0)
    for node in range(10, 15):
        superblock, _ = take_slot(superblock, node)
    with pytest.raises(MetadataError, match="all 7 bitmap slots"):
        take_slot(superblock, 20)


def test_a_slot_keeps_the_day_0_uuid() -> None:
    superblock = with_peer(FRESH, 6, PeerSlot(bitmap_uuid=0xDA0))
    superblock, _ = take_slot(superblock, 6)
    assert superblock.peers[6].bitmap_uuid == 0xDA0


def test_day_0_can_be_forgotten() -> None:
    superblock = with_peer(FRESH, 6, PeerSlot(bitmap_uuid=0xDA0, bitmap_dagtag_sectors=8))
    superblock = with_peer(superblock, 7, PeerSlot(bitmap_uuid=0xABC, bitmap_index=1))
    forgotten = without_day_0(superblock)
    assert forgotten.peers[6] == PeerSlot()
    assert forgotten.peers[7] == superblock.peers[7]


@given(st.lists(st.integers(0, 40), max_size=60))
def test_history_rules(uuids: list[int]) -> None:
    superblock = FRESH
    for uuid in uuids:
        superblock = push_history(superblock, uuid)
    kept = [uuid for uuid in superblock.history if uuid]
    assert len(superblock.history) == 32
    assert len(set(kept)) == len(kept)
    assert not any(uuid & 1 or uuid == 4 for uuid in kept)
    assert {uuid & ~1 for uuid in uuids} - {0, 4} == set(kept)
    expected = list(dict.fromkeys(uuid & ~1 for uuid in uuids if uuid & ~1 not in (0, 4)))
    assert kept == expected[::-1]
