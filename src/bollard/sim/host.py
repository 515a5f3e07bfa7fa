"""A simulated machine: a disk that survives, a data process that can be killed, and the doors to both.

Same Protocols as the real one; no call reaches the machine it runs on.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable

from bollard.domain.ports import Clock
from bollard.satellite.host.base import Cmd, Done, Host, HostError
from bollard.sim.devices import SimBlockDevices
from bollard.sim.engine import Mesh, SimEngine
from bollard.sim.files import Disk, SimFiles
from bollard.sim.lvm import SimLvm
from bollard.sim.zfs import SimZfs
from bollard.wire.engine import Event, Reply, Request, ResourceSpec

__all__ = ["POOL_FOLDER", "SimMachine", "jitter", "no_pause"]

POOL_FOLDER = "/pool"


async def no_pause() -> None:
    """A machine that answers at once."""


class _EngineDoor:
    """Reaches whatever data process runs now; `engine-away` while none does."""

    def __init__(self, machine: "SimMachine") -> None:
        self._machine = machine

    async def ask(self, request: Request) -> Reply:
        return await self._engine().ask(request)

    async def events(self) -> AsyncIterator[Event]:
        async for event in self._engine().events():
            yield event

    def _engine(self) -> SimEngine:
        if self._machine.engine is None:
            raise HostError("The data process does not answer", code="engine-away")
        return self._machine.engine


class _Programs:
    """All programs of a machine, wherever they are from."""

    def __init__(self, *sources: SimLvm | SimZfs) -> None:
        self._sources = sources

    def path_of(self, program: str) -> str | None:
        return next((path for one in self._sources if (path := one.path_of(program))), None)

    async def run(self, cmd: Cmd) -> Done:
        fit = [one for one in self._sources if one.path_of(cmd.argv[0])]
        return await (fit or self._sources)[0].run(cmd)


class SimMachine:
    """One node's hardware and data process. `pause` runs around every effect: to wait, or to be cut."""

    def __init__(self, node: str, mesh: Mesh, pause: Callable[[], Awaitable[None]] = no_pause) -> None:
        self.node = node
        self.disk = Disk()
        self.disk.folders.add(POOL_FOLDER)
        self.stored: dict[str, ResourceSpec] = {}
        self.engine: SimEngine | None = None
        self._mesh = mesh
        self._pause = pause
        self.lvm = SimLvm(self.disk, pause)
        """Its programs: none before it has a volume group."""
        self.zfs = SimZfs(self.disk, pause)
        """Likewise, before it has a zpool."""
        self.devices: SimBlockDevices | None = None
        """Block devices of served volumes: none before `can_attach`."""
        self.start_engine()

    def start_engine(self) -> None:
        """The data process comes up with what it had stored."""
        if self.engine is None:
            self.engine = SimEngine(self.node, self._mesh, self.disk, self._pause, stored=self.stored)

    def stop_engine(self) -> None:
        """The data process dies."""
        if self.engine is not None:
            engine, self.engine = self.engine, None
            engine.stop()

    def can_attach(self) -> SimBlockDevices:
        """Its kernel can make block devices of volumes from now on."""
        if self.devices is None:
            self.devices = SimBlockDevices(lambda: self.engine, self._pause)
        return self.devices

    def in_use(self) -> bool:
        """Whether some volume is open here."""
        return self.engine is not None and bool(self.engine.primaries)

    def release(self) -> None:
        """Everybody closes their volumes."""
        if self.engine is not None:
            for name in sorted(self.engine.primaries):
                self.engine.promote(name, primary=False)

    def host(self) -> Host:
        """What a satellite on this machine works with."""
        return Host(
            files=SimFiles(self.disk, self._pause),
            runner=_Programs(self.lvm, self.zfs),
            engine=_EngineDoor(self),
            nbd_socket=f"/run/{self.node}/nbd.sock",
            facts={"node": self.node},
            devices=self.devices,
        )


def jitter(rng: random.Random, clock: Clock, up_to_s: float) -> Callable[[], Awaitable[None]]:
    """A machine whose every effect takes a random time."""

    async def pause() -> None:
        await clock.sleep(rng.random() * up_to_s)

    return pause
