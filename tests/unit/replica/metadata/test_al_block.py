"""The log's blocks and the replay of a ring."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.metadata.al_block import (
    FREE,
    INITIALISED_BLOCK,
    AlBlock,
    decode_block,
    encode_block,
    max_extents,
    replay,
    ring_block,
)
from bollard.replica.metadata.crc32c import crc32c_raw
from bollard.replica.metadata.errors import MetadataError
from unit.replica.metadata.records import refuses

EXTENTS = st.integers(0, FREE)


@st.composite
def blocks(draw: st.DrawFn) -> AlBlock:
    slots = draw(st.integers(1, 65534))
    start = draw(st.integers(0, slots - 1))
    updates = draw(st.lists(st.tuples(st.integers(0, slots - 1), EXTENTS), max_size=64))
    context = draw(st.lists(EXTENTS, max_size=12))[: slots - start]
    padded = (*context, *(FREE,) * (min(919, slots - start) - len(context)))
    return AlBlock(
        number=draw(st.integers(0, 2**32 - 1)),
        slots=slots,
        updates=tuple(updates),
        context_start=start,
        context=padded,
    )


def small(number: int, context: tuple[int, ...] = (FREE,), **rest: Any) -> bytes:
    """A block of a log of 9 slots; the context is that of the last slots."""
    start = 9 - len(context)
    return encode_block(AlBlock(number=number, slots=9, context_start=start, context=context, **rest))


def resealed(data: bytes) -> bytes:
    bare = data[:8] + bytes(4) + data[12:]
    return data[:8] + struct.pack(">I", crc32c_raw(bare)) + data[12:]


def ring(*numbers: int) -> list[bytes]:
    """A ring of eight blocks with these transactions."""
    made = [INITIALISED_BLOCK] * 8
    for number in numbers:
        made[number % 8] = small(number, updates=((number % 9, number),))
    return made


@given(blocks())
def test_round_trip(block: AlBlock) -> None:
    assert decode_block(encode_block(block)) == block


def test_fields_are_where_the_format_has_them() -> None:
    data = encode_block(
        AlBlock(number=7, slots=1237, updates=((3, 99),), context_start=1234, context=(5, FREE, 6))
    )
    assert struct.unpack_from(">II", data) == (0x69CB65A2, 7)
    assert struct.unpack_from(">HHHH", data, 12) == (0, 1, 1237, 1234)
    assert data[20:36] == bytes(16)
    assert struct.unpack_from(">HH", data, 36) == (3, 0xFFFF)
    assert struct.unpack_from(">II", data, 164) == (99, FREE)
    assert struct.unpack_from(">IIII", data, 420) == (5, FREE, 6, FREE)


def test_the_initialised_block_is_the_known_constant() -> None:
    assert INITIALISED_BLOCK[:14].hex() == "69cb65a200000000709cc651ffff"
    assert INITIALISED_BLOCK[14:] == bytes(4096 - 14)
    assert decode_block(INITIALISED_BLOCK) is None


@given(st.binary(max_size=4200))
def test_any_bytes(data: bytes) -> None:
    assert refuses(decode_block, data)


@given(blocks(), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=6))
def test_wrong_content_with_a_right_sum(block: AlBlock, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encode_block(block))
    for offset, value in damage:
        data[offset] = value
    try:
        found = decode_block(resealed(bytes(data)))
    except MetadataError:
        return
    if found is not None:
        assert all(slot < found.slots for slot, _ in found.updates)
        assert found.context_start + len(found.context) <= found.slots
        encode_block(found)


@given(blocks(), st.integers(0, 4095), st.integers(1, 255))
def test_one_flipped_byte_is_found(block: AlBlock, offset: int, flip: int) -> None:
    data = bytearray(encode_block(block))
    data[offset] ^= flip
    assert refuses(decode_block, bytes(data))


@pytest.mark.parametrize(("stripes", "stripe_blocks"), [(1, 8), (2, 8), (4, 16), (3, 5)])
def test_the_ring_uses_every_block_and_turns_stripes(stripes: int, stripe_blocks: int) -> None:
    total = stripes * stripe_blocks
    order = [ring_block(number, stripes=stripes, stripe_blocks=stripe_blocks) for number in range(total)]
    assert sorted(order) == list(range(total))
    assert [block // stripe_blocks for block in order[:stripes]] == list(range(stripes))
    assert ring_block(total, stripes=stripes, stripe_blocks=stripe_blocks) == 0


def test_most_extents_of_a_ring() -> None:
    assert max_extents(8) == 6433
    assert max_extents(72) == 65249
    assert max_extents(73) == 65534


def test_a_new_ring_says_nothing() -> None:
    said = replay(ring())
    assert (said.hot, said.next_number, said.transactions, said.complete) == (frozenset(), 0, 0, True)


def test_updates_override_the_context_of_their_block() -> None:
    block = small(0, updates=((7, 50), (8, FREE)), context=(10, 11, 12))
    assert replay([block]).hot == {10, 50}


def test_newer_blocks_override_older_ones() -> None:
    old = small(4, context=(10, 11, 12))
    new = small(5, updates=((7, 20),), context=(FREE,))
    assert replay([new, old]).hot == {10, 20}


def test_numbers_wrap() -> None:
    top = 2**32 - 1
    oldest = [small(top - 1, context=(7, 8, 9)), small(top, updates=((6, 6),))]
    newest = [small(0, context=(FREE, 2)), small(1, updates=((0, 3),))]
    said = replay([*newest, *[INITIALISED_BLOCK] * 4, *oldest])
    assert said.hot == {6, 3}
    assert said.next_number == 2
    assert said.complete


def test_slots_beyond_a_log_that_was_made_smaller_still_count() -> None:
    old = encode_block(
        AlBlock(number=0, slots=100, updates=((99, 50), (1, 1)), context_start=99, context=(FREE,))
    )
    assert replay([old, small(1, updates=((5, 60),))]).hot == {1, 50, 60}, "as drbdmeta does"


@pytest.mark.parametrize(
    ("numbers", "damaged", "complete"),
    [
        (range(3), [], True),
        (range(3), [3], True),  # the fourth transaction was torn
        (range(3), [4], False),
        (range(3), [3, 4], False),
        (range(3), [0], False),  # the first one rotted: nothing can be behind the third
        (range(3), [1], False),
        (range(10, 18), [18 % 8], True),  # the oldest was being overwritten
        (range(10, 18), [17 % 8], True),  # cannot be told from a torn newest one
        (range(10, 18), [12 % 8], False),
        ((), [0], True),
        ((), range(8), False),
    ],
)
def test_damage_beyond_a_torn_block_is_told(numbers: range, damaged: list[int], complete: bool) -> None:
    blocks_on_disk = ring(*numbers)
    for position in damaged:
        blocks_on_disk[position] = b"\xa5" * 4096
    said = replay(blocks_on_disk)
    assert said.complete == complete
    assert said.damaged == len(damaged)


def test_a_missing_transaction_is_told() -> None:
    assert not replay(ring(0, 1, 3)).complete
    assert not replay([small(1)] * 2).complete


@given(
    st.lists(st.one_of(st.binary(max_size=64), blocks().map(encode_block)), max_size=10), st.integers(1, 4)
)
def test_any_ring(content: list[bytes], stripes: int) -> None:
    said = replay(content, stripes=stripes)
    assert said.transactions + said.damaged == len(content)
    assert FREE not in said.hot
