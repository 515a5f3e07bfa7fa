"""Two Primaries whose clients write to the same blocks at once; BOLLARD_REPLICA_HISTORIES asks for more."""

import os

import pytest

from bollard.sim.replica.two_writers import run_two_writers

COUNT = int(os.environ.get("BOLLARD_REPLICA_HISTORIES", "60")) // 2
GROUP = 10


@pytest.mark.parametrize("first", range(0, COUNT, GROUP))
def test_both_copies_are_the_same_and_hold_nothing_overwritten(first: int) -> None:
    seeds = range(first, min(first + GROUP, COUNT))
    assert sum(run_two_writers(seed, short_way=seed % 2 == 1) for seed in seeds) > 0
