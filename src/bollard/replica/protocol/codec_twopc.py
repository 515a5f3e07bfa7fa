"""Bytes of the two-phase commit packets, in both forms of the addressing words."""

from struct import Struct
from typing import Final

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import ANY_NODE, NODE_ID_COUNT, TwoPcFlag
from bollard.replica.protocol.dialect import Dialect
from bollard.replica.protocol.errors import ProtocolError

_V1: Final = Struct(">IiiQ")
_V2: Final = Struct(">II2xbbQ")
_WORDS: Final = Struct(">8xII")
_MASKS: Final = Struct(">QQ")
_RESIZE: Final = Struct(">QH6x")
HEAD_BYTES: Final = _V2.size

_Any = p.TwoPcPrepare | p.TwoPcPrepareResize | p.TwoPcAbort | p.TwoPcCommit


def encode_prepare(packet: p.TwoPcPrepare, dialect: Dialect) -> tuple[p.Payload, ...]:
    """36 bytes."""
    return (_head(packet, dialect) + _WORDS.pack(packet.mask, packet.value),)


def encode_prepare_resize(packet: p.TwoPcPrepareResize, dialect: Dialect) -> tuple[p.Payload, ...]:
    """36 bytes."""
    return (_head(packet, dialect) + _RESIZE.pack(packet.user_sectors, packet.dds_flags),)


def encode_abort(packet: p.TwoPcAbort, dialect: Dialect) -> tuple[p.Payload, ...]:
    """36 bytes, the last 16 unused."""
    return (_head(packet, dialect) + bytes(16),)


def encode_commit(packet: p.TwoPcCommit, dialect: Dialect) -> tuple[p.Payload, ...]:
    """36 bytes."""
    return (_head(packet, dialect) + _MASKS.pack(packet.primary_nodes, packet.reachable_nodes),)


def decode_prepare(payload: memoryview, _dialect: Dialect) -> p.Packet:
    """Raises ProtocolError for node ids out of range."""
    tid, flags, initiator, target, reach = _read_head(payload)
    mask, value = _WORDS.unpack_from(payload, HEAD_BYTES)
    return p.TwoPcPrepare(tid, initiator, target, reach, mask, value, flags)


def decode_prepare_resize(payload: memoryview, _dialect: Dialect) -> p.Packet:
    """Raises ProtocolError for node ids out of range."""
    tid, flags, initiator, target, reach = _read_head(payload)
    user, dds_flags = _RESIZE.unpack_from(payload, HEAD_BYTES)
    return p.TwoPcPrepareResize(tid, initiator, reach, user, dds_flags, target, flags)


def decode_abort(payload: memoryview, _dialect: Dialect) -> p.Packet:
    """Raises ProtocolError for node ids out of range."""
    tid, flags, initiator, target, reach = _read_head(payload)
    return p.TwoPcAbort(tid, initiator, target, reach, flags)


def decode_commit(payload: memoryview, _dialect: Dialect) -> p.Packet:
    """Raises ProtocolError for node ids out of range."""
    tid, flags, initiator, target, reach = _read_head(payload)
    primaries, reachable = _MASKS.unpack_from(payload, HEAD_BYTES)
    return p.TwoPcCommit(tid, initiator, target, reach, primaries, reachable, flags)


def _head(packet: _Any, dialect: Dialect) -> bytes:
    assert 0 <= packet.initiator_node_id < NODE_ID_COUNT, packet.initiator_node_id
    assert ANY_NODE <= packet.target_node_id < NODE_ID_COUNT, packet.target_node_id
    ids = packet.initiator_node_id, packet.target_node_id
    if dialect.twopc_v2:
        return _V2.pack(packet.tid, packet.flags | TwoPcFlag.HAS_FLAGS, *ids, packet.nodes_to_reach)
    return _V1.pack(packet.tid, *ids, packet.nodes_to_reach)


def _read_head(payload: memoryview) -> tuple[int, int, int, int, int]:
    """The form is told by the bytes: an initiator's id of the old form never has the topmost bit."""
    tid, flags, initiator, target, reach = _V2.unpack_from(payload)
    if flags & TwoPcFlag.HAS_FLAGS:
        flags &= ~int(TwoPcFlag.HAS_FLAGS)
    else:
        flags = 0
        tid, initiator, target, reach = _V1.unpack_from(payload)
    if not 0 <= initiator < NODE_ID_COUNT:
        raise ProtocolError("initiator of a two-phase commit", expected="node id 0..31", got=initiator)
    if not ANY_NODE <= target < NODE_ID_COUNT:
        raise ProtocolError("target of a two-phase commit", expected="node id -1..31", got=target)
    return tid, flags, initiator, target, reach
