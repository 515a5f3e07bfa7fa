"""Sees to it that the data process runs, and never ends it: volumes outlive satellites.

It is found again through its control socket. Under systemd another unit runs it and this only looks.
"""

import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bollard.domain.ports import Clock
from bollard.satellite.host.engine import EngineClient
from bollard.satellite.host.runner import start_detached

__all__ = ["DataProcess"]

CHECK_S: Final = 1.0
START_S: Final = 10.0
AGAIN_MAX_S: Final = 60.0
_PROGRAM: Final = "bollard-replica"
_log = logging.getLogger(__name__)


class DataProcess:
    """The data process that keeps its state in `folder`."""

    def __init__(self, folder: Path, clock: Clock, *, start: bool, volumes: str = "") -> None:
        """`volumes`: where it shall show volumes as files when it is started here; empty: nowhere."""
        self._folder = folder
        self._wish = volumes
        self.devices = ""
        """Where the one that runs has files for block devices; empty: nowhere, or it does not answer."""
        self._clock = clock
        self._start = start
        self._poll: Callable[[], int | None] = lambda: None
        self.control = folder / "control.sock"
        self.nbd = folder / "nbd.sock"

    async def ensure(self) -> str:
        """Find it or start it. Empty, or a sentence that says why it is not there."""
        if await self._alive():
            return ""
        if not self._start:
            return f"no data process answers on {self.control}; start bollard-replica.service"
        log_path = self._folder / "replica.log"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            end = log_path.stat().st_size if log_path.exists() else 0
            words = ["--volumes", self._wish] if self._wish else []
            self._poll = start_detached([*_command(), "--state-dir", str(self._folder), *words], log_path)
        except OSError as error:
            return f"the data process cannot be started: {error}"
        _log.info("data process started, state in %s", self._folder)
        for _ in range(int(START_S / 0.05)):
            await self._clock.sleep(0.05)
            if await self._alive():
                return ""
            if self._poll() is not None:
                break
        said = log_path.read_bytes()[end:].decode("utf-8", "replace").strip().splitlines()
        return f"the data process does not answer; its log {log_path} says: {said[-1] if said else 'nothing'}"

    async def run(self) -> None:
        """For ever: start it again when it is gone, ever more slowly while that fails."""
        failures = 0
        while True:
            self._poll()
            reason = await self.ensure()
            if reason:
                _log.error("%s", reason)
            failures = failures + 1 if reason else 0
            await self._clock.sleep(min(AGAIN_MAX_S, CHECK_S * 2 ** min(failures, 10)))

    async def _alive(self) -> bool:
        if not self.control.exists():
            self.devices = ""
            return False
        client = EngineClient(str(self.control), timeout_s=5.0)
        try:
            reply = await client.alive()
            self.devices = str((reply.result or {}).get("devices", "")) if reply is not None else ""
            return reply is not None
        finally:
            await client.close()


def _command() -> list[str]:
    beside = Path(sys.executable).with_name(_PROGRAM)
    found = str(beside) if beside.exists() else shutil.which(_PROGRAM)
    if found is None:
        return [sys.executable, "-c", "from bollard.replica.app import main; main()"]
    return [found]
