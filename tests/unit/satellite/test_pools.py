"""The watch over pools: what an administrator has just made is there."""

import asyncio

from bollard.domain.ids import NodeName, Uuid, key_of
from bollard.domain.layers import ProviderKind
from bollard.domain.targets import TargetPool
from bollard.satellite.board import Board
from bollard.satellite.pools import PoolWatch
from bollard.sim.clock import VirtualLoop
from bollard.sim.engine import Mesh
from bollard.sim.host import SimMachine


def pool(name: str) -> TargetPool:
    return TargetPool(name, Uuid(name), ProviderKind.LVM, {"StorDriver/StorPoolName": name})


async def body() -> None:
    machine = SimMachine("n0", Mesh())
    machine.lvm.add_group("old", 8 << 30)
    board = Board(NodeName("n0"))
    watch = PoolWatch(machine.host(), board, lambda: None)
    task = asyncio.create_task(watch.run())

    async def problem_of(*names: str) -> str | None:
        watch.take({key_of(name): pool(name) for name in names})
        async with asyncio.timeout(20):
            while (seen := board.pools.get(key_of(names[-1]))) is None:  # noqa: ASYNC110  # a board has no signal
                await asyncio.sleep(0.01)
        return seen.problem.code if seen.problem is not None else None

    assert await problem_of("old") is None
    machine.lvm.add_group("new", 8 << 30)
    # At once: what was seen of the machine a moment ago still serves those pools that are in it.
    assert await problem_of("old", "new") is None
    assert await problem_of("old", "new", "none") == "pool-missing"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_group_that_was_made_after_the_last_look_is_found() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(body())
