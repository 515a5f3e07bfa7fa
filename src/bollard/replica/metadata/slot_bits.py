"""One peer's out-of-sync bits, sparse: only chunks that are neither all clear nor all set take memory.

Works on chunks of 32768 bits, which is what one slot has in a group of on-disk pages; bitmap.py cuts ranges.
"""

from collections.abc import Iterator

__all__ = ["CHUNK_BITS", "CHUNK_BYTES", "SlotBits"]

CHUNK_BITS = 32768
CHUNK_BYTES = CHUNK_BITS // 8

_EMPTY, _MIXED, _FULL = 0, 1, 2
_ZEROS = bytes(CHUNK_BYTES)
_ONES = b"\xff" * CHUNK_BYTES


class SlotBits:
    """`bits` bits, all clear at first; `count` is always the number of set ones.

    Parts are (chunk, first bit in the chunk, number of bits) and must lie inside the bitmap: the caller cuts.
    """

    __slots__ = ("_chunks", "_counts", "_kinds", "bits", "count")

    def __init__(self, bits: int) -> None:
        assert bits >= 1, bits
        self.bits = bits
        self.count = 0
        # One byte a chunk, so that bytes.find skips empty terabytes.
        self._kinds = bytearray(-(-bits // CHUNK_BITS))
        self._chunks: dict[int, bytearray] = {}
        self._counts: dict[int, int] = {}

    def test(self, bit: int) -> bool:
        """Whether that bit is set."""
        chunk, offset = bit >> 15, bit & 32767
        kind = self._kinds[chunk]
        if kind == _MIXED:
            return bool(self._chunks[chunk][offset >> 3] >> (offset & 7) & 1)
        return kind == _FULL

    def has_any(self, chunk: int) -> bool:
        """Whether a bit of that chunk is set."""
        return self._kinds[chunk] != _EMPTY

    def set_part(self, chunk: int, offset: int, count: int) -> int:
        """Set bits of one chunk; returns how many were clear."""
        kind = self._kinds[chunk]
        if kind == _FULL:
            return 0
        capacity = self._capacity(chunk)
        if count == capacity:
            return self._make_uniform(chunk, _FULL)
        data = self._chunks[chunk] if kind == _MIXED else self._materialize(chunk)
        first, last = offset >> 3, (offset + count - 1 >> 3) + 1
        old = int.from_bytes(data[first:last], "little")
        new = old | ((1 << count) - 1) << (offset & 7)
        changed = (new ^ old).bit_count()
        if changed:
            data[first:last] = new.to_bytes(last - first, "little")
            self._recount(chunk, changed, capacity)
        return changed

    def clear_part(self, chunk: int, offset: int, count: int) -> int:
        """Clear bits of one chunk; returns how many were set."""
        kind = self._kinds[chunk]
        if kind == _EMPTY:
            return 0
        capacity = self._capacity(chunk)
        if count == capacity:
            return self._make_uniform(chunk, _EMPTY)
        data = self._chunks[chunk] if kind == _MIXED else self._materialize(chunk)
        first, last = offset >> 3, (offset + count - 1 >> 3) + 1
        old = int.from_bytes(data[first:last], "little")
        new = old & ~(((1 << count) - 1) << (offset & 7))
        changed = (new ^ old).bit_count()
        if changed:
            data[first:last] = new.to_bytes(last - first, "little")
            self._recount(chunk, -changed, capacity)
        return changed

    def count_part(self, chunk: int, offset: int, count: int) -> int:
        """How many bits of that part are set."""
        kind = self._kinds[chunk]
        if kind != _MIXED:
            return count if kind == _FULL else 0
        if count == self._capacity(chunk):
            return self._counts[chunk]
        first, last = offset >> 3, (offset + count - 1 >> 3) + 1
        part = int.from_bytes(self._chunks[chunk][first:last], "little") >> (offset & 7)
        return (part & ((1 << count) - 1)).bit_count()

    def next_set(self, start: int) -> int | None:
        """The first set bit from `start` on."""
        if start >= self.bits:
            return None
        chunk, offset = start >> 15, start & 32767
        kinds = self._kinds
        while True:
            kind = kinds[chunk]
            if kind == _FULL:
                return chunk * CHUNK_BITS + offset
            if kind == _MIXED:
                found = _find(self._chunks[chunk], offset, skip=b"\0", invert=0)
                if found is not None:
                    return chunk * CHUNK_BITS + found
            chunk, offset = _first_of(kinds, _MIXED, _FULL, chunk + 1), 0
            if chunk < 0:
                return None

    def next_clear(self, start: int) -> int | None:
        """The first clear bit from `start` on."""
        if start >= self.bits:
            return None
        chunk, offset = start >> 15, start & 32767
        kinds = self._kinds
        while True:
            kind = kinds[chunk]
            if kind == _EMPTY:
                return chunk * CHUNK_BITS + offset
            if kind == _MIXED:
                found = _find(self._chunks[chunk], offset, skip=b"\xff", invert=0xFF)
                if found is not None and chunk * CHUNK_BITS + found < self.bits:
                    return chunk * CHUNK_BITS + found
            chunk, offset = _first_of(kinds, _MIXED, _EMPTY, chunk + 1), 0
            if chunk < 0:
                return None

    def runs(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Runs of set bits in [start, stop) as (first bit, length); bits may change between two of them."""
        position = self.next_set(start)
        while position is not None and position < stop:
            end = self.next_clear(position)
            end = stop if end is None else min(end, stop)
            yield position, end - position
            position = self.next_set(end)

    def chunk_bytes(self, chunk: int) -> bytes | bytearray | None:
        """The 4096 bytes of a chunk, bit 0 lowest, or None when all are clear. Not to be changed."""
        kind = self._kinds[chunk]
        if kind == _MIXED:
            return self._chunks[chunk]
        if kind == _EMPTY:
            return None
        return _ONES if self._capacity(chunk) == CHUNK_BITS else self._filled(chunk)

    def load_part(self, chunk: int, first_byte: int, data: bytes, *, merge: bool) -> int:
        """Replace bytes of a chunk, or merge (OR) into them; bits beyond the end are dropped.

        Returns how many bits changed.
        """
        kind = self._kinds[chunk]
        nothing = data.count(0) == len(data)
        if not data or (nothing and (merge or kind == _EMPTY)) or (merge and kind == _FULL):
            return 0
        capacity = self._capacity(chunk)
        last = first_byte + len(data)
        new = int.from_bytes(data, "little")
        if last * 8 > capacity:
            new &= (1 << max(0, capacity - first_byte * 8)) - 1
        target = self._chunks[chunk] if kind == _MIXED else self._materialize(chunk)
        old = int.from_bytes(target[first_byte:last], "little")
        if merge:
            new |= old
        changed = (new ^ old).bit_count()
        if changed:
            target[first_byte:last] = new.to_bytes(len(data), "little")
        self._recount(chunk, new.bit_count() - old.bit_count(), capacity)
        return changed

    def resized(self, bits: int) -> "SlotBits":
        """A copy with `bits` bits: the new ones are clear, those beyond the end are gone."""
        copy = SlotBits(bits)
        for chunk in range(-(-min(bits, self.bits) // CHUNK_BITS)):
            capacity = min(self._capacity(chunk), bits - chunk * CHUNK_BITS)
            if self._kinds[chunk] == _FULL:
                copy.set_part(chunk, 0, capacity)
            elif self._kinds[chunk] == _MIXED:
                copy.load_part(chunk, 0, bytes(self._chunks[chunk]), merge=False)
        return copy

    def _capacity(self, chunk: int) -> int:
        return min(CHUNK_BITS, self.bits - chunk * CHUNK_BITS)

    def _filled(self, chunk: int) -> bytes:
        return ((1 << self._capacity(chunk)) - 1).to_bytes(CHUNK_BYTES, "little")

    def _materialize(self, chunk: int) -> bytearray:
        full = self._kinds[chunk] == _FULL
        self._chunks[chunk] = data = bytearray(self._filled(chunk) if full else _ZEROS)
        self._counts[chunk] = self._capacity(chunk) if full else 0
        self._kinds[chunk] = _MIXED
        return data

    def _make_uniform(self, chunk: int, kind: int) -> int:
        """All bits set or clear; returns how many that changed."""
        capacity = self._capacity(chunk)
        before = self._counts.pop(chunk, capacity if self._kinds[chunk] == _FULL else 0)
        after = capacity if kind == _FULL else 0
        self._chunks.pop(chunk, None)
        self._kinds[chunk] = kind
        self.count += after - before
        return abs(after - before)

    def _recount(self, chunk: int, difference: int, capacity: int) -> None:
        count = self._counts[chunk] = self._counts[chunk] + difference
        self.count += difference
        assert 0 <= count <= capacity, (chunk, count, capacity)
        if count in (0, capacity):
            del self._chunks[chunk], self._counts[chunk]
            self._kinds[chunk] = _FULL if count else _EMPTY


def _find(data: bytearray, offset: int, *, skip: bytes, invert: int) -> int | None:
    """The first bit from `offset` on in a byte that, xor `invert`, is not zero."""
    index = offset >> 3
    head = (data[index] ^ invert) >> (offset & 7)
    if head:
        return offset + (head & -head).bit_length() - 1
    tail = data[index + 1 :]
    rest = tail.lstrip(skip)
    if not rest:
        return None
    byte = rest[0] ^ invert
    return (len(data) - len(rest)) * 8 + (byte & -byte).bit_length() - 1


def _first_of(kinds: bytearray, one: int, other: int, start: int) -> int:
    left, right = kinds.find(one, start), kinds.find(other, start)
    return max(left, right) if left < 0 or right < 0 else min(left, right)
