"""Random histories of replication engines on a simulated cluster; BOLLARD_REPLICA_HISTORIES asks for more."""

import os
from pathlib import Path

import pytest

from bollard.sim.replica.history import run_history
from seeds import BASE

COUNT = int(os.environ.get("BOLLARD_REPLICA_HISTORIES", "60"))
GROUP = 20
LINES = [
    words
    for words in map(str.split, (Path(__file__).parent / "kept_seeds.txt").read_text().splitlines())
    if words and not words[0].startswith("#")
]
KEPT = [(int(words[0]), int(words[1]), "disks" in words) for words in LINES if "nodes" not in words[-1]]
KEPT_WIDER = [
    (
        int(words[0]),
        int(words[1]),
        *map(int, words[-1].removeprefix("nodes=").split("+")),
        "disks" in words,
        "short" in words,
    )
    for words in LINES
    if "nodes" in words[-1]
]
WIDER = [(3, 0, COUNT // 2), (3, 1, COUNT // 6), (4, 0, COUNT // 10)]
"""Disks, nodes without one, histories: they cost a second each."""


@pytest.mark.parametrize("disk_faults", [False, True], ids=["disks-live", "disks-fail"])
@pytest.mark.parametrize("first", range(0, COUNT, GROUP))
def test_acknowledged_writes_survive_and_nodes_agree_again(first: int, disk_faults: bool) -> None:
    acknowledged = promotions = 0
    for seed in range(BASE + first, BASE + min(first + GROUP, COUNT)):
        report = run_history(seed, 30, disk_faults=disk_faults, short_way=seed % 2 == 1)
        acknowledged += report.acknowledged
        promotions += report.promotions
    assert acknowledged > 0
    assert promotions > 0


@pytest.mark.parametrize("first", range(0, COUNT // 4, GROUP))
def test_single_blocks_that_fail_are_passed_on_and_made_good(first: int) -> None:
    acknowledged = 0
    for seed in range(7000 + first, 7000 + min(first + GROUP, COUNT // 4)):
        acknowledged += run_history(seed, 30, bad_blocks=True, short_way=seed % 2 == 1).acknowledged
    assert acknowledged > 0


@pytest.mark.parametrize("first", range(0, COUNT // 5, GROUP))
def test_metadata_on_disks_of_its_own_survives_as_well(first: int) -> None:
    acknowledged = 0
    for seed in range(8000 + first, 8000 + min(first + GROUP, COUNT // 5)):
        faults = seed % 3 == 0
        report = run_history(seed, 30, external=True, disk_faults=faults, short_way=seed % 2 == 1)
        acknowledged += report.acknowledged
    assert acknowledged > 0


def test_zeroes_that_are_named_and_not_sent_arrive_as_well() -> None:
    options = {"rs_discard_granularity_bytes": 8192, "csums_after_crash_only": True}
    assert sum(run_history(seed, 30, options=options).resynced_bytes for seed in range(9000, 9006)) > 0


@pytest.mark.parametrize("short_way", [False, True], ids=["by-events", "short-way"])
@pytest.mark.parametrize(("seed", "steps", "disk_faults"), KEPT)
def test_seeds_that_failed_once(seed: int, steps: int, disk_faults: bool, short_way: bool) -> None:
    run_history(seed, steps, disk_faults=disk_faults, short_way=short_way)


@pytest.mark.parametrize(
    ("diskful", "witnesses", "first", "count"),
    [
        (diskful, witnesses, first, min(10, count - first))
        for diskful, witnesses, count in WIDER
        for first in range(0, count, 10)
    ],
)
def test_more_copies_survive_what_they_promise_and_agree_again(
    diskful: int, witnesses: int, first: int, count: int
) -> None:
    acknowledged = 0
    for seed in range(BASE + 2000 + first, BASE + 2000 + first + count):
        short_way = seed % 2 == 1
        report = run_history(seed, 30, diskful=diskful, witnesses=witnesses, short_way=short_way)
        acknowledged += report.acknowledged
    assert acknowledged > 0


@pytest.mark.parametrize(("seed", "steps", "diskful", "witnesses", "disk_faults", "short_way"), KEPT_WIDER)
def test_seeds_of_more_copies_that_failed_once(
    seed: int, steps: int, diskful: int, witnesses: int, *, disk_faults: bool, short_way: bool
) -> None:
    run_history(
        seed,
        steps,
        diskful=diskful,
        witnesses=witnesses,
        disk_faults=disk_faults,
        short_way=short_way,
    )


def test_a_seed_repeats_itself() -> None:
    assert run_history(7, 30) == run_history(7, 30)
