"""A node of the lab that runs a kernel's DRBD, and resources that it shares with a data process."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bollard.lab.cluster import Lab
from kernel_peer import DISK_MIB, Flavour, Pair, flavour_9, flavour_84, no_helpers

Make = Callable[..., Pair]
_labs = itertools.count()
_LIMIT_S = 1200
"""Of a test with its boots: a machine that does much else at the same time may be very slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LIMIT_S))


def _flavour(name: str) -> Flavour:
    found = flavour_84() if name == "8.4" else flavour_9()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="module", params=["8.4", "9"])
def kernel_node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Lab, Flavour]]:
    flavour = _flavour(request.param)
    root = tmp_path_factory.mktemp("kernel")
    name = f"k{os.getpid() % 10**6}{next(_labs) % 10}"
    with Lab(root, name=name, disk_mib=DISK_MIB, nodes=1, load=("drbd",), kernel=flavour.kernel) as lab:
        lab.boot()
        no_helpers(lab)
        yield lab, flavour


@pytest.fixture
def make(kernel_node: tuple[Lab, Flavour], tmp_path: Path) -> Iterator[Make]:
    pairs: list[Pair] = []

    def build(**options: object) -> Pair:
        lab, flavour = kernel_node
        pairs.append(Pair(lab, tmp_path / "pair", flavour, **options))  # type: ignore[arg-type]
        return pairs[-1]

    yield build
    for pair in pairs:
        pair.stop()
