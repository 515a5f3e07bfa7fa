"""The reconcile loop on simulated machines: what it makes, keeps, reports and survives."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import DEFAULT_STACK, LayerKind, ProviderKind
from bollard.domain.resources import DiskKind, Tombstone, VolumeOnNode
from bollard.domain.seen import SeenResource
from bollard.domain.targets import (
    Target,
    TargetDelta,
    TargetPeer,
    TargetPool,
    TargetReplication,
    TargetResource,
    TargetVolume,
)
from bollard.satellite.board import Board
from bollard.satellite.host.base import Engine, HostError
from bollard.satellite.loop import Loop
from bollard.sim.clock import VirtualClock
from bollard.sim.engine import Mesh
from bollard.sim.host import POOL_FOLDER, SimMachine
from bollard.wire.engine import Reply, Request, Resize
from virtual_time import on_virtual_time

CLUSTER = Uuid("cluster")
POOL = TargetPool("pool", Uuid("pool-uuid"), ProviderKind.FILE_THIN, {"StorDriver/StorPoolName": POOL_FOLDER})


def plain(name: str, uuid: str = "r1", size_kib: int = 1024) -> TargetResource:
    volume = TargetVolume(0, Uuid(f"{uuid}-v0"), size_kib, "pool", gross_kib=size_kib)
    return TargetResource(
        ResourceName(name), Uuid(uuid), DiskKind.DISKFUL, layer_stack=(LayerKind.STORAGE,), volumes=(volume,)
    )


def replicated(
    name: str, mine: int, uuid: str, *, gi: str | None = "1234567890ABCDEF", size_kib: int = 1024
) -> TargetResource:
    peers = tuple(
        TargetPeer(NodeName(f"n{other}"), other, f"10.0.0.{other}", 7000) for other in (0, 1) if other != mine
    )
    volume = TargetVolume(
        0, Uuid(f"{uuid}-v0"), size_kib, "pool", gross_kib=size_kib + 76, minor=1000, current_gi=gi
    )
    return TargetResource(
        ResourceName(name),
        Uuid(uuid),
        DiskKind.DISKFUL,
        layer_stack=DEFAULT_STACK,
        volumes=(volume,),
        replication=TargetReplication(mine, f"10.0.0.{mine}", 7000, secret="secret", peers=peers),
    )


def target(*resources: TargetResource, revision: int = 1, stones: tuple[Tombstone, ...] = ()) -> Target:
    return Target(NodeName("n0"), CLUSTER, revision, (POOL,), resources, stones)


def stone_of(resource: TargetResource) -> Tombstone:
    volumes = tuple(VolumeOnNode(volume.number, volume.uuid, volume.pool) for volume in resource.volumes)
    return Tombstone(NodeName("n0"), resource.name, resource.uuid, volumes)


class BusyEngine:
    """A data process that refuses so many resizes because another change is under way."""

    def __init__(self, engine: Engine, left: int) -> None:
        self.engine = engine
        self.left = left

    async def ask(self, request: Request) -> Reply:
        if isinstance(request, Resize) and self.left:
            self.left -= 1
            raise HostError("another change is under way; try again", code="engine-busy")
        return await self.engine.ask(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


class Node:
    """A satellite's inner half on a simulated machine."""

    def __init__(self, machine: SimMachine, *, busy: int = 0) -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        self.machine = machine
        self.board = Board(NodeName(machine.node))
        host = machine.host()
        self.engine = BusyEngine(host.engine, busy)
        self.loop = Loop(replace(host, engine=self.engine), self.board, clock)
        self.task = asyncio.create_task(self.loop.run())

    async def until(self, holds: Callable[[], bool], limit_s: float = 60.0) -> None:
        async with asyncio.timeout(limit_s):
            while not holds():  # noqa: ASYNC110  # a condition over several objects
                await asyncio.sleep(0.05)

    async def settled(self, name: str, revision: int = 1) -> SeenResource:
        def holds() -> bool:
            seen = self.board.resources.get(name.upper())
            return seen is not None and seen.settled and seen.revision >= revision

        await self.until(holds)
        return self.board.resources[name.upper()]

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        assert self.loop.crashes == 0


