"""The cluster's indexes against a plain count, whatever is put and dropped."""

from hypothesis import given
from hypothesis import strategies as st

from bollard.domain.cluster import Change, Cluster, Drop, Put, Record, drop, kind_of
from bollard.domain.ids import GroupName, Key, NetIfName, NodeName, ResourceName, Uuid, key_of
from bollard.domain.layers import ProviderKind
from bollard.domain.nodes import NetInterface, Node, StoragePool
from bollard.domain.resources import (
    ControllerSettings,
    DiskKind,
    Resource,
    ResourceDefinition,
    Tombstone,
    VolumeDefinition,
    VolumeOnNode,
)

NODES = st.sampled_from(["n1", "N2", "n3"])
NAMES = st.sampled_from(["vol", "Other"])
PORTS = st.tuples(st.integers(7000, 7003))


@st.composite
def records(draw: st.DrawFn) -> Record:
    node, name = NodeName(draw(NODES)), ResourceName(draw(NAMES))
    kind = draw(st.integers(0, 4))
    if kind == 0:
        net_if = NetInterface(
            NetIfName("default"), draw(st.sampled_from(["10.0.0.1", "10.0.0.2"])), Uuid("i")
        )
        return Node(node, Uuid("n"), net_interfaces=(net_if,))
    if kind == 1:
        volumes = tuple(
            VolumeDefinition(
                number, Uuid(f"v{number}"), draw(st.integers(4, 99)), minor=draw(st.integers(1000, 1004))
            )
            for number in range(draw(st.integers(0, 2)))
        )
        return ResourceDefinition(name, Uuid("d"), GroupName("DfltRscGrp"), volumes=volumes)
    if kind == 2:
        disk = draw(st.sampled_from([DiskKind.DISKFUL, DiskKind.DISKLESS]))
        volume = VolumeOnNode(draw(st.integers(0, 1)), Uuid("w"), draw(st.sampled_from(["thin", "fast"])))
        return Resource(name, node, Uuid("r"), disk=disk, volumes=(volume,), tcp_ports=draw(PORTS))
    if kind == 3:
        uuid, minors = Uuid(draw(st.sampled_from("ab"))), draw(st.tuples(st.integers(1000, 1004)))
        return Tombstone(node, name, uuid, tcp_ports=draw(PORTS), minors=minors)
    return StoragePool(node, draw(st.sampled_from(["thin", "fast"])), Uuid("p"), ProviderKind.FILE_THIN)


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    return [
        Put(record) if draw(st.booleans()) else drop(record)
        for record in draw(st.lists(records(), max_size=25))
    ]


def plain_ports(cluster: Cluster, node: str) -> set[int]:
    mine = cluster.nodes.get(key_of(node))
    addresses = {nif.address for nif in mine.net_interfaces} if mine is not None else set()
    sharing = {
        key for key, one in cluster.nodes.items() if addresses & {nif.address for nif in one.net_interfaces}
    } | {key_of(node)}
    users: list[Resource | Tombstone] = [*cluster.resources.values(), *cluster.tombstones.values()]
    return {port for one in users if key_of(one.node) in sharing for port in one.tcp_ports}


def plain_claim(cluster: Cluster, pool: Key) -> int:
    total = 0
    for resource in cluster.resources.values():
        definition = cluster.definitions.get(key_of(resource.definition))
        for on_node in resource.volumes if definition is not None and resource.diskful else ():
            volume = definition.volume(on_node.number) if definition is not None else None
            if key_of(resource.node, on_node.pool) == pool and volume is not None:
                total += volume.size_kib
    return total


@given(histories())
def test_indexes_agree_with_a_plain_count(changes: list[Change]) -> None:
    cluster = Cluster()
    for change in changes:
        cluster.apply((change,))
        minors = {vol.minor for one in cluster.definitions.values() for vol in one.volumes}
        minors |= {minor for stone in cluster.tombstones.values() for minor in stone.minors}
        free = next(number for number in range(1000, 2000) if number not in minors)
        assert cluster.first_free_minor(1000) == free
        assert cluster.first_free_minor(1000, {free}) > free
        for node in ("n1", "n2", "n3"):
            assert cluster.ports_at(node) == plain_ports(cluster, node)
            assert cluster.resource_count(node) == len(cluster.resources_on(node))
            assert dict(cluster.pool_keys_on(key_of(node))) == {
                one.key: one for one in cluster.pools_on(node)
            }
            for pool in ("thin", "fast"):
                key = key_of(node, pool)
                assert cluster.claimed_kib(key) == plain_claim(cluster, key)
    assert cluster.revision == len(changes)
    again = Cluster(cluster.records(), cluster.revision)
    assert sorted(map(repr, again.records())) == sorted(map(repr, cluster.records()))


def test_settings_are_found_and_kept() -> None:
    settings = ControllerSettings(Uuid("c"), {"Aux/a": "1"})
    cluster = Cluster([settings])
    assert cluster.find("controller", settings.key) is settings
    assert cluster.props() == {"Aux/a": "1"}
    assert Cluster().props() == {}
    assert kind_of(settings) == "controller"


def test_dropping_what_is_not_there_changes_nothing() -> None:
    cluster = Cluster()
    cluster.apply((Drop("node", Key("NOPE")), Drop("resource", Key("NO/PE"))))
    assert list(cluster.records()) == []
