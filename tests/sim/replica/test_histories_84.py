"""Seeded histories of two nodes that speak protocol 101: crashes, cuts, lost caches; no quorum tells who may.

So the client only moves while both copies are equal and connected, or back to the node that wrote last.
"""

import random

import msgspec
import pytest

from bollard.replica.protocol.config import Options
from bollard.replica.protocol.dialect import DRBD84
from bollard.sim.replica.history import History
from bollard.sim.replica.kind import Kind
from seeds import BASE

_SEEDS = 24
_STEPS = 60
_KEPT = (1001,)


class TwoNodes(History):
    """What a careful administrator does without quorum."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        options = Options(
            ping_interval_s=2.0,
            twopc_timeout_s=5.0,
            al_extents=dice.choice((2, 3, 64)),
            resync_request_bytes=dice.choice((4096, 1 << 16, 1 << 18)),
            max_epoch_size=dice.choice((4, 2048)),
            csums_after_crash_only=dice.random() < 0.5,
            max_version=DRBD84,
        )
        chosen = msgspec.structs.asdict(options)
        super().__init__(seed, Kind(witnesses=0, disk_faults=seed % 2 == 1, options=chosen))
        self.last: int | None = None

    def crash(self, node: int) -> None:
        """In 8.4 the copy of a Primary that crashed is given to the other one: with what its cache lost."""
        super().crash(node)
        if node == self.last:
            for other in self.cluster.nodes:
                other.crashes += other.node_id != node

    def move(self, node: int) -> None:
        together = self.healthy() and not self.cluster.network.cuts
        if node != self.last and self.last is not None and not together:
            return
        super().move(node)
        if self.session is not None:
            self.last = node


@pytest.mark.parametrize("seed", [*_KEPT, *range(BASE + 2000, BASE + 2000 + _SEEDS)])
def test_no_write_is_lost_and_the_copies_end_equal(seed: int) -> None:
    history = TwoNodes(seed)
    for node in history.cluster.nodes:
        history.boot(node.node_id)
    history.cluster.run(3.0)
    assert history.cluster.nodes[0].resource is not None
    for _ in range(_STEPS):
        history.step()
    history.settle()
    core = history.cluster.nodes[0].resource.core
    assert all(peer.dialect.version == DRBD84 for peer in core.peers.values())
