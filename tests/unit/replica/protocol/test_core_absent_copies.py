"""Copies that are away while others are written: whoever brings them up to date knows what they lack."""

from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import QUORUM_MAJORITY, Options
from bollard.replica.protocol.states import DiskState
from bollard.sim.replica.cluster import Cluster

BLOCK = 4096


class World:
    """A cluster; writes of one block, known by its letter."""

    def __init__(self, *, diskful: int, witnesses: int) -> None:
        options = Options(quorum=QUORUM_MAJORITY, ping_interval_s=2.0, al_extents=3)
        self.cluster = Cluster(1, options, diskful=diskful, witnesses=witnesses)
        self.errors: dict[int, int] = {}
        self.cluster.on_complete = lambda _node, done: self.errors.__setitem__(done.request, done.errno)
        self.requests = 0
        for node in self.cluster.nodes:
            self.cluster.start(node.node_id)
        self.cluster.run(3.0)

    def promote(self, node: int) -> None:
        tag = self.cluster.command(node, e.Promote)
        assert self.cluster.run_until(lambda: tag in self.cluster.answers, 10.0)
        assert not self.cluster.answers[tag].number, self.cluster.answers[tag]

    def write(self, node: int, block: int, letter: bytes) -> None:
        self.requests += 1
        number = self.requests
        event = e.Request(0, number, e.Verb.WRITE, block * BLOCK, BLOCK, letter * BLOCK)
        self.cluster.deliver(node, event)
        assert self.cluster.run_until(lambda: number in self.errors, 15.0), "no completion"
        assert not self.errors[number]

    def disk(self, node: int) -> DiskState:
        resource = self.cluster.nodes[node].resource
        assert resource is not None
        return resource.core.volumes[0].disk

    def up_to_date(self, *nodes: int) -> bool:
        return all(self.disk(node) is DiskState.UP_TO_DATE for node in nodes)

    def on_disk(self, node: int, block: int) -> bytes:
        disk = self.cluster.nodes[node].disk
        assert disk is not None
        return disk.read(block * BLOCK, 1)


def test_a_copy_notes_what_an_absent_one_misses_of_a_primary_without_a_disk() -> None:
    world = World(diskful=2, witnesses=1)
    world.promote(2)
    world.cluster.crash(1)
    world.cluster.run(5.0)
    world.write(2, 5, b"b")
    world.cluster.start(1)
    assert world.cluster.run_until(lambda: world.up_to_date(0, 1), 20.0)
    assert world.on_disk(1, 5) == b"b"


def test_a_surviving_copy_notes_what_a_third_one_missed_of_a_primary_that_died() -> None:
    world = World(diskful=3, witnesses=0)
    world.promote(0)
    world.cluster.crash(2)
    world.cluster.run(5.0)
    world.write(0, 5, b"b")
    world.cluster.run(1.0)
    world.cluster.crash(0)
    world.cluster.run(5.0)
    world.cluster.start(2)
    assert world.cluster.run_until(lambda: world.up_to_date(1, 2), 20.0)
    assert world.on_disk(2, 5) == b"b"


def test_what_a_crashed_primary_alone_had_parts_it_from_copies_that_are_away() -> None:
    world = World(diskful=3, witnesses=0)
    world.promote(0)
    for other in (1, 2):
        world.cluster.network.cut(0, other, silent=True)
    # Unanswered, but on one platter when the power fails everywhere.
    world.cluster.deliver(0, e.Request(0, 99, e.Verb.WRITE, 5 * BLOCK, BLOCK, b"b" * BLOCK, fua=True))
    world.cluster.run(0.1)
    for node in (0, 1, 2):
        world.cluster.crash(node)
    for other in (1, 2):
        world.cluster.network.heal(0, other)
    world.cluster.start(0)
    world.cluster.start(1)
    assert world.cluster.run_until(lambda: world.up_to_date(0, 1), 20.0)
    assert world.on_disk(1, 5) == b"b"
    world.cluster.crash(0)
    world.cluster.run(5.0)
    world.cluster.start(2)
    assert world.cluster.run_until(lambda: world.up_to_date(1, 2), 20.0)
    assert world.on_disk(2, 5) == b"b"
