"""The properties find what they are there to find."""

import msgspec

from bollard.domain.cluster import Cluster
from bollard.domain.ids import GroupName, NetIfName, NodeName, ResourceName, Uuid
from bollard.domain.nodes import NetInterface, Node
from bollard.domain.observed import Observed
from bollard.domain.resources import (
    Resource,
    ResourceDefinition,
    Tombstone,
    VolumeDefinition,
    VolumeOnNode,
)
from bollard.domain.seen import Observation, Problem, SeenResource, SeenVolume
from bollard.satellite.tools.backing_file import Owner, encode_owner, file_name, marker_name
from bollard.sim.engine import Mesh
from bollard.sim.files import Metadata
from bollard.sim.host import SimMachine
from bollard.sim.properties import unconverged, unfinished, unrelated, used_twice


def node(name: str, address: str) -> Node:
    return Node(
        NodeName(name), Uuid(name), net_interfaces=(NetInterface(NetIfName("default"), address, Uuid("i")),)
    )


def definition(name: str, minor: int) -> ResourceDefinition:
    volume = VolumeDefinition(0, Uuid("v"), 1024, minor=minor)
    return ResourceDefinition(ResourceName(name), Uuid(name), GroupName("g"), volumes=(volume,))


def resource(name: str, on: str, port: int, ident: int) -> Resource:
    return Resource(
        ResourceName(name), NodeName(on), Uuid(f"{name}-{on}"), tcp_ports=(port,), drbd_node_id=ident
    )


def test_ports_count_by_address_and_not_by_node() -> None:
    nodes = [node("n1", "10.0.0.1"), node("n2", "10.0.0.1"), node("n3", "10.0.0.3")]
    definitions = [definition("a", 1000), definition("b", 1001)]
    apart = [resource("a", "n1", 7000, 0), resource("b", "n3", 7000, 0)]
    together = [resource("a", "n1", 7000, 0), resource("b", "n2", 7000, 0)]
    assert list(used_twice(Cluster([*nodes, *definitions, *apart]))) == []
    assert list(used_twice(Cluster([*nodes, *definitions, *together]))) == [
        "port 7000 of 10.0.0.1 is used twice"
    ]


def test_minors_and_node_ids() -> None:
    nodes = [node("n1", "10.0.0.1"), node("n2", "10.0.0.2")]
    twice = [definition("a", 1000), definition("b", 1000)]
    same_id = [resource("a", "n1", 7000, 1), resource("a", "n2", 7000, 1)]
    assert list(used_twice(Cluster([*nodes, *twice, *same_id]))) == [
        "minor 1000 is used twice",
        "node id 1 of a is used twice",
    ]


def test_what_is_not_done_is_named() -> None:
    stone = Tombstone(NodeName("n1"), ResourceName("old"), Uuid("old"))
    cluster = Cluster([node("n1", "10.0.0.1"), definition("a", 1000), resource("a", "n1", 7000, 0), stone])
    observed = Observed()
    assert list(unfinished(cluster, observed, ("n1",))) == [
        "n1 is reachable but OFFLINE",
        "a on n1 was not made",
        "old on n1 is still being deleted",
    ]
    assert list(unfinished(cluster, observed, ())) == []
    seen = SeenResource(ResourceName("a"), Uuid("a-n1"), problem=Problem("no luck", "bad disk"))
    observed.take(Observation(NodeName("n1"), complete=True, resources=(seen,)), 0)
    observed.node("n1").status = "ONLINE"
    assert next(unfinished(cluster, observed, ("n1",))) == "a on n1 has a problem: no luck bad disk"


def test_states_sizes_and_leftover_files_are_compared() -> None:
    cluster = Cluster([node("n1", "10.0.0.1"), definition("a", 1000), resource("a", "n1", 7000, 0)])
    observed = Observed()
    volume = SeenVolume(0, size_kib=512, disk_state="Inconsistent")
    seen = SeenResource(ResourceName("a"), Uuid("a-n1"), settled=True, volumes=(volume,))
    observed.take(Observation(NodeName("n1"), complete=True, resources=(seen,)), 0)
    observed.node("n1").status = "ONLINE"
    machine = SimMachine("n1", Mesh())
    machine.disk.sizes["/pool/gone_00000.img"] = 4096
    assert list(unconverged(cluster, observed, {"n1": machine})) == [
        "volume a/0 on n1 is Inconsistent",
        "volume a/0 on n1 has 512 KiB, not 1024",
        "n1 still has the file /pool/gone_00000.img",
    ]


def test_complete_copies_that_do_not_belong_together() -> None:
    mesh = Mesh()
    machines = {name: SimMachine(name, mesh) for name in ("n1", "n2")}
    first, second = (
        msgspec.structs.replace(
            resource("a", name, 7000, ident), volumes=(VolumeOnNode(0, Uuid(f"v{name}"), "pool"),)
        )
        for ident, name in enumerate(machines)
    )
    nodes = [node("n1", "10.0.0.1"), node("n2", "10.0.0.2")]
    cluster = Cluster([*nodes, definition("a", 1000), first, second])
    for name, machine in machines.items():
        path = f"/pool/{file_name('a', 0)}"
        owner = Owner("a", 0, f"v{name}", made=True, metadata=True)
        machine.disk.contents[marker_name(path)] = encode_owner(owner)
        machine.disk.metadata[path] = Metadata(7, 4096, f"generation {name}", up_to_date=name == "n1")
    assert list(unrelated(cluster, machines)) == []
    other = machines["n2"].disk.metadata[f"/pool/{file_name('a', 0)}"]
    other.up_to_date = True
    assert len(list(unrelated(cluster, machines))) == 1
    other.generation = "generation n1"
    assert list(unrelated(cluster, machines)) == []
