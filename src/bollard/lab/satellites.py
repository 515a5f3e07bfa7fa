"""Our own processes in a lab: a satellite in each node, the controller on the host inside the lab's network.

The nodes see the host's files, so they run the very program that runs this.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bollard.lab.cluster import Lab, socket_in
from bollard.lab.network import control_address, data_address
from bollard.lab.programs import LabError, start

__all__ = ["STATE", "LabCluster"]

REST_PORT = 3370
STATE = "/var/lib/bollard/satellite"
LOG = "/var/log/bollard-satellite.log"
_READY_S = 300.0
_POLL_S = 0.1
_SATELLITE = "from bollard.satellite.app import main; main()"
_CONTROLLER = "from bollard.controller.app import main; main()"


class LabCluster:
    """A booted lab, with Bollard on it. The controller's API is only reached through this."""

    def __init__(self, lab: Lab, root: Path) -> None:
        """`root` is an empty folder for the controller's state and log."""
        self.lab = lab
        self._root = root
        self._controller: subprocess.Popen[bytes] | None = None

    def control_of(self, node: int) -> str:
        """Where a node's satellite listens."""
        return control_address(node)

    def start(self) -> None:
        """The controller, and every node registered and online. Raises LabError."""
        self.start_controller()
        for node in self.lab.nodes:
            self.start_satellite(node)
        for node in self.lab.nodes:
            body = {
                "name": f"node{node}",
                "type": "SATELLITE",
                "net_interfaces": [
                    {"name": "default", "address": data_address(node)},
                    {
                        "name": "control",
                        "address": self.control_of(node),
                        "satellite_port": 3366,
                        "satellite_encryption_type": "PLAIN",
                        "is_active": True,
                    },
                ],
            }
            self.call("POST", "/v1/nodes", body)
        self.wait_online(*self.lab.nodes)

    def stop(self) -> None:
        """End the controller; the nodes go with their lab."""
        if self._controller is not None:
            self._controller.send_signal(signal.SIGTERM)
            try:
                self._controller.wait(20)
            except subprocess.TimeoutExpired:
                self._controller.kill()
                self._controller.wait()
            self._controller = None

    def start_controller(self) -> None:
        """Start it and wait for its API."""
        folder = self._root / "controller"
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-c", _CONTROLLER, "run", "--state-dir", str(folder),
            "--rest-bind", f"127.0.0.1:{REST_PORT}", "--insecure-plain",
        ]  # fmt: skip
        self._controller = start(
            self.lab.network.argv(command), str(self._root / "controller.log"), dict(os.environ)
        )
        self.until(self._serves, "the controller's API")

    def start_satellite(self, node: int) -> None:
        """In a node that is up; what it says goes to a file there. It runs until it is killed."""
        command = (
            f"exec {sys.executable} -c '{_SATELLITE}' --node-name node{node} --state-dir {STATE} "
            f"--bind {control_address(node)} --insecure-plain >>{LOG} 2>&1"
        )
        self.lab.try_exec(node, "/bin/sh", "-c", command, background=True)

    def stop_satellite(self, node: int, *, kill: bool = False) -> None:
        """End the satellite of a node; its data process goes on. Returns when the controller knows."""
        word = "KILL" if kill else "TERM"
        self.lab.exec(node, "pkill", f"-{word}", "-f", "bollard.satellite.app")
        self.until(
            lambda: self.lab.try_exec(node, "pgrep", "-f", "bollard.satellite.app").code != 0,
            f"the satellite of node{node} to end",
        )
        self.wait_away(node)

    def restart_satellite(self, node: int, *, kill: bool = False) -> None:
        """End it and start it again; returns when the new one is online."""
        self.stop_satellite(node, kill=kill)
        self.start_satellite(node)
        self.wait_online(node)

    def lose(self, node: int) -> None:
        """Cut a node's power. Returns when the controller knows: what it shows after that is news."""
        self.lab.kill(node)
        self.wait_away(node)

    def bring_back(self, *nodes: int) -> None:
        """Power and satellites for nodes that were lost; returns when they are online."""
        self.lab.boot(*nodes)
        for node in nodes:
            self.start_satellite(node)
        self.wait_online(*nodes)

    def power_cycle(self, node: int) -> None:
        """`lose` and `bring_back`."""
        self.lose(node)
        self.bring_back(node)

    def log(self, node: int) -> str:
        """What a node's satellite said."""
        return self.lab.try_exec(node, "tail", "-n", "200", LOG).stdout

    def wait_away(self, *nodes: int) -> None:
        """Until the controller hears them no more; at once when it does not run."""
        names = {f"node{node}" for node in nodes}
        if self._controller is not None:
            self.until(lambda: not names & self._online(), f"{', '.join(sorted(names))} to be away")

    def wait_online(self, *nodes: int, limit_s: float = _READY_S) -> None:
        """Until the controller hears them. A node that was cut off a moment ago may still count as online."""
        names = {f"node{node}" for node in nodes}
        try:
            self.until(lambda: names <= self._online(), f"{', '.join(sorted(names))} to be online", limit_s)
        except LabError as error:
            said = "\n".join(self.log(node)[-1500:] for node in nodes)
            raise LabError(f"{error}\n{said}") from error

    def _online(self) -> set[str]:
        found = self.call("GET", "/v1/nodes")
        return {one["name"] for one in found if one.get("connection_status") == "ONLINE"}

    def call(self, method: str, path: str, body: object = None, *, ok: bool = True) -> Any:
        """One API call; its JSON. Raises LabError when it is refused and `ok`."""
        connection = http.client.HTTPConnection("127.0.0.1", REST_PORT, timeout=300)
        connection.sock = socket_in(self.lab.network.namespace)
        try:
            connection.sock.settimeout(300)
            connection.sock.connect(("127.0.0.1", REST_PORT))
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            content = reply.read()
        except OSError as error:
            raise LabError(f"the controller does not answer: {error}") from error
        finally:
            connection.close()
        if ok and reply.status >= 400:
            raise LabError(f"{method} {path}: {reply.status} {content.decode(errors='replace')[:2000]}")
        return json.loads(content) if content else None

    def until(self, holds: Callable[[], bool], what: str, limit_s: float = _READY_S) -> None:
        """Wait for something. Raises LabError that names it."""
        deadline_s = time.monotonic() + limit_s * self.lab.patience
        while not holds():
            if time.monotonic() > deadline_s:
                raise LabError(f"waited {limit_s * self.lab.patience:g} s in vain for {what}")
            time.sleep(_POLL_S)

    def _serves(self) -> bool:
        if self._controller is not None and self._controller.poll() is not None:
            raise LabError((self._root / "controller.log").read_text(errors="replace")[-2000:])
        try:
            self.call("GET", "/v1/controller/version")
        except LabError:
            return False
        return True
