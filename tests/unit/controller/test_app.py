"""The program as a process: plain words at a start that fails, exit codes, a clean stop, a kill."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bollard.controller.starting import Exit

PROGRAM = [sys.executable, "-m", "bollard.controller.app"]


class Running:
    """A controller process that serves."""

    def __init__(self, state_dir: Path, *flags: str, env: dict[str, str] | None = None) -> None:
        argv = [*PROGRAM, "--state-dir", str(state_dir), "--rest-bind", "127.0.0.1:0", *flags]
        self.process = subprocess.Popen(
            argv, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
        )
        self.log: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"serving on \S+ port (\d+)", line)
            if found:
                self.port = int(found[1])
                break
        else:
            raise AssertionError(f"it did not start: {self.log}")
        self._rest = threading.Thread(target=lambda: self.log.extend(self.process.stderr or ()), daemon=True)
        self._rest.start()

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            text = reply.read()
            return reply.status, json.loads(text) if text else None
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._rest.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@contextlib.contextmanager
def running(state_dir: Path, *flags: str, env: dict[str, str] | None = None) -> Iterator[Running]:
    controller = Running(state_dir, *flags, env=env)
    try:
        yield controller
    finally:
        if controller.process.poll() is None:
            controller.end(signal.SIGKILL)


def refused(*argv: str) -> tuple[int, str]:
    """Exit code and words of a start that fails."""
    done = subprocess.run([*PROGRAM, *argv], check=False, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def test_it_serves_keeps_and_stops(tmp_path: Path) -> None:
    with running(tmp_path / "state") as controller:
        assert controller.call("GET", "/health")[0] == 200
        status, _ = controller.call(
            "POST", "/v1/resource-definitions", {"resource_definition": {"name": "r1"}}
        )
        assert status == 201
        assert controller.end() == Exit.STOPPED
        assert any("stopping" in line for line in controller.log)
    with running(tmp_path / "state") as controller:
        _, found = controller.call("GET", "/v1/resource-definitions")
        assert [it["name"] for it in found] == ["r1"]
        assert controller.end(signal.SIGINT) == Exit.STOPPED
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    answered: list[str] = []
    with running(tmp_path) as controller:

        def create(client: int) -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                for number in range(10_000):
                    name = f"r{client}-{number}"
                    body = {"resource_definition": {"name": name}}
                    if controller.call("POST", "/v1/resource-definitions", body)[0] == 201:
                        answered.append(name)

        clients = [threading.Thread(target=create, args=(number,)) for number in range(4)]
        for client in clients:
            client.start()
        while len(answered) < 100:
            clients[0].join(0.01)
        assert controller.end(signal.SIGKILL) == -signal.SIGKILL
        for client in clients:
            client.join()
    with running(tmp_path) as controller:
        _, found = controller.call("GET", "/v1/resource-definitions")
        assert {it["name"] for it in found} >= set(answered)
        assert len(found) <= len(answered) + len(clients)
        assert controller.end() == Exit.STOPPED


def test_a_call_under_way_is_answered_before_the_stop(tmp_path: Path) -> None:
    """Registering a node whose address swallows packets takes seconds; the stop waits for the answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent, running(tmp_path) as controller:
        net_if = {
            "name": "default",
            "address": "127.0.0.1",
            "satellite_port": silent.getsockname()[1],
            "satellite_encryption_type": "PLAIN",
        }
        answers: list[int] = []
        body = {"name": "n1", "type": "SATELLITE", "net_interfaces": [net_if]}
        call = threading.Thread(target=lambda: answers.append(controller.call("POST", "/v1/nodes", body)[0]))
        call.start()
        silent.settimeout(10)
        link, _ = silent.accept()
        controller.process.send_signal(signal.SIGTERM)
        link.close()
        call.join(30)
        assert answers == [201]
        assert controller.end(0) == Exit.STOPPED


