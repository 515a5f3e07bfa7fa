"""A real satellite process for tests, and the controller's end of its link."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bollard.domain.ids import NodeName
from bollard.domain.observed import Observed
from bollard.domain.targets import Target
from bollard.runtime.channel import SocketChannel
from bollard.wire.link import AnyMessage, Hello, Ping, Pong, Report, TargetFull, Welcome
from bollard.wire.version import CONTROLLER_FEATURES

CLUSTER = "11111111-2222-3333-4444-555555555555"


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class SatelliteProcess:
    """`bollard-satellite` with its own state folder; `stop` also ends the data process that it started."""

    def __init__(self, folder: Path, node: str = "n1", port: int | None = None) -> None:
        self.folder = folder
        self.node = node
        self.port = port or free_port()
        self.log = folder.with_name(folder.name + ".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *extra: str) -> None:
        """Start and wait until it listens."""
        self.process = self.spawn(*extra)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            self.process.poll()
            _brief()

    def spawn(self, *extra: str) -> "subprocess.Popen[bytes]":
        """Start without waiting."""
        argv = [sys.executable, "-c", "from bollard.satellite.app import main; main()"]
        argv += ["--node-name", self.node, "--port", str(self.port), "--state-dir", str(self.folder), *extra]
        with self.log.open("ab") as log:
            return subprocess.Popen(argv, stdout=log, stderr=log)

    def kill(self) -> None:
        """As a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def replica_pid(self) -> int:
        """The data process's id."""
        return int((self.folder / "replica" / "lock").read_text())

    def stop(self) -> None:
        """End both processes."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(15) == 0, self.log.read_text()
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.replica_pid(), signal.SIGTERM)


def _brief() -> None:
    with socket.socket() as sock:
        sock.settimeout(0.02)
        with contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            sock.accept()


class FakeController:
    """The controller's end: greets, sends targets, keeps what is reported."""

    def __init__(self, channel: SocketChannel, node: str) -> None:
        self.channel = channel
        self.node = node
        self.observed = Observed()
        self.removed: set[str] = set()
        self.others: list[AnyMessage] = []
        self.welcome: Welcome | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def greet(self, cluster: str = CLUSTER) -> AnyMessage | None:
        """Say hello; the answer."""
        hello = Hello(cluster_uuid=cluster, version="test", node=self.node, features=CONTROLLER_FEATURES)
        await self.channel.send(hello)
        answer = await self.channel.receive()
        if isinstance(answer, Welcome):
            self.welcome = answer
            self._task = asyncio.create_task(self._receive())
        return answer

    async def send(self, target: Target) -> None:
        """The whole target."""
        await self.channel.send(TargetFull(target=target))

    async def until(self, holds: Callable[["FakeController"], bool], limit_s: float = 20.0) -> None:
        """Wait for reports that make it true."""
        async with asyncio.timeout(limit_s):
            while not holds(self):
                self._news.clear()
                await self._news.wait()

    async def _receive(self) -> None:
        while (message := await self.channel.receive()) is not None:
            match message:
                case Report():
                    self.observed.take(message.observation, 0)
                    self.removed |= set(message.observation.removed)
                case Ping():
                    await self.channel.send(Pong(number=message.number))
                case _:
                    self.others.append(message)
            self._news.set()

    def close(self) -> None:
        """Drop the link."""
        if self._task is not None:
            self._task.cancel()
        self.channel.close()


@contextlib.asynccontextmanager
async def controller_of(satellite: SatelliteProcess) -> AsyncIterator[FakeController]:
    """A link that has not greeted yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", satellite.port)
    controller = FakeController(SocketChannel(reader, writer), NodeName(satellite.node))
    try:
        yield controller
    finally:
        controller.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
