"""Block devices of served volumes, on simulated machines: made, used, closed, grown, lost and taken away."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import DEFAULT_STACK, LayerKind, ProviderKind
from bollard.domain.resources import DiskKind, Tombstone, VolumeOnNode
from bollard.domain.seen import SeenVolume
from bollard.domain.targets import (
    Target,
    TargetPeer,
    TargetPool,
    TargetReplication,
    TargetResource,
    TargetVolume,
)
from bollard.satellite.board import Board
from bollard.satellite.loop import Loop
from bollard.sim.clock import VirtualClock
from bollard.sim.engine import Mesh
from bollard.sim.host import POOL_FOLDER, SimMachine
from virtual_time import on_virtual_time

POOL = TargetPool("pool", Uuid("pool-uuid"), ProviderKind.FILE_THIN, {"StorDriver/StorPoolName": POOL_FOLDER})


def plain(size_kib: int = 1024) -> TargetResource:
    volume = TargetVolume(0, Uuid("v0"), size_kib, "pool", gross_kib=size_kib)
    return TargetResource(
        ResourceName("data"),
        Uuid("r1"),
        DiskKind.DISKFUL,
        layer_stack=(LayerKind.STORAGE,),
        volumes=(volume,),
    )


def replicated(mine: int, disk: DiskKind = DiskKind.DISKFUL) -> TargetResource:
    peers = tuple(
        TargetPeer(NodeName(f"n{other}"), other, f"10.0.0.{other}", 7000) for other in (0, 1) if other != mine
    )
    gross = 1100 if disk is DiskKind.DISKFUL else None
    volume = TargetVolume(
        0, Uuid("v0"), 1024, "pool", gross_kib=gross, minor=1007, current_gi="1234567890ABCDEF"
    )
    return TargetResource(
        ResourceName("data"),
        Uuid("r1"),
        disk,
        layer_stack=DEFAULT_STACK,
        volumes=(volume,),
        replication=TargetReplication(mine, f"10.0.0.{mine}", 7000, peers=peers),
    )


class Node:
    """A satellite's inner half on a simulated machine whose kernel can attach."""

    def __init__(self, mesh: Mesh, name: str = "n0", *, kernel: bool = True) -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        self.machine = SimMachine(name, mesh)
        if kernel:
            self.machine.can_attach()
        self.board = Board(NodeName(name))
        self.loop = Loop(self.machine.host(), self.board, clock)
        self.task = asyncio.create_task(self.loop.run())
        self.revision = 0

    @property
    def volume(self) -> SeenVolume | None:
        seen = self.board.resources.get("DATA")
        return seen.volumes[0] if seen is not None and seen.volumes else None

    @property
    def path(self) -> str:
        return self.volume.device_path if self.volume is not None else ""

    @property
    def role(self) -> str:
        seen = self.board.resources.get("DATA")
        return seen.role if seen is not None else ""

    def want(self, *resources: TargetResource, stones: tuple[Tombstone, ...] = ()) -> None:
        self.revision += 1
        node = NodeName(self.machine.node)
        self.loop.take_full(Target(node, Uuid("cluster"), self.revision, (POOL,), resources, stones))

    async def until(self, holds: Callable[[], bool], limit_s: float = 120.0) -> None:
        async with asyncio.timeout(limit_s):
            while not holds():  # noqa: ASYNC110  # a condition over several objects
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        assert self.loop.crashes == 0


def test_a_served_volume_is_a_device_named_by_its_minor_and_nbd_stays() -> None:
    async def body() -> None:
        mesh = Mesh()
        nodes = [Node(mesh, f"n{mine}") for mine in (0, 1)]
        for mine, node in enumerate(nodes):
            node.want(replicated(mine))
        for node in nodes:
            await node.until(lambda node=node: node.path.startswith("/dev/"))  # type: ignore[misc]
            assert node.path == "/dev/loop1007"
            assert node.volume is not None
            assert node.volume.nbd_uri == f"nbd+unix:///data/0?socket=/run/{node.machine.node}/nbd.sock"
            assert node.role == "Secondary", "a device by itself opens nothing"
            await node.stop()

    on_virtual_time(body)


def test_use_promotes_the_last_close_demotes_and_the_other_node_may_follow() -> None:
    async def body() -> None:
        mesh = Mesh()
        nodes = one, other = [Node(mesh, f"n{mine}") for mine in (0, 1)]
        for mine, node in enumerate(nodes):
            node.want(replicated(mine))
        for node in nodes:
            await node.until(lambda node=node: node.path.startswith("/dev/"))  # type: ignore[misc]
        here, there = one.machine.can_attach(), other.machine.can_attach()
        assert here.use(one.path, "ext4")
        await one.until(lambda: one.role == "Primary")
        assert not there.use(other.path, "ext4"), "the other node is Primary"
        there.leave(other.path, "ext4")
        await asyncio.sleep(30)
        assert one.role == "Primary", "it is still mounted"
        assert here.use(one.path, "dd")
        here.leave(one.path, "ext4")
        await asyncio.sleep(5)
        assert one.role == "Primary", "the second user is still there"
        here.leave(one.path, "dd")
        await one.until(lambda: one.role == "Secondary", 2.0)
        assert there.use(other.path, "ext4")
        for node in nodes:
            await node.stop()

    on_virtual_time(body)


