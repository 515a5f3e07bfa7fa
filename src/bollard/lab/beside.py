"""A satellite that runs on the host while its machine is a node: for nodes in which Python is too slow.

Its programs run in the node, and it reads and writes the node's kernel files; nothing else differs.
"""

import asyncio
import base64
import errno
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.seen import Capabilities
from bollard.lab.agent import PORT
from bollard.lab.cluster import Done as LabDone
from bollard.lab.cluster import Lab
from bollard.lab.network import control_address
from bollard.lab.programs import start
from bollard.lab.satellites import LabCluster
from bollard.satellite.app import Doors, Satellite
from bollard.satellite.facts import capabilities
from bollard.satellite.host.base import Cmd, Done, FileSeen, HostError
from bollard.satellite.host.local import LocalFiles
from bollard.satellite.host.runner import failed
from bollard.satellite.settings import parse
from bollard.satellite.state import StateFolder

__all__ = ["BesideCluster", "NodeFiles", "NodeRunner", "NodeTree"]

_PATIENCE: Final = 10.0
"""How many times longer than on bare metal a command may take in such a node."""
_THERE: Final = ("/sys/", "/dev/", "/proc/", "/run/")
_NUMBER: Final = re.compile(r"\[Errno (\d+)\]")
_BUSY: Final = frozenset({errno.EBUSY, errno.ENOTEMPTY})
_MAIN: Final = "from bollard.lab.beside import main; main()"
_REPLICA: Final = "from bollard.replica.app import main; main()"
_END_S: Final = 20.0
_LAYERS: Final = (LayerKind.DRBD, LayerKind.NVME, LayerKind.STORAGE)
_PROVIDERS: Final = (ProviderKind.DISKLESS, ProviderKind.LVM, ProviderKind.LVM_THIN)


async def _ask(node: int, *argv: str, stdin: bytes = b"", limit_s: float = 60.0) -> LabDone:
    request = {"argv": argv, "stdin": base64.b64encode(stdin).decode(), "background": False}
    async with asyncio.timeout(limit_s * _PATIENCE):
        reader, writer = await asyncio.open_connection(control_address(node), PORT, limit=1 << 26)
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            found = json.loads(await reader.readline())
        finally:
            writer.close()
    texts = (base64.b64decode(found[name]).decode(errors="replace") for name in ("stdout", "stderr"))
    return LabDone(found["code"], *texts)


class NodeRunner:
    """`host.base.Runner` of a node."""

    def __init__(self, node: int) -> None:
        self._node = node

    def path_of(self, program: str) -> str | None:
        """The node sees the host's files."""
        return shutil.which(program)

    async def run(self, cmd: Cmd) -> Done:
        """As of a LocalRunner, but that nothing ends a program that takes too long."""
        try:
            done = await _ask(self._node, *cmd.argv, stdin=cmd.stdin, limit_s=cmd.timeout_s)
        except (OSError, TimeoutError, ValueError) as error:
            raise HostError(
                f"'{cmd.argv[0]}' did not end in the node", code="tool-timeout", cause=str(error)
            ) from error
        found = Done(done.code, done.stdout.encode(), done.stderr.encode())
        if done.code not in cmd.expect:
            raise failed(cmd, done.code, found.stderr)
        return found


class NodeTree:
    """`host.base.Tree` of a node."""

    def __init__(self, node: int) -> None:
        self._node = node

    async def names(self, path: str) -> tuple[str, ...]:
        done = await _ask(self._node, "@list", path)
        return tuple(done.stdout.splitlines()) if done.code == 0 else ()

    async def read(self, path: str) -> str | None:
        done = await _ask(self._node, "@read", path)
        return done.stdout.strip() if done.code == 0 else None

    async def write(self, path: str, text: str) -> None:
        await self._change("@put", path, data=text.encode())

    async def make(self, path: str) -> bool:
        return await self._change("@make", path, none=errno.EEXIST)

    async def drop(self, path: str) -> bool:
        return await self._change("@drop", path, none=errno.ENOENT)

    async def link(self, path: str, to: str) -> bool:
        return await self._change("@link", path, to, none=errno.EEXIST)

    async def unlink(self, path: str) -> bool:
        return await self._change("@remove", path, none=errno.ENOENT)

    async def ask(self, path: str, text: str) -> str:
        done = await _ask(self._node, "@ask", path, stdin=text.encode())
        if done.code != 0:
            raise _refused(path, done)
        return done.stdout.strip()

    async def device(self, path: str) -> str:
        return (await _ask(self._node, "@device", path)).stdout

    async def in_use(self, path: str) -> bool:
        return _number(await _ask(self._node, "@claimed", path)) == errno.EBUSY

    async def _change(self, *words: str, data: bytes = b"", none: int = 0) -> bool:
        done = await _ask(self._node, *words, stdin=data)
        if done.code != 0 and _number(done) != none:
            raise _refused(words[1], done)
        return done.code == 0


