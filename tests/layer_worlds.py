"""Two nodes that run the DRBD layer, one kind of world for each of its implementations."""

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Never, Protocol, Self

from bollard.client.nbd import NbdClient
from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import DEFAULT_STACK, ReplicationKind
from bollard.domain.local import LocalBacking
from bollard.domain.resources import DiskKind
from bollard.domain.steps import CreateMetadata
from bollard.domain.targets import (
    TargetPeer,
    TargetReplication,
    TargetResource,
    TargetVolume,
)
from bollard.lab.cluster import Lab
from bollard.lab.network import data_address
from bollard.planning.layers import drbd
from bollard.runtime.clock import RealClock
from bollard.satellite.drivers import REPLICATION, Layer
from bollard.satellite.host.base import BackingSeen, Cmd, Host
from bollard.satellite.host.engine import EngineClient
from bollard.satellite.host.kernel_drbd import KernelDrbd
from bollard.satellite.host.local import LocalFiles
from bollard.satellite.tools.paths import Paths
from bollard.sim.engine import Mesh
from bollard.sim.host import POOL_FOLDER, SimMachine
from lab_host import LabFiles, LabRunner, NoEngine
from replica_process import ReplicaProcess

GENERATION = "1234567890ABCDEE"
SECRET = "s3cret of the test"
NET_KIB = 8192
QUICK = {"Net/connect-int": "1", "Net/ping-int": "2"}
_FOLDER = "/var/lib/bollard/drbd.d"
_subnets = itertools.count(os.getpid() % 100 + 120)


class World(Protocol):
    """Two machines, and what a test does to them besides the layer's verbs."""

    kind: ReplicationKind
    hosts: list[Host]
    has_data: bool

    async def make_disk(self, node: int, name: str, size_kib: int) -> str:
        """Storage that reads as zeroes; its path."""

    async def grow_disk(self, node: int, name: str, size_kib: int) -> None:
        """More of it, zeroes again."""

    def endpoint(self, node: int) -> tuple[str, int]:
        """Where the node replicates."""

    def hold(self, node: int, name: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Somebody uses the volume."""

    async def write(self, node: int, name: str, offset: int, data: bytes) -> None:
        """As a user, durably."""

    async def read(self, node: int, name: str, offset: int, length: int) -> bytes:
        """As a user."""


class Pair:
    """One resource of a world on its two nodes, driven through the layer's verbs."""

    def __init__(
        self, world: World, name: str, *, uuid: str = "r1", generation: str | None = GENERATION
    ) -> None:
        self.world = world
        self.layer: Layer = REPLICATION[world.kind]
        self.name = ResourceName(name)
        self.minor = next(_minors)
        self.generation = generation
        self.uuid = uuid
        self.options = dict(QUICK)
        self.net_kib = NET_KIB
        self.backings: list[BackingSeen] = []
        self.ports = [world.endpoint(node) for node in (0, 1)]

    @property
    def gross_kib(self) -> int:
        return drbd.gross_kib(self.net_kib, 7)

    def target(self, node: int) -> TargetResource:
        other = 1 - node
        volume = TargetVolume(0, self._volume(node), self.net_kib, "pool", self.gross_kib, minor=self.minor)
        address, port = self.ports[node]
        peer = TargetPeer(NodeName(f"node{other + 1}"), other, *self.ports[other])
        replication = TargetReplication(
            node, address, port, SECRET, (peer,), options=self.options, implementation=self.world.kind
        )
        return TargetResource(
            self.name,
            Uuid(self.uuid),
            DiskKind.DISKFUL,
            layer_stack=DEFAULT_STACK,
            volumes=(volume,),
            replication=replication,
        )

    async def make(self) -> "Pair":
        """Disks and metadata."""
        for node in (0, 1):
            path = await self.world.make_disk(node, self.name, self.gross_kib)
            local = LocalBacking("pool", 0, self._volume(node), self.gross_kib)
            self.backings.append(BackingSeen(self.name, path, self.gross_kib, local))
            await self.format(node)
        return self

    async def format(self, node: int) -> None:
        first = self.generation is not None
        step = CreateMetadata(
            self.name,
            "pool",
            0,
            self._volume(node),
            node,
            7,
            self.net_kib,
            self.generation if first else (GENERATION if node == 0 else None),
            minor=self.minor,
            implementation=self.world.kind,
        )
        await self.layer.format(step, self.backings[node].path, "", self.world.hosts[node])

    async def open(self, *nodes: int) -> list[bool]:
        found = []
        for node in nodes or (0, 1):
            backing = self.backings[node]
            host = self.world.hosts[node]
            paths = Paths({0: backing.path})
            found.append(await self.layer.open(self.target(node), {0: backing}, paths, host))
        return found

    async def close(self, node: int) -> bool:
        return await self.layer.close(self.name, self.world.hosts[node])

    async def seen(self, node: int) -> Any:
        """What runs there; None when nothing does."""
        found = await self.layer.observe(self.world.hosts[node], self.name)
        assert len(found) <= 1
        return found[0] if found else None

    async def until(self, holds: Callable[..., bool], *nodes: int, limit_s: float = 60.0) -> None:
        """Every node's status satisfies it."""
        states: list[Any] = []
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    states = [await self.seen(node) for node in nodes or (0, 1)]
                    statuses = [one.status for one in states if one is not None]
                    if len(statuses) == len(states) and all(
                        one is not None and holds(one) for one in statuses
                    ):
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"it did not come true: {states}") from None

    def _volume(self, node: int) -> Uuid:
        return Uuid(f"{self.uuid}-{self.name}-{node}")


