"""The application: what reaches the service, what comes back, and what bad input gets."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bollard.controller.rest.api import Identity, Visitor
from bollard.controller.rest.app import ROUTES
from bollard.controller.service import Answer
from bollard.domain.access import Scope
from bollard.domain.answers import Entry, Explained, Operation, Severity
from bollard.domain.commands import (
    Autoplace,
    CreateNode,
    CreateResources,
    DeleteResource,
    ModifyController,
    NewNetInterface,
    NewResource,
    PropsChange,
    SpawnResource,
    ToggleDisk,
)
from bollard.domain.errors import Denied, Exists, Subject
from bollard.domain.ids import GroupName, NodeName, Uuid
from bollard.domain.nodes import NetIfName, NetInterface, Node
from bollard.domain.resources import ResourceGroup
from bollard.wire.rest import codes
from bollard.wire.rest.codes import Act, Mask, Noun
from rest_driver import NOW_MS, Driver, FakeService, unpacked

CREATED = Answer((Entry(Severity.SUCCESS, Operation.CREATE, Subject.NODE, "made"),))


@pytest.fixture
def service() -> FakeService:
    nodes = [
        Node(
            name=NodeName(name),
            uuid=Uuid(name),
            props={"Aux/zone": zone},
            net_interfaces=(NetInterface(NetIfName("default"), "10.0.0.1", Uuid("i"), 3366),),
            active_net_if=NetIfName("default"),
        )
        for name, zone in (("n1", "a"), ("n2", "b"), ("n3", "b"))
    ]
    return FakeService([*nodes, ResourceGroup(GroupName("DfltRscGrp"), Uuid("g"))])


@pytest.fixture
def call(service: FakeService) -> Driver:
    return Driver(service)


def test_a_body_becomes_a_command(call: Driver) -> None:
    call.service.answer = CREATED
    reply = call(
        "POST",
        "/v1/nodes",
        {
            "name": "n9",
            "type": "Combined",
            "net_interfaces": [{"name": "default", "address": "10.0.0.9", "satellite_port": "3366"}],
            "props": {"Aux/a": 1},
        },
    )
    assert reply.status == 201
    assert reply.codes == [codes.ret_code(Mask.SUCCESS, "CREATED", Act.CREATE, Noun.NODE)]
    assert reply.json[0]["obj_refs"] == {"Node": "n9"}
    assert call.service.commands == [
        CreateNode(
            name="n9",
            type="Combined",
            net_interfaces=(NewNetInterface(name="default", address="10.0.0.9", satellite_port=3366),),
            props={"Aux/a": "1"},
        )
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "command"),
    [
        (
            "POST",
            "/v1/resource-definitions/r1/autoplace",
            {"select_filter": {"place_count": 2, "layer_stack": ["NOPE"]}, "layer_list": ["STORAGE"]},
            Autoplace(
                definition="r1",
                select_filter=msgspec.structs.replace(Autoplace(definition="").select_filter, place_count=2),
                layer_stack=("STORAGE",),
                diskless_on_remaining=False,
            ),
        ),
        (
            "POST",
            "/v1/resource-definitions/r1/resources",
            [{"resource": {"node_name": "n1", "flags": ["DISKLESS"]}}, {"resource": {"node_name": "n2"}}],
            CreateResources(
                definition="r1",
                resources=(NewResource(node="n1", flags=("DISKLESS",)), NewResource(node="n2")),
            ),
        ),
        (
            "POST",
            "/v1/resource-definitions/r1/resources/n1",
            {"resource": {"node_name": "other"}, "drbd_node_id": 3, "drbd_client": True},
            CreateResources(
                definition="r1", resources=(NewResource(node="n1", drbd_node_id=3, client=True),)
            ),
        ),
        (
            "DELETE",
            "/v1/resource-definitions/r1/resources/n1?keep_tiebreaker=True",
            None,
            DeleteResource(definition="r1", node="n1", keep_tiebreaker=True),
        ),
        (
            "PUT",
            "/v1/resource-definitions/r1/resources/n1/toggle-disk",
            {"operation": "into_drbd_client"},
            ToggleDisk(definition="r1", node="n1", to_diskful=False, client=True),
        ),
        (
            "PUT",
            "/v1/resource-definitions/r1/resources/n1/migrate-disk/n2/p1",
            None,
            ToggleDisk(definition="r1", node="n1", to_diskful=True, pool="p1", migrate_from="n2"),
        ),
        (
            "POST",
            "/v1/resource-groups/g1/spawn",
            {"resource_definition_name": "r1", "volume_sizes": [1024], "partial": None},
            SpawnResource(group="g1", name="r1", sizes_kib=(1024,)),
        ),
        (
            "DELETE",
            "/v1/controller/properties/DrbdOptions%2FNet/protocol/",
            None,
            ModifyController(props=PropsChange(delete=("DrbdOptions/Net/protocol",))),
        ),
    ],
)
def test_requests_and_their_commands(call: Driver, method: str, path: str, body: Any, command: Any) -> None:
    call(method, path, body)
    assert call.service.commands == [command]


def test_a_refusal_has_the_request_s_bits_and_the_error_s_code(call: Driver) -> None:
    call.service.answer = Exists(Subject.NODE, "n1", "There is a node 'n1'", cause="It was made.")
    reply = call("POST", "/v1/nodes", {"name": "n1"})
    assert reply.status == 500
    assert reply.codes == [codes.ret_code(Mask.ERROR, "EXISTS_NODE", Act.CREATE, Noun.NODE)]
    assert reply.json[0]["cause"] == "It was made."
    assert reply.json[0]["obj_refs"] == {"Node": "n1"}


def test_an_error_of_our_own_becomes_a_report(call: Driver) -> None:
    call.service.answer = ZeroDivisionError("secret detail")
    reply = call("POST", "/v1/nodes", {"name": "n1"})
    assert reply.status == 500
    assert codes.code_of(reply.codes[0]) == codes.FAIL["IMPL_ERROR"]
    assert reply.json[0]["error_report_ids"] == ["00000000-00000-000000"]
    assert b"secret detail" not in reply.content
    assert [context for _, context in call.service.broken_by] == ["POST /v1/nodes"]


def test_an_explanation_is_added_to_the_answer(call: Driver) -> None:
    call.service.answer = Answer(
        CREATED.entries, (Explained("n1", "p1", chosen=True, score=1.0), Explained("n2", "", chosen=False))
    )
    reply = call("POST", "/v1/resource-definitions/r1/autoplace", {})
    assert reply.json[0]["explanation"] == [
        {"node": "n1", "pool": "p1", "chosen": True, "score": 1.0},
        {"node": "n2", "pool": "", "chosen": False},
    ]


BAD_BODIES = {
    "malformed": b'{"name": ',
    "trailing": b'{"name":"x"} more',
    "array": b"[]",
    "string": b'"x"',
    "null": b"null",
    "empty": b"",
    "unknown member": b'{"bogus": 1}',
    "wrong type": b'{"name": {"a": 1}}',
    "not text": b"\xff\xfe{}",
    "deep": b'{"props":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "huge number": b'{"name": "x", "net_interfaces": [{"satellite_port": 1e999}]}',
}


@pytest.mark.parametrize("raw", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_bad_body_gets_one_clear_refusal(call: Driver, raw: bytes) -> None:
    reply = call("POST", "/v1/nodes", raw=raw)
    assert reply.status == 400
    assert reply.codes == [codes.PARSE_ERROR]
    assert call.service.commands == []


def test_a_body_that_is_too_long_is_not_read_to_its_end(service: FakeService) -> None:
    call = Driver(service, body_bytes_max=10_000)
    long = b'{"name": "' + b"x" * 20_000 + b'"}'
    assert call("POST", "/v1/nodes", raw=long).status == 413
    assert call("POST", "/v1/nodes", raw=long, headers={"content-length": "20012"}).status == 413
    assert service.commands == []


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("Application/JSON", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 400),
    ],
)
def test_only_json_is_taken(call: Driver, media_type: str, status: int) -> None:
    reply = call("POST", "/v1/nodes", {"name": "n1"}, headers={"content-type": media_type})
    assert reply.status == status
    assert len(call.service.commands) == (status == 201)


def test_unknown_paths_and_methods_answer_in_the_api_s_own_form(call: Driver) -> None:
    nowhere = call("GET", "/v1/nope")
    assert nowhere.status == 404
    assert nowhere.codes == [-4611686018427386906]
    wrong = call("PATCH", "/v1/nodes")
    assert wrong.status == 405
    assert wrong.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    options = call("OPTIONS", "/v1/nodes")
    assert (options.status, options.content) == (200, b"GET, HEAD, OPTIONS, POST")


def test_head_is_get_without_a_body(call: Driver) -> None:
    reply = call("HEAD", "/v1/nodes")
    assert reply.status == 200
    assert reply.content == b""


def test_no_page_of_another_origin_may_read(call: Driver) -> None:
    reply = call("GET", "/v1/controller/version", headers={"origin": "http://example.com"})
    assert not any(name.startswith("access-control") for name in reply.headers)


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://test", 201), ("http://TEST", 201), ("http://evil.example", 403), ("null", 403)],
)
def test_no_page_of_another_origin_may_change_anything(call: Driver, origin: str, status: int) -> None:
    reply = call("POST", "/v1/nodes", {"name": "n9"}, headers={"origin": origin})
    assert reply.status == status
    assert len(call.service.commands) == (status == 201)


def test_a_client_that_names_no_content_type_is_understood(call: Driver) -> None:
    reply = call("POST", "/v1/nodes", {"name": "n9"}, headers={"no-content-type": "1"})
    assert reply.status == 201


def test_the_version_is_one_that_clients_accept(call: Driver) -> None:
    assert call("GET", "/v1/controller/version").json["rest_api_version"] == "1.28.0"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["n1", "n2", "n3"]),
        ("?nodes=N1&nodes=n2", ["n1", "n2"]),
        ("?nodes=nope", []),
        ("?nodes=", ["n1", "n2", "n3"]),
        ("?limit=1", ["n1"]),
        ("?limit=2&offset=1", ["n2", "n3"]),
        ("?offset=2", ["n1", "n2", "n3"]),
        ("?limit=-1", ["n1", "n2", "n3"]),
        ("?limit=1&offset=-5", ["n1"]),
        ("?limit=5&offset=1000", []),
        ("?props=Aux/zone", ["n1", "n2", "n3"]),
        ("?props=Aux/zone=b", ["n2", "n3"]),
        ("?props=Aux/zone=b&props=Aux/q", []),
        ("?unknown=1", ["n1", "n2", "n3"]),
    ],
)
def test_filters_and_paging(call: Driver, query: str, names: list[str]) -> None:
    assert [node["name"] for node in call("GET", "/v1/nodes" + query).json] == names


@pytest.mark.parametrize("query", ["limit=abc", "limit=1&offset=1e9", "limit=99999999999999999999999999x"])
def test_a_page_that_is_no_number_is_refused(call: Driver, query: str) -> None:
    assert call("GET", f"/v1/nodes?{query}").status == 500


def test_names_are_found_in_any_case_and_shown_as_written(call: Driver) -> None:
    assert call("GET", "/v1/nodes/N1/").json["name"] == "n1"
    assert call("GET", "/v1/nodes/%20").codes == [codes.ret_code(Mask.ERROR, "INVLD_NODE_NAME")]
    assert call("GET", "/v1/nodes/nope").status == 404


def test_long_answers_are_compressed_for_those_who_can_take_it(call: Driver) -> None:
    plain = call("GET", "/v1/nodes")
    packed = call("GET", "/v1/nodes", headers={"accept-encoding": "gzip, deflate"})
    assert "content-encoding" not in plain.headers
    assert unpacked(packed) == plain.content
    short = call("GET", "/v1/resource-groups", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in short.headers


def test_a_missing_capability_is_named(call: Driver) -> None:
    reply = call("POST", "/v1/remotes/s3", {"anything": [1, 2]})
    assert reply.status == 500
    assert reply.codes == [codes.ret_code(Mask.ERROR, "INVLD_REQUEST")]
    assert "remotes" in reply.json[0]["message"]
    assert call("GET", "/v1/remotes/s3").json == []
    assert call("GET", "/v1/encryption/passphrase").json == {"status": "unset"}


class Doorman:
    """Lets nobody in but readers."""

    async def admit(self, visitor: Visitor, needs: Scope) -> Identity:
        if Scope.VIEWER.includes(needs):
            return Identity("reader", Scope.VIEWER)
        raise Denied(Subject.COMMAND, needs, "You may only read")


def test_the_guard_is_asked_before_anything_is_read(service: FakeService) -> None:
    call = Driver(service)
    call.app.api.guard = Doorman()  # type: ignore[attr-defined]
    assert call("GET", "/v1/nodes").status == 200
    refused = call("POST", "/v1/nodes", raw=b"not even JSON")
    assert refused.status == 403
    assert service.commands == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
BODY_ROUTES = [route for route in ROUTES if route.body is not None]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(route=st.sampled_from(BODY_ROUTES), body=JSON, data=st.data())
def test_no_body_makes_the_controller_fail(call: Driver, route: Any, body: Any, data: st.DataObject) -> None:
    fields = getattr(route.body, "__struct_fields__", ())
    if fields and data.draw(st.booleans()):
        body = data.draw(st.dictionaries(st.sampled_from(fields), JSON, max_size=4))
    path = route.path
    for name in route.names:
        path = path.replace("{" + name + "}", "1").replace("{" + name + "...}", "1")
    reply = call(route.method, path, raw=msgspec.json.encode(body))
    assert call.service.broken_by == []
    assert reply.status in {200, 201, 400, 404, 500}
    if reply.status >= 400:
        assert all(codes.is_error(code) for code in reply.codes[:1])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(route=st.sampled_from(ROUTES), name=st.text(min_size=1, max_size=20), query=st.text(max_size=20))
def test_no_path_makes_the_controller_fail(call: Driver, route: Any, name: str, query: str) -> None:
    if "/events/" in route.path:
        return
    path = route.path
    for part in route.names:
        path = path.replace("{" + part + "}", quoted(name)).replace("{" + part + "...}", quoted(name))
    reply = call(route.method, f"{path}?limit={quoted(query)}&nodes={quoted(query)}")
    assert call.service.broken_by == []
    assert reply.status in {200, 201, 400, 404, 500}


def quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def test_health_and_metrics(call: Driver) -> None:
    assert asyncio.run(call.store.open()) is None
    assert call("GET", "/health").content == b""
    page = call("GET", "/metrics").content.decode()
    assert 'linstor_node_state{node="n1",nodetype="SATELLITE",address="10.0.0.1"' in page
    assert "linstor_scrape_requests_count 1" in page
    assert "linstor_resource_state" not in call("GET", "/metrics?resource=False").content.decode()


def test_error_reports_are_listed_shown_and_dropped(call: Driver) -> None:
    from bollard.controller.store.base import ErrorReport

    async def story() -> None:
        await call.store.open()
        report = ErrorReport(id="65A0BC00-12345-000001", at_ms=NOW_MS, node="host", text="it broke")
        await call.store.add_report(report)
        listed = (await call.ask("GET", "/v1/error-reports")).json
        assert [each["filename"] for each in listed] == ["ErrorReport-65A0BC00-12345-000001.log"]
        assert "text" not in listed[0]
        shown = (await call.ask("GET", "/v1/error-reports/ErrorReport-65A0BC00-12345-000001.log")).json
        assert shown[0]["text"] == "it broke"
        assert (await call.ask("GET", "/v1/error-reports/nope")).json == []
        assert (await call.ask("GET", "/v1/stats/error-reports")).json == {"count": 1}
        kept = await call.ask("PATCH", "/v1/error-reports", {})
        assert kept.codes == [codes.ret_code(Mask.INFO, "NOOP")]
        gone = await call.ask("DELETE", "/v1/error-reports/65A0BC00-12345-000001")
        assert gone.codes == [codes.ret_code(Mask.SUCCESS, "DELETED")]
        assert (await call.ask("GET", "/v1/error-reports")).json == []

    asyncio.run(story())