def _number(done: LabDone) -> int:
    found = _NUMBER.search(done.stderr)
    return int(found[1]) if found else 0


def _refused(path: str, done: LabDone) -> HostError:
    code = "busy" if _number(done) in _BUSY else "kernel-refused"
    return HostError(f"The kernel refused a change of '{path}'", code=code, cause=done.stderr, name=path)


class NodeFiles(LocalFiles):
    """`host.base.Files`: the node's where the kernel makes them, the host's elsewhere."""

    def __init__(self, node: int) -> None:
        super().__init__()
        self._node = node

    async def look(self, path: str) -> FileSeen | None:
        if not path.startswith(_THERE):
            return await super().look(path)
        done = await _ask(self._node, "stat", "--format", "%s", path)
        name = Path(path).name
        return FileSeen(name, int(done.stdout), is_folder=not done.stdout) if done.code == 0 else None

    async def read(self, path: str) -> bytes | None:
        if not path.startswith(_THERE):
            return await super().read(path)
        done = await _ask(self._node, "@read", path)
        return done.stdout.encode() if done.code == 0 else None

    async def zero(self, path: str, offset_bytes: int, length_bytes: int) -> None:
        if not path.startswith(_THERE):
            return await super().zero(path, offset_bytes, length_bytes)
        place = ("--offset", str(offset_bytes), "--length", str(length_bytes))
        await NodeRunner(self._node).run(Cmd(("blkdiscard", "--zeroout", *place, path), timeout_s=300.0))
        return None


def able() -> Capabilities:
    """What such nodes are told to be good for; the host's own kernel says nothing of it."""
    return msgspec.structs.replace(
        capabilities(),
        layers=_LAYERS,
        providers=_PROVIDERS,
        unsupported_layers={},
        unsupported_providers={},
    )


def main() -> None:
    """The satellite of the node whose number is the first argument; the others are a satellite's own."""
    node, settings = int(sys.argv[1]), parse(sys.argv[2:])
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    state = StateFolder(settings.state_dir)
    state.lock()
    doors = Doors(NodeFiles(node), NodeRunner(node), NodeTree(node), able())
    asyncio.run(Satellite(settings, state, doors).run())


class BesideCluster(LabCluster):
    """As a `LabCluster`, with the satellites on the host."""

    def __init__(self, lab: Lab, root: Path) -> None:
        """`root` is an empty folder."""
        super().__init__(lab, root)
        self._processes: dict[int, list[subprocess.Popen[bytes]]] = {}

    def control_of(self, node: int) -> str:
        """One address of the host for each."""
        return f"127.0.1.{node}"

    def start_satellite(self, node: int) -> None:
        """With its data process; what they say goes to a file, their state outlives them."""
        state = self._root / f"satellite{node}"
        state.mkdir(parents=True, exist_ok=True)
        replica = [sys.executable, "-c", _REPLICA, "--state-dir", str(state / "replica")]
        satellite = [
            sys.executable, "-c", _MAIN, str(node), "--node-name", f"node{node}", "--state-dir", str(state),
            "--bind", self.control_of(node), "--insecure-plain", "--attach-replica",
        ]  # fmt: skip
        self._processes[node] = [
            start(self.lab.network.argv(command), str(self._log(node)), dict(os.environ))
            for command in (replica, satellite)
        ]

    def stop_satellite(self, node: int, *, kill: bool = False) -> None:
        """End it and its data process."""
        processes = self._processes.pop(node, [])
        for process in processes:
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        for process in processes:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def stop(self) -> None:
        """End the controller, the satellites and their data processes."""
        for node in list(self._processes):
            self.stop_satellite(node)
        super().stop()

    def log(self, node: int) -> str:
        """What a node's satellite said."""
        return self._log(node).read_text(errors="replace")

    def _log(self, node: int) -> Path:
        return self._root / f"satellite{node}.log"
