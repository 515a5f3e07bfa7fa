"""The long lists: filters, pages, and pieces that are encoded again only when something is new."""

import msgspec
import pytest

from bollard.domain.cluster import Put, Record
from bollard.domain.ids import GroupName, NodeName, ResourceName, Uuid, key_of
from bollard.domain.layers import DEFAULT_STACK, ProviderKind
from bollard.domain.nodes import Node, StoragePool
from bollard.domain.observed import NodeSeen
from bollard.domain.resources import (
    DiskKind,
    Resource,
    ResourceDefinition,
    ResourceGroup,
    VolumeDefinition,
    VolumeOnNode,
)
from bollard.domain.seen import Observation, Problem, SeenPool, SeenResource, SeenVolume
from bollard.domain.units import UNLIMITED_KIB
from rest_driver import Driver, FakeService, unpacked


def seen_of(name: str, state: str = "UpToDate") -> SeenResource:
    return SeenResource(ResourceName(name), Uuid("r"), volumes=(SeenVolume(0, disk_state=state),))


@pytest.fixture
def service() -> FakeService:
    records: list[Record] = [ResourceGroup(GroupName("DfltRscGrp"), Uuid("g"))]
    for node in ("n1", "n2"):
        records.append(Node(NodeName(node), Uuid(node)))
        records.append(StoragePool(NodeName(node), "pthin", Uuid("p"), ProviderKind.FILE_THIN))
        records.append(StoragePool(NodeName(node), "DfltDisklessStorPool", Uuid("q"), ProviderKind.DISKLESS))
    for name in ("r1", "R2"):
        volume = VolumeDefinition(0, Uuid("v"), 4096, minor=1000)
        records.append(
            ResourceDefinition(
                ResourceName(name),
                Uuid(name),
                GroupName("DfltRscGrp"),
                layer_stack=DEFAULT_STACK,
                volumes=(volume,),
            )
        )
        for node, disk, pool in (
            ("n1", DiskKind.DISKFUL, "pthin"),
            ("n2", DiskKind.DISKLESS, "DfltDisklessStorPool"),
        ):
            records.append(
                Resource(
                    ResourceName(name),
                    NodeName(node),
                    Uuid(f"{name}-{node}"),
                    disk=disk,
                    props={"Aux/k": node},
                    volumes=(VolumeOnNode(0, Uuid("w"), pool),),
                )
            )
    service = FakeService(records)
    for node in ("n1", "n2"):
        service.observed.nodes[key_of(node)] = NodeSeen(
            status="ONLINE", heard_ms=5, resources={key_of("r1"): seen_of("r1")}
        )
    return service


@pytest.fixture
def call(service: FakeService) -> Driver:
    return Driver(service)


def places(call: Driver, query: str) -> list[tuple[str, str]]:
    reply = call("GET", "/v1/view/resources" + query)
    assert reply.status == 200
    return [(each["name"], each["node_name"]) for each in reply.json]


ALL = [("r1", "n1"), ("r1", "n2"), ("R2", "n1"), ("R2", "n2")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ALL),
        ("?resources=R1", ALL[:2]),
        ("?resources=nope", []),
        ("?nodes=N2", [ALL[1], ALL[3]]),
        ("?nodes=n1&resources=r2&resources=r1", [ALL[0], ALL[2]]),
        ("?storage_pools=PTHIN", [ALL[0], ALL[2]]),
        ("?storage_pools=nope", []),
        ("?props=Aux/k=n2", [ALL[1], ALL[3]]),
        ("?limit=1&offset=2", [ALL[2]]),
    ],
)
def test_filters(call: Driver, query: str, expected: list[tuple[str, str]]) -> None:
    assert places(call, query) == expected


def test_an_unknown_node_in_the_filter_is_not_found(call: Driver) -> None:
    assert call("GET", "/v1/view/resources?nodes=nope").status == 404
    assert call("GET", "/v1/view/storage-pools?nodes=nope").status == 404


def test_pieces_are_made_again_only_when_something_is_new(call: Driver) -> None:
    service, pieces = call.service, call.app.api.fragments  # type: ignore[attr-defined]
    first = call("GET", "/v1/view/resources").content
    assert (pieces.misses, pieces.hits) == (4, 0)
    assert call("GET", "/v1/view/resources").content == first
    assert (pieces.misses, pieces.hits) == (4, 4)
    service.observed.nodes[key_of("n1")].resources[key_of("r1")] = seen_of("r1", "Failed")
    assert b"Failed" in call("GET", "/v1/view/resources").content
    assert pieces.misses == 5
    old = service.cluster.resources[key_of("r1", "n2")]
    service.cluster.apply([Put(msgspec.structs.replace(old, props={"Aux/new": "1"}))])
    assert b"Aux/new" in call("GET", "/v1/view/resources").content
    assert pieces.misses == 6
    service.observed.nodes[key_of("n2")].status = "OFFLINE"
    offline = call("GET", "/v1/view/resources?nodes=n2").json
    assert all(not each["observed"]["current"] for each in offline)
    assert pieces.misses == 8


def test_the_list_is_the_same_with_and_without_kept_pieces(call: Driver) -> None:
    kept = call("GET", "/v1/view/resources").json
    each = [
        call("GET", f"/v1/resource-definitions/{name}/resources/{node}").json
        for name, node in places(call, "")
    ]
    assert [{key: value for key, value in one.items() if key != "volumes"} for one in kept] == each


