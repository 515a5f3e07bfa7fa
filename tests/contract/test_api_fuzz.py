"""Random but plausible requests to every route: whatever is asked, nothing fails inside."""

import asyncio
import types
import typing
from typing import Any

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bollard.controller.rest.app import ROUTES
from bollard.controller.rest.routing import Route
from bollard.wire.rest import codes
from recorded import Town
from rest_driver import Driver

WORDS = (
    *("n1", "n2", "n3", "N1", "r1", "R1", "r2", "g1", "DfltRscGrp", "pthin", "pfile", "DfltStorPool"),
    *("DfltDisklessStorPool", "default", "nic2", "SATELLITE", "COMBINED", "FILE", "FILE_THIN", "DISKLESS"),
    *("DRBD", "STORAGE", "LUKS", "10.99.0.11", "10.99.0.12", "PLAIN", "SSL", "GROSS_SIZE", "-GROSS_SIZE"),
    *("ENCRYPTED", "DRBD_DISKLESS", "TIE_BREAKER", "INTO_DRBD_DISKFUL", "INTO_DRBD_DISKLESS"),
    *("INTO_DRBD_CLIENT", "Aux/a", "Aux/zone=x", "Aux/zone", "StorPoolName", "PrefNic", "C", "majority"),
    *("DrbdOptions/Net/protocol", "DrbdOptions/Resource/quorum", "off", "true", "TcpPortAutoRange"),
    *("StorDriver/FileDir", "/srv/recorded/pools/n1/thin", "7000-7010", "(", "[", ".*", "\u00e9"),
)
texts = st.sampled_from(WORDS) | st.text(max_size=6)
numbers = st.sampled_from([-1, 0, 1, 2, 3, 4, 7, 32, 1024, 4096, 65536, 2**40, 2**63 - 1])
NAMES = {
    "node": ["n1", "n2", "n3", "nope"],
    "node_a": ["n1", "n2"],
    "node_b": ["n2", "n3", "n1"],
    "fromnode": ["n1", "n2", "n3"],
    "resource": ["r1", "r2", "nope"],
    "resource_group": ["g1", "DfltRscGrp", "nope"],
    "storagepool": ["pthin", "pfile", "nope"],
    "disklesspool": ["DfltDisklessStorPool", "pthin"],
    "volume_number": ["0", "1", "7", "x"],
    "netinterface": ["default", "nic2", "nope"],
    "instance": ["kv1", "kv2"],
}
SKIPPED = frozenset(
    {
        "/v1/events/drbd/promotion",
        "/v1/events/nodes",
        "/v1/controller/auth/initialize-token-auth",  # shuts out all that follow, which have no token
    }
)
USED = [route for route in ROUTES if route.path not in SKIPPED]


def values(wanted: Any) -> st.SearchStrategy[Any]:
    """Plausible JSON for a type of a request body."""
    origin, inside = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of([values(each) for each in inside])
    if origin in {tuple, list}:
        return st.lists(values(inside[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(texts, values(inside[1]), max_size=3)
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        fields = {each.encode_name: each.type for each in msgspec.structs.fields(wanted)}
        return st.fixed_dictionaries({}, optional={name: values(kind) for name, kind in fields.items()})
    if wanted is bool:
        return st.booleans()
    if wanted in {int, float}:
        return numbers
    return st.none() if wanted is type(None) else texts


@st.composite
def requests(draw: st.DrawFn) -> tuple[Route, str, Any]:
    route = draw(st.sampled_from(USED))
    path = route.path
    for name in route.names:
        chosen = draw(st.sampled_from(NAMES.get(name, ["x", "Aux%2Fa"])))
        path = path.replace("{" + name + "}", chosen).replace("{" + name + "...}", chosen)
    body = None if route.body is None else draw(values(route.body))
    return route, path, body


async def prepared() -> tuple[Town, Driver]:
    """Three nodes, two pools each, a group, a replicated and a plain volume."""
    town = Town()
    driver = await town.start()
    for number in (1, 2, 3):
        link = {"name": "default", "address": f"10.99.0.1{number}", "satellite_port": 3366}
        link["satellite_encryption_type"] = "PLAIN"
        await driver.ask("POST", "/v1/nodes", {"name": f"n{number}", "net_interfaces": [link]})
        for pool, provider in (("pthin", "FILE_THIN"), ("pfile", "FILE")):
            folder = {"StorDriver/FileDir": f"/srv/recorded/pools/n{number}/{pool}"}
            wanted = {"storage_pool_name": pool, "provider_kind": provider, "props": folder}
            await driver.ask("POST", f"/v1/nodes/n{number}/storage-pools", wanted)
    await driver.ask("POST", "/v1/resource-groups", {"name": "g1", "select_filter": {"place_count": 2}})
    for name, chosen in (("r1", {}), ("r2", {"place_count": 1, "layer_stack": ["STORAGE"]})):
        wanted = {"resource_definition_name": name, "volume_sizes": [4096], "select_filter": chosen}
        assert (await driver.ask("POST", "/v1/resource-groups/g1/spawn", wanted)).status == 201
    await town.quiet()
    return town, driver


async def play(story: list[tuple[Route, str, Any]]) -> None:
    town, driver = await prepared()
    for route, path, body in story:
        async with asyncio.timeout(30):
            reply = await driver.ask(route.method, path, body)
            await town.quiet()
        assert reply.status in {200, 201, 400, 404, 500, 503}, (reply.status, reply.content)
        if reply.status >= 400:
            assert all(codes.code_of(code) != codes.FAIL["IMPL_ERROR"] for code in reply.codes), reply.content
        for view in ("/v1/view/resources", "/v1/view/storage-pools", "/v1/nodes", "/metrics"):
            assert (await driver.ask("GET", view)).status == 200
    reports = (await driver.ask("GET", "/v1/error-reports?withContent=true")).json
    assert reports == [], reports


def _route(method: str, path: str) -> Route:
    return next(route for route in ROUTES if (route.method, route.path) == (method, path))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(story=st.lists(requests(), min_size=1, max_size=25))
@example(story=[(_route("GET", "/v1/nodes"), "/v1/nodes", None)])
def test_nothing_fails_inside(story: list[tuple[Route, str, Any]]) -> None:
    asyncio.run(play(story))
