"""The demo's servers: a controller and satellites as processes of their own, with their own state folders."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

_START_S = 120.0
_STOP_S = 15.0
_POLL_S = 0.05
_SATELLITE_PORT = 3366


class DemoError(Exception):
    """A step failed; the message says what was seen."""


class NodeProcess(msgspec.Struct):
    """A satellite with its address and folders."""

    name: str
    address: str
    state_dir: Path
    pool_dir: Path
    process: subprocess.Popen[bytes] | None = None


class Servers:
    """Starts and stops everything below one folder. Loopback only."""

    def __init__(self, root: Path, node_names: tuple[str, ...], *, attach: bool = False) -> None:
        """`attach`: volumes become block devices of this machine, where it can make them."""
        self.root = root
        self._attach = attach
        self.logs = root / "logs"
        self._controller: subprocess.Popen[bytes] | None = None
        net = _free_net(len(node_names))
        self.controller_port = _free_port("127.0.0.1")
        self.nodes = {
            name: NodeProcess(name, f"{net}.{index + 1}", root / name / "state", root / name / "pool")
            for index, name in enumerate(node_names)
        }

    @property
    def controller_url(self) -> str:
        """Where the REST API is."""
        return f"http://127.0.0.1:{self.controller_port}"

    def start_controller(self) -> None:
        """Returns when it serves. Raises DemoError when it does not."""
        argv = [
            "--state-dir",
            str(self.root / "controller"),
            "--rest-bind",
            f"127.0.0.1:{self.controller_port}",
        ]
        self._controller = self._spawn("bollard.controller.app", argv, "controller")
        process = self._controller
        self._until(lambda: _accepts("127.0.0.1", self.controller_port), process, "controller")

    def start_node(self, name: str) -> None:
        """Returns when its satellite listens. Raises DemoError when it does not."""
        node = self.nodes[name]
        node.state_dir.mkdir(parents=True, exist_ok=True)
        node.pool_dir.mkdir(parents=True, exist_ok=True)
        argv = ["--node-name", name, "--bind", node.address, "--port", str(_SATELLITE_PORT)]
        argv += ["--state-dir", str(node.state_dir)]
        if self._attach:
            argv += ["--volumes", str(self.root / name / "volumes")]
            argv += ["--links", str(self.root / name / "by-res")]
        node.process = self._spawn("bollard.satellite.app", argv, name)
        process = node.process
        self._until(lambda: _accepts(node.address, _SATELLITE_PORT), process, f"satellite {name}")

    def kill_controller(self) -> None:
        """SIGKILL."""
        if self._controller is not None:
            self._controller.kill()
            self._controller.wait(_STOP_S)
            self._controller = None

    def kill_node(self, name: str) -> None:
        """SIGKILL, as a power cut would: the satellite and its data process."""
        node = self.nodes[name]
        for pid in self.data_processes(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if node.process is not None:
            node.process.kill()
            node.process.wait(_STOP_S)
            node.process = None

    def data_processes(self, name: str) -> list[int]:
        """The process ids of a node's data process: those that run on its state folder."""
        wanted = str(self.nodes[name].state_dir)
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    if any("bollard.replica" in word or "bollard-replica" in word for word in words[:6]):
                        found += [int(entry.name)] if any(word.startswith(wanted) for word in words) else []
        return found

    def pids(self) -> list[int]:
        """Everything that runs."""
        found = [node.process.pid for node in self.nodes.values() if node.process is not None]
        found += [self._controller.pid] if self._controller is not None else []
        return found + [pid for name in self.nodes for pid in self.data_processes(name)]

    def stop(self) -> None:
        """End everything, politely first; nothing is left running."""
        processes = [node.process for node in self.nodes.values() if node.process is not None]
        processes += [self._controller] if self._controller is not None else []
        for process in processes:
            process.terminate()
        pids = [pid for name in self.nodes for pid in self.data_processes(name)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for process in processes:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_S)
        deadline_s = time.monotonic() + _STOP_S
        while (left := [pid for name in self.nodes for pid in self.data_processes(name)]) != []:
            if time.monotonic() > deadline_s:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_S)

    def _spawn(self, module: str, argv: list[str], log_name: str) -> subprocess.Popen[bytes]:
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{log_name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _until(self, ready: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
        deadline_s = time.monotonic() + _START_S
        while not ready():
            if process.poll() is not None:
                raise DemoError(f"The {what} ended with code {process.returncode}; see {self.logs}")
            if time.monotonic() > deadline_s:
                raise DemoError(f"The {what} did not start within {_START_S:.0f} s; see {self.logs}")
            time.sleep(_POLL_S)


def _accepts(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 1.0):
            return True
    except OSError:
        return False


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def _free_net(hosts: int) -> str:
    """A loopback /24 on which nothing listens on the satellite port, so that runs can go side by side."""
    draw = random.SystemRandom()
    for _attempt in range(50):
        net = f"127.{draw.randrange(16, 250)}.{draw.randrange(1, 250)}"
        try:
            for host in range(1, hosts + 1):
                with socket.socket() as probe:
                    probe.bind((f"{net}.{host}", _SATELLITE_PORT))
        except OSError:
            continue
        return net
    raise DemoError("No loopback network with a free satellite port was found")
