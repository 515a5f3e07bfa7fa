"""Volumes that come and go while three nodes are connected and one of them writes."""

from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import VolumeConfig
from unit.replica.protocol.test_core_survivors import World

NODES = (0, 1, 2)


def numbers(world: World) -> list[set[int]]:
    """The volumes that each node knows of each of its peers."""
    resources = [node.resource for node in world.cluster.nodes]
    return [
        set(peer.devices)
        for resource in resources
        if resource is not None
        for peer in resource.core.peers.values()
    ]


def test_a_second_volume_is_added_and_removed_under_a_writer() -> None:
    world = World()
    world.promote(0)
    world.write(0, 1, b"a")
    config = VolumeConfig(number=1, minor=2, size_bytes=1 << 20, diskless=True)
    waiting = []
    for node in NODES:
        waiting.append(world.submit(0, 2 + node, b"b"))
        world.cluster.deliver(node, e.AddVolume(config))
        world.cluster.run(0.2)
    assert world.cluster.run_until(lambda: world.errors.keys() >= set(waiting), 30.0)
    assert numbers(world) == [{0, 1}] * 6
    assert world.cluster.run_until(lambda: world.good(*NODES), 30.0)
    for node in NODES:
        waiting.append(world.submit(0, 8 + node, b"c"))
        world.cluster.deliver(node, e.RemoveVolume(1))
        world.cluster.run(0.2)
    assert world.cluster.run_until(lambda: world.errors.keys() >= set(waiting), 30.0)
    assert numbers(world) == [{0}] * 6
    assert world.cluster.run_until(lambda: world.good(*NODES), 30.0)
    world.write(0, 20, b"d")
    assert set(world.errors.values()) == {0}, "no write failed for lack of peers"