def test_a_plain_volume_is_made_grown_and_removed() -> None:
    async def body() -> None:
        node = Node(SimMachine("n0", Mesh()))
        node.loop.take_full(target(plain("data")))
        seen = await node.settled("data")
        assert seen.volumes[0].disk_state == "Created"
        assert seen.volumes[0].size_kib == 1024
        assert seen.volumes[0].device_path == "nbd+unix:///data/0?socket=/run/n0/nbd.sock"
        assert node.board.filled.is_set()
        assert node.board.pools["POOL"].free_kib > 0

        grown = plain("data", size_kib=4096)
        assert node.loop.take_delta(TargetDelta(NodeName("n0"), 1, 2, resources=(grown,)))
        seen = await node.settled("data", 2)
        assert seen.volumes[0].size_kib == 4096

        stone = stone_of(grown)
        gone = TargetDelta(NodeName("n0"), 2, 3, gone=(grown.name,), tombstones=(stone,))
        assert node.loop.take_delta(gone)
        await node.until(lambda: stone.resource_uuid in node.board.removed)
        assert node.machine.disk.sizes == {}
        assert node.machine.stored == {}
        await node.until(lambda: not node.board.resources)
        await node.stop()

    on_virtual_time(body)


def test_two_replicas_meet_without_a_first_sync() -> None:
    async def body() -> None:
        mesh = Mesh()
        nodes = [Node(SimMachine(f"n{number}", mesh)) for number in (0, 1)]
        for number, node in enumerate(nodes):
            node.loop.take_full(target(replicated("data", number, f"r{number}")))
        for node in nodes:
            seen = await node.settled("data")
            assert seen.volumes[0].disk_state == "UpToDate"
        await nodes[0].until(lambda: nodes[0].board.resources["DATA"].peers[0].connection == "Connected")
        assert nodes[0].board.resources["DATA"].may_promote
        for node in nodes:
            await node.stop()

    on_virtual_time(body)


def test_a_late_replica_is_synchronised_and_its_progress_seen() -> None:
    async def body() -> None:
        mesh = Mesh()
        nodes = [Node(SimMachine(f"n{number}", mesh)) for number in (0, 1)]
        nodes[0].loop.take_full(target(replicated("data", 0, "r0")))
        await nodes[0].settled("data")
        nodes[1].loop.take_full(target(replicated("data", 1, "r1", gi=None)))
        seen = await nodes[1].settled("data")
        assert seen.volumes[0].disk_state == "Inconsistent"
        await nodes[1].until(lambda: nodes[1].board.resources["DATA"].volumes[0].disk_state == "UpToDate")
        for node in nodes:
            await node.stop()

    on_virtual_time(body)


def test_a_name_that_is_used_again_gets_a_new_file() -> None:
    async def body() -> None:
        node = Node(SimMachine("n0", Mesh()))
        old, new = plain("data", "old"), plain("Data", "new", size_kib=2048)
        node.loop.take_full(target(old))
        await node.settled("data")
        node.loop.take_full(target(new, revision=2, stones=(stone_of(old),)))
        seen = await node.settled("data", 2)
        assert seen.uuid == "new"
        assert old.uuid in node.board.removed
        files = {path: size for path, size in node.machine.disk.sizes.items() if path.endswith(".img")}
        assert files == {"/pool/Data_00000.img": 2048 * 1024}
        await node.stop()

    on_virtual_time(body)


def test_what_is_merely_absent_stays_and_is_told() -> None:
    async def body() -> None:
        node = Node(SimMachine("n0", Mesh()))
        node.loop.take_full(target(plain("data")))
        await node.settled("data")
        await node.stop()
        again = Node(node.machine)
        again.loop.take_full(target(revision=2))
        await again.until(lambda: bool(again.board.leftovers))
        assert again.board.leftovers == ("pool:/pool/data_00000.img",)
        assert again.board.resources == {}
        assert "/pool/data_00000.img" in again.machine.disk.sizes
        await again.stop()

    on_virtual_time(body)


