"""Packets to bytes and back, for every command and dialect. Pure: framing is in frames.py.

Every length and count is checked here before it is used; a bad one is a ProtocolError.
"""

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

import msgspec

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.codec_setup import (
    decode_features,
    decode_protocol,
    decode_sizes,
    decode_state_packet,
    decode_sync_param,
    decode_uuids,
    decode_uuids110,
    encode_features,
    encode_protocol,
    encode_sizes,
    encode_state_packet,
    encode_sync_param,
    encode_uuids,
    encode_uuids110,
)
from bollard.replica.protocol.codec_twopc import (
    decode_abort,
    decode_commit,
    decode_prepare,
    decode_prepare_resize,
    encode_abort,
    encode_commit,
    encode_prepare,
    encode_prepare_resize,
)
from bollard.replica.protocol.commands import Channel, Cmd, OvResultCode
from bollard.replica.protocol.dialect import Dialect
from bollard.replica.protocol.errors import ProtocolError

MAX_BIO_BYTES: Final = 1 << 20
MAX_DIGEST_BYTES: Final = 64
MAX_BITMAP_BYTES: Final = 4096
MAX_CHALLENGE_BYTES: Final = 128
_NEWEST: Final = 1 << 16
HEADER: Final = ">IhHII"
"""Magic, volume, command, length, zero."""

Encoded = tuple[int, tuple[p.Payload, ...]]
Decoder = Callable[[memoryview, Dialect], p.Packet]
DecoderAt = Callable[[memoryview, int, int, Dialect], p.Packet]
"""Decodes from a place in a buffer that will be reused: what is kept is copied."""
Accepted = tuple[int, int, Decoder, DecoderAt]
Encoder = Callable[[Any, Dialect], tuple[p.Payload, ...]]


class Spec(msgspec.Struct, frozen=True):
    """All that is known of one command: where it may appear, from which version to which, and its lengths."""

    cmd: Cmd
    channel: Channel
    min_bytes: int
    max_bytes: int
    decode: Decoder
    record: type[msgspec.Struct]
    encode: Encoder
    since: int = 0
    until: int = _NEWEST
    decode_at: DecoderAt | None = None
    pack: Callable[..., bytes] | None = None
    """For packets of fixed form: header and fields in one go."""


SPECS: Final[dict[int, Spec]] = {}
_BY_RECORD: Final[dict[type[Any], Spec]] = {}


def encode(packet: p.Packet, dialect: Dialect) -> Encoded:
    """Command number and payload pieces; large payloads are passed through, not copied."""
    spec = _BY_RECORD[type(packet)]
    assert spec.since <= dialect.version <= spec.until, f"{spec.cmd.name} in version {dialect.version}"
    return spec.cmd, spec.encode(packet, dialect)


def decode(cmd: int, payload: memoryview, dialect: Dialect) -> p.Packet:
    """The record of a payload. Raises ProtocolError for unknown commands, lengths and values."""
    spec = check_length(cmd, len(payload), dialect)
    return spec.decode(payload, dialect)


def check_length(cmd: int, length: int, dialect: Dialect) -> Spec:
    """What is known of a command. Raises ProtocolError before a byte of its payload needs to be kept."""
    spec = SPECS.get(cmd)
    if spec is None or not spec.since <= dialect.version <= spec.until:
        raise ProtocolError("command", expected=f"one of version {dialect.version}", got=f"{cmd:#x}")
    if not spec.min_bytes <= length <= spec.max_bytes:
        expected = f"{spec.min_bytes}..{spec.max_bytes}"
        raise ProtocolError(f"length of {spec.cmd.name}", expected=expected, got=length)
    return spec


def accepted(dialect: Dialect, channel: Channel | None) -> dict[int, Accepted]:
    """Smallest length, largest length and decoder of each command that may arrive."""
    return {
        cmd: (spec.min_bytes, spec.max_bytes, spec.decode, spec.decode_at or _copying(spec.decode))
        for cmd, spec in SPECS.items()
        if spec.since <= dialect.version <= spec.until and channel in (None, spec.channel)
    }


