"""Bytes of the packets with texts, optional parts or counts: features, settings, sizes, generations."""

from collections.abc import Callable
from struct import Struct
from typing import Final

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import NODE_ID_COUNT, AfterSplitBrain, WireProtocol
from bollard.replica.protocol.dialect import Dialect
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.states import decode_state, encode_state

MAX_HISTORY: Final = 32

_FEATURES: Final = Struct(">5I52x")
_PROTOCOL: Final = Struct(">6I")
_SYNC_PARAM: Final = Struct(">I64s64s4I")
_SIZES: Final = Struct(">QQQIHH")
_LIMITS: Final = Struct(">5I4B")
_STATE: Final = Struct(">I")
_UUIDS: Final = Struct(">6Q")
_UUIDS110: Final = Struct(">5Q")


def encode_features(packet: p.ConnectionFeatures, _dialect: Dialect) -> tuple[p.Payload, ...]:
    """72 bytes, whatever the version."""
    ids = packet.sender_node_id, packet.receiver_node_id
    return (_FEATURES.pack(packet.proto_min, packet.feature_flags, packet.proto_max, *ids),)


def decode_features(payload: memoryview, _dialect: Dialect) -> p.Packet:
    """Values are judged in features.py."""
    return p.ConnectionFeatures(*_FEATURES.unpack(payload))


def encode_protocol(packet: p.Protocol | p.ProtocolUpdate, _dialect: Dialect) -> tuple[p.Payload, ...]:
    """The algorithm's name ends in a zero byte."""
    numbers = (
        packet.protocol,
        packet.after_sb_0p,
        packet.after_sb_1p,
        packet.after_sb_2p,
        packet.conn_flags,
        packet.two_primaries,
    )
    return (_PROTOCOL.pack(*numbers) + _text(packet.integrity_alg, 63) + b"\0",)


def decode_protocol(
    record: type[p.Protocol | p.ProtocolUpdate],
) -> Callable[[memoryview, Dialect], p.Packet]:
    """Both settings packets have one form."""

    def decode(payload: memoryview, _dialect: Dialect) -> p.Packet:
        protocol, zero, one, two, flags, both = _PROTOCOL.unpack_from(payload)
        if not WireProtocol.A <= protocol <= WireProtocol.C:
            raise ProtocolError("replication protocol", expected="1..3", got=protocol)
        for policy in (zero, one, two):
            if policy > AfterSplitBrain.AUTO_DISCARD:
                raise ProtocolError("after-split-brain policy", expected="0..12", got=policy)
        policies = AfterSplitBrain(zero), AfterSplitBrain(one), AfterSplitBrain(two)
        name = _name("integrity algorithm", bytes(payload[_PROTOCOL.size :]))
        return record(WireProtocol(protocol), *policies, flags, bool(both), name)

    return decode


def encode_sync_param(packet: p.SyncParam89, _dialect: Dialect) -> tuple[p.Payload, ...]:
    """148 bytes."""
    names = _text(packet.verify_alg, 63), _text(packet.csums_alg, 63)
    plan = packet.plan_ahead, packet.delay_target, packet.fill_target, packet.max_rate_kib_s
    return (_SYNC_PARAM.pack(packet.resync_rate_kib_s, *names, *plan),)


def decode_sync_param(payload: memoryview, _dialect: Dialect) -> p.Packet:
    """Names end in a zero byte within their 64 bytes."""
    rate, verify, csums, *plan = _SYNC_PARAM.unpack(payload)
    names = _name("verify algorithm", verify), _name("checksum algorithm", csums)
    return p.SyncParam89(rate, *names, *plan)


def encode_sizes(packet: p.Sizes, dialect: Dialect) -> tuple[p.Payload, ...]:
    """With queue limits exactly when the dialect has them."""
    sizes = packet.disk_sectors, packet.user_sectors, packet.current_sectors
    head = _SIZES.pack(*sizes, packet.max_bio_bytes, 0, packet.dds_flags)
    if not dialect.queue_limits:
        return (head,)
    limits = packet.limits or p.QueueLimits()
    tail = _LIMITS.pack(
        limits.physical_block_bytes,
        limits.logical_block_bytes,
        limits.alignment_offset,
        limits.io_min_bytes,
        limits.io_opt_bytes,
        limits.discard_enabled,
        limits.discard_zeroes,
        limits.write_same,
        limits.bitmap_block_shift - 12,
    )
    return (head + tail,)


