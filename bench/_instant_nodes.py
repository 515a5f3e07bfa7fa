"""Nodes that carry out at once what they are told, one resource at a time: for benches of what is above."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from bollard.controller.service import Service
from bollard.controller.wish import Touched
from bollard.domain.cluster import Change, Record
from bollard.domain.ids import DISKLESS_POOL, Key, NetIfName, NodeName, ResourceName, Uuid, key_of
from bollard.domain.layers import DEFAULT_STACK, LayerKind, ProviderKind
from bollard.domain.nodes import Encryption, NetInterface, Node, StoragePool, StoragePoolDefinition
from bollard.domain.resources import (
    Resource,
    ResourceDefinition,
    ResourceGroup,
    SelectFilter,
    VolumeDefinition,
    VolumeOnNode,
)
from bollard.domain.seen import Capabilities, Observation, SeenPool
from bollard.planning.bootstrap import initial_records
from bollard.planning.targets import target_for, target_resource
from instant_satellites import InstantSatellites
from rest_driver import CountingDraw

NODES = 10
ROOM_KIB = 1 << 40
PLAIN = (LayerKind.STORAGE,)
ABLE = Capabilities(
    "bench",
    providers=(ProviderKind.DISKLESS, ProviderKind.FILE_THIN),
    layers=DEFAULT_STACK,
    digests=("sha256",),
)


class InstantNodes:
    """The Links of a service: each commit is answered in the next round of the loop."""

    def __init__(self) -> None:
        self.service: Service | None = None
        self._looks = InstantSatellites()
        self._due: set[tuple[Key, Key | None]] = set()
        self._running: asyncio.Task[None] | None = None

    async def begin(self, service: Service) -> None:
        """Report all there is."""
        self.service = self._looks.service = service
        for node in list(service.cluster.nodes.values()):
            service.node_status(node.name, "ONLINE", "", ABLE)
            target = target_for(node.name, service.cluster)
            await service.take(
                Observation(
                    node.name,
                    complete=True,
                    revision=target.revision,
                    pools=tuple(SeenPool(it.name, it.uuid, ROOM_KIB, ROOM_KIB) for it in target.pools),
                    resources=tuple(self._looks.seen(node, it, target.revision) for it in target.resources),
                )
            )

    def committed(self, changes: Sequence[Change], touched: Touched) -> None:  # noqa: ARG002  # see Links
        """See Links."""
        self._due |= set(touched)
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        while self._due:
            due, self._due = self._due, set()
            nodes: dict[Key, list[Key]] = {}
            for node, definition in due:
                if definition is not None:
                    nodes.setdefault(node, []).append(definition)
            for key, names in nodes.items():
                assert self.service is not None
                node = self.service.cluster.nodes.get(key)
                if node is not None:
                    await self.service.take(self._look(node, names))
            await asyncio.sleep(0)

    def _look(self, node: Node, names: list[Key]) -> Observation:
        assert self.service is not None
        cluster = self.service.cluster
        there = [one for name in names if (one := cluster.resources.get(key_of(name, node.name))) is not None]
        return Observation(
            node.name,
            revision=cluster.revision,
            resources=tuple(
                self._looks.seen(node, target_resource(cluster, one), cluster.revision) for one in there
            ),
            removed=tuple(stone.resource_uuid for stone in cluster.tombstones_on(node.name)),
        )

    def resend(self) -> None:
        """See Links."""

    def reconnect(self, node: str) -> None:
        """See Links."""

    async def ask(self, node: str, topic: str, arguments: dict[str, str]) -> str:  # noqa: ARG002  # see Links
        """See Links."""
        return "[]"


def records(volumes: int, *, replicas: int) -> Iterator[Record]:
    """A cluster with a pool on each of its nodes, groups `plain` and `three`, and so many volumes."""
    draw = CountingDraw()
    yield from initial_records(draw)
    yield StoragePoolDefinition("thin", draw.uuid())
    yield ResourceGroup("plain", draw.uuid(), select_filter=SelectFilter(place_count=1, layer_stack=PLAIN))
    yield ResourceGroup("three", draw.uuid(), select_filter=SelectFilter(place_count=3))
    for number in range(NODES):
        net_if = NetInterface(
            NetIfName("default"), f"10.0.0.{number + 1}", draw.uuid(), 3366, Encryption.PLAIN
        )
        name = NodeName(f"node{number}")
        yield Node(name, draw.uuid(), net_interfaces=(net_if,), active_net_if=net_if.name)
        yield StoragePool(name, "thin", draw.uuid(), ProviderKind.FILE_THIN, {"StorDriver/FileDir": "/p"})
        yield StoragePool(name, DISKLESS_POOL, draw.uuid(), ProviderKind.DISKLESS)
    for number in range(volumes):
        yield from _volume(number, replicas, draw)


def _volume(number: int, replicas: int, draw: CountingDraw) -> Iterator[Record]:
    name = ResourceName(f"old{number:06d}")
    stack = PLAIN if replicas == 1 else DEFAULT_STACK
    drbd = replicas > 1
    volume = VolumeDefinition(
        0, draw.uuid(), 1 << 20, minor=1000 + number if drbd else None, initialized=True
    )
    yield ResourceDefinition(
        name, draw.uuid(), "plain" if replicas == 1 else "three", layer_stack=stack, volumes=(volume,)
    )
    for index in range(replicas):
        yield Resource(
            name,
            NodeName(f"node{(number + index) % NODES}"),
            Uuid(draw.uuid()),
            props={"StorPoolName": "thin"},
            layer_stack=stack,
            volumes=(VolumeOnNode(0, draw.uuid(), "thin"),),
            drbd_node_id=index if drbd else None,
            tcp_ports=(7000 + number,) if drbd else (),
            peer_slots=7 if drbd else None,
        )
