"""Random histories of replication engines on a simulated cluster; BOLLARD_REPLICA_HISTORIES asks for more."""

import os
from pathlib import Path

import pytest

from bollard.sim.replica.history import run_history

COUNT = int(os.environ.get("BOLLARD_REPLICA_HISTORIES", "120"))
GROUP = 20
KEPT = sorted(
    (int(line.split()[0]), int(line.split()[1]))
    for line in (Path(__file__).parent / "kept_seeds.txt").read_text().splitlines()
    if line and not line.startswith("#")
)


@pytest.mark.parametrize("first", range(0, COUNT, GROUP))
def test_acknowledged_writes_survive_and_nodes_agree_again(first: int) -> None:
    acknowledged = promotions = 0
    for seed in range(1000 + first, 1000 + min(first + GROUP, COUNT)):
        report = run_history(seed, 30)
        acknowledged += report.acknowledged
        promotions += report.promotions
    assert acknowledged > 0
    assert promotions > 0


@pytest.mark.parametrize(("seed", "steps"), KEPT)
def test_seeds_that_failed_once(seed: int, steps: int) -> None:
    run_history(seed, steps)


def test_a_seed_repeats_itself() -> None:
    assert run_history(7, 30) == run_history(7, 30)
