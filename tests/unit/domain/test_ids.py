"""Names: LINSTOR's grammar, compared without case and kept as written."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.domain import ids
from bollard.domain.errors import Invalid

WORDS: list[tuple[Callable[[str], str], int, int]] = [
    (ids.resource_name, 2, 48),
    (ids.group_name, 2, 48),
    (ids.snapshot_name, 2, 48),
    (ids.pool_name, 3, 48),
    (ids.net_if_name, 3, 32),
]


def taken(parse: Callable[[str], str], text: str) -> bool:
    try:
        return parse(text) == text
    except Invalid as error:
        return not (error.message and error.cause)


@pytest.mark.parametrize(("parse", "low", "high"), WORDS)
def test_lengths(parse: Callable[[str], str], low: int, high: int) -> None:
    for length in range(high + 3):
        assert taken(parse, "a" * length) is (low <= length <= high)


@pytest.mark.parametrize(("parse", "low", "high"), WORDS)
@given(text=st.text(alphabet="aZ_-09. /\n\u00e4", max_size=6))
def test_words_against_a_pattern(parse: Callable[[str], str], low: int, high: int, text: str) -> None:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", text) and re.search("[A-Za-z]", text)
    assert taken(parse, text) is bool(plain and low <= len(text) <= high)


@pytest.mark.parametrize("name", ["all", "ALL", "Proxy"])
def test_words_of_the_drbd_tools_are_no_resources(name: str) -> None:
    assert not taken(ids.resource_name, name)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("n1", True),
        ("9num", True),
        ("fq.dn.example", True),
        ("a-b", True),
        ("", False),
        ("a", False),
        ("-n", False),
        ("n-", False),
        ("a_b", False),
        ("bad name", False),
        ("a..b", False),
        ("a.", False),
        ("umläut", False),
        ("x" * 63, True),
        ("x" * 64, False),
        (".".join(["x" * 60] * 4), True),
        (".".join(["x" * 60] * 5), False),
        ("n1\n", False),
    ],
)
def test_nodes_are_host_names(name: str, good: bool) -> None:
    assert taken(ids.node_name, name) is good


@given(st.lists(st.text(alphabet="abCD1-", min_size=1, max_size=5), min_size=1, max_size=3))
def test_keys_fold_case_and_join(names: list[str]) -> None:
    assert ids.key_of(*names) == ids.key_of(*[name.swapcase() for name in names])
    assert ids.key_of(*names).split("/") == [name.upper() for name in names]
