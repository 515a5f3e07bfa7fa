"""Bitmaps to packets and back, the vector of a live kernel, and packets that lie."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.protocol.bitmap_wire import (
    CODE_BYTES,
    PACKET_BYTES,
    BitmapReceiver,
    Runs,
    Words,
    bitmap_packets,
)
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.packets import Bitmap, CompressedBitmap


class Bits:
    """The plainest bitmap there is: one integer."""

    def __init__(self, size: int, value: int = 0) -> None:
        self.size, self.value = size, value & ((1 << size) - 1)

    def runs_from(self, start: int) -> Iterator[tuple[int, int]]:
        text = bin(self.value >> start | 1 << (self.size - start))[:2:-1]
        at = 0
        while (first := text.find("1", at)) >= 0:
            at = text.find("0", first)
            at = at if at >= 0 else len(text)
            yield start + first, at - first

    def words_at(self, first: int, count: int) -> bytes:
        window = self.value >> first * 64 & ((1 << count * 64) - 1)
        return window.to_bytes(count * 8, "little")

    def packets(self) -> list[Bitmap | CompressedBitmap]:
        return list(bitmap_packets(self.size, self.runs_from, self.words_at))

    def merge(self, part: Runs | Words) -> None:
        match part:
            case Words(first_word, data):
                self.value |= int.from_bytes(data, "little") << first_word * 64
            case Runs(ranges):
                for first, count in ranges:
                    self.value |= ((1 << count) - 1) << first
        assert self.value >> self.size == 0, "never beyond the bits"


def received(size: int, packets: list[Bitmap | CompressedBitmap]) -> int:
    receiver, bits = BitmapReceiver(size), Bits(size)
    for packet in packets:
        assert not receiver.done
        bits.merge(receiver.take(packet))
    assert receiver.done
    return bits.value


def test_full_map_of_a_live_kernel() -> None:
    size = 16374
    vector = CompressedBitmap(0xB2, bytes.fromhex("7FC51E00"))
    assert Bits(size, (1 << size) - 1).packets() == [vector]
    assert received(size, [vector]) == (1 << size) - 1


def test_empty_map() -> None:
    packets = Bits(1000).packets()
    assert [type(packet) for packet in packets] == [CompressedBitmap]
    assert received(1000, packets) == 0


def test_noise_goes_plain_in_packets_of_the_size_that_peers_insist_on() -> None:
    size = PACKET_BYTES * 8 * 2 + 100
    value = int("5" * (size // 4), 16)
    packets = Bits(size, value).packets()
    assert [len(packet.words) for packet in packets if isinstance(packet, Bitmap)][:2] == [4080, 4080]
    assert received(size, packets) == value


def test_mixture_switches_between_both_forms() -> None:
    size = PACKET_BYTES * 8 * 3
    noise = int("5" * 2 * PACKET_BYTES, 16)
    for value in (noise, noise << PACKET_BYTES * 8 + 77, noise << PACKET_BYTES * 16):
        bits = Bits(size, value)
        kinds = {type(packet) for packet in bits.packets()}
        assert kinds == {Bitmap, CompressedBitmap}
        assert received(size, bits.packets()) == bits.value


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 5000), st.data())
def test_any_map_arrives(size: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, (1 << size) - 1))
    assert received(size, Bits(size, value).packets()) == value


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=300), st.booleans())
def test_any_runs_arrive(lengths: list[int], value: bool) -> None:
    bits, size = 0, 0
    for length in lengths:
        bits |= (((1 << length) - 1) if value else 0) << size
        size, value = size + length, not value
    packets = Bits(size, bits).packets()
    assert all(len(packet.code) <= CODE_BYTES for packet in packets if isinstance(packet, CompressedBitmap))
    assert received(size, packets) == bits


def test_bits_past_the_end_are_dropped() -> None:
    receiver, bits = BitmapReceiver(70), Bits(70)
    bits.merge(receiver.take(Bitmap(b"\xff" * 16)))
    assert bits.value == (1 << 70) - 1
    receiver.take(Bitmap(b""))
    assert receiver.done


LIES = [
    ("another encoding", CompressedBitmap(0xB3, bytes.fromhex("7FC51E00"))),
    ("longer than the map", CompressedBitmap(0x82, bytes.fromhex("FF" * 8))),
    ("a code cut off", CompressedBitmap(0x82, bytes.fromhex("7F"))),
    ("only padding", CompressedBitmap(0xF2, b"")),
    ("codes after the end", CompressedBitmap(0x82, bytes.fromhex("7FC51E0000"))),
    ("plain of a wrong size", Bitmap(bytes(8))),
    ("plain end at once", Bitmap(b"")),
]


@pytest.mark.parametrize(("what", "packet"), LIES, ids=[what for what, _ in LIES])
def test_lies_are_refused(what: str, packet: Bitmap | CompressedBitmap) -> None:
    with pytest.raises(ProtocolError):
        BitmapReceiver(16374).take(packet)


def test_nothing_after_the_end() -> None:
    receiver = BitmapReceiver(64)
    receiver.take(Bitmap(bytes(8)))
    receiver.take(Bitmap(b""))
    with pytest.raises(ProtocolError):
        receiver.take(Bitmap(b""))


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 100_000), st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=4))
def test_noise_never_reaches_beyond_the_bits(size: int, chunks: list[bytes]) -> None:
    receiver = BitmapReceiver(size)
    try:
        for chunk in chunks:
            part = receiver.take(CompressedBitmap(chunk[0] & 0xF0 | 2, chunk[1:]))
            assert isinstance(part, Runs)
            assert all(0 <= first < first + count <= size for first, count in part.ranges)
    except ProtocolError:
        return
