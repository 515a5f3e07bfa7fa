"""Every packet there and back, bytes as live peers sent them, and every decoder against damage."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.codec import SPECS, channel_of, check_length, command_of, decode, encode
from bollard.replica.protocol.commands import Channel, Cmd, OvResultCode, TwoPcFlag, WireProtocol
from bollard.replica.protocol.dialect import SETUP, Dialect, Feature
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.states import DiskState, ReplState, Role, StateWord

NINE = Dialect(124, Feature(0x3F))
FOUR = Dialect(101, Feature(0x0F))
DIGESTED = Dialect(124, Feature(0x3F), digest_bytes=20)
STATE = StateWord(role=Role.SECONDARY, conn=int(ReplState.SYNC_TARGET), disk=DiskState.INCONSISTENT)
U64 = 0x0123_4567_89AB_CDEF

EXAMPLES: list[tuple[p.Packet, Dialect]] = [
    (p.InitialData(), SETUP),
    (p.InitialMeta(), SETUP),
    (p.ConnectionFeatures(118, 0x3F, 124, 1, 2), SETUP),
    (p.AuthChallenge(bytes(range(64))), NINE),
    (p.AuthResponse(bytes(20)), NINE),
    (p.Protocol(WireProtocol.C, integrity_alg="crc32c", two_primaries=True), NINE),
    (p.ProtocolUpdate(WireProtocol.A), NINE),
    (p.SyncParam89(250, "sha1", "crc32c"), NINE),
    (p.Sizes(1 << 31, 0, 1 << 30, 1 << 20, 2, p.QueueLimits(discard_enabled=1)), NINE),
    (p.Sizes(1 << 31, 0, 0, 1 << 20), Dialect(101)),
    (p.State(STATE), NINE),
    (p.State(STATE), FOUR),
    (p.Uuids(U64, 4, (1, 2), 77, 3), FOUR),
    (p.Uuids110(U64, 5, 0x120, 3, ((0, 9), (5, U64), (31, 1)), (1, 2, 3)), NINE),
    (p.SyncUuid(U64), FOUR),
    (p.CurrentUuid(U64, 6), NINE),
    (p.PeerDagtag(U64, 3), NINE),
    (p.Disconnect(), NINE),
    (p.EnableReplication(enable=True), NINE),
    (p.EnableReplicationNext(enable=False), NINE),
    (p.Data(8, U64, 1, 256, b"x" * 4096), NINE),
    (p.Data(8, U64, 1, 256, b"x" * 512, bytes(range(20))), DIGESTED),
    (p.DataReply(8, U64, 0, 0, b"y" * 512), NINE),
    (p.RsDataReply(8, U64, 0, 0, b""), NINE),
    (p.Trim(8, U64, 1, 64, 1 << 27), NINE),
    (p.Zeroes(8, U64, 1, 1024, 4096), NINE),
    (p.Barrier(0xDEADBEEF), NINE),
    (p.BarrierAck(0xDEADBEEF, 2048), NINE),
    (p.UnplugRemote(), NINE),
    (p.OutOfSync(16, 4096), NINE),
    (p.Dagtag(U64), NINE),
    (p.PeerAck(5, U64), NINE),
    (p.PeersInSync(8, 6, 1 << 22), NINE),
    (p.FlushRequests(U64), NINE),
    (p.FlushForward(U64, 2), NINE),
    (p.FlushRequestsAck(U64, 0), NINE),
    (p.ConfirmStable(1, U64, 3), NINE),
    (p.DataRequest(8, U64, 4096), NINE),
    (p.RsDataRequest(8, 0xFFFF_FFFF_FFFF_FFFF, 1 << 20), FOUR),
    (p.RsThinReq(8, 1, 4096), NINE),
    (p.OvRequest(8, 1, 4096), NINE),
    (p.CsumRsRequest(8, 1, 4096, b"1234"), NINE),
    (p.OvReply(8, 1, 4096, bytes(64)), NINE),
    (p.RsDagtagReq(8, 1, 4096, 2, U64), NINE),
    (p.RsThinDagtagReq(8, 1, 4096, 2, U64), NINE),
    (p.OvDagtagReq(8, 1, 4096, 2, U64), NINE),
    (p.RsCsumDagtagReq(8, 1, 4096, 2, U64, b"1234"), NINE),
    (p.OvDagtagReply(8, 1, 4096, 2, U64, b"1234"), NINE),
    (p.RsDeallocated(8, 4096), FOUR),
    (p.RsDeallocatedId(8, 1, 4096), NINE),
    (p.RecvAck(8, U64, 4096, 7), NINE),
    (p.WriteAck(8, U64, 4096, 7), NINE),
    (p.WriteAckInSync(8, U64, 4096, 7), NINE),
    (p.RsWriteAck(8, U64, 4096), NINE),
    (p.Superseded(8, U64, 4096), FOUR),
    (p.RetryWrite(8, U64, 4096), FOUR),
    (p.NegAck(8, U64, 4096), NINE),
    (p.NegDreply(8, U64, 4096), NINE),
    (p.NegRsDreply(8, U64, 4096), NINE),
    (p.RsNegAck(8, U64, 4096), NINE),
    (p.RsIsInSync(8, U64, 4096), NINE),
    (p.RsCancel(8, U64, 4096), NINE),
    (p.RsCancelAhead(8, U64, 4096), NINE),
    (p.OvResult(8, 4711, 4096), FOUR),
    (p.OvResultId(8, U64, 4096, 0, OvResultCode.OUT_OF_SYNC), NINE),
    (p.Ping(), NINE),
    (p.PingAck(), NINE),
    (p.Bitmap(bytes(16)), NINE),
    (p.Bitmap(b""), NINE),
    (p.CompressedBitmap(0xB2, bytes.fromhex("7FC51E00")), NINE),
    (p.StateChgReq(3, 1), FOUR),
    (p.StateChgReply(-2), FOUR),
    (p.ConnStChgReq(0x1F0, 0x10), FOUR),
    (p.ConnStChgReply(1), FOUR),
    (p.TwoPcPrepare(77, 0, 1, 2, 0x1F3, 0x92), NINE),
    (p.TwoPcPrepare(77, 31, -1, U64, 3, 1, int(TwoPcFlag.PRIMARY_INCAPABLE)), NINE),
    (p.TwoPcPrepare(77, 2, -1, 7, 3, 1), Dialect(118)),
    (p.TwoPcPrepareResize(77, 0, 2, 1 << 40, 1), NINE),
    (p.TwoPcAbort(77, 0, -1, 2), NINE),
    (p.TwoPcCommit(77, 0, 1, 2, 1, 3, int(TwoPcFlag.HAS_REACHABLE)), NINE),
    (p.TwoPcYes(77, 0, 3, 1, 2), NINE),
    (p.TwoPcNo(77, 0, 3), NINE),
    (p.TwoPcRetry(77, 0, 3), NINE),
]


def payload_of(packet: p.Packet, dialect: Dialect) -> tuple[int, bytes]:
    cmd, pieces = encode(packet, dialect)
    return cmd, b"".join(pieces)


@pytest.mark.parametrize(
    ("packet", "dialect"), EXAMPLES, ids=[f"{type(e).__name__}-{d.version}" for e, d in EXAMPLES]
)
def test_there_and_back(packet: p.Packet, dialect: Dialect) -> None:
    cmd, payload = payload_of(packet, dialect)
    assert decode(cmd, memoryview(payload), dialect) == packet
    assert command_of(packet) == cmd


def test_every_command_has_an_example() -> None:
    assert {command_of(packet) for packet, _ in EXAMPLES} == set(Cmd)


GOLDEN: list[tuple[p.Packet, Dialect, str]] = [
    (p.ConnectionFeatures(118, 0x3F, 124, 1, 0), SETUP, "00000076 0000003f 0000007c 00000001" + "00" * 56),
    (p.ConnectionFeatures(86, 0xF, 101), SETUP, "00000056 0000000f 00000065" + "00" * 60),
    (p.Protocol(WireProtocol.C), NINE, "00000003" + "00" * 21),
    (p.Data(8, 0x1122334455667788, 3, 256, b""), NINE, "0000000000000008 1122334455667788 00000003 00000100"),
    (p.BarrierAck(0xA1B2C3D4, 5), NINE, "a1b2c3d4 00000005"),
    (p.RsDataRequest(8, 0x1001, 4096), NINE, "0000000000000008 0000000000001001 00001000 00000000"),
    (
        p.TwoPcPrepare(0x10203040, 0, 1, 2, 0x1F3, 0x92),
        NINE,
        "10203040 80000000 0000 00 01 0000000000000002 0000000000000000 000001f3 00000092",
    ),
    (
        p.TwoPcPrepare(0x10203040, 0, -1, 2, 3, 1),
        Dialect(118),
        "10203040 00000000 ffffffff 0000000000000002 0000000000000000 00000003 00000001",
    ),
    (
        p.Uuids110(0xAA, 1, 0x24, 3, ((1, 0xBB),), (0xCC,)),
        NINE,
        "".join(f"{word:016x}" for word in (0xAA, 1, 0x24, 3, 2, 0xBB, 0xCC)),
    ),
    (p.PeersInSync(8, 6, 4096), NINE, "0000000000000008 0000000000000006 00001000 00000000"),
    (p.FlushRequestsAck(1, 2), NINE, "0000000000000001 00000002"),
    (p.EnableReplicationNext(enable=True), NINE, "01000000"),
]


@pytest.mark.parametrize(
    ("packet", "dialect", "expected"), GOLDEN, ids=[type(example[0]).__name__ for example in GOLDEN]
)
def test_bytes(packet: p.Packet, dialect: Dialect, expected: str) -> None:
    assert payload_of(packet, dialect)[1].hex() == expected.replace(" ", "")


@pytest.mark.parametrize(
    ("packet", "size"),
    [
        (p.ConnectionFeatures(118, 0, 124), 72),
        (p.SyncParam89(1), 148),
        (p.Sizes(1, 1, 1, 1), 56),
        (p.TwoPcCommit(1, 0, 0, 0, 0, 0), 36),
        (p.TwoPcYes(1, 0, 0), 32),
        (p.WriteAck(0, 0, 0), 24),
        (p.OvResultId(0, 0, 0, 0, OvResultCode.SKIPPED), 32),
        (p.RsDagtagReq(0, 0, 0, 0, 0), 32),
        (p.Trim(0, 0, 0, 0, 0), 28),
    ],
)
def test_sizes(packet: p.Packet, size: int) -> None:
    dialect = SETUP if isinstance(packet, p.ConnectionFeatures) else NINE
    assert len(payload_of(packet, dialect)[1]) == size


REFUSED = [
    (Cmd.DATA, bytes(23), NINE),
    (Cmd.DATA, bytes(24 + 513), NINE),
    (Cmd.DATA, bytes(24 + 19), DIGESTED),
    (Cmd.PROTOCOL, bytes(24), NINE),
    (Cmd.PROTOCOL, b"\0\0\0\4" + bytes(21), NINE),
    (Cmd.PROTOCOL, b"\0\0\0\3" + b"\0\0\0\x0d" + bytes(17), NINE),
    (Cmd.PROTOCOL, b"\0\0\0\3" + bytes(20) + b"no end", NINE),
    (Cmd.PROTOCOL, b"\0\0\0\3" + bytes(20) + b"\xffname\0", NINE),
    (Cmd.SIZES, bytes(33), NINE),
    (Cmd.SIZES, bytes(55) + b"\xff", NINE),
    (Cmd.UUIDS110, bytes(32) + b"\0\0\0\1" + bytes(4), NINE),
    (Cmd.UUIDS110, bytes(39) + b"\3" + bytes(8), NINE),
    (Cmd.UUIDS110, bytes(40 + 8 * 33), NINE),
    (Cmd.UUIDS110, bytes(44), NINE),
    (Cmd.UUIDS, bytes(48), NINE),
    (Cmd.UUIDS110, bytes(40), FOUR),
    (Cmd.BITMAP, bytes(7), NINE),
    (Cmd.BITMAP, bytes(4104), NINE),
    (Cmd.OV_RESULT_ID, bytes(27) + b"\3" + bytes(4), NINE),
    (Cmd.TWOPC_ABORT, bytes(4) + b"\0\0\0\x20" + bytes(28), NINE),
    (Cmd.TWOPC_ABORT, bytes(8) + b"\0\0\1\0" + bytes(24), NINE),
    (Cmd.WRITE_ACK, bytes(23), NINE),
    (Cmd.PING, b"x", NINE),
    (Cmd.OV_REPLY, bytes(24), NINE),
    (0x77, b"", NINE),
    (Cmd.AUTH_CHALLENGE, bytes(15), NINE),
]


@pytest.mark.parametrize(("cmd", "payload", "dialect"), REFUSED)
def test_refused(cmd: int, payload: bytes, dialect: Dialect) -> None:
    with pytest.raises(ProtocolError):
        decode(cmd, memoryview(payload), dialect)


def test_no_length_is_accepted_that_could_exhaust_memory() -> None:
    assert max(spec.max_bytes for spec in SPECS.values()) < (1 << 20) + 4096
    with pytest.raises(ProtocolError, match="length of DATA: expected 24"):
        check_length(Cmd.DATA, 1 << 30, NINE)


def test_channels() -> None:
    assert channel_of(p.WriteAck(0, 0, 0)) is Channel.CONTROL
    assert channel_of(p.Data(0, 0, 0, 0, b"")) is Channel.DATA


dialects = st.sampled_from([SETUP, FOUR, Dialect(118), NINE, DIGESTED])


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(Cmd), st.binary(max_size=400), dialects)
def test_damaged_payloads_are_refused_or_make_a_packet(cmd: Cmd, payload: bytes, dialect: Dialect) -> None:
    try:
        packet = decode(cmd, memoryview(payload), dialect)
    except ProtocolError:
        return
    again = payload_of(packet, dialect)
    assert decode(again[0], memoryview(again[1]), dialect) == packet


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(EXAMPLES), st.data())
def test_flipped_bits_and_cuts(example: tuple[p.Packet, Dialect], data: st.DataObject) -> None:
    cmd, payload = payload_of(*example)
    damaged = bytearray(payload[: data.draw(st.integers(0, len(payload)))])
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decode(cmd, memoryview(bytes(damaged)), example[1])
    except ProtocolError:
        return
