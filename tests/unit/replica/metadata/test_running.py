"""The superblock of a disk in use, whichever version it is kept in."""

import msgspec
import pytest

from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.layout import Geometry, internal
from bollard.replica.metadata.running import decode_running, encode_running, is_v08, pass_slot
from bollard.replica.metadata.superblock import DeviceFlag, encode, fresh
from bollard.replica.metadata.superblock08 import decode08, encode08, fresh08

LAYOUT = internal(64 << 20, Geometry(max_peers=1))
OLD = msgspec.structs.replace(fresh08(LAYOUT), current_uuid=0xA0, bitmap_uuid=0xB0, history=(0xC0, 0xD0))


def test_v09_stays_v09() -> None:
    raw = encode(fresh(LAYOUT))
    assert not is_v08(raw)
    assert encode_running(decode_running(raw, node_id=1, peers=(0,)), v08=False) == raw


def test_v08_is_a_v09_record_in_memory_and_v08_on_the_disk() -> None:
    raw = encode08(OLD)
    assert is_v08(raw)
    record = decode_running(raw, node_id=1, peers=(5,))
    assert (record.peers[5].bitmap_uuid, record.peers[5].bitmap_index) == (0xB0, 0)
    assert record.history[:2] == (0xC0, 0xD0)
    assert encode_running(record, v08=True) == raw


def test_in_use_it_is_unclean_as_a_kernel_leaves_it() -> None:
    record = decode_running(encode08(OLD), node_id=1, peers=(0,))
    used = msgspec.structs.replace(record, flags=record.flags & ~DeviceFlag.AL_CLEAN)
    written = decode08(encode_running(used, v08=True))
    assert written.unclean
    again = decode_running(encode08(written), node_id=1, peers=(0,))
    assert DeviceFlag.AL_CLEAN not in again.flags


def test_a_crashed_primary_of_v08_is_one() -> None:
    crashed = msgspec.structs.replace(OLD, unclean=True, flags=DeviceFlag.PRIMARY_IND)
    assert DeviceFlag.CRASHED_PRIMARY in decode_running(encode08(crashed), node_id=1, peers=(0,)).flags


def test_v08_has_room_for_one_peer() -> None:
    with pytest.raises(MetadataError, match="one peer"):
        decode_running(encode08(OLD), node_id=1, peers=(0, 2))


def test_the_slot_goes_to_the_peer_that_is_configured_later() -> None:
    record = decode_running(encode08(OLD), node_id=0, peers=())
    passed = pass_slot(record, 7, [])
    assert (passed.peers[7].bitmap_uuid, passed.peers[7].bitmap_index) == (0xB0, 0)
    assert passed.slots_used == {0}
    assert pass_slot(passed, 3, [7]) == passed
    assert encode_running(passed, v08=True) == encode08(OLD)