def _copying(decoder: Decoder) -> DecoderAt:
    def decode_at(buffer: memoryview, begin: int, length: int, dialect: Dialect) -> p.Packet:
        return decoder(memoryview(bytes(buffer[begin : begin + length])), dialect)

    return decode_at


def spec_of(packet: p.Packet) -> Spec:
    """What is known of the command a packet is sent under."""
    return _BY_RECORD[type(packet)]


def command_of(packet: p.Packet) -> Cmd:
    """The number a packet is sent under."""
    return _BY_RECORD[type(packet)].cmd


def channel_of(packet: p.Packet) -> Channel:
    """The connection a packet belongs on."""
    return _BY_RECORD[type(packet)].channel


def _add(spec: Spec) -> None:
    assert spec.cmd not in SPECS, spec.cmd
    SPECS[int(spec.cmd)] = spec
    _BY_RECORD[spec.record] = spec


def _fixed(
    cmd: Cmd, channel: Channel, record: type[Any], layout: str, *, since: int = 0, until: int = _NEWEST
) -> None:
    """A packet whose fields are the layout's values, in order."""
    form = Struct(layout)
    pack, unpack = form.pack, form.unpack
    fields = msgspec.structs.astuple

    def encode_fixed(packet: Any, _dialect: Dialect) -> tuple[p.Payload, ...]:
        return (pack(*fields(packet)),)

    def decode_fixed(payload: memoryview, _dialect: Dialect) -> p.Packet:
        packet: p.Packet = record(*unpack(payload))
        return packet

    unpack_from = form.unpack_from

    def decode_at(buffer: memoryview, begin: int, _length: int, _dialect: Dialect) -> p.Packet:
        packet: p.Packet = record(*unpack_from(buffer, begin))
        return packet

    size = form.size
    whole = Struct(HEADER + layout[1:]).pack
    _add(
        Spec(
            cmd,
            channel,
            size,
            size,
            decode_fixed,
            record,
            encode_fixed,
            since,
            until,
            decode_at,
            whole,
        )
    )


def _tailed(
    cmd: Cmd, record: type[Any], layout: str, *, low: int, high: int, since: int = 0, until: int = _NEWEST
) -> None:
    """A fixed part and one short byte string of `low` to `high` bytes, which is copied."""
    form = Struct(layout)
    size = form.size

    def encode_tailed(packet: Any, _dialect: Dialect) -> tuple[p.Payload, ...]:
        *head, tail = msgspec.structs.astuple(packet)
        assert low <= len(tail) <= high, len(tail)
        return (form.pack(*head) + tail,)

    def decode_tailed(payload: memoryview, _dialect: Dialect) -> p.Packet:
        packet: p.Packet = record(*form.unpack_from(payload), bytes(payload[size:]))
        return packet

    _add(Spec(cmd, Channel.DATA, size + low, size + high, decode_tailed, record, encode_tailed, since, until))


_DATA = Struct(">QQII")
DATA_HEAD_BYTES: Final = _DATA.size


