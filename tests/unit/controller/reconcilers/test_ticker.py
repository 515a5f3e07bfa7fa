"""Ticks on virtual time: reports are joined, time passes, one bad definition does not hold up the others."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from bollard.controller.reconcilers.ticker import CHUNK, PERIOD_S, Ticker
from bollard.controller.reports import Reports
from bollard.controller.service import Service
from bollard.controller.store.memory import MemoryStore
from bollard.domain.answers import Decision
from bollard.domain.cluster import Change, Put
from bollard.domain.commands import Command, CreateDefinition, Tick
from bollard.domain.ids import DEFAULT_GROUP, Key, NodeName, ResourceName, Uuid
from bollard.domain.resources import ResourceDefinition
from bollard.domain.seen import Observation, SeenResource
from bollard.planning.world import World
from bollard.sim.clock import VirtualClock, VirtualLoop
from unit.controller.fakes import CountingDraw, initial


class NoLinks:
    """Nobody to tell."""

    def committed(self, changes: Sequence[Change], touched: object) -> None:
        """Nothing."""

    def reconnect(self, node: str) -> None:
        """Nothing stands between it and its nodes."""

    def resend(self) -> None:
        """Nothing."""

    async def ask(self, node: str, topic: str, arguments: dict[str, str]) -> str:
        raise AssertionError(node, topic, arguments)


class Stage:
    def __init__(self) -> None:
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.store = MemoryStore()
        self.ticks: list[tuple[float, tuple[str, ...]]] = []
        self.bad: set[str] = set()
        reports = Reports(self.store, self.clock, node="c", version="1")
        self.service = Service(
            self.store,
            NoLinks(),
            clock=self.clock,
            draw=CountingDraw(),
            reports=reports,
            decide=self.decide,
            initial=initial,
        )

    def decide(self, command: Command, world: World) -> Decision:
        if isinstance(command, CreateDefinition):
            record = ResourceDefinition(ResourceName(command.name), Uuid("u"), DEFAULT_GROUP)
            return Decision((Put(record),))
        assert isinstance(command, Tick)
        assert command.definitions is not None
        self.ticks.append((self.clock.monotonic_s(), command.definitions))
        assert not self.bad & set(command.definitions), "planted"
        return Decision()

    async def report(self, *names: str) -> None:
        seen = tuple(SeenResource(ResourceName(name), Uuid("u")) for name in names)
        await self.service.take(Observation(NodeName("n1"), resources=seen))

    def since(self, start_s: float) -> list[tuple[str, ...]]:
        return [definitions for when, definitions in self.ticks if when >= start_s]


def play(scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        stage = Stage()
        await stage.store.open()
        await stage.service.start()
        ticker = asyncio.create_task(Ticker(stage.service, stage.clock).run())
        try:
            await scene(stage)
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(whole())


def test_reports_are_joined_into_one_tick() -> None:
    async def scene(stage: Stage) -> None:
        await asyncio.sleep(0.001)
        await stage.report("r1", "r2")
        await stage.report("R2", "r3")
        await asyncio.sleep(1)
        assert stage.ticks == [(stage.ticks[0][0], ("R1", "R2", "R3"))]

    play(scene)


def test_what_was_committed_is_looked_at() -> None:
    async def scene(stage: Stage) -> None:
        await asyncio.sleep(0.001)
        await stage.service.submit(CreateDefinition(name="r1"))
        await asyncio.sleep(1)
        assert ("R1",) in stage.since(0)

    play(scene)


def test_time_passes() -> None:
    async def scene(stage: Stage) -> None:
        await stage.service.submit(CreateDefinition(name="r1"))
        await asyncio.sleep(1)
        start = len(stage.ticks)
        await asyncio.sleep(PERIOD_S * 3)
        assert [definitions for _, definitions in stage.ticks[start:]] == [("R1",)] * 3

    play(scene)


def test_an_empty_cluster_is_ticked_too() -> None:
    async def scene(stage: Stage) -> None:
        await asyncio.sleep(PERIOD_S * 2 + 1)
        assert [definitions for _, definitions in stage.ticks] == [()] * 2

    play(scene)


def test_many_definitions_are_looked_at_in_pieces() -> None:
    async def scene(stage: Stage) -> None:
        count = CHUNK * 2 + 10
        for number in range(count):
            await stage.service.submit(CreateDefinition(name=f"r{number}"))
        await asyncio.sleep(1)
        start = len(stage.ticks)
        await asyncio.sleep(PERIOD_S)
        pieces = [definitions for _, definitions in stage.ticks[start:]]
        assert [len(piece) for piece in pieces] == [CHUNK, CHUNK, 10]
        assert {name for piece in pieces for name in piece} == {Key(f"R{it}") for it in range(count)}

    play(scene)


def test_one_bad_definition_does_not_hold_up_the_others() -> None:
    async def scene(stage: Stage) -> None:
        await asyncio.sleep(0.001)
        stage.bad = {"R2"}
        await stage.report("r1", "r2", "r3")
        await asyncio.sleep(1)
        assert stage.since(0) == [("R1", "R2", "R3"), ("R1",), ("R2",), ("R3",)]
        assert len(await stage.store.reports()) == 2

    play(scene)
