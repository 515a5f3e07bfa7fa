"""Three copies: who survives a Primary, who syncs from whom, what is kept of a write until all have it."""

from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import QUORUM_MAJORITY, Options
from bollard.replica.protocol.model import Volume
from bollard.replica.protocol.states import DiskState, ReplState
from bollard.sim.replica.cluster import Cluster, SimNode

BLOCK = 4096


class World:
    """Three nodes with a disk each; writes of one block, known by its letter."""

    def __init__(self, *, al_extents: int = 64) -> None:
        options = Options(quorum=QUORUM_MAJORITY, ping_interval_s=2.0, al_extents=al_extents)
        self.cluster = Cluster(5, options, diskful=3, witnesses=0)
        self.errors: dict[int, int] = {}
        self.cluster.on_complete = lambda _node, done: self.errors.__setitem__(done.request, done.errno)
        self.requests = 0
        for node in self.cluster.nodes:
            self.cluster.start(node.node_id)
        assert self.cluster.run_until(lambda: self.good(0, 1, 2), 20.0)

    def volume(self, node: int) -> Volume:
        resource = self.cluster.nodes[node].resource
        assert resource is not None
        return resource.core.volumes[0]

    def good(self, *nodes: int) -> bool:
        """UpToDate, connected with each other and without a doubt."""
        return all(self._good(node, {*nodes} - {node}) for node in nodes)

    def _good(self, node: int, others: set[int]) -> bool:
        resource = self.cluster.nodes[node].resource
        if resource is None or resource.core.volumes[0].disk is not DiskState.UP_TO_DATE:
            return False
        devices = [resource.core.peers[other].devices[0] for other in others]
        return all(d.repl is ReplState.ESTABLISHED and not self.bits(node, d.peer.node_id) for d in devices)

    def bits(self, node: int, other: int) -> int:
        volume, resource = self.volume(node), self.cluster.nodes[node].resource
        assert resource is not None
        slot = resource.core.peers[other].devices[0].slot
        return volume.bitmap.count(slot) if volume.bitmap is not None and slot >= 0 else 0

    def promote(self, node: int) -> None:
        tag = self.cluster.command(node, e.Promote)
        assert self.cluster.run_until(lambda: tag in self.cluster.answers, 10.0)
        assert not self.cluster.answers[tag].number, self.cluster.answers[tag]

    def submit(self, node: int, block: int, letter: bytes) -> int:
        self.requests += 1
        write = e.Request(0, self.requests, e.Verb.WRITE, block * BLOCK, BLOCK, letter * BLOCK)
        self.cluster.deliver(node, write)
        return self.requests

    def write(self, node: int, block: int, letter: bytes) -> None:
        number = self.submit(node, block, letter)
        assert self.cluster.run_until(lambda: number in self.errors, 15.0), "no completion"
        assert not self.errors[number]

    def on_disk(self, node: int, block: int) -> bytes:
        disk = self.cluster.nodes[node].disk
        assert disk is not None
        return disk.read(block * BLOCK, 1)


def test_survivors_with_different_reach_are_made_equal_before_they_count() -> None:
    world = World()
    world.promote(0)
    world.write(0, 5, b"a")
    trusted: list[tuple[int, bytes, bytes]] = []

    def watch(node: SimNode) -> None:
        missed = node.resource is not None and not node.resource.core.peers[0].connected
        if missed and world.volume(node.node_id).disk is DiskState.UP_TO_DATE:
            trusted.append((node.node_id, world.on_disk(1, 5), world.on_disk(2, 5)))

    world.cluster.network.cut(0, 2, silent=True)
    world.submit(0, 5, b"b")
    assert world.cluster.run_until(lambda: world.on_disk(1, 5) == b"b", 1.0)
    assert world.on_disk(2, 5) == b"a"
    world.cluster.crash(0)
    assert world.cluster.run_until(lambda: world.volume(1).disk is not DiskState.UP_TO_DATE, 10.0)
    world.cluster.on_step = watch
    assert world.cluster.run_until(lambda: world.good(1, 2), 20.0)
    assert world.on_disk(2, 5) == b"b"
    # Only the one that is further may count before the other has all.
    assert {node for node, _, theirs in trusted if theirs != b"b"} <= {1}
    world.promote(2)


def test_equal_survivors_go_on_without_a_resync() -> None:
    world = World()
    world.promote(0)
    world.write(0, 5, b"a")
    world.cluster.run(1.0)
    seen: set[ReplState] = set()

    def watch(node: SimNode) -> None:
        if node.resource is not None:
            seen.update(peer.devices[0].repl for peer in node.resource.core.peers.values())

    world.cluster.on_step = watch
    world.cluster.crash(0)
    world.cluster.run(5.0)
    assert world.good(1, 2)
    assert seen <= {ReplState.ESTABLISHED, ReplState.OFF}


def test_what_all_have_is_neither_marked_nor_held() -> None:
    world = World()
    world.promote(0)
    for block in range(20):
        world.write(0, block, b"a")
    world.cluster.run(1.0)
    for node in (1, 2):
        resource = world.cluster.nodes[node].resource
        assert resource is not None
        assert not resource.core.peers[0].unconfirmed
        assert not any(world.bits(node, other) for other in range(3) if other != node)


def test_a_small_log_is_relieved_by_the_bitmap() -> None:
    world = World(al_extents=2)
    world.promote(0)
    for block in range(0, 4096, 512):
        world.write(0, block, b"a")
    world.cluster.run(1.0)
    world.cluster.crash(0)
    assert world.cluster.run_until(lambda: world.good(1, 2), 20.0)
    assert {world.on_disk(node, 3584) for node in (1, 2)} == {b"a"}


def test_a_node_syncs_from_one_source_at_a_time() -> None:
    world = World()
    world.promote(0)
    world.cluster.crash(2)
    world.cluster.run(5.0)
    for block in range(0, 4000, 100):
        world.write(0, block, b"b")
    tag = world.cluster.command(0, e.Demote)
    assert world.cluster.run_until(lambda: tag in world.cluster.answers, 5.0)
    most = 0

    def watch(node: SimNode) -> None:
        nonlocal most
        if node.node_id == 2 and node.resource is not None:
            repls = [peer.devices[0].repl for peer in node.resource.core.peers.values()]
            most = max(most, sum(repl in (ReplState.WF_BITMAP_T, ReplState.SYNC_TARGET) for repl in repls))

    world.cluster.on_step = watch
    world.cluster.start(2)
    assert world.cluster.run_until(lambda: world.good(0, 1, 2), 30.0)
    assert most == 1
    assert world.on_disk(2, 3900) == b"b"


def test_no_resync_from_a_secondary_while_a_primary_writes_past_it() -> None:
    world = World()
    world.promote(0)
    world.cluster.network.cut(0, 2, silent=False)
    world.cluster.run(3.0)
    world.write(0, 5, b"b")
    world.cluster.run(3.0)
    assert world.volume(2).disk is DiskState.OUTDATED
    assert world.bits(1, 2) > 0
    world.cluster.network.heal(0, 2)
    assert world.cluster.run_until(lambda: world.good(0, 1, 2), 30.0)
    assert world.on_disk(2, 5) == b"b"
