"""A service that runs over a store and links of its own, for tests, and a store that fails when told to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from bollard.controller.reconcilers.ticker import Ticker
from bollard.controller.reports import Reports
from bollard.controller.service import Answer, Service
from bollard.controller.sessions.satellites import Satellites
from bollard.controller.sessions.sockets import SocketDialer
from bollard.controller.store.base import Loaded, Store
from bollard.controller.store.memory import MemoryDatabase, MemoryStore
from bollard.domain import commands
from bollard.domain.cluster import Change
from bollard.domain.commands import Command
from bollard.runtime.clock import RealClock
from unit.controller.fakes import CountingDraw, FakeSatellite, decide, initial


class BrittleStore(MemoryStore):
    """A store that fails when it is told to."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.error: Exception | None = None
        self.load_error: Exception | None = None
        self.held: asyncio.Event | None = None
        self.keeps = False
        """Whether a commit that fails is kept all the same, as after a cut connection."""

    async def load(self) -> Loaded:
        if self.load_error is not None:
            raise self.load_error
        return await super().load()

    async def commit(self, changes: Sequence[Change], expected_revision: int) -> int:
        if self.held is not None:
            await self.held.wait()
        if self.error is not None:
            if self.keeps:
                await super().commit(changes, expected_revision)
                self.keeps = False
            raise self.error
        return await super().commit(changes, expected_revision)


class Ground:
    """A running service."""

    def __init__(self, store: Store) -> None:
        clock = RealClock()
        self.store = store
        self.links = Satellites(SocketDialer(None), clock, version="test")
        self.reports = Reports(store, clock, node="ctl", version="test")
        self.service = Service(
            store,
            self.links,
            clock=clock,
            draw=CountingDraw(),
            reports=self.reports,
            decide=decide,
            initial=initial,
        )
        self.ticker = Ticker(self.service, clock)

    async def submit(self, command: Command, deadline_s: float = 5.0) -> Answer:
        return await self.service.submit(command, deadline_s)

    async def add_node(self, satellite: FakeSatellite) -> Answer:
        net_if = commands.NewNetInterface(
            name="default", address="127.0.0.1", satellite_port=satellite.port, satellite_encryption="PLAIN"
        )
        return await self.submit(commands.CreateNode(name=satellite.name, net_interfaces=(net_if,)))


@contextlib.asynccontextmanager
async def running(store: Store | None = None) -> AsyncIterator[Ground]:
    ground = Ground(store if store is not None else MemoryStore())
    await ground.store.open()
    await ground.service.start()
    ground.links.start(ground.service)
    ticker = asyncio.create_task(ground.ticker.run())
    try:
        yield ground
    finally:
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)
        await ground.service.stop(0.1)
        await ground.links.stop()
        await ground.store.close()


@contextlib.asynccontextmanager
async def satellite(name: str) -> AsyncIterator[FakeSatellite]:
    fake = FakeSatellite(name)
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60):
            await scene()

    asyncio.run(whole())


def said(answer: Answer) -> list[tuple[str, str]]:
    return [(str(entry.severity), entry.code) for entry in answer.entries]
