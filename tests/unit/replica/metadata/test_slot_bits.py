"""One slot of sparse bits against a set of numbers."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.metadata.slot_bits import CHUNK_BITS, SlotBits

BITS = 2 * CHUNK_BITS + 1000


def parts(first: int, count: int) -> list[tuple[int, int, int]]:
    cut = []
    while count:
        offset = first % CHUNK_BITS
        length = min(count, CHUNK_BITS - offset)
        cut.append((first // CHUNK_BITS, offset, length))
        first, count = first + length, count - length
    return cut


NEAR_EDGES = st.one_of(
    st.integers(0, BITS - 1),
    st.sampled_from([0, 1, 7, 8, CHUNK_BITS - 1, CHUNK_BITS, CHUNK_BITS + 1, 2 * CHUNK_BITS, BITS - 1]),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), NEAR_EDGES, NEAR_EDGES), max_size=12), NEAR_EDGES)
def test_equals_a_set(changes: list[tuple[bool, int, int]], probe: int) -> None:
    bits, model = SlotBits(BITS), set[int]()
    for on, one, other in changes:
        first, end = min(one, other), max(one, other) + 1
        touched = set(range(first, end))
        if on:
            changed = sum(bits.set_part(*part) for part in parts(first, end - first))
            assert changed == len(touched - model)
            model |= touched
        else:
            changed = sum(bits.clear_part(*part) for part in parts(first, end - first))
            assert changed == len(touched & model)
            model -= touched
        assert bits.count == len(model)
        assert sum(bits.count_part(*part) for part in parts(first, end - first)) == len(touched & model)
    assert bits.test(probe) == (probe in model)
    assert bits.next_set(probe) == min((bit for bit in model if bit >= probe), default=None)
    assert bits.next_clear(probe) == next((bit for bit in range(probe, BITS) if bit not in model), None)
    assert {bit for first, count in bits.runs(0, BITS) for bit in range(first, first + count)} == model
    smaller = bits.resized(CHUNK_BITS + 5)
    assert smaller.count == len([bit for bit in model if bit < CHUNK_BITS + 5])
    larger = smaller.resized(BITS)
    assert larger.count == smaller.count


def test_all_clear_and_all_set_take_no_memory() -> None:
    bits = SlotBits(1 << 30)
    for chunk in range((1 << 30) // CHUNK_BITS):
        bits.set_part(chunk, 0, CHUNK_BITS)
    assert bits.count == 1 << 30
    assert not bits._chunks
    bits.clear_part(5, 17, 1)
    assert len(bits._chunks) == 1
    bits.set_part(5, 17, 1)
    assert not bits._chunks
    assert bits.next_clear(0) is None


def test_the_last_chunk_is_full_when_its_real_bits_are() -> None:
    bits = SlotBits(CHUNK_BITS + 3)
    for bit in range(3):
        bits.set_part(1, bit, 1)
    assert not bits._chunks
    data = bits.chunk_bytes(1)
    assert data is not None
    assert bytes(data) == b"\x07" + bytes(4095)
    assert bits.next_clear(CHUNK_BITS) is None


def test_loading_drops_bits_beyond_the_end() -> None:
    bits = SlotBits(12)
    assert bits.load_part(0, 0, b"\xff" * 8, merge=False) == 12
    assert bits.count == 12
    assert bits.load_part(0, 8, b"\xff" * 8, merge=False) == 0
    assert bits.load_part(0, 0, b"\x01" + bytes(7), merge=False) == 11
    assert bits.count == 1
