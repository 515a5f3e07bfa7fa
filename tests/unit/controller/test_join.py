"""A node joins by token and is linked to over TLS: the two programs as processes, on loopback."""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from unit.controller.test_app import PROGRAM, Running, running

SATELLITE = [sys.executable, "-m", "bollard.satellite.app"]


def made(*argv: str) -> str:
    return subprocess.run([*PROGRAM, *argv], check=True, capture_output=True, text=True).stdout.strip()


def token(state: Path, node: str) -> str:
    return made("token", "create", "--node", node, "--state-dir", str(state))


def join(folder: Path, node: str, url: str, word: str, *more: str) -> subprocess.CompletedProcess[str]:
    (folder.parent / "token").write_text(word)
    argv = ["join", "--node-name", node, "--state-dir", str(folder), "--controller", url]
    argv += ["--token-file", str(folder.parent / "token"), *more]
    return subprocess.run([*SATELLITE, *argv], check=False, capture_output=True, text=True, timeout=60)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Satellite:
    """A satellite process without a data process of its own."""

    def __init__(self, node: str, folder: Path) -> None:
        self.port = free_port()
        argv = ["--node-name", node, "--state-dir", str(folder), "--bind", "127.0.0.1"]
        argv += ["--port", str(self.port), "--attach-replica"]
        self.process = subprocess.Popen([*SATELLITE, *argv], stderr=subprocess.PIPE, text=True)
        self.log = self.process.stderr
        assert self.log is not None
        for line in self.log:
            if "link on" in line:
                break
        else:
            raise AssertionError("the satellite did not start")
        self._rest = threading.Thread(target=self.log.read, daemon=True)
        self._rest.start()

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self._rest.join(10)
        assert self.log is not None
        self.log.close()


def register(controller: Running, node: str, port: int) -> tuple[int, str]:
    """Status of the call and of the link."""
    net_if = {
        "name": "default",
        "address": "127.0.0.1",
        "satellite_port": port,
        "satellite_encryption_type": "SSL",
    }
    body = {"name": node, "type": "SATELLITE", "net_interfaces": [net_if]}
    status, _ = controller.call("POST", "/v1/nodes", body)
    _, found = controller.call("GET", f"/v1/nodes?nodes={node}")
    return status, found[0]["connection_status"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    made("ca", "init", "--state-dir", str(tmp_path / "ctl"))
    return tmp_path / "ctl"


def test_join_and_link(state: Path, tmp_path: Path) -> None:
    secure = free_port()
    (tmp_path / "ctl.toml").write_text("[https]\nredirect = false\n")
    flags = ("--config", str(tmp_path / "ctl.toml"), "--rest-bind-secure", f"127.0.0.1:{secure}")
    with running(state, *flags) as controller:
        url, ca = f"https://127.0.0.1:{secure}", ("--ca", str(state / "pki" / "ca.crt"))
        word = token(state, "n1")
        untrusted = join(tmp_path / "n1", "n1", url, word)
        assert untrusted.returncode
        assert "--ca" in untrusted.stderr
        done = join(tmp_path / "n1", "n1", url, word, *ca)
        assert done.returncode == 0, done.stderr
        again = join(tmp_path / "n1", "n1", url, word, *ca)
        assert again.returncode
        assert "used already" in again.stderr
        assert word not in done.stdout + done.stderr + again.stderr
        satellite = Satellite("n1", tmp_path / "n1")
        try:
            assert register(controller, "n1", satellite.port) == (201, "ONLINE")
            # Another node's certificate: registered, but nothing is sent to it.
            assert register(controller, "n2", satellite.port) == (201, "HOSTNAME_MISMATCH")
        finally:
            satellite.end()
        assert controller.end() == 0


def test_an_expired_token_is_refused(state: Path, tmp_path: Path) -> None:
    with running(state) as controller:
        url = f"http://127.0.0.1:{controller.port}"
        other = join(tmp_path / "n2", "n2", url, token(state, "n1"))
        assert "not for node 'n2'" in other.stderr
        word = made("token", "create", "--node", "n1", "--ttl", "1s", "--state-dir", str(state))
        expires = time.monotonic() + 1.1
        # What is waited for is that time passes.
        threading.Event().wait(max(0.0, expires - time.monotonic()))
        late = join(tmp_path / "n1", "n1", url, word)
        assert late.returncode
        assert "expired" in late.stderr
        assert not (tmp_path / "n1" / "tls" / "cert.pem").exists()
        controller.end()


def test_a_controller_of_another_cluster_is_refused_by_the_satellite(state: Path, tmp_path: Path) -> None:
    made("ca", "init", "--state-dir", str(tmp_path / "other"))
    with running(state) as mine:
        url = f"http://127.0.0.1:{mine.port}"
        assert join(tmp_path / "n1", "n1", url, token(state, "n1")).returncode == 0
        satellite = Satellite("n1", tmp_path / "n1")
        try:
            with running(tmp_path / "other") as intruder:
                assert register(intruder, "n1", satellite.port) == (201, "AUTHENTICATION_ERROR")
                intruder.end()
            assert register(mine, "n1", satellite.port) == (201, "ONLINE")
        finally:
            satellite.end()
        mine.end()
