"""The program as a process, closed: tokens, TLS, client certificates, passphrases, and the way back in."""

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from bollard.cli.main import run
from unit.controller.test_app import PROGRAM, Running, running

HOME_LINES = "[https]\nlisten = '127.0.0.1'\nport = 0\n"


def config(folder: Path, more: str = "") -> tuple[str, str]:
    path = folder / "ctl.toml"
    path.write_text(HOME_LINES + more)
    return "--config", str(path)


def with_token(
    controller: Running, token: str, method: str, path: str, body: object = None
) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{controller.port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.loads(reply.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def audited(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state / "audit.jsonl").read_text().splitlines()]


def test_tokens_survive_a_restart_and_can_be_given_up_on_the_machine_itself(tmp_path: Path) -> None:
    state = tmp_path / "ctl"
    with running(state, *config(tmp_path)) as controller:
        body = {"description": "first", "no_https": True}
        status, made = controller.call("POST", "/v1/controller/auth/initialize-token-auth", body)
        assert status == 201
        token = made[0]["obj_refs"]["token"]
        assert controller.call("GET", "/v1/nodes")[0] == 401
        assert with_token(controller, token, "GET", "/v1/nodes") == (200, [])
        narrow = {"description": "reader", "scope": "viewer"}
        reader = with_token(controller, token, "POST", "/v1/controller/auth/token", narrow)[1]
        reader = reader[0]["obj_refs"]["token"]
        assert with_token(controller, reader, "GET", "/v1/nodes")[0] == 200
        name = {"resource_definition": {"name": "r1"}}
        assert with_token(controller, reader, "POST", "/v1/resource-definitions", name)[0] == 403
        assert with_token(controller, token, "POST", "/v1/resource-definitions", name)[0] == 201
        assert controller.end() == 0
    stored = (state / "controller.db").read_bytes() + (state / "audit.jsonl").read_bytes()
    assert token.encode() not in stored
    assert reader.encode() not in stored
    assert token not in "".join(controller.log)
    lines = audited(state)
    assert [(it["who"], it["status"]) for it in lines if it["path"] == "/v1/resource-definitions"] == [
        ("token:2", 403),
        ("token:1", 201),
    ]
    assert [it["status"] for it in lines if it.get("who", "") == ""] == [401]
    with running(state) as controller:
        assert controller.call("GET", "/v1/nodes")[0] == 401
        assert with_token(controller, token, "GET", "/v1/nodes")[0] == 200
        assert controller.end() == 0
    done = subprocess.run(
        [*PROGRAM, "auth", "disable", "--state-dir", str(state)], check=True, capture_output=True, text=True
    )
    assert "no more" in done.stdout
    with running(state) as controller:
        assert controller.call("GET", "/v1/nodes")[0] == 200
        assert controller.end() == 0


def test_https_is_switched_on_with_tokens_and_the_plain_port_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    state = tmp_path / "ctl"
    with running(state, *config(tmp_path)) as controller:
        plain = f"127.0.0.1:{controller.port}"
        assert run(["--controllers", plain, "controller", "auth", "init", "me"]) == 0
        assert (tmp_path / ".config" / "bollard" / "token").stat().st_mode & 0o777 == 0o600
        connection = urllib.request.build_opener(_NoRedirect())
        with pytest.raises(urllib.error.HTTPError) as moved:
            connection.open(f"http://{plain}/v1/nodes?limit=1", timeout=30)
        moved.value.close()
        where = moved.value.headers["Location"]
        assert moved.value.code == 302
        assert where.startswith("https://127.0.0.1:")
        assert where.endswith("/v1/nodes?limit=1")
        assert controller.call("GET", "/health")[0] == 200
        # Without the authority nothing is sent; with it the command line follows the redirect by itself.
        capsys.readouterr()
        assert run(["--controllers", plain, "node", "list"]) == 20
        ca = str(state / "https" / "ca.crt")
        assert run(["--controllers", plain, "--cafile", ca, "-m", "node", "list"]) == 0
        assert json.loads(capsys.readouterr().out) == [[]]
        assert (
            run(["--controllers", plain, "--cafile", ca, "token", "create", "ci", "--scope", "viewer"]) == 0
        )
        assert run(["--controllers", plain, "--cafile", ca, "token", "list"]) == 0
        assert "viewer" in capsys.readouterr().out
        assert controller.end() == 0
    with running(state, *config(tmp_path)) as controller:
        assert controller.call("GET", "/v1/nodes")[0] == 302, "it is under TLS after a restart too"
        assert controller.end() == 0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def test_a_client_certificate_is_a_key_until_it_is_revoked(tmp_path: Path) -> None:
    state = tmp_path / "ctl"
    made = subprocess.run(
        [*PROGRAM, "ca", "init", "--state-dir", str(state)], check=True, capture_output=True, text=True
    )
    assert "SHA-256" in made.stdout
    pem = subprocess.run(
        [*PROGRAM, "ca", "client", "--name", "ci", "--scope", "operator", "--state-dir", str(state)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (tmp_path / "ci.pem").write_text(pem)
    context = ssl.create_default_context(cafile=str(state / "pki" / "ca.crt"))
    without = ssl.create_default_context(cafile=str(state / "pki" / "ca.crt"))
    context.load_cert_chain(tmp_path / "ci.pem")
    with running(state, *config(tmp_path), "--rest-bind-secure", "127.0.0.1:0") as controller:
        body = {"description": "first", "no_https": True}
        # The plain port is closed already; this machine is let in under TLS while no token is demanded.
        assert controller.call("POST", "/v1/controller/auth/initialize-token-auth", body)[0] == 302
        secure = _redirect_of(controller)
        assert _https(secure, without, "POST", "/v1/controller/auth/initialize-token-auth", body) == 201
        assert _https(secure, without, "GET", "/v1/nodes") == 401
        assert _https(secure, context, "GET", "/v1/nodes") == 200
        assert _https(secure, context, "POST", "/v1/nodes", {"name": "n1"}) == 403
        name = {"resource_definition": {"name": "r1"}}
        assert _https(secure, context, "POST", "/v1/resource-definitions", name) == 201
        serial = f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:X}"
        subprocess.run(
            [*PROGRAM, "ca", "revoke", serial, "--state-dir", str(state)],
            check=True,
            capture_output=True,
        )
        assert _https(secure, context, "GET", "/v1/nodes") == 401
        assert controller.end() == 0
    assert "certificate:ci" in {it.get("who") for it in audited(state)}


def _redirect_of(controller: Running) -> str:
    opener = urllib.request.build_opener(_NoRedirect())
    with pytest.raises(urllib.error.HTTPError) as moved:
        opener.open(f"http://127.0.0.1:{controller.port}/v1/nodes", timeout=30)
    moved.value.close()
    return str(moved.value.headers["Location"]).removesuffix("/v1/nodes")


def _https(base: str, context: ssl.SSLContext, method: str, path: str, body: object = None) -> int:
    request = urllib.request.Request(
        base + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_passphrase_is_entered_by_hand_or_found(tmp_path: Path) -> None:
    state = tmp_path / "ctl"
    path = "/v1/encryption/passphrase"
    with running(state) as controller:
        assert controller.call("GET", path) == (200, {"status": "unset"})
        assert controller.call("POST", path, {"new_passphrase": "correct horse"})[0] == 201
        assert controller.end() == 0
    with running(state) as controller:
        assert controller.call("GET", path) == (200, {"status": "locked"})
        assert controller.call("PATCH", path, "wrong")[0] == 500
        assert controller.call("PATCH", path, "correct horse")[0] == 200
        assert controller.call("GET", path) == (200, {"status": "unlocked"})
        assert controller.end() == 0
    for env, status in (
        ({"MASTER_PASSPHRASE": "correct horse"}, "unlocked"),
        ({"MASTER_PASSPHRASE": "x"}, "locked"),
    ):
        with running(state, env=env) as controller:
            assert controller.call("GET", path) == (200, {"status": status})
            assert controller.end() == 0
    more = "[encrypt]\npassphrase = 'correct horse'\n"
    with running(state, *config(tmp_path, more), env={"MASTER_PASSPHRASE": "x"}) as controller:
        assert controller.call("GET", path) == (200, {"status": "unlocked"})
        assert controller.end() == 0
        assert "horse" not in "".join(controller.log)
    assert b"horse" not in (state / "controller.db").read_bytes()
    assert b"horse" not in (state / "audit.jsonl").read_bytes()


def test_too_many_calls_and_too_long_bodies_are_refused(tmp_path: Path) -> None:
    limits = "[limits]\ncalls_per_s = 1\nburst = 3\nbody_bytes = 1000\n"
    with running(tmp_path / "ctl", *config(tmp_path, limits)) as controller:
        long = {"resource_definition": {"name": "x" * 2000}}
        assert controller.call("POST", "/v1/resource-definitions", long)[0] == 413
        assert {controller.call("GET", "/v1/nodes")[0] for _ in range(20)} == {200}, "the machine itself"
        body = {"description": "first", "no_https": True}
        made = controller.call("POST", "/v1/controller/auth/initialize-token-auth", body)[1]
        token = made[0]["obj_refs"]["token"]
        statuses = [with_token(controller, token, "GET", "/v1/nodes")[0] for _ in range(6)]
        assert statuses[0] == 200
        assert 429 in statuses
        assert controller.call("GET", "/health")[0] == 200
        assert controller.end() == 0
