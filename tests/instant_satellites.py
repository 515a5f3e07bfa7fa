"""Satellites that carry out every target at once and say so: for tests of what stands above them."""

import asyncio
from collections.abc import Callable, Sequence

from bollard.controller.service import Service
from bollard.controller.wish import Touched
from bollard.domain.cluster import Change
from bollard.domain.commands import Tick
from bollard.domain.ids import Key, key_of
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.nodes import Node
from bollard.domain.resources import DiskKind
from bollard.domain.seen import (
    Capabilities,
    Observation,
    Problem,
    SeenPeer,
    SeenPeerVolume,
    SeenPool,
    SeenResource,
    SeenSnapshot,
    SeenVolume,
)
from bollard.domain.targets import TargetPool, TargetResource, TargetVolume
from bollard.planning.targets import target_for

POOL_KIB = 30 * 1024 * 1024
ABLE = Capabilities(
    version="1",
    uname="",
    providers=(ProviderKind.DISKLESS, ProviderKind.FILE, ProviderKind.FILE_THIN),
    layers=(LayerKind.DRBD, LayerKind.LUKS, LayerKind.STORAGE),
    platform="LINUX",
    digests=("sha512", "sha256", "crc32c"),
    os_variant="Debian GNU/Linux 12 (bookworm)",
)
FOLDERS = ("StorDriver/StorPoolName", "StorDriver/FileDir")


