"""Schemathesis, unmodified, over the committed OpenAPI document against the API over HTTP.

Skipped where it cannot be installed.
"""

import json
import os
import pathlib
import subprocess
from typing import Any

import pytest
import urllib3

from clients_venv import program
from served_town import served

HERE = pathlib.Path(__file__).parent
DOCUMENT = HERE.parents[1] / "api" / "openapi.json"
PACKAGES = ("schemathesis==4.32.5",)
CHECKS = (
    *("response_schema_conformance", "content_type_conformance", "status_code_conformance"),
    *("response_headers_conformance", "refusals_are_explained"),
)
"""That other methods are refused is not among them: some paths are also property keys, which have more."""
STREAMS_AND_TOKENS = "^/v1/(events/|controller/auth/)"
"""Answers that do not end, and what would take the token away that the rest is asked with."""
TIME_S = 25
EXAMPLES = 4
"""For an operation, beside those that cover its parameters: always the same, as far as the time reaches."""
pytestmark = pytest.mark.tool


class Caller:
    """Asks the controller, with a token once there is one."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.headers: dict[str, str] = {}

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        reply = urllib3.request(method, self.base + path, json=body, headers=self.headers, timeout=30)
        assert reply.status < 300, reply.data
        return reply.json()


def prepare(call: Caller) -> None:
    """Three nodes, a pool on each, a group, a replicated and a plain volume, a snapshot of each, tokens."""
    for number in (1, 2, 3):
        link = {"name": "default", "address": f"10.99.0.1{number}", "satellite_port": 3366}
        link["satellite_encryption_type"] = "PLAIN"
        call("POST", "/v1/nodes", {"name": f"n{number}", "net_interfaces": [link]})
        folder = {"StorDriver/FileDir": f"/srv/recorded/pools/n{number}/thin"}
        pool = {"storage_pool_name": "pthin", "provider_kind": "FILE_THIN", "props": folder}
        call("POST", f"/v1/nodes/n{number}/storage-pools", pool)
    call("POST", "/v1/resource-groups", {"name": "g1", "select_filter": {"place_count": 2}})
    for name, chosen in (("r1", {}), ("r2", {"place_count": 1, "layer_stack": ["STORAGE"]})):
        wanted = {"resource_definition_name": name, "volume_sizes": [4096], "select_filter": chosen}
        call("POST", "/v1/resource-groups/g1/spawn", wanted)
        call("POST", f"/v1/resource-definitions/{name}/snapshots", {"name": "s1"})
    made = call("POST", "/v1/controller/auth/initialize-token-auth", {"no_https": True})
    call.headers["Authorization"] = f"Bearer {made[0]['obj_refs']['token']}"


def test_the_document_holds(tmp_path: pathlib.Path) -> None:
    schemathesis = program("schemathesis", "BOLLARD_SCHEMATHESIS", PACKAGES, tmp_path / "venv")
    with served() as port:
        call = Caller(port)
        prepare(call)
        options = {
            "--url": call.base,
            "--header": f"Authorization: {call.headers['Authorization']}",
            "--exclude-path-regex": STREAMS_AND_TOKENS,
            "--checks": ",".join(CHECKS),
            "--phases": "coverage,fuzzing",
            "--max-time": str(TIME_S),
            "--max-examples": str(EXAMPLES),
            "--seed": "1",
            "--request-timeout": "20",
            "--generation-with-security-parameters": "false",
        }
        run = subprocess.run(
            [schemathesis, "run", str(DOCUMENT), "--continue-on-failure", "--no-shrink", "--no-color"]
            + ["--generation-deterministic"]
            + [word for option in options.items() for word in option],
            env={
                **os.environ,
                "PYTHONHASHSEED": "0",
                "PYTHONPATH": str(HERE / "openapi"),
                "SCHEMATHESIS_HOOKS": "hooks",
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        reports = call("GET", "/v1/error-reports?withContent=true")
    assert run.returncode == 0, run.stdout[-20000:] + run.stderr[-3000:]
    assert reports == []


def test_no_route_is_open_that_the_document_calls_closed() -> None:
    paths = json.loads(DOCUMENT.read_text())["paths"]
    with served() as port:
        call = Caller(port)
        prepare(call)
        answers = {
            f"{method} {path}": urllib3.request(
                method.upper(), call.base + path.replace("{", "").replace("}", ""), timeout=30
            ).status
            for path, methods in paths.items()
            for method, operation in methods.items()
            if operation["security"]
        }
    assert len(answers) > 190
    assert {name: status for name, status in answers.items() if status != 401} == {}
