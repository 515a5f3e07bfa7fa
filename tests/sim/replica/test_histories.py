"""Random histories of replication engines on a simulated cluster; BOLLARD_REPLICA_HISTORIES asks for more."""

import os
from pathlib import Path

import pytest

from bollard.sim.replica.history import run_history

COUNT = int(os.environ.get("BOLLARD_REPLICA_HISTORIES", "60"))
GROUP = 20
KEPT = [
    (int(words[0]), int(words[1]), words[2:] == ["disks"])
    for words in map(str.split, (Path(__file__).parent / "kept_seeds.txt").read_text().splitlines())
    if words and not words[0].startswith("#")
]


@pytest.mark.parametrize("disk_faults", [False, True], ids=["disks-live", "disks-fail"])
@pytest.mark.parametrize("first", range(0, COUNT, GROUP))
def test_acknowledged_writes_survive_and_nodes_agree_again(first: int, disk_faults: bool) -> None:
    acknowledged = promotions = 0
    for seed in range(1000 + first, 1000 + min(first + GROUP, COUNT)):
        report = run_history(seed, 30, disk_faults=disk_faults, short_way=seed % 2 == 1)
        acknowledged += report.acknowledged
        promotions += report.promotions
    assert acknowledged > 0
    assert promotions > 0


@pytest.mark.parametrize("short_way", [False, True], ids=["by-events", "short-way"])
@pytest.mark.parametrize(("seed", "steps", "disk_faults"), KEPT)
def test_seeds_that_failed_once(seed: int, steps: int, disk_faults: bool, short_way: bool) -> None:
    run_history(seed, steps, disk_faults=disk_faults, short_way=short_way)


def test_a_seed_repeats_itself() -> None:
    assert run_history(7, 30) == run_history(7, 30)
