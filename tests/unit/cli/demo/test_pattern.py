"""The pattern sees every kind of wrong block, and the ledger every lost write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.cli.demo.pattern import BLOCK_BYTES, Ledger, WrongBlock, make_block, sequence_of


def test_a_block_says_its_sequence() -> None:
    block = make_block(7, 3, 9)
    assert len(block) == BLOCK_BYTES
    assert sequence_of(block, 7, 3) == 9


def test_an_empty_block_was_never_written() -> None:
    assert sequence_of(bytes(BLOCK_BYTES), 7, 3) == 0


@pytest.mark.parametrize(("seed", "number"), [(8, 3), (7, 4)])
def test_a_block_of_another_run_or_place_is_wrong(seed: int, number: int) -> None:
    with pytest.raises(WrongBlock):
        sequence_of(make_block(7, 3, 9), seed, number)


@given(cut=st.integers(1, BLOCK_BYTES // 512 - 1))
def test_a_torn_block_is_wrong(cut: int) -> None:
    old, new = make_block(7, 3, 1), make_block(7, 3, 2)
    torn = new[: cut * 512] + old[cut * 512 :]
    with pytest.raises(WrongBlock, match="torn"):
        sequence_of(torn, 7, 3)


def test_the_ledger_wants_what_was_acknowledged() -> None:
    ledger = Ledger(2)
    first, second = ledger.send(0), ledger.send(0)
    ledger.acknowledge(0, first)
    ledger.check(0, first)
    with pytest.raises(WrongBlock, match="holds write 0"):
        ledger.check(0, 0)
    with pytest.raises(WrongBlock):
        ledger.check(0, second + 1)


def test_an_unacknowledged_write_that_was_seen_must_stay() -> None:
    ledger = Ledger(1)
    first, second = ledger.send(0), ledger.send(0)
    ledger.acknowledge(0, first)
    ledger.check(0, second)
    with pytest.raises(WrongBlock):
        ledger.check(0, first)
