"""Real `bollard-replica` processes for end-to-end tests: start, ask, wait for a state, kill."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bollard.wire import engine as wire

_MAIN = "from bollard.replica.app import main; main()"
_START_S = 120.0


class Control:
    """A connection to a control socket."""

    def __init__(self, path: Path, timeout_s: float = 120.0) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(timeout_s)
        self._sock.connect(str(path))
        self._lines = self._sock.makefile("rb")
        self._count = 0

    def ask(self, request: wire.Request) -> wire.Reply:
        """Sends one request and waits for its reply, refusals included."""
        self._sock.sendall(wire.encode_line(request))
        return wire.decode_reply(self._lines.readline())

    def must(self, request: wire.Request) -> wire.Reply:
        reply = self.ask(request)
        assert reply.ok, f"{type(request).__name__}: {reply.error}"
        return reply

    def raw(self, line: bytes) -> wire.Reply:
        self._sock.sendall(line + b"\n")
        return wire.decode_reply(self._lines.readline())

    def close(self) -> None:
        self._lines.close()
        self._sock.close()


class ReplicaProcess:
    """One data process with its own state directory; restartable."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.arguments = arguments
        self.prefix: list[str] = []
        self.program = _MAIN
        self.process: subprocess.Popen[bytes] | None = None
        self.log_path = directory.with_suffix(".log")
        self._control: Control | None = None

    @property
    def nbd(self) -> str:
        return f"unix:{self.directory / 'nbd.sock'}"

    @property
    def control(self) -> Control:
        if self._control is None:
            self._control = Control(self.directory / "control.sock")
        return self._control

    def start(self, *options: str) -> "ReplicaProcess":
        """Returns once the process has said READY=1; its words are in the log when it does not."""
        notify = self.directory.with_suffix(".notify")
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(str(notify))
            self.spawn(*options, notify=str(notify))
            assert self.process is not None
            pidfd = os.pidfd_open(self.process.pid)
            ready, _, _ = select.select([sock, pidfd], [], [], _START_S)
            os.close(pidfd)
            assert sock in ready, f"no READY: {self.log()}"
            assert sock.recv(100) == b"READY=1"
        return self

    def spawn(self, *options: str, notify: str = "") -> None:
        program = [sys.executable, *options, "-c", self.program]
        argv = [*self.prefix, *program, "--state-dir", str(self.directory), *self.arguments]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                argv, stderr=log, stdout=log, env={**os.environ, "NOTIFY_SOCKET": notify}
            )

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def wait(self, timeout_s: float = 60.0) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """As a power cut of the process: no goodbye to anyone."""
        self._forget_control()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(60)

    def terminate(self) -> int:
        """A clean stop; the exit code."""
        self._forget_control()
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def _forget_control(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None

    def status(self, name: str) -> dict[str, Any]:
        result = self.control.must(wire.Status(name=name)).result
        assert isinstance(result, list)
        state = result[0]
        assert isinstance(state, dict)
        return state

    def until(
        self, name: str, condition: Callable[[dict[str, Any]], bool], timeout_s: float = 30.0
    ) -> dict[str, Any]:
        """Waits, driven by the event stream, until the resource's status satisfies the condition."""
        end = time.monotonic() + timeout_s
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.directory / "control.sock"))
            sock.sendall(wire.encode_line(wire.WatchEvents(name=name)))
            while True:
                state = self.status(name)
                if condition(state):
                    return state
                left = end - time.monotonic()
                assert left > 0, f"the condition did not come true: {state}\n{self.log()[-3000:]}"
                # Counters change without an event: look again after a while at the latest.
                ready, _, _ = select.select([sock], [], [], min(left, 0.2))
                if ready:
                    assert sock.recv(1 << 16), "the event stream ended"