def test_a_restart_with_nothing_to_do_changes_nothing() -> None:
    async def body() -> None:
        node = Node(SimMachine("n0", Mesh()))
        wish = target(*(plain(f"data{number}", f"r{number}") for number in range(20)))
        node.loop.take_full(wish)
        await node.until(lambda: len(node.board.resources) == 20)
        await node.stop()
        sizes = dict(node.machine.disk.sizes)
        again = Node(node.machine)
        again.loop.take_full(wish)
        await again.until(again.board.filled.is_set)
        assert all(seen.settled for seen in again.board.resources.values())
        assert node.machine.disk.sizes == sizes
        assert again.loop.passes == 20
        await again.stop()

    on_virtual_time(body)


def test_trouble_is_reported_with_its_next_step_and_tried_again() -> None:
    async def body() -> None:
        node = Node(SimMachine("n0", Mesh()))
        node.machine.disk.folders.clear()
        node.loop.take_full(target(plain("data")))
        await node.until(lambda: "DATA" in node.board.resources)
        seen = node.board.resources["DATA"]
        assert not seen.settled
        assert seen.problem is not None
        assert seen.problem.code == "pool-missing"
        assert seen.problem.correction
        pool = node.board.pools["POOL"]
        assert pool.problem is not None
        assert pool.problem.code == "pool-missing"
        node.machine.disk.folders.add(POOL_FOLDER)
        seen = await node.settled("data")
        assert seen.problem is None
        await node.stop()

    on_virtual_time(body)


@pytest.mark.parametrize("busy", [3, 8])
def test_nodes_that_are_in_each_others_way_are_in_trouble_only_when_it_lasts(busy: int) -> None:
    async def body() -> None:
        mesh = Mesh()
        nodes = [Node(SimMachine(f"n{number}", mesh), busy=busy) for number in (0, 1)]
        for number, node in enumerate(nodes):
            node.loop.take_full(target(replicated("data", number, f"r{number}")))
        for node in nodes:
            await node.settled("data")
        told: set[str] = set()
        for number, node in enumerate(nodes):
            wish = replicated("data", number, f"r{number}", size_kib=4096)
            node.loop.take_full(target(wish, revision=2))

        def grown() -> bool:
            seen = [node.board.resources["DATA"] for node in nodes]
            told.update(one.problem.code for one in seen if one.problem is not None)
            return all(one.settled and one.revision >= 2 for one in seen)

        await nodes[0].until(grown, 900.0)
        assert min(node.engine.left for node in nodes) < busy
        assert told == ({"engine-busy"} if busy == 8 else set())
        for node in nodes:
            await node.stop()

    on_virtual_time(body)


def test_the_data_process_may_die_and_come_back() -> None:
    async def body() -> None:
        node = Node(SimMachine("n0", Mesh()))
        node.loop.take_full(target(plain("data")))
        await node.settled("data")
        node.machine.stop_engine()
        await node.until(lambda: node.board.resources["DATA"].problem is not None)
        assert node.board.resources["DATA"].problem.code == "engine-away"
        node.machine.start_engine()
        seen = await node.settled("data")
        assert seen.problem is None
        await node.stop()

    on_virtual_time(body)


def test_a_delta_on_another_base_is_refused() -> None:
    async def body() -> None:
        node = Node(SimMachine("n0", Mesh()))
        assert not node.loop.take_delta(TargetDelta(NodeName("n0"), 0, 1))
        node.loop.take_full(target(revision=5))
        assert not node.loop.take_delta(TargetDelta(NodeName("n0"), 4, 6))
        assert node.loop.take_delta(TargetDelta(NodeName("n0"), 5, 6))
        assert node.board.revision == 6
        await node.stop()

    on_virtual_time(body)


def test_a_busy_volume_is_not_removed_and_the_reason_told() -> None:
    async def body() -> None:
        node = Node(SimMachine("n0", Mesh()))
        data = plain("data")
        node.loop.take_full(target(data))
        await node.settled("data")
        assert node.machine.engine is not None
        assert node.machine.engine.promote("data", primary=True)
        node.loop.take_full(target(revision=2, stones=(stone_of(data),)))
        await node.until(lambda: node.board.resources["DATA"].problem is not None)
        assert node.board.resources["DATA"].problem.code == "engine-busy"
        assert "/pool/data_00000.img" in node.machine.disk.sizes
        node.machine.engine.promote("data", primary=False)
        await node.until(lambda: data.uuid in node.board.removed)
        assert node.machine.disk.sizes == {}
        await node.stop()

    on_virtual_time(body)