_minors = itertools.count(1000)


def up_to_date(status: Any) -> bool:
    """Both disks, connected, nothing out of sync."""
    devices, connections = status.devices, status.connections
    return (
        all(device.disk_state == "UpToDate" for device in devices)
        and bool(connections)
        and all(
            one.peer_disk_state == "UpToDate"
            and one.replication_state == "Established"
            and one.out_of_sync == 0
            for connection in connections
            for one in connection.peer_devices
        )
        and all(connection.connection_state == "Connected" for connection in connections)
    )


class SimWorld:
    """Simulated data processes: no data, only states."""

    kind = ReplicationKind.USER
    has_data = False

    def __init__(self) -> None:
        mesh = Mesh()
        self.machines = [SimMachine(f"node{node}", mesh) for node in (1, 2)]
        self.hosts = [machine.host() for machine in self.machines]

    async def make_disk(self, node: int, name: str, size_kib: int) -> str:
        path = f"{POOL_FOLDER}/{name}.img"
        await self.hosts[node].files.allocate(path, size_kib << 10, thick=False)
        return path

    async def grow_disk(self, node: int, name: str, size_kib: int) -> None:
        await self.make_disk(node, name, size_kib)

    def endpoint(self, node: int) -> tuple[str, int]:
        return f"10.0.0.{node + 1}", 7000

    @asynccontextmanager
    async def hold(self, node: int, name: str) -> AsyncIterator[None]:
        engine = self.machines[node].engine
        assert engine is not None
        assert engine.promote(name, primary=True)
        yield
        engine.promote(name, primary=False)

    async def write(self, node: int, name: str, offset: int, data: bytes) -> None:
        raise NotImplementedError

    async def read(self, node: int, name: str, offset: int, length: int) -> bytes:
        raise NotImplementedError


class EngineWorld:
    """Two real data processes on files."""

    kind = ReplicationKind.USER
    has_data = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.subnet = next(_subnets) % 250
        self.processes = [ReplicaProcess(root / f"node{node}") for node in (1, 2)]
        self.hosts: list[Host] = []

    async def __aenter__(self) -> Self:
        files = LocalFiles()
        for process in self.processes:
            await asyncio.to_thread(process.start)
            client = EngineClient(str(process.directory / "control.sock"))
            nbd = str(process.directory / "nbd.sock")
            self.hosts.append(Host(files, _NoTools(), client, nbd, {"node": process.directory.name}))
        return self

    async def __aexit__(self, *_failure: object) -> None:
        for host in self.hosts:
            assert isinstance(host.engine, EngineClient)
            await host.engine.close()
        for process in self.processes:
            await asyncio.to_thread(process.kill)

    async def make_disk(self, node: int, name: str, size_kib: int) -> str:
        path = str(self.root / f"{name}-{node}.img")
        await self.hosts[node].files.allocate(path, size_kib << 10, thick=False)
        return path

    async def grow_disk(self, node: int, name: str, size_kib: int) -> None:
        await self.make_disk(node, name, size_kib)

    def endpoint(self, node: int) -> tuple[str, int]:
        address = f"127.{self.subnet}.8.{node + 1}"
        with socket.socket() as probe:
            probe.bind((address, 0))
            return address, int(probe.getsockname()[1])

    @asynccontextmanager
    async def hold(self, node: int, name: str) -> AsyncIterator[None]:
        client = await asyncio.to_thread(self._client, node, name)
        await asyncio.to_thread(client.write, 0, bytes(4096))
        yield
        await asyncio.to_thread(client.close)

    async def write(self, node: int, name: str, offset: int, data: bytes) -> None:
        client = await asyncio.to_thread(self._client, node, name)
        await asyncio.to_thread(client.write, offset, data, fua=True)
        await asyncio.to_thread(client.close)

    async def read(self, node: int, name: str, offset: int, length: int) -> bytes:
        client = await asyncio.to_thread(self._client, node, name)
        data = await asyncio.to_thread(client.read, offset, length)
        await asyncio.to_thread(client.close)
        return data

    def _client(self, node: int, name: str) -> NbdClient:
        return NbdClient(self.processes[node].nbd, f"{name}/0")