def _data(cmd: Cmd, record: type[p.Data | p.DataReply | p.RsDataReply]) -> None:
    """The data packets: 24 bytes, the digest when one is agreed, then the blocks as a view."""
    pack, unpack_from = _DATA.pack, _DATA.unpack_from

    def encode_data(packet: Any, dialect: Dialect) -> tuple[p.Payload, ...]:
        assert len(packet.digest) == dialect.digest_bytes, "digest size is agreed in P_PROTOCOL"
        head = pack(packet.sector, packet.block_id, packet.seq, packet.flags) + packet.digest
        return head, packet.data

    def decode_data(payload: memoryview, dialect: Dialect) -> p.Packet:
        sector, block_id, seq, flags = unpack_from(payload)
        end = 24 + dialect.digest_bytes
        size = len(payload) - end
        if size < 0 or size % 512 or size > MAX_BIO_BYTES:
            expected = f"whole sectors up to {MAX_BIO_BYTES} bytes"
            raise ProtocolError(f"data in {cmd.name}", expected=expected, got=size)
        digest = bytes(payload[24:end]) if dialect.digest_bytes else b""
        return record(sector, block_id, seq, flags, payload[end:], digest)

    def decode_at(buffer: memoryview, begin: int, length: int, dialect: Dialect) -> p.Packet:
        size = length - 24
        if dialect.digest_bytes or size % 512 or size > MAX_BIO_BYTES:
            return decode_data(memoryview(bytes(buffer[begin : begin + length])), dialect)
        sector, block_id, seq, flags = unpack_from(buffer, begin)
        return record(sector, block_id, seq, flags, bytes(buffer[begin + 24 : begin + length]))

    largest = DATA_HEAD_BYTES + MAX_DIGEST_BYTES + MAX_BIO_BYTES
    _add(
        Spec(
            cmd,
            Channel.DATA,
            DATA_HEAD_BYTES,
            largest,
            decode_data,
            record,
            encode_data,
            decode_at=decode_at,
        )
    )


def _custom(
    cmd: Cmd,
    record: type[Any],
    lengths: tuple[int, int],
    encoder: Encoder,
    decoder: Decoder,
    *,
    since: int = 0,
    until: int = _NEWEST,
) -> None:
    _add(Spec(cmd, Channel.DATA, *lengths, decoder, record, encoder, since, until))


def _decode_bitmap(payload: memoryview, _dialect: Dialect) -> p.Packet:
    if len(payload) % 8:
        raise ProtocolError("length of BITMAP", expected="whole 64-bit words", got=len(payload))
    return p.Bitmap(payload)


def _decode_ov_result(payload: memoryview, _dialect: Dialect) -> p.Packet:
    sector, block_id, size, seq, result = _OV_RESULT.unpack(payload)
    if result > OvResultCode.OUT_OF_SYNC:
        raise ProtocolError("verify result", expected="0..2", got=result)
    return p.OvResultId(sector, block_id, size, seq, OvResultCode(result))


_OV_RESULT = Struct(">QQIII4x")


def _register_setup() -> None:
    data = Channel.DATA
    _fixed(Cmd.INITIAL_DATA, data, p.InitialData, ">")
    _fixed(Cmd.INITIAL_META, Channel.CONTROL, p.InitialMeta, ">")
    _custom(Cmd.CONNECTION_FEATURES, p.ConnectionFeatures, (72, 72), encode_features, decode_features)
    _tailed(Cmd.AUTH_CHALLENGE, p.AuthChallenge, ">", low=16, high=MAX_CHALLENGE_BYTES)
    _tailed(Cmd.AUTH_RESPONSE, p.AuthResponse, ">", low=16, high=MAX_DIGEST_BYTES)
    _custom(Cmd.PROTOCOL, p.Protocol, (24, 24 + 64), encode_protocol, decode_protocol(p.Protocol))
    _custom(
        Cmd.PROTOCOL_UPDATE,
        p.ProtocolUpdate,
        (24, 24 + 64),
        encode_protocol,
        decode_protocol(p.ProtocolUpdate),
    )
    _custom(Cmd.SYNC_PARAM89, p.SyncParam89, (148, 148), encode_sync_param, decode_sync_param)
    _custom(Cmd.SIZES, p.Sizes, (32, 56), encode_sizes, decode_sizes)
    _custom(Cmd.STATE, p.State, (4, 4), encode_state_packet, decode_state_packet)
    _custom(Cmd.UUIDS, p.Uuids, (48, 48), encode_uuids, decode_uuids, until=109)
    _custom(Cmd.UUIDS110, p.Uuids110, (40, 40 + 8 * 64), encode_uuids110, decode_uuids110, since=110)
    _fixed(Cmd.SYNC_UUID, data, p.SyncUuid, ">Q", until=109)
    _fixed(Cmd.CURRENT_UUID, data, p.CurrentUuid, ">QQ", since=110)
    _fixed(Cmd.PEER_DAGTAG, data, p.PeerDagtag, ">QI", since=110)
    _fixed(Cmd.DISCONNECT, data, p.Disconnect, ">", since=110)
    _fixed(Cmd.ENABLE_REPLICATION, data, p.EnableReplication, ">?3x", since=110)
    _fixed(Cmd.ENABLE_REPLICATION_NEXT, data, p.EnableReplicationNext, ">?3x", since=110)


