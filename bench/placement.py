"""Deciding: one spawn among 10 000 resources, and placing three replicas on 100 and 1 000 nodes."""

import statistics
import sys
import time
from collections.abc import Callable

from bollard.domain.cluster import Cluster, Put
from bollard.domain.commands import SpawnResource
from bollard.domain.ids import DISKLESS_POOL, NetIfName, NodeName, Uuid, key_of
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.nodes import Encryption, NetInterface, Node, StoragePool
from bollard.domain.observed import Observed
from bollard.domain.seen import Capabilities, SeenPool
from bollard.planning.assess import assess
from bollard.planning.bootstrap import initial_records
from bollard.planning.decide import decide
from bollard.planning.placement import Request, place
from bollard.planning.world import World
from bollard.runtime.clock import RealDraw

GIB = 1024 * 1024
LAYERS = (LayerKind.DRBD, LayerKind.STORAGE)
CAPABLE = Capabilities("bench", providers=(ProviderKind.FILE_THIN,), layers=LAYERS)


def town(nodes: int) -> World:
    """A world of nodes that are online, each with a thin pool."""
    draw = RealDraw()
    cluster, observed = Cluster(initial_records(draw)), Observed()
    for number in range(nodes):
        name = NodeName(f"n{number}")
        address = f"10.0.{number // 250}.{number % 250 + 1}"
        net_if = NetInterface(NetIfName("default"), address, draw.uuid(), 3366, Encryption.PLAIN)
        thin = StoragePool(name, "thin", draw.uuid(), ProviderKind.FILE_THIN)
        none = StoragePool(name, DISKLESS_POOL, draw.uuid(), ProviderKind.DISKLESS)
        node = Node(name, draw.uuid(), net_interfaces=(net_if,), active_net_if=net_if.name)
        cluster.apply((Put(node), Put(thin), Put(none)))
        seen = observed.node(name)
        seen.status, seen.capabilities = "ONLINE", CAPABLE
        space = 1000 * GIB - number % 97
        seen.pools[key_of("thin")] = SeenPool("thin", Uuid(thin.uuid), space, space)
    return World(cluster, observed, 0, draw)


def spawn(world: World, number: int) -> None:
    command = SpawnResource(group="DfltRscGrp", name=f"vol{number}", sizes_kib=(10240,))
    world.cluster.apply(decide(command, world).changes)


def times_ms(action: Callable[[], object], rounds: int) -> list[float]:
    """CPU time of each call: other programs of the machine do not count."""
    found = []
    for _ in range(rounds):
        started = time.process_time()
        action()
        found.append((time.process_time() - started) * 1000)
    return sorted(found)


def row(name: str, taken: list[float]) -> str:
    middle, high = statistics.median(taken), taken[int(len(taken) * 0.99)]
    return f"{name:<44} {statistics.mean(taken):>9.3f} {middle:>9.3f} {high:>9.3f}"


def main() -> int:
    print(f"{'CPU ms':<44} {'mean':>9} {'median':>9} {'p99':>9}")
    for nodes in (30, 100):
        world = town(nodes)
        for number in range(10_000 // 3):
            spawn(world, number)
        count = len(world.cluster.resources)
        one_more = SpawnResource(group="DfltRscGrp", name="one-more", sizes_kib=(10240,))
        taken = times_ms(lambda world=world, command=one_more: decide(command, world), 300)
        print(row(f"decide a spawn, {count} resources, {nodes} nodes", taken))
        named = times_ms(lambda world=world: assess(world, ("vol1",)), 300)
        print(row(f"assess one definition, {count} resources", named))
        whole = times_ms(lambda world=world: assess(world), 3)
        print(row(f"assess all, {count} resources", whole))
    for nodes in (100, 1000):
        world = town(nodes)
        request = Request(name="vol", count=3, size_kib=10240, layers=LAYERS)
        taken = times_ms(lambda world=world, request=request: place(request, world), 50)
        print(row(f"place three replicas, {nodes} nodes", taken))
    return 0


if __name__ == "__main__":
    sys.exit(main())
