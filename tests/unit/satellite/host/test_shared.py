"""Shared looks: one for all that ask at once, never older than a change that somebody made before asking."""

import asyncio

import pytest

from bollard.satellite.host.base import HostError
from bollard.satellite.host.shared import CALM_S, Shared
from bollard.sim.clock import VirtualLoop


class Machine:
    """Counts the looks; `gate` holds them."""

    def __init__(self) -> None:
        self.looks = 0
        self.value = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False

    async def load(self) -> int:
        self.looks += 1
        value = self.value
        await self.gate.wait()
        if self.broken:
            raise HostError("no", code="tool-timeout")
        return value


def test_all_that_ask_at_once_share_one_look() -> None:
    async def run() -> None:
        shared, machine = Shared(), Machine()
        machine.gate.clear()
        asked = [asyncio.create_task(shared.look("x", machine.load, str(part))) for part in range(50)]
        await asyncio.sleep(0)
        machine.gate.set()
        assert await asyncio.gather(*asked) == [0] * 50
        assert await shared.look("x", machine.load, "51") == 0
        assert machine.looks == 1

    asyncio.run(run())


def test_changes_that_are_announced_are_seen_with_one_look() -> None:
    async def run() -> None:
        shared, machine = Shared(), Machine()

        async def make(part: str) -> int:
            with shared.announced("x"):
                async with shared.lock("one at a time"):
                    machine.value += 1
                    await shared.changing("x", part, asyncio.sleep(0.001))
            return await shared.look("x", machine.load, part)

        assert await asyncio.gather(*(make(str(part)) for part in range(20))) == [20] * 20
        assert machine.looks == 1

    asyncio.run(run())


def test_a_change_that_hangs_holds_nobodys_look_up_for_long() -> None:
    async def run() -> None:
        shared, machine = Shared(), Machine()
        with shared.announced("x"):
            begun_s = asyncio.get_running_loop().time()
            assert await shared.look("x", machine.load, "another") == 0
            assert asyncio.get_running_loop().time() - begun_s >= CALM_S
            assert await shared.look("y", machine.load) == 0

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


def test_a_change_of_a_part_concerns_that_part_and_the_whole() -> None:
    async def run() -> None:
        shared, machine = Shared(), Machine()
        await shared.look("x", machine.load, "a")
        machine.value = 1
        shared.changed("x", "a")
        assert await shared.look("x", machine.load, "b") == 0
        assert await shared.look("x", machine.load, "a") == 1
        assert machine.looks == 2
        shared.changed("x", "c")
        assert await shared.look("x", machine.load) == 1
        assert machine.looks == 3
        shared.changed("x")
        await shared.look("x", machine.load, "b")
        assert machine.looks == 4

    asyncio.run(run())


def test_a_look_that_began_before_a_change_ended_does_not_show_it() -> None:
    async def run() -> None:
        shared, machine = Shared(), Machine()
        machine.gate.clear()

        async def change() -> None:
            machine.value = 7

        early = asyncio.create_task(shared.look("x", machine.load, "b"))
        while not machine.looks:  # noqa: ASYNC110  # a few turns of the loop
            await asyncio.sleep(0)
        await shared.changing("x", "a", change())
        late = asyncio.create_task(shared.look("x", machine.load, "a"))
        await asyncio.sleep(0)
        machine.gate.set()
        assert (await early, await late) == (0, 7)

    asyncio.run(run())


def test_a_failed_look_is_not_kept() -> None:
    async def run() -> None:
        shared, machine = Shared(), Machine()
        machine.broken = True
        with pytest.raises(HostError):
            await shared.look("x", machine.load)
        machine.broken = False
        assert await shared.look("x", machine.load) == 0

    asyncio.run(run())


def test_who_gives_up_waiting_does_not_take_the_look_from_others() -> None:
    async def run() -> None:
        shared, machine = Shared(), Machine()
        machine.gate.clear()
        one, two = (asyncio.create_task(shared.look("x", machine.load)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        machine.gate.set()
        assert await two == 0
        assert one.cancelled()

    asyncio.run(run())
