"""Seeded histories on real processes: random writes, kills and Primaries, then all must be right."""

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bollard.client.nbd import NbdClient
from replica_cluster import BLOCK, MIB, Cluster, pattern

SIZE_BYTES = 16 * MIB
BLOCKS = SIZE_BYTES // BLOCK


class Ledger:
    """What each block may read as: the last acknowledged generation, or one that was sent after it."""

    def __init__(self) -> None:
        self.acked: dict[int, int] = {}
        self.sent: dict[int, set[int]] = {}

    def wrote(self, number: int, generation: int, *, acknowledged: bool) -> None:
        if acknowledged:
            self.acked[number] = generation
            self.sent.pop(number, None)
        else:
            self.sent.setdefault(number, set()).add(generation)

    def check(self, number: int, found: bytes) -> None:
        last = self.acked.get(number)
        allowed = {bytes(BLOCK) if last is None else pattern(number, last)}
        allowed |= {pattern(number, generation) for generation in self.sent.get(number, ())}
        assert found in allowed, f"block {number}: {found[:16].hex()} after generation {last}"
        for generation in self.sent.pop(number, set()):
            # A value that was read once stays.
            if found == pattern(number, generation):
                self.acked[number] = generation


@pytest.fixture(params=[(2, 1), (3, 0)], ids=["two-and-a-tiebreaker", "three"])
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    diskful, diskless = request.param
    options = {"quorum": "majority", "on-no-quorum": "io-error"}
    made = Cluster(tmp_path, diskful=diskful, diskless=diskless, size_bytes=SIZE_BYTES, options=options)
    yield made
    made.stop()
    print(made.logs())  # noqa: T201  shown when the test fails


def write_until_killed(
    client: NbdClient, ledger: Ledger, dice: random.Random, generation: int, kill: Callable[[], None]
) -> None:
    numbers = dice.sample(range(BLOCKS), dice.randrange(50, 400))
    moment = dice.randrange(len(numbers))
    acked: set[int] = set()
    writing = client.write_many(
        ((number * BLOCK, pattern(number, generation)) for number in numbers), depth=dice.choice([1, 8, 32])
    )
    with contextlib.suppress(OSError):
        for offset in writing:
            acked.add(offset // BLOCK)
            if len(acked) == moment:
                kill()
    for number in numbers:
        ledger.wrote(number, generation, acknowledged=number in acked)
    kill()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_no_acknowledged_block_is_lost_and_all_copies_end_equal(cluster: Cluster, seed: int) -> None:
    dice = random.Random(seed)
    ledger = Ledger()
    cluster.start()
    generation = 0
    for _ in range(6):
        primary = dice.randrange(cluster.diskful)
        victim = dice.choice([None, 0, 1, 2])
        generation += 1
        client = cluster.open(primary, timeout_s=20)
        for number in dice.sample(range(BLOCKS), 200):
            ledger.check(number, client.read(number * BLOCK, BLOCK))
        kill = cluster.nodes[victim].kill if victim is not None else lambda: None
        write_until_killed(client, ledger, dice, generation, kill)
        client.abort()
        if victim is None:
            continue
        generation += 1
        survivor = dice.choice([node for node in range(cluster.diskful) if node != victim])
        with cluster.open(survivor, timeout_s=20) as other:
            for number in dice.sample(range(BLOCKS), 50):
                other.write(number * BLOCK, pattern(number, generation))
                ledger.wrote(number, generation, acknowledged=True)
        cluster.nodes[victim].start()
        cluster.settled(timeout_s=60)
    cluster.settled(timeout_s=60)
    for node in cluster.nodes:
        assert node.terminate() == 0
    copies = [cluster.data(number) for number in range(cluster.diskful)]
    assert all(copy == copies[0] for copy in copies[1:])
    for number in range(BLOCKS):
        ledger.check(number, copies[0][number * BLOCK : (number + 1) * BLOCK])
