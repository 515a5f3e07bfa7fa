"""Many volumes of one group at once: how many tools are started for them, and how long that takes."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.resources import DiskKind, Tombstone, VolumeOnNode
from bollard.domain.targets import Target, TargetPool, TargetResource, TargetVolume
from bollard.satellite.board import Board
from bollard.satellite.host.base import Cmd, Done, Runner
from bollard.satellite.loop import Loop
from bollard.sim.clock import VirtualClock, VirtualLoop
from bollard.sim.engine import Mesh
from bollard.sim.host import SimMachine

COUNT = 100
TOOL_S = 0.3
"""What a tool of LVM's takes on a machine of ordinary speed, with udev."""
POOL = TargetPool("pool", Uuid("p"), ProviderKind.LVM_THIN, {"StorDriver/StorPoolName": "vg/tp"})


class Slow:
    """Every tool takes its time; they are counted."""

    def __init__(self, inner: Runner) -> None:
        self.inner = inner
        self.tool_s = TOOL_S
        self.ran: Counter[str] = Counter()

    def path_of(self, program: str) -> str | None:
        return self.inner.path_of(program)

    async def run(self, cmd: Cmd) -> Done:
        self.ran[cmd.argv[0]] += 1
        await asyncio.sleep(self.tool_s)
        return await self.inner.run(cmd)


def resource(number: int) -> TargetResource:
    volume = TargetVolume(0, Uuid(f"v{number}"), 8192, "pool", gross_kib=8192, block=True)
    name, uuid = ResourceName(f"r{number}"), Uuid(f"u{number}")
    return TargetResource(name, uuid, DiskKind.DISKFUL, layer_stack=(LayerKind.STORAGE,), volumes=(volume,))


def stone(one: TargetResource) -> Tombstone:
    volumes = tuple(VolumeOnNode(volume.number, volume.uuid, volume.pool) for volume in one.volumes)
    return Tombstone(NodeName("n0"), one.name, one.uuid, volumes)


async def body() -> None:
    machine = SimMachine("n0", Mesh())
    machine.lvm.add_group("vg", 8 << 30, thin="tp")
    host = machine.host()
    slow = Slow(host.runner)
    board = Board(NodeName("n0"))
    clock = VirtualClock(asyncio.get_running_loop())
    loop = Loop(replace(host, runner=slow), board, clock)
    task = asyncio.create_task(loop.run())

    async def ran_until(holds: Callable[[], bool], limit_s: float) -> Counter[str]:
        slow.ran.clear()
        async with asyncio.timeout(limit_s):
            while not holds():  # noqa: ASYNC110  # a condition over several objects
                await asyncio.sleep(0.05)
        return slow.ran

    def settled() -> bool:
        return sum(one.settled for one in board.resources.values()) == COUNT

    wanted = tuple(resource(number) for number in range(COUNT))
    loop.take_full(Target(NodeName("n0"), Uuid("c"), 1, (POOL,), wanted))
    made = await ran_until(settled, COUNT * TOOL_S * 1.5)
    assert made["lvcreate"] == COUNT
    assert made["lvs"] <= COUNT / 4, made
    assert made["vgs"] <= COUNT / 4, made

    # A satellite that starts again over volumes that are as they should be looks once.
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    board = Board(NodeName("n0"))
    loop = Loop(replace(machine.host(), runner=slow), board, clock)
    task = asyncio.create_task(loop.run())
    loop.take_full(Target(NodeName("n0"), Uuid("c"), 1, (POOL,), wanted))
    again = await ran_until(settled, 5 * TOOL_S)
    assert again == {"lvs": 1, "vgs": 1}

    gone = tuple(map(stone, wanted))
    loop.take_full(Target(NodeName("n0"), Uuid("c"), 2, (POOL,), (), gone))
    removed = await ran_until(lambda: len(board.removed) == COUNT, COUNT * TOOL_S * 1.5)
    assert removed["lvremove"] == COUNT
    assert removed["lvs"] <= COUNT / 4, removed
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def hung() -> None:
    machine = SimMachine("n0", Mesh())
    machine.lvm.add_group("vg", 8 << 30, thin="tp")
    host = machine.host()
    slow = Slow(host.runner)
    wanted = tuple(resource(number) for number in range(3))
    target = Target(NodeName("n0"), Uuid("c"), 1, (POOL,), wanted)
    for runs_s in (TOOL_S, 60.0):
        slow.tool_s = runs_s
        slow.ran.clear()
        board = Board(NodeName("n0"))
        loop = Loop(replace(machine.host(), runner=slow), board, VirtualClock(asyncio.get_running_loop()))
        task = asyncio.create_task(loop.run())
        loop.take_full(target)
        async with asyncio.timeout(200):
            while sum(one.settled for one in board.resources.values()) < len(wanted):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert "lvcreate" not in slow.ran, "what could not be read is not taken for missing"


def test_a_listing_that_takes_too_long_at_the_start_is_no_empty_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(hung())
    assert caplog.text.count("CreateBacking") == 3, "once, when they were made"


def test_what_is_made_in_parallel_is_looked_at_together() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(body())
