"""`python -m bollard.satellite.guard`: ends a freeze of DRBD 8.4 at its deadline, whoever is alive then.

It waits, and resumes the devices if the freeze's file still names its token. Told to end, it does so at once.
"""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import msgspec

from bollard.satellite.host.base import Cmd, HostError
from bollard.satellite.host.kernel_freeze import Record
from bollard.satellite.host.runner import LocalRunner

__all__ = ["argv", "main"]


def argv(path: str, token: str, minors: tuple[int, ...], deadline_ms: int) -> list[str]:
    """How to start it."""
    words = [path, token, str(deadline_ms), *map(str, minors)]
    return [sys.executable, "-P", "-m", "bollard.satellite.guard", *words]


async def _wait_and_resume(path: str, token: str, deadline_ms: int, minors: list[str]) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(deadline_ms / 1000):
            await told.wait()
    record = _record(Path(path))
    if record is None or record.token != token or record.over:
        return
    for minor in minors:
        with contextlib.suppress(HostError):
            await LocalRunner().run(Cmd(("drbdsetup", "resume-io", minor)))


def _record(path: Path) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def main() -> None:
    """Its arguments are those of `argv`."""
    path, token, deadline_ms, *minors = sys.argv[1:]
    asyncio.run(_wait_and_resume(path, token, int(deadline_ms), minors))


if __name__ == "__main__":
    main()