class InstantSatellites:
    """The Links of a service whose satellites answer at once.

    `there`: whether a satellite answers for a node; `folder_exists`: whether the folder of a pool is there;
    `space_kib`: free and total space of the pools of a node.
    """

    def __init__(
        self,
        there: Callable[[Node], bool] = lambda node: True,
        folder_exists: Callable[[str], bool] = lambda path: True,
        space_kib: Callable[[str], tuple[int, int]] = lambda node: (POOL_KIB, POOL_KIB),
    ) -> None:
        self.service: Service | None = None
        self.answers: dict[str, str] = {
            "device-pool": '{"error":"There is no such device"}',
            "config": '{"level":"INFO","bind":"::","port":3366,"folder":"/etc/bollard"}',
        }
        """What every node answers to a query, by topic."""
        self.in_use: set[tuple[Key, Key]] = set()
        self.pause: asyncio.Event | None = None
        """Nothing is answered before it is set."""
        self.held_up = asyncio.Event()
        """Set when there is something to answer meanwhile."""
        self._there = there
        self._folder_exists = folder_exists
        self._space_kib = space_kib
        self._online: set[Key] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def committed(self, changes: Sequence[Change], touched: Touched) -> None:
        """See Links."""
        self._soon({node for node, _ in touched})

    def reconnect(self, node: str) -> None:
        """Nothing stands between it and its nodes."""

    def resend(self) -> None:
        """See Links."""
        assert self.service is not None
        self._soon(set(self.service.cluster.nodes))

    async def ask(self, node: str, topic: str, arguments: dict[str, str]) -> str:
        """See Links."""
        return self.answers.get(topic, "[]")

    def use(self, resource: str, node: str, *, in_use: bool) -> None:
        """Somebody opens or closes a resource on a node."""
        place = (key_of(node), key_of(resource))
        (self.in_use.add if in_use else self.in_use.discard)(place)

    async def settle(self) -> None:
        """Until every node has said what it has to say."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def quiet(self) -> None:
        """Until every node has answered, and the automatics have done what follows from that."""
        assert self.service is not None
        revision = -1
        while revision != self.service.cluster.revision:
            revision = self.service.cluster.revision
            await self.settle()
            await self.service.submit(Tick())

    def poke(self, node: str) -> None:
        """Let a node look again."""
        self._soon({key_of(node)})

    def _soon(self, nodes: set[Key]) -> None:
        assert self.service is not None
        more = {key for key in self.service.cluster.nodes if key not in self._online}
        task = asyncio.get_running_loop().create_task(self._answer(sorted(nodes | more)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, nodes: list[Key]) -> None:
        assert self.service is not None
        await asyncio.sleep(0)
        if self.pause is not None:
            self.held_up.set()
            await self.pause.wait()
        for key in nodes:
            node = self.service.cluster.nodes.get(key)
            if node is None or not node.holds_storage:
                self._online.discard(key)
                continue
            if self._answers_for_another(node):
                self.service.node_status(node.name, "DUPLICATE_UNAME", "It answers for another node")
                continue
            if node.link() is None or not self._there(node):
                self._online.discard(key)
                self.service.node_status(node.name, "OFFLINE", "Connection refused")
                continue
            if key not in self._online or not self.service.observed.node(node.name).online:
                self._online.add(key)
                able = Capabilities(**{**as_dict(ABLE), "uname": node.name})
                self.service.node_status(node.name, "ONLINE", "", able)
            await self.service.take(self._look(node))

    def _answers_for_another(self, node: Node) -> bool:
        """Whether a node that was registered before has the same address."""
        assert self.service is not None
        mine = node.link()
        others = (one for one in self.service.cluster.nodes.values() if one.uuid < node.uuid)
        return mine is not None and any(
            (link := one.link()) is not None and link.address == mine.address for one in others
        )

    def _look(self, node: Node) -> Observation:
        assert self.service is not None
        target = target_for(node.name, self.service.cluster, self.service.vault)
        return Observation(
            node=node.name,
            complete=True,
            revision=target.revision,
            pools=tuple(self._pool(node, pool) for pool in target.pools),
            resources=tuple(self.seen(node, each, target.revision) for each in target.resources),
            removed=tuple(stone.resource_uuid for stone in target.tombstones),
        )

    def _pool(self, node: Node, pool: TargetPool) -> SeenPool:
        folder = next((pool.props[key] for key in FOLDERS if key in pool.props), "")
        if pool.provider is ProviderKind.DISKLESS or self._folder_exists(folder):
            room = self._space_kib(node.name)
            return SeenPool(
                pool.name, pool.uuid, *room, supports_snapshots=True, min_io_bytes=512, discard_bytes=4096
            )
        problem = Problem(f"The folder '{folder}' is not there", code="pool-missing")
        return SeenPool(pool.name, pool.uuid, problem=problem)

    def seen(self, node: Node, target: TargetResource, revision: int) -> SeenResource:
        """What a node reports that has carried out this target."""
        used = (node.key, key_of(target.name)) in self.in_use
        peers = target.replication.peers if target.replication is not None and target.active else ()
        return SeenResource(
            name=target.name,
            uuid=target.uuid,
            revision=revision,
            settled=True,
            role="Primary" if used else "Secondary",
            in_use=used,
            may_promote=not used,
            snapshot=SeenSnapshot(target.snapshot.uuid, target.snapshot.stage) if target.snapshot else None,
            volumes=tuple(_volume(target, volume) for volume in target.volumes) if target.active else (),
            peers=tuple(
                SeenPeer(
                    node=peer.node,
                    connection="Connected",
                    role="Secondary",
                    volumes=tuple(
                        SeenPeerVolume(
                            volume.number, "Established", "Diskless" if peer.diskless else "UpToDate"
                        )
                        for volume in target.volumes
                    ),
                )
                for peer in peers
            ),
        )


def _volume(target: TargetResource, volume: TargetVolume) -> SeenVolume:
    replicated = target.replication is not None
    diskful = target.disk is DiskKind.DISKFUL and volume.gross_kib is not None
    return SeenVolume(
        number=volume.number,
        device_path=f"/dev/drbd{volume.minor}" if replicated else f"/dev/loop{volume.number}",
        backing_path=f"/dev/loop{volume.number}" if replicated and diskful else "",
        size_kib=volume.size_kib,
        allocated_kib=8 if diskful else 0,
        disk_state=("UpToDate" if diskful else "Diskless") if replicated else "Created",
    )


def as_dict(able: Capabilities) -> dict[str, object]:
    """The fields of capabilities by name."""
    return {name: getattr(able, name) for name in able.__struct_fields__}
