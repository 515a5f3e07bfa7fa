"""The folding CRC against a bit by bit one and known values."""

import time

from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.metadata.crc32c import crc32c, crc32c_raw


def plain(data: bytes, register: int) -> int:
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register


def test_known_values() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c_raw(b"") == 0


@given(st.binary(max_size=700), st.integers(0, 2**32 - 1))
def test_equals_bit_by_bit(data: bytes, register: int) -> None:
    assert crc32c_raw(data, register) == plain(data, register)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_the_register_carries_over(left: bytes, right: bytes) -> None:
    assert crc32c_raw(right, crc32c_raw(left)) == crc32c_raw(left + right)


def test_a_log_block_takes_well_under_300_microseconds() -> None:
    data = bytes(range(256)) * 16
    crc32c_raw(data)
    best_s = min(_seconds(data) for _ in range(20))
    assert best_s < 300e-6, best_s


def _seconds(data: bytes) -> float:
    start = time.perf_counter()
    crc32c_raw(data)
    return time.perf_counter() - start
