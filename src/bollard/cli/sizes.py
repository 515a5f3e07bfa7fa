"""Sizes as people write them: a number with a unit, GiB when there is none."""

import re

_UNITS_BYTES = {
    "b": 1,
    "k": 1024, "kib": 1024, "kb": 1000,
    "m": 1024**2, "mib": 1024**2, "mb": 1000**2,
    "g": 1024**3, "gib": 1024**3, "gb": 1000**3,
    "t": 1024**4, "tib": 1024**4, "tb": 1000**4,
    "p": 1024**5, "pib": 1024**5, "pb": 1000**5,
}  # fmt: skip
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")
_STEPS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def parse_kib(text: str) -> int:
    """KiB, rounded up. Raises ValueError that names the units."""
    match = _SIZE.fullmatch(text)
    unit = (match.group(2) or "g").lower() if match else ""
    if match is None or unit not in _UNITS_BYTES:
        raise ValueError(
            f"'{text}' is not a size: give a number with b, K, M, G, T or P (KiB, MiB, ..., KB, MB)"
        )
    whole = float(match.group(1)) * _UNITS_BYTES[unit]
    return -(-round(whole) // 1024)


def parse_units(text: str, unit_bytes: int) -> int:
    """A number of units of so many bytes, rounded up: a bare number is one already. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    suffix = match.group(2).lower() if match else ""
    if match is None or (suffix and suffix not in _UNITS_BYTES):
        raise ValueError(f"'{text}' is not a size: give a number, or one with b, K, M, G")
    if not suffix:
        return int(float(match.group(1)))
    return -(-round(float(match.group(1)) * _UNITS_BYTES[suffix]) // unit_bytes)


def show_kib(size_kib: int | None) -> str:
    """A size in the largest unit that keeps it at 1 or more, with two decimals."""
    if size_kib is None:
        return ""
    value = float(size_kib)
    for unit in _STEPS:
        if value < 1024 or unit == _STEPS[-1]:
            return f"{value:.0f} {unit}" if unit == "KiB" else f"{value:.2f} {unit}"
        value /= 1024
    raise AssertionError("unreachable: the last unit always returns")
