"""The v08 superblock and conversion to v09 and back."""

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.metadata.convert import from_v08, to_v08
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.layout import Geometry, internal
from bollard.replica.metadata.superblock import DeviceFlag, PeerFlag, encode, fresh, take_slot
from bollard.replica.metadata.superblock08 import Superblock08, decode08, encode08, fresh08
from unit.replica.metadata.records import U64, refuses

LAYOUT = internal(256 << 20, Geometry())
FRESH = fresh08(LAYOUT)

SUPERBLOCKS = st.builds(
    lambda size, uuids, flags, unclean: msgspec.structs.replace(
        FRESH,
        effective_size_sectors=size,
        current_uuid=uuids[0],
        bitmap_uuid=uuids[1],
        history=(uuids[2], uuids[3]),
        device_uuid=uuids[4],
        flags=DeviceFlag(flags),
        unclean=unclean,
    ),
    st.integers(0, LAYOUT.usable_bytes // 512),
    st.tuples(U64, U64, U64, U64, U64),
    st.integers(0, 0x1FF),
    st.booleans(),
)


@given(SUPERBLOCKS)
def test_round_trip(superblock: Superblock08) -> None:
    data = encode08(superblock)
    assert len(data) == 4096
    assert data[96:] == bytes(4000)
    assert decode08(data) == superblock


def test_fields_are_where_the_format_has_them() -> None:
    data = encode08(msgspec.structs.replace(FRESH, unclean=True, bitmap_uuid=7, history=(8, 9)))
    assert struct.unpack_from(">QQQQQ", data) == (0, 4, 7, 8, 9)
    assert struct.unpack_from(">II", data, 56) == (0x80, 0x8374026C)
    assert struct.unpack_from(">IiIiIIII", data, 64) == (88, -64, 257, -80, 4096, 0, 1, 8)


def test_stripes_of_zero_mean_the_default() -> None:
    data = bytearray(encode08(FRESH))
    data[88:96] = bytes(8)
    superblock = decode08(bytes(data))
    assert superblock.geometry == FRESH.geometry
    assert encode08(superblock) == bytes(data)


def test_v09_is_refused_by_name() -> None:
    with pytest.raises(MetadataError, match="v09"):
        decode08(encode(fresh(LAYOUT)))


@given(st.binary(max_size=5000))
def test_any_bytes(data: bytes) -> None:
    refuses(decode08, data)


@given(SUPERBLOCKS, st.lists(st.tuples(st.integers(0, 95), st.integers(0, 255)), min_size=1, max_size=5))
def test_damaged_superblocks_are_refused_or_sound(
    superblock: Superblock08, damage: list[tuple[int, int]]
) -> None:
    data = bytearray(encode08(superblock))
    for offset, value in damage:
        data[offset] = value
    try:
        found = decode08(bytes(data))
    except MetadataError:
        return
    assert decode08(encode08(found)) == found


@given(SUPERBLOCKS)
def test_there_and_back_again(superblock: Superblock08) -> None:
    clean = msgspec.structs.replace(
        superblock,
        unclean=False,
        flags=(superblock.flags | DeviceFlag.AL_CLEAN) & ~DeviceFlag.AL_DISABLED,
    )
    if DeviceFlag.PRIMARY_IND in clean.flags:  # in v08 this alone says that a Primary crashed
        clean = msgspec.structs.replace(clean, flags=clean.flags | DeviceFlag.CRASHED_PRIMARY)
    converted = from_v08(clean, node_id=1, peer_node_id=0)
    assert converted.peers[0].bitmap_uuid == clean.bitmap_uuid
    assert (PeerFlag.OUTDATED in converted.peers[0].flags) == (DeviceFlag.V08_PEER_OUTDATED in clean.flags)
    encode(converted)
    assert to_v08(converted, peer_node_id=0) == clean


def test_an_unapplied_log_is_not_converted() -> None:
    for wrong in (
        msgspec.structs.replace(FRESH, unclean=True),
        msgspec.structs.replace(FRESH, flags=DeviceFlag.CONSISTENT),
    ):
        with pytest.raises(MetadataError, match="apply"):
            from_v08(wrong, node_id=0, peer_node_id=1)
    with pytest.raises(MetadataError, match="apply"):
        to_v08(msgspec.structs.replace(fresh(LAYOUT), flags=DeviceFlag(0)), peer_node_id=0)


def test_more_than_one_peer_has_no_v08_form() -> None:
    with pytest.raises(MetadataError, match="one peer"):
        to_v08(fresh(internal(256 << 20, Geometry(max_peers=2))), peer_node_id=0)
    superblock, _ = take_slot(fresh(LAYOUT), 3)
    with pytest.raises(MetadataError, match="one peer"):
        to_v08(superblock, peer_node_id=0)
    with pytest.raises(MetadataError, match="different ids"):
        from_v08(FRESH, node_id=1, peer_node_id=1)


def test_a_secondary_beside_a_primary_is_no_crashed_primary_in_v08() -> None:
    v09 = from_v08(FRESH, node_id=1, peer_node_id=0)
    beside = msgspec.structs.replace(v09, flags=v09.flags | DeviceFlag.PRIMARY_IND)
    assert DeviceFlag.PRIMARY_IND not in to_v08(beside, peer_node_id=0).flags
    crashed = msgspec.structs.replace(beside, flags=beside.flags | DeviceFlag.CRASHED_PRIMARY)
    assert DeviceFlag.PRIMARY_IND in to_v08(crashed, peer_node_id=0).flags
