"""Sizes as people write them."""

import pytest

from bollard.cli.sizes import parse_kib, show_kib


@pytest.mark.parametrize(
    ("text", "kib"),
    [
        ("1", 1024**2),
        ("1K", 1),
        ("1kib", 1),
        ("1000KB", 977),
        ("1.5G", 1536 * 1024),
        ("4096b", 4),
        ("1 T", 1024**3),
    ],
)
def test_parse(text: str, kib: int) -> None:
    assert parse_kib(text) == kib


@pytest.mark.parametrize("text", ["", "G", "-1G", "1X", "1e3", "1G2"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_kib(text)


@pytest.mark.parametrize(
    ("kib", "text"),
    [
        (None, ""),
        (0, "0 KiB"),
        (4, "4 KiB"),
        (1536, "1.50 MiB"),
        (262144, "256.00 MiB"),
        (2**50, "1024.00 PiB"),
    ],
)
def test_show(kib: int | None, text: str) -> None:
    assert show_kib(kib) == text
