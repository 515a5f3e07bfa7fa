"""The out-of-sync bitmap of one volume: a slot of bits per peer, and its pages as they lie on the disk.

1 = out of sync. Knows which 4 KiB pages differ from the disk, so that only those are written; writes nothing.
"""

from collections.abc import Iterable, Iterator

import msgspec

from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.layout import BLOCK_BYTES, MAX_PEERS, MAX_USABLE_BYTES, PAGE_BYTES
from bollard.replica.metadata.slot_bits import CHUNK_BITS, CHUNK_BYTES, SlotBits

__all__ = ["WIRE_WORD_BYTES", "Bitmap", "PageRun"]

WIRE_WORD_BYTES = 8
_PAGE_WORDS = PAGE_BYTES // 4
_ZERO_PAGE = bytes(PAGE_BYTES)


class PageRun(msgspec.Struct, frozen=True):
    """Adjacent pages to write: `offset_bytes` is relative to the start of the bitmap area."""

    first_page: int
    data: bytes

    @property
    def offset_bytes(self) -> int:
        """Where the run begins, from the start of the bitmap area."""
        return self.first_page * PAGE_BYTES


class Bitmap:
    """The bits of one volume of `size_bytes`, one slot for each of `max_peers`; one bit is `block_bytes`.

    All clear and equal to the disk at first. Slots are 0..max_peers-1 (a PeerSlot's bitmap_index), bits are
    0..bits-1; others are the caller's mistake and trip an assertion. Every change marks the pages it touches.
    """

    __slots__ = ("_dirty", "_slots", "bits", "block_bytes", "max_peers", "size_bytes")

    def __init__(self, size_bytes: int, *, max_peers: int, block_bytes: int = BLOCK_BYTES) -> None:
        assert 0 < size_bytes <= MAX_USABLE_BYTES, size_bytes
        assert 1 <= max_peers <= MAX_PEERS, max_peers
        assert block_bytes >= BLOCK_BYTES, block_bytes
        assert block_bytes.bit_count() == 1, block_bytes
        self.size_bytes = size_bytes
        self.max_peers = max_peers
        self.block_bytes = block_bytes
        self.bits = -(-size_bytes // block_bytes)
        self._slots = [SlotBits(self.bits) for _ in range(max_peers)]
        # One byte a page, in disk order; 1 = the disk has something else.
        self._dirty = bytearray(_pages(self.bits, max_peers))

    # Questions

    def test(self, slot: int, bit: int) -> bool:
        """Whether one bit is set."""
        assert 0 <= bit < self.bits, bit
        return self._slots[slot].test(bit)

    def count(self, slot: int) -> int:
        """Set bits of a slot; kept up to date, so it costs nothing."""
        return self._slots[slot].count

    def count_range(self, slot: int, first: int, count: int) -> int:
        """Set bits among `count` bits from `first` on."""
        bits = self._slots[slot]
        return sum(bits.count_part(*part) for part in self._parts(first, count))

    def any_set(self, slot: int, first: int, count: int) -> bool:
        """Whether one of `count` bits from `first` on is set."""
        found = self._slots[slot].next_set(first)
        return found is not None and found < first + count

    def out_of_sync_bytes(self, slot: int) -> int:
        """Bytes that the set bits of a slot stand for (the last block counts as whole)."""
        return self._slots[slot].count * self.block_bytes

    def next_set(self, slot: int, start: int = 0) -> int | None:
        """The first set bit at or after `start`."""
        return self._slots[slot].next_set(start)

    def next_clear(self, slot: int, start: int = 0) -> int | None:
        """The first clear bit at or after `start`."""
        return self._slots[slot].next_clear(start)

    def runs(self, slot: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
        """Runs of set bits in [start, stop) as (first bit, number of bits); lazy, may be left early."""
        return self._slots[slot].runs(start, self.bits if stop is None else min(stop, self.bits))

    # Changes by bit

    def set_bits(self, slot: int, first: int, count: int) -> int:
        """Set `count` bits from `first` on; returns how many were clear."""
        bits, changed = self._slots[slot], 0
        offset = first % CHUNK_BITS
        if 0 < count <= CHUNK_BITS - offset:  # as nearly always on the data path
            assert 0 <= first < first + count <= self.bits, (first, count, self.bits)
            changed = bits.set_part(first // CHUNK_BITS, offset, count)
            if changed:
                self._touch(slot, first // CHUNK_BITS, offset, count)
            return changed
        for chunk, offset, length in self._parts(first, count):
            news = bits.set_part(chunk, offset, length)
            if news:
                self._touch(slot, chunk, offset, length)
                changed += news
        return changed

    def clear_bits(self, slot: int, first: int, count: int) -> int:
        """Clear `count` bits from `first` on; returns how many were set."""
        bits, changed = self._slots[slot], 0
        offset = first % CHUNK_BITS
        if 0 < count <= CHUNK_BITS - offset:
            assert 0 <= first < first + count <= self.bits, (first, count, self.bits)
            changed = bits.clear_part(first // CHUNK_BITS, offset, count)
            if changed:
                self._touch(slot, first // CHUNK_BITS, offset, count)
            return changed
        for chunk, offset, length in self._parts(first, count):
            news = bits.clear_part(chunk, offset, length)
            if news:
                self._touch(slot, chunk, offset, length)
                changed += news
        return changed

    def set_all(self, slot: int) -> int:
        """Everything is out of sync; returns how many bits were clear."""
        return self.set_bits(slot, 0, self.bits)

    def clear_all(self, slot: int) -> int:
        """Nothing is out of sync; returns how many bits were set."""
        return self.clear_bits(slot, 0, self.bits)

    def copy_slot(self, source: int, target: int) -> None:
        """Make `target` equal to `source` (a new node takes over the bits of an unallocated slot)."""
        if source != target:
            self._slots[target] = self._slots[source].resized(self.bits)
            self.mark_all_dirty()

    # Changes by bytes of the volume

    def mark(self, slots: Iterable[int], offset_bytes: int, length_bytes: int) -> int:
        """Set every block that the range touches, in each of `slots`; what is beyond the volume is ignored.

        Returns how many bits were clear.
        """
        end_bytes = min(offset_bytes + length_bytes, self.size_bytes)
        if offset_bytes >= end_bytes:
            return 0
        first = offset_bytes // self.block_bytes
        count = (end_bytes - 1) // self.block_bytes - first + 1
        changed = 0
        for slot in slots:
            changed += self.set_bits(slot, first, count)
        return changed

    def clean(self, slot: int, offset_bytes: int, length_bytes: int) -> int:
        """Clear the blocks that the range covers wholly (the volume's last block ends with the volume).

        Returns how many bits were set.
        """
        end_bytes = offset_bytes + length_bytes
        first = -(-offset_bytes // self.block_bytes)
        end = self.bits if end_bytes >= self.size_bytes else end_bytes // self.block_bytes
        return self.clear_bits(slot, first, end - first) if first < end else 0

    # The wire: little endian 64-bit words, one bit for each 4 KiB

    @property
    def wire_words(self) -> int:
        """64-bit words of a whole slot on the wire."""
        return -(-self._wire_bits // 64)

    @property
    def _wire_bits(self) -> int:
        return -(-self.size_bytes // BLOCK_BYTES)

    def words(self, slot: int, first_word: int, count: int) -> bytes:
        """`count` wire words from `first_word` on, for P_BITMAP."""
        self._check_words(first_word, count)
        scale = self.block_bytes // BLOCK_BYTES
        if scale == 1:
            return self._plain_bytes(slot, first_word * WIRE_WORD_BYTES, count * WIRE_WORD_BYTES)
        first, end = first_word * 64, min((first_word + count) * 64, self._wire_bits)
        value = 0
        for bit, length in self.runs(slot, first // scale, -(-end // scale)):
            low, high = max(bit * scale, first), min((bit + length) * scale, end)
            value |= ((1 << high - low) - 1) << (low - first)
        return value.to_bytes(count * WIRE_WORD_BYTES, "little")

    def merge_words(self, slot: int, first_word: int, data: bytes) -> int:
        """Set what the peer's wire words have set (OR); bits beyond the volume are ignored.

        Returns how many bits were clear. Raises MetadataError for words outside of the bitmap or not whole.
        """
        if len(data) % WIRE_WORD_BYTES:
            raise MetadataError(
                f"{len(data)} bytes are not whole 64-bit words",
                where="bitmap words",
                next_step="drop the connection: the peer breaks the protocol",
            )
        self._check_words(first_word, len(data) // WIRE_WORD_BYTES)
        scale = self.block_bytes // BLOCK_BYTES
        if scale == 1:
            return self._load_plain(slot, first_word * WIRE_WORD_BYTES, data, merge=True)
        bits = SlotBits(max(1, len(data) * 8))
        for start in range(0, len(data), CHUNK_BYTES):
            bits.load_part(start // CHUNK_BYTES, 0, data[start : start + CHUNK_BYTES], merge=True)
        changed = 0
        for bit, length in bits.runs(0, bits.bits):
            low = (first_word * 64 + bit) // scale
            high = min(-(-(first_word * 64 + bit + length) // scale), self.bits)
            changed += self.set_bits(slot, low, high - low) if low < high else 0
        return changed

    def _check_words(self, first_word: int, count: int) -> None:
        if not 0 <= first_word <= first_word + count <= self.wire_words:
            raise MetadataError(
                f"words {first_word}..{first_word + count} of {self.wire_words}",
                where="bitmap words",
                next_step="drop the connection: the peer has another idea of the volume's size",
            )

    def _plain_bytes(self, slot: int, first_byte: int, count: int) -> bytes:
        bits, parts = self._slots[slot], []
        while count:
            chunk, offset = divmod(first_byte, CHUNK_BYTES)
            length = min(count, CHUNK_BYTES - offset)
            data = bits.chunk_bytes(chunk)
            parts.append(bytes(length) if data is None else bytes(data[offset : offset + length]))
            first_byte += length
            count -= length
        return b"".join(parts)

    def _load_plain(self, slot: int, first_byte: int, data: bytes, *, merge: bool) -> int:
        bits, done, changed = self._slots[slot], 0, 0
        while done < len(data):
            chunk, offset = divmod(first_byte + done, CHUNK_BYTES)
            length = min(len(data) - done, CHUNK_BYTES - offset)
            news = bits.load_part(chunk, offset, data[done : done + length], merge=merge)
            if news:
                self._touch(slot, chunk, offset * 8, length * 8)
                changed += news
            done += length
        return changed

    # The disk: pages of 32-bit words, interleaved by slot

    @property
    def pages(self) -> int:
        """4 KiB pages of the area that hold bits of this volume (an external area may have more)."""
        return len(self._dirty)

    def pages_of(self, offset_bytes: int, length_bytes: int) -> range:
        """The pages that hold the bits of a range of the volume, in all slots."""
        first = offset_bytes // self.block_bytes
        last = min((offset_bytes + max(length_bytes, 1) - 1) // self.block_bytes, self.bits - 1)
        first_word, last_word = (first >> 5) * self.max_peers, ((last >> 5) + 1) * self.max_peers - 1
        return range(first_word // _PAGE_WORDS, last_word // _PAGE_WORDS + 1)

    @property
    def is_dirty(self) -> bool:
        """Whether the disk lacks something."""
        return self._dirty.find(1) >= 0

    def dirty_pages(self, within: range | None = None) -> list[int]:
        """Numbers of the pages that the disk does not have as they are here."""
        start, stop = (0, self.pages) if within is None else (within.start, min(within.stop, self.pages))
        found, page = [], self._dirty.find(1, start, stop)
        while page >= 0:
            found.append(page)
            page = self._dirty.find(1, page + 1, stop)
        return found

    def take_dirty(self, within: range | None = None, *, limit_pages: int | None = None) -> list[PageRun]:
        """Encode the dirty pages (of `within`, at most `limit_pages`) and count them as written.

        The caller must write them; if that fails, `mark_dirty` or give up the disk.
        """
        runs: list[PageRun] = []
        pages = self.dirty_pages(within)[:limit_pages]
        position = 0
        while position < len(pages):
            end = position + 1
            while end < len(pages) and pages[end] == pages[end - 1] + 1:
                end += 1
            first, count = pages[position], end - position
            self._dirty[first : first + count] = bytes(count)
            runs.append(PageRun(first, self.encode_pages(first, count)))
            position = end
        return runs

    def mark_dirty(self, first_page: int, count: int) -> None:
        """Say that the disk lacks those pages."""
        assert 0 <= first_page <= first_page + count <= self.pages, (first_page, count)
        self._dirty[first_page : first_page + count] = b"\1" * count

    def forget_dirty(self) -> None:
        """Say that the disk has all of this bitmap."""
        self._dirty[:] = bytes(self.pages)

    def mark_all_dirty(self) -> None:
        """Say that the disk has nothing of this bitmap."""
        self.mark_dirty(0, self.pages)

    def encode_pages(self, first_page: int, count: int) -> bytes:
        """The bytes of `count` pages as they belong on the disk."""
        assert 0 <= first_page <= first_page + count <= self.pages, (first_page, count)
        out = bytearray(count * PAGE_BYTES)
        words = memoryview(out).cast("I")
        for chunk, done, lows in self._groups(first_page, count):
            for slot, (low, high, at) in enumerate(lows):
                data = self._slots[slot].chunk_bytes(chunk)
                if data is not None and low < high:
                    # Only moved, never looked into: little endian stays little endian.
                    end = done + at + (high - low - 1) * self.max_peers + 1
                    words[done + at : end : self.max_peers] = memoryview(data).cast("I")[low:high]
        return bytes(out)

    def load_pages(self, first_page: int, data: bytes) -> None:
        """Take over pages read from the disk; they count as clean. Bits beyond the volume's end are dropped.

        Raises MetadataError when the data is not whole pages of this bitmap.
        """
        count = len(data) // PAGE_BYTES
        if len(data) % PAGE_BYTES or not 0 <= first_page <= first_page + count <= self.pages:
            raise MetadataError(
                f"{len(data)} bytes for page {first_page} of {self.pages}",
                where="bitmap",
                next_step="check that the device still has the size that the superblock tells",
            )
        words = memoryview(data).cast("I")
        for chunk, done, lows in self._groups(first_page, count):
            empty = not any(bits.has_any(chunk) for bits in self._slots)
            if empty and data.startswith(_ZERO_PAGE * self.max_peers, done * 4):
                continue  # nearly all of most bitmaps
            for slot, (low, high, at) in enumerate(lows):
                if low < high:
                    end = done + at + (high - low - 1) * self.max_peers + 1
                    part = words[done + at : end : self.max_peers].tobytes()
                    self._slots[slot].load_part(chunk, low * 4, part, merge=False)
        self._dirty[first_page : first_page + count] = bytes(count)

    def _groups(self, first_page: int, count: int) -> Iterator[tuple[int, int, list[tuple[int, int, int]]]]:
        """Cut pages into groups: `max_peers` pages hold one chunk of every slot.

        Yields the chunk, the words that were handled before, and for each slot: its words [low, high) of the
        chunk that lie in these pages, and how far behind the first of these pages' words `low` is.
        """
        peers, done = self.max_peers, 0
        while done < count:
            chunk, skip = divmod(first_page + done, peers)
            pages = min(count - done, peers - skip)
            start, stop = skip * _PAGE_WORDS, (skip + pages) * _PAGE_WORDS
            lows = []
            for slot in range(peers):
                low, high = -(-(start - slot) // peers), -(-(stop - slot) // peers)
                lows.append((low, high, low * peers + slot - start))
            yield chunk, done * _PAGE_WORDS, lows
            done += pages

    # Growth

    def resize(self, size_bytes: int, *, new_bits_set: bool) -> None:
        """Give the volume another size; bits that come to be are set or clear in all slots.

        Old bits keep their place in the area, but the area itself may have moved: all pages count as dirty.
        """
        assert 0 < size_bytes <= MAX_USABLE_BYTES, size_bytes
        old_bits = self.bits
        self.size_bytes = size_bytes
        self.bits = -(-size_bytes // self.block_bytes)
        self._slots = [bits.resized(self.bits) for bits in self._slots]
        self._dirty = bytearray(_pages(self.bits, self.max_peers))
        if new_bits_set and self.bits > old_bits:
            for slot in range(self.max_peers):
                self.set_bits(slot, old_bits, self.bits - old_bits)
        self.mark_all_dirty()

    def _parts(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        assert 0 <= first <= first + count <= self.bits, (first, count, self.bits)
        end = first + count
        while first < end:
            offset = first % CHUNK_BITS
            length = min(end - first, CHUNK_BITS - offset)
            yield first // CHUNK_BITS, offset, length
            first += length

    def _touch(self, slot: int, chunk: int, offset: int, length: int) -> None:
        base = chunk * self.max_peers
        first = base + ((offset >> 5) * self.max_peers + slot) // _PAGE_WORDS
        last = base + ((offset + length - 1 >> 5) * self.max_peers + slot) // _PAGE_WORDS
        if first == last:
            self._dirty[first] = 1
        else:
            last = min(last, len(self._dirty) - 1)
            self._dirty[first : last + 1] = b"\1" * (last + 1 - first)


def _pages(bits: int, max_peers: int) -> int:
    """Pages that hold the words of `bits` bits, rounded to 64-bit words as on the disk."""
    words = -(-bits // 64) * 2 * max_peers
    return -(-words // _PAGE_WORDS)
