"""What is said to have no effect has none: nothing that plans, serves or stores names it."""

import pathlib

import pytest

from bollard.domain.catalogue.without_effect import WITHOUT_EFFECT
from bollard.domain.props import CATALOGUE

SOURCE = pathlib.Path(__file__).parents[3] / "src" / "bollard"
FOLDERS = ("planning", "controller", "satellite", "replica")


@pytest.fixture(scope="module")
def text() -> str:
    return "\n".join(path.read_text() for name in FOLDERS for path in (SOURCE / name).rglob("*.py"))


def test_each_is_a_property() -> None:
    assert CATALOGUE.keys() >= WITHOUT_EFFECT


@pytest.mark.parametrize("key", sorted(WITHOUT_EFFECT))
def test_nothing_reads_it(key: str, text: str) -> None:
    assert f'"{key}"' not in text
    assert f'"{key.rpartition("/")[2]}"' not in text
