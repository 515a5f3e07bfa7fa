"""A bitmap as packets and back: run lengths where they pay, else plain words. Never beyond its bits."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from bollard.replica.metadata.bitmap import Bitmap as SlotBitmap
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.packets import Bitmap, CompressedBitmap, Payload
from bollard.replica.protocol.rle import DECODE, code_of

WORD_BITS: Final = 64
WORD_BYTES: Final = 8
PACKET_BYTES: Final = 4096 - 16
"""Peers insist on plain packets of exactly this size, but for the last one."""
WORDS_PER_PACKET: Final = PACKET_BYTES // WORD_BYTES
CODE_BYTES: Final = PACKET_BYTES - 1
RLE_VLI: Final = 2
_BLOCK_BYTES: Final = 4096
_STARTS_SET: Final = 0x80

RunsFrom = Callable[[int], Iterable[tuple[int, int]]]
"""Set runs (first bit, count) in ascending order from a bit on."""
WordsAt = Callable[[int, int], bytes]
"""`count` little-endian 64-bit words from a word on; bits past the end are zero."""


def wire_bits(bitmap: SlotBitmap) -> int:
    """Bits of the bitmap on the wire: always one for 4 KiB."""
    return -(-bitmap.size_bytes // _BLOCK_BYTES)


def slot_packets(bitmap: SlotBitmap, slot: int) -> Iterator[Bitmap | CompressedBitmap]:
    """All packets of one slot, made one at a time; it must not change in between."""
    scale, bits = bitmap.block_bytes // _BLOCK_BYTES, wire_bits(bitmap)

    def runs(start: int) -> Iterator[tuple[int, int]]:
        for first, count in bitmap.runs(slot, start // scale):
            low, high = max(first * scale, start), min((first + count) * scale, bits)
            if low < high:
                yield low, high - low

    return bitmap_packets(bits, runs, lambda first, count: bitmap.words(slot, first, count))


def bitmap_packets(bits: int, runs_from: RunsFrom, words_at: WordsAt) -> Iterator[Bitmap | CompressedBitmap]:
    """All packets of a bitmap of `bits` bits, made one at a time; the bitmap must not change in between."""
    assert bits > 0, "a bitmap without bits is not sent"
    words = -(-bits // WORD_BITS)
    position = 0
    while position < bits:
        packet, after = _compress(bits, position, runs_from)
        if packet is not None:
            position = after
            yield packet
            continue
        first = position // WORD_BITS
        count = min(WORDS_PER_PACKET, words - first)
        position = min((first + count) * WORD_BITS, bits)
        yield Bitmap(words_at(first, count))
        if position == bits:
            yield Bitmap(b"")


def _compress(bits: int, position: int, runs_from: RunsFrom) -> tuple[CompressedBitmap | None, int]:
    """The packet from `position` on and the bit after it; None where plain words are shorter."""
    code = bytearray()
    start, pending, pending_bits = position, 0, 0
    first_value: int | None = None
    for length, value in _alternating(bits, position, runs_from):
        word, size = code_of(length)
        if len(code) * 8 + pending_bits + size > CODE_BYTES * 8:
            break
        if first_value is None:
            first_value = value
        pending |= word << pending_bits
        pending_bits += size
        position += length
        if pending_bits >= 64:
            code += (pending & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little")
            pending >>= 64
            pending_bits -= 64
    tail = -(-pending_bits // 8)
    code += pending.to_bytes(tail, "little")
    pad = tail * 8 - pending_bits
    if first_value is None or position - start < len(code) * 8:
        if position < bits or len(code) > -(-(bits - start) // WORD_BITS) * WORD_BYTES:
            return None, start
        assert first_value is not None, "the rest of a bitmap is at least one run"
    encoding = RLE_VLI | pad << 4 | (_STARTS_SET if first_value else 0)
    return CompressedBitmap(encoding, bytes(code)), position


def _alternating(bits: int, position: int, runs_from: RunsFrom) -> Iterator[tuple[int, int]]:
    """Lengths and values of the runs from `position` to the end."""
    for first, count in runs_from(position):
        assert position <= first < first + count <= bits, (position, first, count)
        if first > position:
            yield first - position, 0
        yield count, 1
        position = first + count
    if position < bits:
        yield bits - position, 0


class Words(msgspec.Struct, frozen=True):
    """Plain words to be merged by OR from `first_word` on."""

    first_word: int
    data: Payload


class Runs(msgspec.Struct, frozen=True):
    """Ranges (first bit, count) to be set."""

    ranges: tuple[tuple[int, int], ...]


class BitmapReceiver:
    """Follows the packets of one bitmap. Raises ProtocolError when they cover more or less than its bits."""

    __slots__ = ("_bits", "_position", "done")

    def __init__(self, bits: int) -> None:
        assert bits > 0, "a bitmap without bits is not received"
        self._bits = bits
        self._position = 0
        self.done = False

    def take(self, packet: Bitmap | CompressedBitmap) -> Words | Runs:
        """What the packet adds; `done` afterwards says whether it was the last one."""
        if self.done:
            raise ProtocolError("bitmap", expected="nothing after its end", got="another packet")
        return self._plain(packet) if isinstance(packet, Bitmap) else self._compressed(packet)

    def _plain(self, packet: Bitmap) -> Words:
        first = self._position // WORD_BITS
        left = -(-self._bits // WORD_BITS) - first if self._position < self._bits else 0
        expected = min(left, WORDS_PER_PACKET) * WORD_BYTES
        if len(packet.words) != expected:
            raise ProtocolError("plain bitmap", expected=f"{expected} bytes", got=len(packet.words))
        self.done = expected == 0
        self._position = min((first + expected // WORD_BYTES) * WORD_BITS, self._bits)
        used = self._bits % WORD_BITS
        if not (expected and used and self._position == self._bits):
            return Words(first, packet.words)
        # Bits past the end mean nothing, and some peers leave them set.
        last = int.from_bytes(packet.words[-WORD_BYTES:], "little") & ((1 << used) - 1)
        return Words(first, bytes(packet.words[:-WORD_BYTES]) + last.to_bytes(WORD_BYTES, "little"))

    def _compressed(self, packet: CompressedBitmap) -> Runs:
        if packet.encoding & 0xF != RLE_VLI:
            raise ProtocolError("bitmap encoding", expected=RLE_VLI, got=packet.encoding & 0xF)
        value = packet.encoding >> 7
        code_bits = len(packet.code) * 8 - (packet.encoding >> 4 & 7)
        if not 0 < code_bits <= CODE_BYTES * 8:
            raise ProtocolError("bitmap code", expected=f"1..{CODE_BYTES} bytes", got=len(packet.code))
        position, at, ranges = self._position, 0, []
        code = bytes(packet.code) + bytes(8)
        while at < code_bits:
            if position >= self._bits:
                raise ProtocolError("bitmap code", expected="its end with the last bit", got="more codes")
            window = int.from_bytes(code[at >> 3 : (at >> 3) + 9], "little") >> (at & 7)
            total, prefix_bits, mask, first = DECODE[window & 0xFF]
            length = first + (window >> prefix_bits & mask)
            if at + total > code_bits or length > self._bits - position:
                raise ProtocolError(
                    "run in a bitmap", expected=f"within {self._bits - position} bits", got=f"{length}"
                )
            if value:
                ranges.append((position, length))
            at += total
            position += length
            value ^= 1
        self._position = position
        self.done = position == self._bits
        return Runs(tuple(ranges))