def test_a_user_who_comes_back_at_once_keeps_it() -> None:
    async def body() -> None:
        node = Node(Mesh())
        node.want(plain())
        await node.until(lambda: node.path.startswith("/dev/"))
        devices = node.machine.can_attach()
        for _ in range(200):
            assert devices.use(node.path, "mkfs")
            devices.leave(node.path, "mkfs")
            await asyncio.sleep(0.09)
            assert node.role in {"Primary", "Secondary"}
        assert devices.use(node.path, "mount")
        await asyncio.sleep(5)
        assert node.role == "Primary"
        await node.stop()

    on_virtual_time(body)


def test_it_grows_with_its_volume() -> None:
    async def body() -> None:
        node = Node(Mesh())
        node.want(plain())
        await node.until(lambda: node.path.startswith("/dev/"))
        node.want(plain(2048))
        await node.until(lambda: node.volume is not None and node.volume.size_kib == 2048)
        (device,) = await node.machine.can_attach().seen()
        assert device.size_bytes == 2048 << 10
        await node.stop()

    on_virtual_time(body)


def test_a_used_device_keeps_its_resource_and_says_who_uses_it() -> None:
    async def body() -> None:
        node = Node(Mesh())
        data = plain()
        node.want(data)
        await node.until(lambda: node.path.startswith("/dev/"))
        path, devices = node.path, node.machine.can_attach()
        assert devices.use(path, "it is mounted on /mnt")
        stone = Tombstone(NodeName("n0"), data.name, data.uuid, (VolumeOnNode(0, Uuid("v0"), "pool"),))
        node.want(stones=(stone,))
        await node.until(lambda: node.board.resources["DATA"].problem is not None)
        problem = node.board.resources["DATA"].problem
        assert problem is not None
        assert problem.code == "busy"
        assert "it is mounted on /mnt" in problem.cause
        assert await devices.seen()
        devices.leave(path, "it is mounted on /mnt")
        await node.until(lambda: data.uuid in node.board.removed)
        assert not await devices.seen()
        await node.stop()

    on_virtual_time(body)


def test_what_a_dead_process_leaves_is_replaced_when_it_is_back() -> None:
    async def body() -> None:
        node = Node(Mesh())
        node.want(plain())
        await node.until(lambda: node.path.startswith("/dev/"))
        first, devices = node.path, node.machine.can_attach()
        assert devices.use(first, "ext4")
        node.machine.stop_engine()
        await node.until(lambda: not node.path.startswith("/dev/"))
        node.machine.start_engine()
        await node.until(lambda: node.path.startswith("/dev/"))
        assert node.path != first, "the old one is still mounted, and dead"
        assert not devices.use(first, "ext4")
        devices.leave(first, "ext4")
        assert [one.path for one in await devices.seen()] == [node.path]
        assert devices.use(node.path, "ext4")
        await node.stop()

    on_virtual_time(body)


def test_leftovers_that_nothing_names_are_cleared_away() -> None:
    async def body() -> None:
        node = Node(Mesh())
        data = plain()
        node.want(data)
        await node.until(lambda: node.path.startswith("/dev/"))
        await node.stop()
        node.machine.stop_engine()
        node.machine.stored.clear()
        node.machine.start_engine()
        again = Loop(node.machine.host(), node.board, VirtualClock(asyncio.get_running_loop()))
        again.take_full(Target(NodeName("n0"), Uuid("cluster"), 9, (POOL,)))
        task = asyncio.create_task(again.run())
        devices = node.machine.can_attach()
        async with asyncio.timeout(60):
            while await devices.seen():  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    on_virtual_time(body)


def test_a_tie_breaker_has_none() -> None:
    async def body() -> None:
        mesh = Mesh()
        nodes = one, witness = [Node(mesh, f"n{mine}") for mine in (0, 1)]
        one.want(replicated(0))
        witness.want(replicated(1, DiskKind.TIE_BREAKER))
        await one.until(lambda: one.path.startswith("/dev/"))
        await witness.until(lambda: witness.path.startswith("nbd"))
        await asyncio.sleep(30)
        assert not await witness.machine.can_attach().seen()
        for node in nodes:
            await node.stop()

    on_virtual_time(body)


@pytest.mark.parametrize("wish", ["none", ""])
def test_it_can_be_switched_off_and_on_again(wish: str) -> None:
    async def body() -> None:
        node = Node(Mesh())
        node.want(msgspec.structs.replace(plain(), attach=wish))
        expected = "nbd" if wish else "/dev/"
        await node.until(lambda: node.path.startswith(expected))
        other = "" if wish else "none"
        node.want(msgspec.structs.replace(plain(), attach=other))
        expected = "/dev/" if wish else "nbd"
        await node.until(lambda: node.path.startswith(expected))
        assert bool(await node.machine.can_attach().seen()) is bool(wish)
        await node.stop()

    on_virtual_time(body)


def test_a_way_that_cannot_be_gone_is_a_problem_of_the_volume_alone() -> None:
    async def body() -> None:
        node = Node(Mesh())
        node.want(msgspec.structs.replace(plain(), attach="carrier-pigeon"))
        await node.until(lambda: node.volume is not None and node.volume.problem is not None)
        seen = node.board.resources["DATA"]
        assert seen.settled
        assert seen.problem is None
        assert node.path.startswith("nbd")
        assert node.volume is not None
        assert node.volume.problem is not None
        assert "carrier-pigeon" in node.volume.problem.cause
        await node.stop()

    on_virtual_time(body)


def test_without_a_kernel_for_it_nbd_is_the_path() -> None:
    async def body() -> None:
        node = Node(Mesh(), kernel=False)
        node.want(plain())
        await node.until(lambda: node.path.startswith("nbd"))
        await node.stop()

    on_virtual_time(body)