def _register_io() -> None:
    data, control = Channel.DATA, Channel.CONTROL
    _data(Cmd.DATA, p.Data)
    _data(Cmd.DATA_REPLY, p.DataReply)
    _data(Cmd.RS_DATA_REPLY, p.RsDataReply)
    _fixed(Cmd.TRIM, data, p.Trim, ">QQIII")
    _fixed(Cmd.ZEROES, data, p.Zeroes, ">QQIII")
    _fixed(Cmd.BARRIER, data, p.Barrier, ">I4x")
    _fixed(Cmd.BARRIER_ACK, control, p.BarrierAck, ">II")
    _fixed(Cmd.UNPLUG_REMOTE, data, p.UnplugRemote, ">")
    _fixed(Cmd.OUT_OF_SYNC, data, p.OutOfSync, ">QI4x")
    _fixed(Cmd.DAGTAG, data, p.Dagtag, ">Q", since=110)
    _fixed(Cmd.PEER_ACK, control, p.PeerAck, ">QQ", since=110)
    _fixed(Cmd.PEERS_IN_SYNC, control, p.PeersInSync, ">QQI4x", since=110)
    _fixed(Cmd.FLUSH_REQUESTS, data, p.FlushRequests, ">Q", since=118)
    _fixed(Cmd.FLUSH_FORWARD, control, p.FlushForward, ">QI", since=118)
    _fixed(Cmd.FLUSH_REQUESTS_ACK, data, p.FlushRequestsAck, ">QI", since=118)
    _fixed(Cmd.CONFIRM_STABLE, control, p.ConfirmStable, ">QQI4x", since=110)
    for cmd, record in (
        (Cmd.DATA_REQUEST, p.DataRequest),
        (Cmd.RS_DATA_REQUEST, p.RsDataRequest),
        (Cmd.RS_THIN_REQ, p.RsThinReq),
        (Cmd.OV_REQUEST, p.OvRequest),
    ):
        _fixed(cmd, data, record, ">QQI4x")
    _tailed(Cmd.CSUM_RS_REQUEST, p.CsumRsRequest, ">QQI4x", low=1, high=MAX_DIGEST_BYTES)
    _tailed(Cmd.OV_REPLY, p.OvReply, ">QQI4x", low=1, high=MAX_DIGEST_BYTES)
    _fixed(Cmd.RS_DAGTAG_REQ, data, p.RsDagtagReq, ">QQIIQ", since=110)
    _fixed(Cmd.RS_THIN_DAGTAG_REQ, data, p.RsThinDagtagReq, ">QQIIQ", since=110)
    _fixed(Cmd.OV_DAGTAG_REQ, data, p.OvDagtagReq, ">QQIIQ", since=110)
    _tailed(Cmd.RS_CSUM_DAGTAG_REQ, p.RsCsumDagtagReq, ">QQIIQ", low=1, high=MAX_DIGEST_BYTES, since=110)
    _tailed(Cmd.OV_DAGTAG_REPLY, p.OvDagtagReply, ">QQIIQ", low=1, high=MAX_DIGEST_BYTES, since=110)
    _fixed(Cmd.RS_DEALLOCATED, data, p.RsDeallocated, ">QI4x")
    _fixed(Cmd.RS_DEALLOCATED_ID, data, p.RsDeallocatedId, ">QQII", since=122)


