"""Joining and the TLS link: real controller, real satellite, certificates that fit and that do not."""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bollard.controller.pki import Pki
from bollard.wire.link import CONTROLLER_IDENTITY
from satellite_process import SatelliteProcess, free_port

JOINING = [sys.executable, "-c", "from bollard.satellite.app import main; main()"]
CONTROLLER = [sys.executable, "-c", "from bollard.controller.app import main; main()"]


class Controller:
    """`bollard-controller` with an authority, on plain loopback HTTP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder.with_name("controller.log")
        self.command("ca", "init")
        argv = [*CONTROLLER, "run", "--state-dir", str(folder), "--rest-bind", f"127.0.0.1:{self.port}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        self.wait(lambda: self.get("/v1/controller/version") is not None, 20)

    def command(self, *words: str) -> str:
        argv = [*CONTROLLER, *words, "--state-dir", str(self.folder)]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def token(self, node: str) -> str:
        return self.command("token", "create", "--node", node).split()[-1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> object:
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url + path, timeout=10) as reply:
            return json.load(reply)
        return None

    def add_node(self, name: str, port: int) -> None:
        interface = {
            "name": "default",
            "address": "127.0.0.1",
            "satellite_port": port,
            "satellite_encryption_type": "SSL",
            "is_active": True,
        }
        body = json.dumps({"name": name, "type": "Satellite", "net_interfaces": [interface]}).encode()
        request = urllib.request.Request(self.url + "/v1/nodes", data=body, method="POST")
        request.add_header("Content-Type", "application/json")
        urllib.request.urlopen(request, timeout=30).close()

    def status(self, name: str) -> str:
        found = self.get(f"/v1/nodes/{name}")
        return str(found.get("connection_status")) if isinstance(found, dict) else ""

    def wait(self, holds: "object", limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        pause = threading.Event()
        while not holds():  # type: ignore[operator]
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            pause.wait(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    one = Controller(tmp_path_factory.mktemp("controller") / "state")
    yield one
    one.stop()


@pytest.fixture
def satellite(tmp_path: Path) -> Iterator[SatelliteProcess]:
    one = SatelliteProcess(tmp_path / "state")
    yield one
    one.stop()


def join(controller: Controller, folder: Path, node: str, token: str) -> "subprocess.CompletedProcess[str]":
    token_file = folder.with_name("token")
    token_file.write_text(token)
    argv = [*JOINING, "--state-dir", str(folder), "--node-name", node, "join"]
    argv += ["--controller", controller.url, "--token-file", str(token_file)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_a_joined_node_is_linked_by_tls_and_a_token_works_once(
    controller: Controller, satellite: SatelliteProcess, tmp_path: Path
) -> None:
    token = controller.token("n1")
    done = join(controller, satellite.folder, "n1", token)
    assert done.returncode == 0, done.stderr
    assert token not in done.stdout + done.stderr
    for name in ("key.pem", "cert.pem"):
        assert (satellite.folder / "tls" / name).stat().st_mode & 0o777 == 0o600
    again = join(controller, tmp_path / "other", "n1", token)
    assert again.returncode == 1
    assert "refused" in again.stderr
    assert not (tmp_path / "other" / "tls").exists()
    satellite.start("--bind", "127.0.0.1")
    controller.add_node("n1", satellite.port)
    controller.wait(lambda: controller.status("n1") == "ONLINE", 20)


def test_a_satellite_under_another_name_is_not_accepted(
    controller: Controller, satellite: SatelliteProcess
) -> None:
    satellite.node = "real"
    assert join(controller, satellite.folder, "real", controller.token("real")).returncode == 0
    satellite.start("--bind", "127.0.0.1")
    controller.add_node("pretended", satellite.port)
    controller.wait(lambda: controller.status("pretended") not in {"", "ONLINE", "OFFLINE", "UNKNOWN"}, 20)
    assert controller.status("pretended") == "HOSTNAME_MISMATCH"


def test_a_token_for_another_node_and_a_false_one_are_refused(controller: Controller, tmp_path: Path) -> None:
    for token in (controller.token("n7"), "made-up"):
        done = join(controller, tmp_path / "state", "n8", token)
        assert done.returncode == 1
        assert done.stderr.startswith("bollard-satellite: the controller refused")
        assert "Traceback" not in done.stderr


def test_only_a_controller_of_this_cluster_gets_through(
    controller: Controller, satellite: SatelliteProcess, tmp_path: Path
) -> None:
    assert join(controller, satellite.folder, "n1", controller.token("n1")).returncode == 0
    satellite.start("--bind", "127.0.0.1")
    stranger = Pki(tmp_path / "stranger")
    stranger.init(1_800_000_000_000)
    foreign = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    foreign.check_hostname = False
    foreign.verify_mode = ssl.CERT_NONE
    foreign.load_cert_chain(stranger.certificate, stranger.key)
    assert _first_answer(satellite.port, foreign) == b""
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.verify_mode = ssl.CERT_NONE
    assert _first_answer(satellite.port, nobody) == b""
    fellow = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    fellow.check_hostname = False
    fellow.verify_mode = ssl.CERT_NONE
    fellow.load_cert_chain(satellite.folder / "tls" / "cert.pem", satellite.folder / "tls" / "key.pem")
    said = _first_answer(satellite.port, fellow)
    assert b"not-trusted" in said
    assert CONTROLLER_IDENTITY.encode() in said


def _first_answer(port: int, context: ssl.SSLContext) -> bytes:
    """What the satellite says to a greeting over this context; empty: it hangs up."""
    from bollard.wire.link import Hello, encode
    from bollard.wire.version import CONTROLLER_FEATURES

    hello = encode(Hello(cluster_uuid="x", version="", node="n1", features=CONTROLLER_FEATURES))
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as raw,
            context.wrap_socket(raw) as stream,
        ):
            stream.sendall(hello)
            return stream.recv(65536)
    except (ssl.SSLError, ConnectionError):
        return b""
