"""Growth of a volume in use, with a power loss of one node at every step of it."""

from collections.abc import Callable

import pytest

from bollard.replica.metadata import layout
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import QUORUM_MAJORITY, Options
from bollard.replica.protocol.states import DiskState, ReplState
from bollard.sim.replica.cluster import MAX_PEERS, Cluster, SimNode
from bollard.sim.replica.disk import meta_bytes

BLOCK = 4096
OLD = 16 << 20
OPTIONS = Options(quorum=QUORUM_MAJORITY, ping_interval_s=2.0, twopc_timeout_s=5.0, al_extents=3)
GROWTHS = [8 << 10, 64 << 10, 9 << 20]
STEPS = range(10, 34, 2)


class Grown:
    """A cluster whose node 0 writes and grows while `victim` loses power after `steps` of its steps."""

    def __init__(self, growth: int, victim: int, steps: int, *, external: bool = False) -> None:
        seed = steps * 7 + victim
        self.cluster = cluster = Cluster(seed, OPTIONS, volume_bytes=OLD, external=external)
        first = cluster.nodes[0].disk
        assert first is not None
        self.device_bytes = self.meta_bytes = first.size_bytes + growth
        if external:
            self.size = self.device_bytes
            self.meta_bytes = meta_bytes(self.size, MAX_PEERS)
        else:
            place = layout.internal(self.device_bytes, layout.Geometry(max_peers=MAX_PEERS))
            self.size = place.usable_bytes
        self.left, self.victim = steps, victim
        self.written: dict[int, int] = {}
        self.acked: dict[int, int] = {}
        self.requests: dict[int, tuple[int, int]] = {}
        cluster.on_complete = self.completed
        for node in cluster.nodes:
            cluster.start(node.node_id)
        self.until(self.settled)
        tag = cluster.command(0, e.Promote)
        self.until(lambda: cluster.answers[tag].code is a.Code.OK if tag in cluster.answers else False)

    def until(self, condition: Callable[[], bool]) -> None:
        assert self.cluster.run_until(condition, 60.0), "\n".join(self.cluster.trace[-20:])

    def settled(self) -> bool:
        for node in self.cluster.nodes:
            if node.resource is None:
                return False
            core = node.resource.core
            if node.disk is not None and core.volumes[0].disk != DiskState.UP_TO_DATE:
                return False
            if any(
                not p.connected or p.devices[0].repl != ReplState.ESTABLISHED for p in core.peers.values()
            ):
                return False
        return True

    def completed(self, _node: int, action: a.Complete) -> None:
        block, generation = self.requests.pop(action.request)
        if not action.errno:
            self.acked[block] = max(self.acked.get(block, 0), generation)

    def write(self, block: int) -> None:
        if self.cluster.alive(0) and not any(busy == block for busy, _ in self.requests.values()):
            generation = self.written.get(block, 0) + 1
            self.written[block] = generation
            number = len(self.written) + sum(self.written.values())
            self.requests[number] = block, generation
            data = (block.to_bytes(8) + generation.to_bytes(8)) * (BLOCK // 16)
            self.cluster.deliver(0, e.Request(0, number, e.Verb.WRITE, block * BLOCK, BLOCK, data))

    def writes(self) -> None:
        """In the first extent, in the last one, and beyond the old end once that may be."""
        resource = self.cluster.nodes[0].resource
        if resource is not None:
            last = resource.size_bytes(0) // BLOCK
            for block in {1, 2000, 3000, last - 1, last - 2, OLD // BLOCK, last - 20}:
                if block < last:
                    self.write(block)

    def grow(self) -> None:
        cluster = self.cluster
        for node in cluster.nodes:
            if node.disk is not None:
                node.disk.size_bytes = self.device_bytes
                if node.meta is not None:
                    node.meta.size_bytes = self.meta_bytes
                cluster.deliver(node.node_id, e.BackingResized(0, self.device_bytes, self.meta_bytes))
        cluster.on_step = self.count
        cluster.command(0, lambda tag: e.Resize(tag, 0, self.size))
        for _ in range(20):
            self.writes()
            cluster.run(0.005)
        cluster.on_step = lambda _node: None
        if cluster.alive(self.victim):
            cluster.crash(self.victim)

    def count(self, node: SimNode) -> None:
        if node.node_id == self.victim:
            self.left -= 1
            if self.left == 0:
                self.cluster.at(0.0, lambda: self.cluster.crash(self.victim))

    def finish(self) -> None:
        """The victim is back; who did not grow is asked again."""
        cluster = self.cluster
        cluster.run(1.0)
        cluster.start(self.victim)
        self.until(self.settled)
        cluster.command(1, lambda tag: e.Resize(tag, 0, self.size))
        self.until(
            lambda: all(
                n.resource is not None and n.resource.size_bytes(0) == self.size for n in cluster.nodes
            )
        )
        cluster.run(2.0)
        assert self.settled()


@pytest.mark.parametrize(
    ("growth", "external"),
    [*((growth, False) for growth in GROWTHS), (64 << 10, True), (900 << 20, True)],
)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_crash_in_the_midst_loses_nothing(growth: int, external: bool, victim: int) -> None:
    for steps in STEPS[::3] if external else STEPS:
        run = Grown(growth, victim, steps, external=external)
        run.writes()
        run.cluster.run(0.5)
        run.grow()
        run.finish()
        disks = [node.disk for node in run.cluster.nodes if node.disk is not None]
        touched = {number for disk in disks for number in (*disk.durable, *disk.cache)}
        for number in sorted(number for number in touched if number < run.size // BLOCK):
            one, other = (disk.read(number * BLOCK, BLOCK) for disk in disks)
            where = f"growth {growth}, victim {victim}, {steps} steps, block {number}"
            assert one == other, where
            generation = int.from_bytes(one[8:16])
            assert run.acked.get(number, 0) <= generation <= run.written.get(number, 0), where
            assert one == bytes(BLOCK) or int.from_bytes(one[:8]) == number, where
