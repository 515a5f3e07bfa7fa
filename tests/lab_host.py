"""A lab node as a satellite's machine: the same doors (files, programs), opened over the node's agent."""

import asyncio
import shutil
from collections.abc import AsyncIterator

from bollard.lab.cluster import Done as LabDone
from bollard.lab.cluster import Lab
from bollard.satellite.host.base import Cmd, Done, FileSeen, HostError, Marked
from bollard.wire.engine import Event, Reply, Request


class LabRunner:
    """`host.base.Runner` in a node."""

    def __init__(self, lab: Lab, node: int) -> None:
        self._lab = lab
        self._node = node
        self.ran: list[tuple[str, ...]] = []

    def path_of(self, program: str) -> str | None:
        return shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")

    async def run(self, cmd: Cmd) -> Done:
        self.ran.append(cmd.argv)
        done = await self.execute(*cmd.argv, stdin=cmd.stdin, limit_s=max(cmd.timeout_s, 300.0))
        if done.code not in cmd.expect:
            said = done.stderr
            for secret in cmd.masked:
                said = said.replace(secret, "***")
            raise HostError(f"'{cmd.argv[0]}' failed with exit code {done.code}: {said}", code="tool-failed")
        return Done(done.code, done.stdout.encode(), done.stderr.encode())

    async def execute(
        self, *argv: str, stdin: bytes = b"", limit_s: float = 300.0, background: bool = False
    ) -> LabDone:
        """Run it, whatever its code; in the background its process id is all that it says."""
        return await asyncio.to_thread(
            self._lab.try_exec, self._node, *argv, stdin=stdin, limit_s=limit_s, background=background
        )


class LabFiles:
    """The part of `host.base.Files` that the kernel's driver uses, in a node."""

    def __init__(self, runner: LabRunner) -> None:
        self._runner = runner

    async def look(self, path: str) -> FileSeen | None:
        done = await self._runner.execute("stat", "-Lc", "%s %F", path)
        if done.code:
            return None
        size, kind = done.stdout.split(maxsplit=1)
        return FileSeen(path.rpartition("/")[2], int(size), is_folder="directory" in kind)

    async def read(self, path: str) -> bytes | None:
        done = await self._runner.execute("@read", path)
        return None if done.code else done.stdout.encode()

    async def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        done = await self._runner.execute("@write", path, f"{mode:o}", stdin=content)
        assert done.code == 0, done.stderr

    async def remove(self, path: str) -> bool:
        return (await self._runner.execute("@remove", path)).code == 0

    async def make_folder(self, path: str) -> None:
        done = await self._runner.execute("mkdir", "-p", "-m", "700", path)
        assert done.code == 0, done.stderr

    async def marked(self, folder: str, suffix: str, prefix: str = "") -> tuple[Marked, ...]:
        names = (await self._runner.execute("@list", folder)).stdout.split()
        found = []
        for name in names:
            if name.upper().startswith(prefix.upper()) and name.endswith(suffix):
                content = await self.read(f"{folder}/{name}")
                if content is not None:
                    found.append(Marked(name.removesuffix(suffix), content, None))
        return tuple(found)


class NoEngine:
    """A node without a data process."""

    async def ask(self, request: Request) -> Reply:
        raise HostError("The data process does not answer", code="engine-away")

    async def events(self) -> AsyncIterator[Event]:
        raise HostError("The data process does not answer", code="engine-away")
        yield
