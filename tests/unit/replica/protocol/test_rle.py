"""Codes of run lengths against the table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.protocol.rle import DECODE, LEVELS, MAX_RUN, code_of


@pytest.mark.parametrize(
    ("length", "code", "bits"),
    [
        (1, 0b00, 2),
        (2, 0b10, 2),
        (3, 0b001, 3),
        (4, 0b101, 3),
        (5, 0b00011, 5),
        (9, 0b0000111, 7),
        (17, 0x0F, 10),
        (49, 0x1F, 14),
        (305, 0x3F, 21),
        (8497, 0x7F, 29),
        (2105649, 0xBF, 42),
        (2105649 + (1 << 34), 0xFF, 64),
    ],
)
def test_first_length_of_each_level(length: int, code: int, bits: int) -> None:
    assert code_of(length) == (code, bits)


@given(st.sampled_from(LEVELS), st.data())
def test_codes_are_read_back(level: tuple[int, int, int, int, int], data: st.DataObject) -> None:
    length = data.draw(st.integers(level[3], level[4] - 1))
    code, bits = code_of(length)
    total, prefix_bits, mask, first = DECODE[code & 0xFF]
    assert (total, first + (code >> prefix_bits & mask)) == (bits, length)


def test_longest() -> None:
    assert code_of(MAX_RUN)[1] == 64
    with pytest.raises(AssertionError):
        code_of(MAX_RUN + 1)
