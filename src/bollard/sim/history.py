"""One random history of a cluster, from a seed: commands and faults, then calm, then the properties.

Everything random is drawn from the seed, so the same seed is the same history, step by step.
"""

import asyncio
import hashlib
import logging
import random
import traceback
from collections.abc import Callable
from typing import Final

import msgspec

from bollard.domain.commands import Command
from bollard.domain.errors import DomainError
from bollard.sim.clock import VirtualLoop
from bollard.sim.cluster import SimCluster
from bollard.sim.deeds import Deeds, setup_commands
from bollard.sim.properties import of_several_instants, unconverged, unfinished, unrelated, used_twice

__all__ = ["Report", "run_history"]

COMMAND_MAX_S: Final = 20.0
"""The service's own deadline, and some time for the answer."""
CALM_S: Final = 45.0
WRITE_S: Final = 0.02
CONVERGE_S: Final = 400.0


class Report(msgspec.Struct):
    """What happened in a history."""

    seed: int
    steps: int
    wide: bool = False
    commands: int = 0
    refused: int = 0
    faults: int = 0
    virtual_s: float = 0.0
    digest: str = ""
    """Of the story: equal for equal histories."""
    violations: list[str] = []
    story: list[str] = []

    @property
    def ok(self) -> bool:
        """Whether every property held."""
        return not self.violations


def run_history(seed: int, steps: int = 40, *, wide: bool = False) -> Report:
    """Live through one history on virtual time. Never raises for what the cluster does wrong.

    `wide` draws from more kinds of commands and pools.
    """
    report = Report(seed, steps, wide)
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(_History(report).live())
    except Exception as error:  # noqa: BLE001  # the outermost frame of a history
        place = traceback.extract_tb(error.__traceback__)[-1]
        report.violations.append(f"{type(error).__name__} in {place.name}, line {place.lineno}: {error}")
    # Sorted: those who wait for the same report are woken at the same moment, in no promised order.
    report.digest = hashlib.sha256("\n".join(sorted(report.story)).encode()).hexdigest()[:16]
    return report


class _History:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._rng = random.Random(report.seed)  # noqa: S311  # a seeded history
        self._tasks: list[asyncio.Task[None]] = []

    async def live(self) -> None:
        """All of it."""
        nodes = tuple(f"node{number}" for number in range(self._rng.choice((2, 3, 3, 4))))
        cluster = self._cluster = SimCluster(self._rng, nodes)
        await cluster.start_controller()
        for node in nodes:
            cluster.start_satellite(node)
        for command in setup_commands(nodes, wide=self._report.wide):
            await self._submit(command)
        if self._report.refused:
            self._violated("the cluster could not be set up")
            return
        self._deeds = Deeds(cluster, self._rng, wide=self._report.wide)
        if self._report.wide:
            self._tasks.append(asyncio.create_task(self._write()))
        try:
            for _ in range(self._report.steps):
                await self._step()
            await self._peace()
        finally:
            self._report.virtual_s = round(asyncio.get_running_loop().time(), 3)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._count_crashes()
            await cluster.stop()

    async def _step(self) -> None:
        roll = self._rng.random()
        if roll < 0.6:
            command = self._deeds.command()
            if command is not None:
                self._tasks.append(asyncio.create_task(self._submit(command)))
        elif roll < 0.9:
            self._report.faults += 1
            self._tell(await self._deeds.fault())
        elif roll < 0.95:
            await self._calm()
        await asyncio.sleep(self._rng.choice((0.001, 0.05, 0.5, 3.0, 10.0)))
        self._check_always()

    async def _write(self) -> None:
        """Every user writes a growing number: to volume 0, and when that is taken, to volume 1."""
        while True:
            for node in sorted(self._cluster.machines):
                engine = self._cluster.machines[node].engine
                for name in sorted(engine.primaries) if engine is not None else ():
                    assert engine is not None
                    first, second = engine.read(name, 0), engine.read(name, 1)
                    if second is not None and first is not None and first != second:
                        engine.write(name, 1, first)
                    elif first is not None:
                        engine.write(name, 0, str(int(first or 0) + 1))
            await asyncio.sleep(WRITE_S)

    async def _submit(self, command: Command) -> None:
        service = self._cluster.service
        if service is None:
            return
        begun_s = asyncio.get_running_loop().time()
        self._report.commands += 1
        self._tell(f"asked {msgspec.json.encode(command).decode()}")
        try:
            answer = await service.submit(command)
        except DomainError as error:
            self._report.refused += 1
            self._tell(f"refused {type(command).__name__}: {error.message}")
            return
        for entry in answer.entries:
            self._tell(f"answered {type(command).__name__}: {entry.severity} {entry.code} {entry.message}")
            if entry.error_report_ids:
                self._violated(f"the controller failed over {command}: {entry.cause}")
        took_s = asyncio.get_running_loop().time() - begun_s
        if took_s > COMMAND_MAX_S:
            self._violated(f"{type(command).__name__} took {took_s:.1f} s")

    async def _calm(self) -> None:
        """Nothing new for a while: nodes that can be reached finish their work, whoever is away."""
        self._tell("calm")
        before = self._deeds.disturbed
        fine: Callable[[], list[str]] = lambda: list(self._unfinished())  # noqa: E731
        await self._until(fine, CALM_S)
        if self._cluster.service is not None and before == self._deeds.disturbed:
            for sentence in fine():
                self._violated(f"calm, with {self._deeds.away()} away: {sentence}")

    async def _peace(self) -> None:
        """All faults are over; the cluster becomes what was asked of it."""
        self._tell("peace")
        await self._deeds.heal_all()
        for command in self._deeds.last_commands():
            await self._submit(command)
        await self._until(lambda: list(self._unconverged()), CONVERGE_S)
        for sentence in self._unconverged():
            self._violated(f"did not converge: {sentence}")

    async def _until(self, troubles: Callable[[], list[str]], limit_s: float) -> None:
        end_s = asyncio.get_running_loop().time() + limit_s
        while troubles() and asyncio.get_running_loop().time() < end_s:  # noqa: ASYNC110  # virtual time
            await asyncio.sleep(1.0)
        self._check_always()

    def _unfinished(self) -> list[str]:
        service = self._cluster.service
        if service is None:
            return []
        return list(unfinished(service.cluster, service.observed, self._deeds.healthy()))

    def _unconverged(self) -> list[str]:
        service = self._cluster.service
        if service is None:
            return ["there is no controller"]
        return list(unconverged(service.cluster, service.observed, self._cluster.machines))

    def _check_always(self) -> None:
        for sentence in self._cluster.overreached:
            self._violated(sentence)
        service = self._cluster.service
        if service is not None:
            for sentence in used_twice(service.cluster):
                self._violated(sentence)
            for sentence in unrelated(service.cluster, self._cluster.machines):
                self._violated(sentence)
            for sentence in of_several_instants(service.cluster, self._cluster.machines):
                self._violated(sentence)

    def _count_crashes(self) -> None:
        for satellite in self._cluster.satellites.values():
            self._cluster.crashes += satellite.loop.crashes
        if self._cluster.crashes:
            self._violated(f"passes of satellites failed {self._cluster.crashes} times")

    def _tell(self, sentence: str) -> None:
        self._report.story.append(f"{asyncio.get_running_loop().time():9.3f} {sentence}")

    def _violated(self, sentence: str) -> None:
        if sentence not in self._report.violations:
            self._report.violations.append(sentence)
            self._tell(f"VIOLATED {sentence}")


def quiet() -> None:
    """Histories are full of expected trouble: keep it out of the log."""
    logging.getLogger("bollard").setLevel(logging.CRITICAL)
