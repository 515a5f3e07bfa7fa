"""CRC-32C as the activity log uses it, fast without tables or C: by folding one large integer.

Must not know what it sums. The register starts at the caller's value and is not inverted at the end.
"""

from functools import lru_cache

__all__ = ["crc32c", "crc32c_raw"]

_POLYNOMIAL = 0x82F63B78
"""Castagnoli, bit-reversed: bit 31 is the coefficient of x^0."""
_POLYNOMIAL_PLAIN = 0x11EDC6F41
_FOLD_UNTIL_BITS = 96


def crc32c_raw(data: bytes | bytearray | memoryview, register: int = 0) -> int:
    """The reflected CRC-32C of `data` from a given 32-bit register, with no inversion before or after."""
    assert 0 <= register < 1 << 32, register
    bits = len(data) * 8
    # Bit 0 of `value` is the first bit sent, so the coefficient of the highest power.
    value = int.from_bytes(data, "little") ^ register
    if bits < 32:
        return _bitwise(value, bits)
    bits += 32  # multiply by x^32: zero bits behind the last one
    for head_bits, mask, shifts in _folds(bits):
        head = value & mask
        value >>= head_bits
        for shift in shifts:
            value ^= head << shift
        bits -= head_bits
    return _bitwise(value, bits - 32)


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """The usual CRC-32C of `data` (register all ones, inverted at the end)."""
    return crc32c_raw(data, 0xFFFFFFFF) ^ 0xFFFFFFFF


def _bitwise(value: int, steps: int) -> int:
    for _ in range(steps):
        value = (value >> 1) ^ _POLYNOMIAL if value & 1 else value >> 1
    return value


@lru_cache(maxsize=64)
def _folds(bits: int) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
    """How to halve a message of `bits` again and again: (bits of the head, its mask, where to add it).

    head * x^k is congruent to head * (x^k mod P), k being the number of bits behind the head; each term x^j
    of that residue adds the head once, shifted so that its power is right. Among several head sizes the
    one whose residue has the fewest terms is taken.
    """
    folds = []
    while bits > _FOLD_UNTIL_BITS:
        largest = (bits - 32) // 2
        candidates = range(max(1, largest - largest // 8), largest + 1)[-64:]
        head_bits = min(reversed(candidates), key=lambda head: _power_residue(bits - head).bit_count())
        rest_bits = bits - head_bits
        residue = _power_residue(rest_bits)
        shifts = tuple(rest_bits - head_bits - power for power in range(32) if residue >> power & 1)
        assert min(shifts) >= 0, shifts
        folds.append((head_bits, (1 << head_bits) - 1, shifts))
        bits = rest_bits
    return tuple(folds)


@lru_cache(maxsize=4096)
def _power_residue(exponent: int) -> int:
    """x^exponent mod P, coefficients in plain order (bit n is x^n)."""
    result, square = 1, 2
    while exponent:
        if exponent & 1:
            result = _multiply(result, square)
        square = _multiply(square, square)
        exponent >>= 1
    return result


def _multiply(left: int, right: int) -> int:
    product = 0
    while right:
        if right & 1:
            product ^= left
        right >>= 1
        left <<= 1
        if left >> 32:
            left ^= _POLYNOMIAL_PLAIN
    return product