def decode_sizes(payload: memoryview, dialect: Dialect) -> p.Packet:
    """Accepts both lengths; limits that were not agreed are ignored."""
    disk, user, current, max_bio, _order, flags = _SIZES.unpack_from(payload)
    if len(payload) not in (_SIZES.size, _SIZES.size + _LIMITS.size):
        raise ProtocolError("length of SIZES", expected="32 or 56", got=len(payload))
    limits = None
    if len(payload) > _SIZES.size and dialect.queue_limits:
        values = _LIMITS.unpack_from(payload, _SIZES.size)
        shift = values[-1]
        if shift > 20 - 12:
            raise ProtocolError("bitmap block shift", expected="12..20", got=shift + 12)
        limits = p.QueueLimits(*(*values[:-1], shift + 12))
    return p.Sizes(disk, user, current, max_bio, flags, limits)


def encode_state_packet(packet: p.State, dialect: Dialect) -> tuple[p.Payload, ...]:
    """One word."""
    return (_STATE.pack(encode_state(packet.state, dialect.version)),)


def decode_state_packet(payload: memoryview, dialect: Dialect) -> p.Packet:
    """One word."""
    return p.State(decode_state(_STATE.unpack(payload)[0], dialect.version))


def encode_uuids(packet: p.Uuids, _dialect: Dialect) -> tuple[p.Payload, ...]:
    """8.4's six words."""
    return (_UUIDS.pack(packet.current, packet.bitmap, *packet.history, packet.dirty_bits, packet.flags),)


def decode_uuids(payload: memoryview, _dialect: Dialect) -> p.Packet:
    """8.4's six words."""
    current, bitmap, first, second, dirty, flags = _UUIDS.unpack(payload)
    return p.Uuids(current, bitmap, (first, second), dirty, flags)


def encode_uuids110(packet: p.Uuids110, _dialect: Dialect) -> tuple[p.Payload, ...]:
    """Five words, one for each bit of the bitmap mask, then the history."""
    ids = [node_id for node_id, _ in packet.bitmap_uuids]
    assert ids == sorted(set(ids)), "bitmap uuids are sent in ascending node id"
    assert all(0 <= node_id < NODE_ID_COUNT for node_id in ids), ids
    assert len(packet.history) <= MAX_HISTORY, len(packet.history)
    mask = sum(1 << node_id for node_id in ids)
    words = [uuid for _, uuid in packet.bitmap_uuids] + list(packet.history)
    head = _UUIDS110.pack(packet.current, packet.dirty_bits, packet.flags, packet.node_mask, mask)
    return (head + Struct(f">{len(words)}Q").pack(*words),)


def decode_uuids110(payload: memoryview, _dialect: Dialect) -> p.Packet:
    """The mask says how many bitmap uuids follow; what is left is history, at most 32 entries."""
    current, dirty, flags, nodes, mask = _UUIDS110.unpack_from(payload)
    if mask >> NODE_ID_COUNT:
        raise ProtocolError("bitmap mask", expected=f"bits 0..{NODE_ID_COUNT - 1}", got=f"{mask:#x}")
    count, rest = divmod(len(payload) - _UUIDS110.size, 8)
    slots = mask.bit_count()
    if rest or not slots <= count <= slots + MAX_HISTORY:
        expected = f"{slots} bitmap uuids and up to {MAX_HISTORY} history entries"
        raise ProtocolError("length of UUIDS110", expected=expected, got=f"{len(payload)} bytes")
    words: tuple[int, ...] = Struct(f">{count}Q").unpack_from(payload, _UUIDS110.size)
    ids = (node_id for node_id in range(NODE_ID_COUNT) if mask >> node_id & 1)
    pairs = tuple(zip(ids, words[:slots], strict=True))
    return p.Uuids110(current, dirty, flags, nodes, pairs, words[slots:])


def _text(name: str, limit: int) -> bytes:
    raw = name.encode("ascii")
    assert len(raw) <= limit, f"algorithm name of {len(raw)} bytes"
    return raw


def _name(what: str, raw: bytes) -> str:
    text, _, _ = raw.partition(b"\0")
    if len(text) == len(raw) > 0:
        raise ProtocolError(
            what, expected="a name ending in a zero byte", got=f"{len(raw)} bytes without one"
        )
    if not all(0x20 < byte < 0x7F for byte in text):
        raise ProtocolError(what, expected="printable ASCII", got="other bytes")
    return text.decode("ascii")