def test_systemd_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        with running(tmp_path / "state", env={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as controller:
            assert manager.recv(100) == b"READY=1"
            controller.end()
            assert manager.recv(100) == b"STOPPING=1"


def test_a_second_controller_on_one_database_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as controller:
        code, words = refused("--state-dir", str(tmp_path), "--rest-bind", "127.0.0.1:0")
        assert code == Exit.DATABASE
        assert "Another controller has the database" in words
        assert controller.call("GET", "/health")[0] == 200
        controller.end()


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, words = refused("--state-dir", str(tmp_path), "--rest-bind", f"127.0.0.1:{port}")
    assert code == Exit.ADDRESS
    assert f"cannot listen on 127.0.0.1 port {port}: another program has this port" in words
    code, words = refused("--state-dir", str(tmp_path), "--rest-bind", "192.0.2.1:0")
    assert code == Exit.ADDRESS
    assert "no such address" in words


def test_a_state_directory_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        code, words = refused("--state-dir", str(path), "--rest-bind", "127.0.0.1:0")
        assert code == Exit.STATE_DIR
        assert str(path) in words
        assert "no directory" in words


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
@pytest.mark.parametrize(("options", "words"), [("size=64k", "full"), ("size=1m,ro", "read-only")])
def test_a_full_disk_and_a_read_only_one_are_said(tmp_path: Path, options: str, words: str) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr}")
    try:
        if words == "full":
            (tmp_path / "ballast").write_bytes(bytes(60 << 10))
        code, said = refused("--state-dir", str(tmp_path), "--rest-bind", "127.0.0.1:0")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert code == Exit.STATE_DIR
    assert words in said


def test_bad_settings_are_said(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[http]\nprot = 3370\n")
    code, words = refused("--config", str(tmp_path / "c.toml"))
    assert code == Exit.USAGE
    assert "c.toml" in words
    assert "prot" in words
    assert refused("--no-such-flag")[0] == Exit.USAGE


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as controller:
        controller.end()
    with contextlib.closing(sqlite3.connect(tmp_path / "controller.db")) as database, database:
        database.execute("UPDATE schema_version SET number = 99")
    code, words = refused("--state-dir", str(tmp_path), "--rest-bind", "127.0.0.1:0")
    assert code == Exit.DATABASE
    assert "has schema 99" in words


def test_optimised_python_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-m", "bollard.controller.app"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "refusing to run with -O" in done.stderr


def test_a_spoilt_record_does_not_stop_the_start(tmp_path: Path) -> None:
    with running(tmp_path) as controller:
        for name in ("r1", "r2"):
            controller.call("POST", "/v1/resource-definitions", {"resource_definition": {"name": name}})
        controller.end()
    with contextlib.closing(sqlite3.connect(tmp_path / "controller.db")) as database, database:
        database.execute("UPDATE record SET body = '{' WHERE key = 'R1'")
    with running(tmp_path) as controller:
        _, found = controller.call("GET", "/v1/resource-definitions")
        assert [it["name"] for it in found] == ["r2"]
        assert any("record definition R1 is in quarantine" in line for line in controller.log)
        controller.end()


def test_credentials_from_the_command_line(tmp_path: Path) -> None:
    place = ["--state-dir", str(tmp_path)]
    code, words = refused("token", "create", "--node", "n1", *place)
    assert code == Exit.REFUSED
    assert "ca init" in words
    made = subprocess.run([*PROGRAM, "ca", "init", *place], capture_output=True, text=True, check=True)
    assert "token create" in made.stdout
    code, words = refused("ca", "init", *place)
    assert code == Exit.REFUSED
    assert "already" in words
    token = subprocess.run(
        [*PROGRAM, "token", "create", "--node", "n1", "--ttl", "10m", *place],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert len(token) >= 32
    with running(tmp_path) as controller:
        body = {"token": token, "node_name": "n1", "csr": "nonsense"}
        status, answer = controller.call("POST", "/v1/bollard/join", body)
        assert status >= 400
        assert token not in json.dumps(answer)
        wrong = {**body, "token": "x" * 40, "csr": _request()}
        assert controller.call("POST", "/v1/bollard/join", wrong)[0] >= 400
        status, answer = controller.call("POST", "/v1/bollard/join", {**body, "csr": _request()})
        assert status == 201
        assert "BEGIN CERTIFICATE" in answer["certificate"]
        status, _ = controller.call("POST", "/v1/bollard/join", {**body, "csr": _request()})
        assert status >= 400
        controller.end()
        assert not any(token in line for line in controller.log)


def _request() -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()
