"""Routes: every endpoint of the original has one, and a path finds its own."""

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.controller.rest import scopes
from bollard.controller.rest.app import ROUTES
from bollard.controller.rest.routing import Match, Routes
from bollard.domain.access import Scope

ENDPOINTS = pathlib.Path(__file__).parents[3] / "golden" / "rest" / "endpoints.txt"
NOT_SERVED = {
    "GET /ui/…",
    "POST /v1/internal/backups/requestPrepareAbort",
    "POST /v1/internal/backups/requestPrevSnap",
    "POST /v1/internal/backups/requestReceive",
    "POST /v1/internal/backups/requestReceiveDone",
    "POST /v1/internal/backups/requestShip",
}
"""Files of another program's user interface, and calls between two controllers of the original."""

routes = Routes(ROUTES)


def found(method: str, path: str) -> Match:
    match = routes.find(method, path.encode())
    assert isinstance(match, Match), (method, path, match)
    return match


@pytest.mark.parametrize("line", ENDPOINTS.read_text().splitlines())
def test_every_endpoint_of_the_original_is_answered(line: str) -> None:
    method, path = line.split(" ", 1)
    match = routes.find(method, path.replace("{", "x").replace("}", "x").encode())
    assert isinstance(match, Match) is (line not in NOT_SERVED)


def test_every_route_has_a_rule() -> None:
    without = [(it.method, it.path) for it in ROUTES if scopes.rule_for(it.method, it.path) is None]
    assert not without, f"no row of the table of scopes covers {without}"
    assert {route.path for route in ROUTES if route.needs is Scope.OPEN} == {"/", "/health"}
    for route in ROUTES:
        if route.method in {"PUT", "DELETE", "PATCH"}:
            assert route.needs in {Scope.OPERATOR, Scope.ADMIN}, route


def test_what_no_rule_covers_is_for_administrators() -> None:
    assert scopes.rule_for("POST", "/v2/anything") is None
    assert scopes.needs("POST", "/v2/anything") is Scope.ADMIN


def test_literals_come_before_names() -> None:
    assert found("GET", "/v1/nodes/properties/info").names == {}
    assert found("GET", "/v1/nodes/ebs").names == {"node": "ebs"}
    assert found("POST", "/v1/nodes/ebs").route.path == "/v1/nodes/ebs"
    assert found("POST", "/v1/resource-groups/adjustall").route.path.endswith("adjustall")
    assert found("GET", "/v1/resource-groups/adjustall").names == {"resource_group": "adjustall"}


def test_a_slash_at_the_end_does_not_matter() -> None:
    assert found("GET", "/v1/nodes/").route is found("GET", "/v1/nodes").route
    assert found("GET", "/").route.path == "/"


def test_an_encoded_slash_is_part_of_a_name() -> None:
    match = found("GET", "/v1/files/%2Fetc%2Fx.conf")
    assert match.names == {"extFileName": "/etc/x.conf"}
    assert found("GET", "/v1/files/%2Fetc%2Fx/check/n1").names == {"extFileName": "/etc/x", "node": "n1"}


@pytest.mark.parametrize("key", ["Aux/a", "DrbdOptions%2FNet%2Fprotocol", "a", "x/y/z"])
def test_a_property_key_takes_the_rest_of_the_path(key: str) -> None:
    match = found("DELETE", "/v1/controller/properties/" + key)
    assert match.names == {"key": key.replace("%2F", "/")}


@pytest.mark.parametrize("path", ["//v1/nodes", "/V1/nodes", "/v1", "/v1/nope", "/v1/nodes//x", "/ui", ""])
def test_other_paths_are_nowhere(path: str) -> None:
    assert routes.find("GET", path.encode()) == frozenset()


def test_other_methods_are_named() -> None:
    assert routes.find("PATCH", b"/v1/nodes") == {"GET", "POST"}
    assert isinstance(routes.find("HEAD", b"/v1/nodes"), Match)


@given(st.binary(max_size=60))
def test_no_path_breaks_the_search(path: bytes) -> None:
    routes.find("GET", b"/v1/" + path)
