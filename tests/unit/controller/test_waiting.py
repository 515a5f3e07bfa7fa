"""Waits are woken by the reports that matter to them, and by nothing less."""

import asyncio
from collections.abc import Awaitable, Callable

from bollard.controller.events import Events
from bollard.controller.intake import Intake
from bollard.controller.verdicts import Outcome
from bollard.controller.waiting import Waiting
from bollard.domain.answers import Wait
from bollard.domain.cluster import Cluster
from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.observed import Observed
from bollard.domain.resources import Resource
from bollard.domain.seen import Observation, SeenResource
from bollard.runtime.clock import RealClock

N1, R1 = NodeName("n1"), ResourceName("r1")


class Stage:
    def __init__(self, cluster: Cluster) -> None:
        clock = RealClock()
        self.cluster = cluster
        self.observed = Observed()
        self.waiting = Waiting(self.observed, lambda: cluster)
        self.intake = Intake(self.observed, Events(clock), self.waiting, clock)
        self.intake.node_status("n1", "ONLINE", "", None)

    def take(self, observation: Observation) -> None:
        self.intake.take(observation, self.cluster)

    def ask(self, wait: Wait) -> asyncio.Task[list[Outcome]]:
        async def outcomes() -> list[Outcome]:
            return [verdict.outcome for verdict in await self.waiting.wait([wait], 5, 5.0)]

        return asyncio.create_task(outcomes())


def play(stage: Stage, scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(4):
            await scene(stage)
        assert not stage.waiting._sleepers

    asyncio.run(whole())


def test_a_removal_of_what_was_never_seen_ends_with_the_revision() -> None:
    async def scene(stage: Stage) -> None:
        asked = stage.ask(Wait("n1", resource="r1"))
        await asyncio.sleep(0)
        stage.take(Observation(N1, revision=4))
        await asyncio.sleep(0)
        assert not asked.done()
        stage.take(Observation(N1, revision=5))
        assert await asked == [Outcome.DONE]

    play(Stage(Cluster()), scene)


def test_a_report_of_the_resource_ends_the_wait() -> None:
    async def scene(stage: Stage) -> None:
        asked = stage.ask(Wait("N1", resource="R1"))
        await asyncio.sleep(0)
        stage.take(Observation(N1, revision=5))
        await asyncio.sleep(0)
        stage.take(Observation(N1, revision=5, resources=(SeenResource(R1, Uuid("u"), 5, settled=True),)))
        assert await asked == [Outcome.DONE]

    play(Stage(Cluster([Resource(R1, N1, Uuid("u"))])), scene)


def test_a_link_that_breaks_ends_the_wait() -> None:
    async def scene(stage: Stage) -> None:
        asked = stage.ask(Wait("n1", resource="r1"))
        await asyncio.sleep(0)
        stage.intake.node_status("n1", "OFFLINE", "gone", None)
        assert await asked == [Outcome.OFFLINE]

    play(Stage(Cluster([Resource(R1, N1, Uuid("u"))])), scene)


def test_a_wait_that_is_given_up_leaves_nothing_behind() -> None:
    async def scene(stage: Stage) -> None:
        asked = stage.ask(Wait("n1", resource="r1"))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

    play(Stage(Cluster([Resource(R1, N1, Uuid("u"))])), scene)