def _register_acks() -> None:
    control = Channel.CONTROL
    for cmd, record, since, until in (
        (Cmd.RECV_ACK, p.RecvAck, 0, _NEWEST),
        (Cmd.WRITE_ACK, p.WriteAck, 0, _NEWEST),
        (Cmd.RS_WRITE_ACK, p.RsWriteAck, 0, _NEWEST),
        (Cmd.SUPERSEDED, p.Superseded, 0, 109),
        (Cmd.RETRY_WRITE, p.RetryWrite, 0, 109),
        (Cmd.NEG_ACK, p.NegAck, 0, _NEWEST),
        (Cmd.NEG_DREPLY, p.NegDreply, 0, _NEWEST),
        (Cmd.NEG_RS_DREPLY, p.NegRsDreply, 0, _NEWEST),
        (Cmd.RS_IS_IN_SYNC, p.RsIsInSync, 0, _NEWEST),
        (Cmd.RS_CANCEL, p.RsCancel, 0, _NEWEST),
        (Cmd.RS_CANCEL_AHEAD, p.RsCancelAhead, 110, _NEWEST),
        (Cmd.OV_RESULT, p.OvResult, 0, _NEWEST),
        (Cmd.WRITE_ACK_IN_SYNC, p.WriteAckInSync, 122, _NEWEST),
        (Cmd.RS_NEG_ACK, p.RsNegAck, 122, _NEWEST),
    ):
        _fixed(cmd, control, record, ">QQII", since=since, until=until)
    form = _OV_RESULT
    spec = Spec(
        Cmd.OV_RESULT_ID,
        control,
        form.size,
        form.size,
        _decode_ov_result,
        p.OvResultId,
        lambda packet, _dialect: (form.pack(*msgspec.structs.astuple(packet)),),
        122,
    )
    _add(spec)
    _fixed(Cmd.PING, control, p.Ping, ">")
    _fixed(Cmd.PING_ACK, control, p.PingAck, ">")
    _custom(Cmd.BITMAP, p.Bitmap, (0, MAX_BITMAP_BYTES), lambda packet, _: (packet.words,), _decode_bitmap)
    _custom(
        Cmd.COMPRESSED_BITMAP,
        p.CompressedBitmap,
        (2, MAX_BITMAP_BYTES),
        lambda packet, _: (bytes((packet.encoding,)), packet.code),
        lambda payload, _: p.CompressedBitmap(payload[0], payload[1:]),
    )


def _register_changes() -> None:
    data, control = Channel.DATA, Channel.CONTROL
    _fixed(Cmd.STATE_CHG_REQ, data, p.StateChgReq, ">II", until=109)
    _fixed(Cmd.CONN_ST_CHG_REQ, data, p.ConnStChgReq, ">II", until=109)
    _fixed(Cmd.STATE_CHG_REPLY, control, p.StateChgReply, ">i", until=109)
    _fixed(Cmd.CONN_ST_CHG_REPLY, control, p.ConnStChgReply, ">i", until=109)
    size = (36, 36)
    _custom(Cmd.TWOPC_PREPARE, p.TwoPcPrepare, size, encode_prepare, decode_prepare, since=110)
    _custom(
        Cmd.TWOPC_PREP_RSZ,
        p.TwoPcPrepareResize,
        size,
        encode_prepare_resize,
        decode_prepare_resize,
        since=110,
    )
    _custom(Cmd.TWOPC_ABORT, p.TwoPcAbort, size, encode_abort, decode_abort, since=110)
    _custom(Cmd.TWOPC_COMMIT, p.TwoPcCommit, size, encode_commit, decode_commit, since=110)
    for cmd, record in (
        (Cmd.TWOPC_YES, p.TwoPcYes),
        (Cmd.TWOPC_NO, p.TwoPcNo),
        (Cmd.TWOPC_RETRY, p.TwoPcRetry),
    ):
        _fixed(cmd, control, record, ">IIQQQ", since=110)


_register_setup()
_register_io()
_register_acks()
_register_changes()
assert set(SPECS) == {int(cmd) for cmd in Cmd}, "every command has its layout"
