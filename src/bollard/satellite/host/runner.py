"""The one runner of external commands: absolute paths found once, C locale, time limits, secrets over stdin.

Nothing else of the satellite starts processes. No shell, ever.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

from bollard.domain.errors import Subject
from bollard.satellite.host.base import Cmd, Done, HostError

__all__ = ["LocalRunner", "failed", "start_detached"]

_SEARCH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GRACE_S: Final = 5.0
_TAIL: Final = 2000
_LINE_MAX: Final = 1 << 20
_log = logging.getLogger(__name__)


class LocalRunner:
    """`host.base.Runner` on this machine."""

    def __init__(self, search: str = _SEARCH) -> None:
        self._search = search
        self._paths: dict[str, str] = {}

    def path_of(self, program: str) -> str | None:
        assert "/" not in program, program
        # What is missing is looked for again: packages are installed while the satellite runs.
        found = self._paths.get(program) or shutil.which(program, path=self._search)
        if found is not None:
            self._paths[program] = found
        return found

    async def run(self, cmd: Cmd) -> Done:
        path = self.path_of(cmd.argv[0])
        if path is None:
            raise _missing(cmd, self._search)
        try:
            process = await asyncio.create_subprocess_exec(
                path,
                *cmd.argv[1:],
                stdin=subprocess.PIPE if cmd.stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PATH": self._search, "LC_ALL": "C", "LANG": "C"},
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError):
            # It was there when it was looked for: packages are removed, too.
            self._paths.pop(cmd.argv[0], None)
            raise _missing(cmd, self._search) from None
        try:
            async with asyncio.timeout(cmd.timeout_s):
                stdout, stderr = await process.communicate(cmd.stdin or None)
        except TimeoutError:
            raise HostError(
                f"'{cmd.argv[0]}' did not end within {cmd.timeout_s:g} s",
                code="tool-timeout",
                cause=f"Command: {cmd.shown()}",
                correction="Look for a hung device or file system in the kernel's log.",
                subject=Subject.COMMAND,
                name=cmd.argv[0],
            ) from None
        finally:
            if process.returncode is None:
                await _end_group(process)
        assert process.returncode is not None
        _log.debug("%s: exit %d", cmd.shown(), process.returncode)
        if process.returncode not in cmd.expect:
            raise failed(cmd, process.returncode, stderr)
        return Done(process.returncode, stdout, stderr)

    async def follow(self, cmd: Cmd) -> AsyncIterator[str]:
        """`host.base.Follower`: the time limit does not count."""
        path = self.path_of(cmd.argv[0])
        if path is None:
            raise _missing(cmd, self._search)
        process = await asyncio.create_subprocess_exec(
            path,
            *cmd.argv[1:],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": self._search, "LC_ALL": "C", "LANG": "C"},
            start_new_session=True,
            limit=_LINE_MAX,
        )
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                yield line.decode("utf-8", "replace").rstrip("\n")
            code = await process.wait()
        finally:
            if process.returncode is None:
                await _end_group(process)
        if code not in cmd.expect:
            raise failed(cmd, code, b"")


def _missing(cmd: Cmd, search: str) -> HostError:
    return HostError(
        f"The program '{cmd.argv[0]}' is not installed",
        code="tool-missing",
        cause=f"It was looked for in {search}.",
        correction="Install the package that provides it; it is tried again by itself.",
        subject=Subject.COMMAND,
        name=cmd.argv[0],
    )


def failed(cmd: Cmd, code: int, stderr: bytes) -> HostError:
    """The error of a command that ended with an exit code it should not have."""
    said = stderr[-_TAIL:].decode("utf-8", "replace").strip()
    for secret in cmd.masked:
        said = said.replace(secret, "***")
    return HostError(
        f"'{cmd.argv[0]}' failed with exit code {code}",
        code="tool-failed",
        cause=f"Command: {cmd.shown()}" + (f"; it said: {said}" if said else ""),
        subject=Subject.COMMAND,
        name=cmd.argv[0],
        said=said,
    )


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End the command and its children: asked first, forced after a grace."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await process.wait()
            if number is signal.SIGKILL or not _group_alive(process.pid):
                return


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def start_detached(argv: Sequence[str], log_path: Path) -> Callable[[], int | None]:
    """Start a program that outlives this process: its own session, output to a file.

    The result, called now and then, lets an ended program go and gives its exit code. Raises OSError when
    the program or the log file cannot be opened.
    """
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=True,
            cwd="/",
        )
    return process.poll
