"""A whole cluster in one process: the real service, sessions and satellites on simulated machines."""

import asyncio
import random
from typing import Final

from bollard.controller.reconcilers.ticker import Ticker
from bollard.controller.reports import Reports
from bollard.controller.service import Service, decide_or_assess
from bollard.controller.sessions.satellites import Satellites
from bollard.controller.store.memory import MemoryDatabase, MemoryStore
from bollard.domain.answers import Decision
from bollard.domain.commands import Command, Tick
from bollard.domain.ids import NodeName, Uuid
from bollard.domain.seen import Capabilities
from bollard.planning.world import World
from bollard.satellite.board import Board
from bollard.satellite.facts import capabilities
from bollard.satellite.link import Links
from bollard.satellite.loop import Loop
from bollard.sim.clock import VirtualClock
from bollard.sim.engine import Mesh
from bollard.sim.host import SimMachine, jitter
from bollard.sim.link import SimNetwork
from bollard.sim.restraint import overreaching
from bollard.wire.link import Channel

__all__ = ["SimCluster", "SimDraw", "SimSatellite"]

VERSION: Final = "sim"


class SimDraw:
    """`domain.ports.Draw` from a seed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def uuid(self) -> Uuid:
        text = f"{self._rng.getrandbits(128):032x}"
        return Uuid(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")

    def hex16(self) -> str:
        return f"{self._rng.getrandbits(64) | 16:016X}"

    def secret(self) -> str:
        return f"{self._rng.getrandbits(80):020x}"


class _Belonging:
    """`satellite.link.Membership` that survives as the machine's disk does."""

    def __init__(self) -> None:
        self._cluster: str | None = None

    def cluster(self) -> str | None:
        return self._cluster

    def join(self, cluster_uuid: str) -> None:
        self._cluster = cluster_uuid

    def leave(self) -> bool:
        there, self._cluster = self._cluster is not None, None
        return there


class SimSatellite:
    """One satellite process: started and killed, never changed."""

    def __init__(
        self, machine: SimMachine, belonging: _Belonging, clock: VirtualClock, instance: int
    ) -> None:
        facts: Capabilities = capabilities()
        self.board = Board(NodeName(machine.node))
        self.loop = Loop(machine.host(), self.board, clock)
        self._links = Links(
            self.board,
            self.loop,
            clock,
            capabilities=lambda: facts,
            membership=belonging,
            answers=_no_answers,
            instance=str(instance),
        )
        self._tasks = [asyncio.create_task(self.loop.run())]

    async def accept(self, channel: Channel) -> None:
        """Serve a link until it or the process ends."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        await self._links.serve(channel)
        self._tasks.remove(task)

    async def kill(self) -> None:
        """Everything stops where it is."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _no_answers(topic: str, _arguments: dict[str, str]) -> object:
    raise ValueError(f"nothing is known about '{topic}'")


class SimCluster:
    """Machines with or without a running satellite, and a controller that may be killed and started."""

    def __init__(self, rng: random.Random, nodes: tuple[str, ...]) -> None:
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.mesh = Mesh()
        self.network = SimNetwork(random.Random(rng.getrandbits(64)))  # noqa: S311  # a seeded history
        self.machines = {
            node: SimMachine(
                node,
                self.mesh,
                jitter(random.Random(rng.getrandbits(64)), self.clock, 0.003),  # noqa: S311
            )
            for node in nodes
        }
        self.satellites: dict[str, SimSatellite] = {}
        self.service: Service | None = None
        self._belonging = {node: _Belonging() for node in nodes}
        self._database = MemoryDatabase()
        self._store: MemoryStore | None = None
        self._draw = SimDraw(random.Random(rng.getrandbits(64)))  # noqa: S311
        self._links: Satellites | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._instances = 0
        self.crashes = 0
        """Passes of satellites that ended in an error of their own."""
        self.overreached: list[str] = []
        """What the cluster did by itself and may not do."""

    async def start_controller(self) -> Service:
        """A fresh controller process over the database that is there."""
        store = MemoryStore(self._database)
        await store.open()
        links = Satellites(self.network, self.clock, version=VERSION)
        service = Service(
            store,
            links,
            clock=self.clock,
            draw=self._draw,
            decide=self._decide,
            reports=Reports(store, self.clock, node="controller", version=VERSION),
        )
        await service.start()
        links.start(service)
        self._store, self._links, self.service = store, links, service
        self._ticker = asyncio.create_task(Ticker(service, self.clock).run())
        return service

    def _decide(self, command: Command, world: World) -> Decision:
        decision = decide_or_assess(command, world)
        if isinstance(command, Tick):
            self.overreached += overreaching(world, decision)
        return decision

    async def stop_controller(self) -> None:
        """The controller ends; satellites work on."""
        if self.service is None:
            return
        assert self._ticker is not None
        assert self._links is not None
        assert self._store is not None
        service, self.service = self.service, None
        self._ticker.cancel()
        await asyncio.gather(self._ticker, return_exceptions=True)
        await self._links.stop()
        await service.stop(0.1)
        await self._store.close()

    def start_satellite(self, node: str) -> None:
        """A fresh satellite process, and the data process if that is not there."""
        if node in self.satellites:
            return
        self.machines[node].start_engine()
        self._instances += 1
        satellite = SimSatellite(self.machines[node], self._belonging[node], self.clock, self._instances)
        self.satellites[node] = satellite
        self.network.accepts[node] = satellite.accept

    async def kill_satellite(self, node: str, *, with_engine: bool = False) -> None:
        """The satellite process dies; with the data process when the whole node does."""
        satellite = self.satellites.pop(node, None)
        self.network.accepts.pop(node, None)
        if satellite is not None:
            await satellite.kill()
            self.crashes += satellite.loop.crashes
        self.network.drop_node(node)
        if with_engine:
            self.machines[node].stop_engine()

    async def stop(self) -> None:
        """End everything."""
        await self.stop_controller()
        for node in list(self.satellites):
            await self.kill_satellite(node, with_engine=True)
        await self.network.stop()