class KernelWorld:
    """Two lab nodes with a module of DRBD; their disks are slices of /dev/ubdb."""

    has_data = True

    def __init__(self, lab: Lab, kind: ReplicationKind) -> None:
        self.lab = lab
        self.kind = kind
        self.runners = [LabRunner(lab, node) for node in (1, 2)]
        self.hosts: list[Host] = []
        self._slices = [0, 0]
        self._ports = itertools.count(7000)

    async def begin(self) -> Self:
        """Probe the nodes."""
        for number, runner in enumerate(self.runners, 1):
            files = LabFiles(runner)
            kernel = KernelDrbd(runner, files, RealClock(), folder=_FOLDER)
            facts = await kernel.probe()
            assert facts.kind is self.kind, facts
            name = f"node{number}"
            self.hosts.append(
                Host(files, runner, NoEngine(), "/nowhere", {"node": name, "uname": name}, kernel=kernel)  # type: ignore[arg-type]
            )
        return self

    async def clear(self) -> None:
        """Nothing runs any more; disks stay as they are and are not used again."""
        for node, host in enumerate(self.hosts):
            assert host.kernel is not None
            for name in await host.kernel.statuses():
                await self.run(node, "drbdsetup", "down", name, check=False)

    async def run(self, node: int, *argv: str, check: bool = True, stdin: bytes = b"") -> str:
        done = await self.runners[node].execute(*argv, stdin=stdin)
        assert not check or done.code == 0, (argv, done)
        return done.stdout

    async def make_disk(self, node: int, name: str, size_kib: int) -> str:
        await self._table(node, name, size_kib, "create")
        return f"/dev/mapper/{name}"

    async def grow_disk(self, node: int, name: str, size_kib: int) -> None:
        old = (await self.run(node, "dmsetup", "table", name)).strip()
        await self._table(node, name, size_kib, "load", old)
        await self.run(node, "dmsetup", "resume", name)

    async def _table(self, node: int, name: str, size_kib: int, verb: str, old: str = "") -> None:
        """A linear device; what is added comes from unused space."""
        lines = [old] if old else []
        begin = sum(int(line.split()[1]) for line in lines)
        more = size_kib * 2 - begin
        lines.append(f"{begin} {more} linear /dev/ubdb {self._slices[node]}")
        self._slices[node] += more
        table = "\n".join(lines) + "\n"
        await self.run(node, "dmsetup", verb, "--noudevsync", name, stdin=table.encode())
        await self.run(node, "dmsetup", "mknodes", name)

    def endpoint(self, node: int) -> tuple[str, int]:
        return data_address(node + 1), next(self._ports)

    @asynccontextmanager
    async def hold(self, node: int, name: str) -> AsyncIterator[None]:
        device = await self._promoted(node, name)
        script = f"import signal; f = open('{device}', 'r+b'); signal.pause()"
        pid = (await self.runners[node].execute("python3", "-c", script, background=True)).stdout
        opened = f"while ! ls -l /proc/{pid}/fd | grep -q {device}; do sleep 0.05; done"
        await self.run(node, "sh", "-c", opened)
        yield
        await self.run(node, "kill", pid)
        await self._demote(node, name, device)

    async def write(self, node: int, name: str, offset: int, data: bytes) -> None:
        device = await self._promoted(node, name)
        await self.run(
            node, "dd", f"of={device}", "oflag=direct,seek_bytes", f"seek={offset}", "bs=4096", stdin=data
        )
        await self._demote(node, name, device)

    async def read(self, node: int, name: str, offset: int, length: int) -> bytes:
        device = await self._promoted(node, name)
        flags = "iflag=direct,skip_bytes,count_bytes"
        data = await self.run(
            node, "dd", f"if={device}", flags, f"skip={offset}", f"count={length}", "bs=4096"
        )
        await self._demote(node, name, device)
        return data.encode()

    async def _promoted(self, node: int, name: str) -> str:
        shown = await self.run(node, "drbdsetup", "show", name)
        minor = shown.split("minor", 1)[1].split(";")[0].strip()
        device = f"/dev/drbd{minor}"
        await self.run(node, "drbdsetup", "primary", self._target(name, device))
        return device

    async def _demote(self, node: int, name: str, device: str) -> None:
        """Udev may hold it for a moment after it was written."""
        script = f"until drbdsetup secondary {self._target(name, device)}; do sleep 0.1; done"
        await self.run(node, "timeout", "20", "sh", "-c", script)

    def _target(self, name: str, device: str) -> str:
        """8.4's tools take the minor, 9's the resource."""
        return device.removeprefix("/dev/drbd") if self.kind is ReplicationKind.DRBD84 else name


class _NoTools:
    def path_of(self, program: str) -> str | None:
        assert program
        return None

    async def run(self, cmd: Cmd) -> Never:
        raise AssertionError(cmd)
