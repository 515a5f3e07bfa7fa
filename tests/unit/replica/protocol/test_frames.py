"""Headers, and the reader against every way of cutting a stream and every kind of damage."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.codec import encode
from bollard.replica.protocol.commands import Channel, Cmd, WireProtocol
from bollard.replica.protocol.dialect import SETUP, Dialect, Feature
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.frames import (
    RECEIVE_BYTES,
    FrameReader,
    encode_ack,
    encode_data_header,
    encode_frame,
    encode_header,
)

NINE = Dialect(124, Feature(0x3F))


def frame(packet: p.Packet, dialect: Dialect = NINE, volume: int = 0) -> bytes:
    return b"".join(encode_frame(packet, dialect, volume))


STREAM = [
    (0, p.Data(8, 7, 1, 256, b"a" * 4096)),
    (3, p.WriteAck(8, 7, 4096, 1)),
    (-1, p.Ping()),
    (-1, p.Barrier(9)),
    (0, p.RsDataReply(0, 1, 0, 0, b"b" * (1 << 17))),
    (0, p.Bitmap(b"")),
    (1, p.Data(16, 8, 2, 0, b"c" * (1 << 20))),
    (0, p.UnplugRemote()),
]
BYTES = b"".join(frame(packet, NINE, volume) for volume, packet in STREAM)


def test_headers_byte_by_byte() -> None:
    assert encode_header(0x13, 0, -1, NINE).hex() == "8620ec20ffff00130000000000000000"
    assert encode_header(0, 4120, 2, NINE).hex() == "8620ec20000200000000101800000000"
    assert encode_header(0xFFFE, 72, -1, NINE).hex() == "83740267fffe0048"
    assert encode_header(0x0B, 25, -1, Dialect(90)).hex() == "83740267000b0019"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=40))
def test_any_cuts_give_the_same_packets(cuts: list[int]) -> None:
    reader, got, at = FrameReader(dialect=NINE), [], 0
    for cut in [*cuts, len(BYTES)]:
        got += list(reader.feed(BYTES[at : at + cut]))
        at += cut
        assert reader.buffered_bytes <= RECEIVE_BYTES + (1 << 20)
    assert got == STREAM
    assert reader.buffered_bytes == 0


def test_one_byte_at_a_time() -> None:
    small = b"".join(frame(packet, NINE, volume) for volume, packet in STREAM[:4])
    reader, got = FrameReader(dialect=NINE), []
    for byte in small:
        got += list(reader.feed(bytes((byte,))))
    assert got == STREAM[:4]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 300_000), min_size=5, max_size=60))
def test_receiving_in_place(sizes: list[int]) -> None:
    reader, got, at, turn = FrameReader(dialect=NINE), [], 0, 0
    while at < len(BYTES):
        room = reader.get_buffer()
        count = min(len(room), sizes[turn % len(sizes)], len(BYTES) - at)
        room[:count] = BYTES[at : at + count]
        reader.received(count)
        got += list(reader)
        at, turn = at + count, turn + 1
    assert got == STREAM


def test_payloads_outlive_the_buffer() -> None:
    reader = FrameReader(dialect=NINE)
    kept = [packet for _, packet in reader.feed(frame(p.Data(0, 1, 1, 0, b"a" * 512)))]
    for _ in range(200):
        assert len(list(reader.feed(frame(p.Data(0, 1, 1, 0, b"z" * 4096))))) == 1
    assert kept == [p.Data(0, 1, 1, 0, b"a" * 512)]


def test_dialect_may_change_between_two_frames_of_one_chunk() -> None:
    features = p.ConnectionFeatures(118, 0x3F, 124, 1, 0)
    chunk = frame(p.InitialData(), SETUP) + frame(features, SETUP) + frame(p.Protocol(WireProtocol.C))
    reader, got = FrameReader(channel=Channel.DATA), []
    for volume, packet in reader.feed(chunk):
        got.append(packet)
        assert volume in (-1, 0)
        if isinstance(packet, p.ConnectionFeatures):
            reader.dialect = NINE
    assert got == [p.InitialData(), features, p.Protocol(WireProtocol.C)]


def test_old_headers_are_understood() -> None:

    reader = FrameReader(dialect=NINE)
    barrier = struct.pack(">II", 5, 0)
    chunk = struct.pack(">HHI", 0x835A, 3, 8) + barrier + struct.pack(">IHH", 0x83740267, 3, 8) + barrier
    assert list(reader.feed(chunk)) == [(0, p.Barrier(5)), (0, p.Barrier(5))]


HEAD = "8620ec20"
BAD = [
    ("magic", "deadbeef" + "00" * 12),
    ("magic", "86"),
    ("padding", HEAD + "ffff 0013 00000000 00000001"),
    ("volume", HEAD + "fffe 0013 00000000 00000000"),
    ("command", HEAD + "ffff 0077 00000000 00000000"),
    ("length of PING", HEAD + "ffff 0013 00000001 00000000"),
    ("length of DATA", HEAD + "0000 0000 7fffffff 00000000"),
    ("length of PING", "83740267 0013 0001"),
]


@pytest.mark.parametrize(("what", "text"), BAD, ids=[what for what, _ in BAD])
def test_bad_headers(what: str, text: str) -> None:
    raw = bytes.fromhex(text.replace(" ", ""))
    reader = FrameReader(dialect=NINE)
    if what == "magic" and len(raw) == 1:
        assert list(reader.feed(raw)) == []
        raw = b"\xff"
    with pytest.raises(ProtocolError, match=what):
        list(reader.feed(raw))


def test_packets_of_the_other_connection_are_refused() -> None:
    reader = FrameReader(channel=Channel.CONTROL, dialect=NINE)
    assert list(reader.feed(frame(p.Ping()))) == [(0, p.Ping())]
    with pytest.raises(ProtocolError, match="connection of BARRIER"):
        list(reader.feed(frame(p.Barrier(1))))


def test_nothing_but_the_opening_before_the_features() -> None:
    reader = FrameReader(channel=Channel.DATA)
    with pytest.raises(ProtocolError):
        list(reader.feed(frame(p.CurrentUuid(1, 2))))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=12), st.booleans())
def test_noise_is_refused_within_bounded_memory(chunks: list[bytes], starts_well: bool) -> None:
    reader = FrameReader(dialect=NINE)
    try:
        if starts_well:
            list(reader.feed(bytes.fromhex(HEAD)))
        for chunk in chunks:
            list(reader.feed(chunk))
            assert reader.buffered_bytes <= RECEIVE_BYTES + (1 << 21)
    except ProtocolError:
        return


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_flipped_bits_in_a_stream(data: st.DataObject) -> None:
    small = bytearray(b"".join(frame(packet, NINE, volume) for volume, packet in STREAM[:4]))
    for _ in range(data.draw(st.integers(1, 4))):
        small[data.draw(st.integers(0, len(small) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    reader = FrameReader(dialect=NINE)
    try:
        list(reader.feed(small))
    except ProtocolError:
        return


@pytest.mark.parametrize("packet", [packet for _, packet in STREAM])
def test_frames_are_header_and_payload(packet: p.Packet) -> None:
    cmd, pieces = encode(packet, NINE)
    payload = b"".join(pieces)
    assert frame(packet, NINE, 3) == encode_header(cmd, len(payload), 3, NINE) + payload


def test_short_cuts_make_the_same_bytes() -> None:
    head = encode_data_header(2, 512, sector=8, block_id=7, seq=1, flags=256)
    assert head + bytes(512) == frame(p.Data(8, 7, 1, 256, bytes(512)), NINE, 2)
    ack = encode_ack(Cmd.WRITE_ACK, 2, sector=8, block_id=7, size_bytes=4096, seq=1)
    assert ack == frame(p.WriteAck(8, 7, 4096, 1), NINE, 2)


def test_digest_stands_before_the_data() -> None:
    dialect = Dialect(124, Feature(0x3F), digest_bytes=4)
    packet = p.Data(8, 7, 1, 0, b"d" * 512, b"1234")
    raw = frame(packet, dialect)
    assert raw[40:] == b"1234" + b"d" * 512
    assert list(FrameReader(dialect=dialect).feed(raw)) == [(0, packet)]