def test_volumes_of_a_resource(call: Driver) -> None:
    base = "/v1/resource-definitions/r1/resources/n1/volumes"
    assert call("GET", base).json == [call("GET", base + "/0").json]
    assert call("GET", base + "/9").status == 404
    assert call("GET", base + "/x").status == 500


def test_pools_show_their_space_or_why_not(call: Driver) -> None:
    service = call.service
    service.observed.nodes[key_of("n1")].pools[key_of("pthin")] = SeenPool("pthin", Uuid("p"), 10, 20)
    service.observed.nodes[key_of("n2")].pools[key_of("pthin")] = SeenPool(
        "pthin", Uuid("p"), problem=Problem("The folder is gone")
    )
    pools = {
        (each["storage_pool_name"], each["node_name"]): each
        for each in call("GET", "/v1/view/storage-pools").json
    }
    assert pools["pthin", "n1"]["free_capacity"] == 10
    assert pools["pthin", "n1"]["static_traits"] == {"Provisioning": "Thin", "SupportsSnapshots": "true"}
    assert "free_capacity" not in pools["pthin", "n2"]
    assert pools["pthin", "n2"]["reports"][0]["message"] == "The folder is gone"
    assert pools["DfltDisklessStorPool", "n1"]["free_capacity"] == UNLIMITED_KIB
    service.observed.nodes[key_of("n1")].status = "OFFLINE"
    away = call("GET", "/v1/nodes/n1/storage-pools/pthin").json
    assert away["free_capacity"] == 10
    assert away["reports"]


def test_sync_status(call: Driver) -> None:
    assert call("GET", "/v1/resource-definitions/r1/sync-status").json == {"synced_on_all": True}
    assert call("GET", "/v1/resource-definitions/R2/sync-status").json == {"synced_on_all": False}
    call.service.observed.nodes[key_of("n1")].resources[key_of("r1")] = seen_of("r1", "SyncTarget")
    assert call("GET", "/v1/resource-definitions/r1/sync-status").json == {"synced_on_all": False}
    assert call("GET", "/v1/resource-definitions/nope/sync-status").status == 404


def test_the_misspelled_path_of_an_old_client_works(call: Driver) -> None:
    right = call("GET", "/v1/resource-definitions/r1/resource-connections")
    assert right.json == [{"node_a": "n1", "node_b": "n2"}]
    assert call("GET", "/v1/resource-definitions/r1/resources-connections").content == right.content
    pair = call("GET", "/v1/resource-definitions/r1/resources-connections/N2/n1")
    assert pair.content == right.content
    one = call("GET", "/v1/resource-definitions/r1/resource-connections/n1/n2")
    assert [one.json] == right.json


def long_list(count: int) -> FakeService:
    """So many resources on one node that is online."""
    records: list[Record] = [
        ResourceGroup(GroupName("DfltRscGrp"), Uuid("g")),
        Node(NodeName("n1"), Uuid("n")),
    ]
    for number in range(count):
        name = ResourceName(f"res{number:04d}")
        records.append(ResourceDefinition(name, Uuid(name), GroupName("DfltRscGrp")))
        records.append(Resource(name, NodeName("n1"), Uuid(f"u-{number}")))
    service = FakeService(records)
    service.observed.node("n1").status = "ONLINE"
    return service


def test_a_long_list_is_the_same_packed_or_not_and_from_memory_or_not() -> None:
    driver = Driver(long_list(700))
    plain = driver("GET", "/v1/view/resources")
    assert len(plain.json) == 700
    packed = driver("GET", "/v1/view/resources", headers={"accept-encoding": "gzip"})
    assert unpacked(packed) == plain.content
    again = driver("GET", "/v1/view/resources", headers={"accept-encoding": "gzip"})
    assert again.content == packed.content
    page = driver("GET", "/v1/view/resources?limit=250&offset=100")
    assert page.json == plain.json[100:350]
    assert driver("GET", "/v1/view/resources?resources=res0007").json == plain.json[7:8]


def test_news_are_seen_at_once_and_a_client_that_knows_gets_no_body() -> None:
    service = long_list(300)
    driver = Driver(service)
    first = driver("GET", "/v1/view/resources")
    tag = first.headers["etag"]
    same = driver("GET", "/v1/view/resources", headers={"if-none-match": tag})
    assert (same.status, same.content) == (304, b"")
    service.observed.take(Observation(NodeName("n1"), resources=(seen_of("res0003"),)), 1)
    news = driver("GET", "/v1/view/resources", headers={"if-none-match": tag})
    assert news.status == 200
    assert news.headers["etag"] != tag
    assert [one["name"] for one, old in zip(news.json, first.json, strict=True) if one != old] == ["res0003"]
    known = service.cluster.resources[key_of("res0004", "n1")]
    service.cluster.apply([Put(msgspec.structs.replace(known, props={"Aux/a": "b"}))])
    assert driver("GET", "/v1/view/resources?props=Aux/a").json[0]["name"] == "res0004"
    assert driver("GET", "/v1/view/resources").json[4]["props"] == {"Aux/a": "b"}
