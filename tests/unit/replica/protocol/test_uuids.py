"""Comparison of generations."""

from bollard.replica.protocol.uuids import (
    JUST_CREATED,
    UNKNOWN,
    UuidFlag,
    is_random,
    masked,
    same,
    unallocated_slot,
)


def test_the_primary_bit_is_no_part_of_a_generation() -> None:
    assert same(0xA1, 0xA0)
    assert masked(0xA1) == 0xA0
    assert not same(0xA1, 0xB1)


def test_nothing_equals_unset_and_unknown() -> None:
    assert not same(0, 0)
    assert not same(1, 0)
    assert not same(UNKNOWN, UNKNOWN)


def test_reserved_values_are_no_generations() -> None:
    assert not any(is_random(value) for value in (0, 1, JUST_CREATED, 5, UNKNOWN, UNKNOWN - 1, 1 << 64))
    assert is_random(0xA0)


def test_day_0_slot_is_named_in_the_top_byte() -> None:
    assert unallocated_slot(7 << 56 | UuidFlag.HAS_UNALLOC) == 7
    assert unallocated_slot(7 << 56) is None
