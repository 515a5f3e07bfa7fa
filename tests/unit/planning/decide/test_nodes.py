"""Nodes and their interfaces, by examples of what LINSTOR answered."""

import pytest

from bollard.domain import commands as c
from bollard.domain.errors import (
    Conflict,
    DomainError,
    Exists,
    InUse,
    Invalid,
    NotFound,
    Subject,
)
from bollard.domain.nodes import NodePhase
from bollard.planning.decide import decide
from planning_lab import Lab, codes

LINK = {"satellite_port": 3366, "satellite_encryption": "PLAIN"}


def net_if(address: str = "10.1.0.1", name: str = "default", **given: object) -> c.NewNetInterface:
    return c.NewNetInterface(name=name, address=address, **given)  # type: ignore[arg-type]


def create(name: str, *given: c.NewNetInterface, kind: str = "SATELLITE", **props: str) -> c.CreateNode:
    return c.CreateNode(name=name, type=kind, net_interfaces=given or (net_if(**LINK),), props=props)


def refusal(lab: Lab, command: c.Command) -> tuple[type[DomainError], Subject]:
    before = list(lab.cluster.records())
    with pytest.raises(DomainError) as caught:
        decide(command, lab.world)
    assert list(lab.cluster.records()) == before
    assert caught.value.message
    return type(caught.value), caught.value.subject


def test_a_node_brings_its_diskless_pool_and_names_its_link() -> None:
    lab = Lab(0)
    decision = lab.run(create("n1", kind="Satellite"))
    assert codes(decision) == ["success|create|NODE|-"]
    node = lab.cluster.nodes["N1"]
    assert node.props["CurStltConnName"] == "default"
    assert [pool.name for pool in lab.cluster.pools_on("n1")] == ["DfltDisklessStorPool"]
    assert [wait.node for wait in decision.waits] == ["n1"]


def test_properties_of_a_new_node_are_said_first() -> None:
    decision = Lab(0).run(c.CreateNode(name="n1", net_interfaces=(net_if(**LINK),), props={"Aux/zone": "b"}))
    assert codes(decision) == ["success|create|NODE|-", "success|create|NODE|-"]


@pytest.mark.parametrize("name", ["", "a", "a_b", "bad name", "-n", "umläut", "x" * 256])
def test_wrong_names(name: str) -> None:
    assert refusal(Lab(0), create(name)) == (Invalid, Subject.NODE_NAME)


@pytest.mark.parametrize("name", ["n1", "N1"])
def test_a_name_is_given_once(name: str) -> None:
    lab = Lab(0)
    lab.run(create("n1"))
    assert refusal(lab, create(name, net_if("10.1.0.2", **LINK))) == (Exists, Subject.NODE)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (create("node", net_if()), (Invalid, Subject.SATELLITE_CONNECTION)),
        (create("node", net_if(satellite_encryption="SSL")), (Invalid, Subject.SATELLITE_CONNECTION)),
        (create("node", net_if(satellite_port=3366)), (Invalid, Subject.SATELLITE_CONNECTION)),
        (c.CreateNode(name="node"), (Invalid, Subject.NODE)),
        (create("node", kind="ROUTER"), (Invalid, Subject.NODE_TYPE)),
        (create("node", kind="REMOTE_SPDK"), (Invalid, Subject.NODE_TYPE)),
        (create("node", net_if("300.1.1.1", **LINK)), (Invalid, Subject.NET_ADDRESS)),
        (create("node", net_if("not-an-ip", **LINK)), (Invalid, Subject.NET_ADDRESS)),
        (create("node", net_if(name="a", **LINK)), (Invalid, Subject.NET_IF_NAME)),
        (
            create("node", net_if(satellite_port=70000, satellite_encryption="PLAIN")),
            (Invalid, Subject.NET_PORT),
        ),
        (
            c.CreateNode(name="node", net_interfaces=(net_if(**LINK),), props={"Foo/Bar": "1"}),
            (Invalid, Subject.PROPERTY),
        ),
        (create("node", net_if(**LINK), net_if("10.1.0.2")), (Exists, Subject.NET_IF)),
    ],
)
def test_refused_nodes(command: c.Command, expected: tuple[type[DomainError], Subject]) -> None:
    assert refusal(Lab(0), command) == expected


def test_other_node_types_need_no_satellite_and_hold_no_storage() -> None:
    lab = Lab(0)
    lab.run(create("aux1", net_if(), kind="AUXILIARY"))
    assert lab.cluster.pools_on("aux1") == []
    pool = c.CreatePool(node="aux1", name="thin", provider="FILE_THIN", props={"StorDriver/FileDir": "/x"})
    assert refusal(lab, pool) == (Conflict, Subject.NODE_TYPE)


def test_ipv6_and_several_interfaces() -> None:
    lab = Lab(0)
    lab.run(create("n1", net_if("fd00::1", **LINK), net_if("10.9.0.1", "data")))
    assert [nif.address for nif in lab.cluster.nodes["N1"].net_interfaces] == ["fd00::1", "10.9.0.1"]


def test_changing_properties() -> None:
    lab = Lab(1)
    decision = lab.run(c.ModifyNode(node="n1", props=c.PropsChange(override={"Aux/zone": "a"})))
    assert codes(decision) == ["success|create|NODE|-", "success|modify|NODE|-"]
    decision = lab.run(c.ModifyNode(node="N1", props=c.PropsChange(delete=("Aux/zone", "Aux/none"))))
    assert codes(decision) == ["success|delete|NODE|-", "success|modify|NODE|-"]
    assert codes(lab.run(c.ModifyNode(node="n1"))) == ["success|modify|NODE|-"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Foo/Bar", "1"),
        ("PrefNic", "nonic"),
        ("DrbdOptions/AutoEvictAllowEviction", "nein"),
        ("DrbdOptions/Net/max-buffers", "9000"),
        ("NodeUname", "other"),
        ("TcpPortsBlocked", "x"),
    ],
)
def test_refused_properties(key: str, value: str) -> None:
    lab = Lab(1)
    change = c.PropsChange(override={"Aux/good": "1", key: value})
    assert refusal(lab, c.ModifyNode(node="n1", props=change)) == (Invalid, Subject.PROPERTY)


def test_a_preferred_interface_must_exist() -> None:
    lab = Lab(1)
    lab.run(c.CreateNetInterface(node="n1", net_interface=net_if("10.9.0.1", "nic2")))
    lab.run(c.ModifyNode(node="n1", props=c.PropsChange(override={"PrefNic": "NIC2"})))
    lab.run(c.DeleteNetInterface(node="n1", name="nic2"))
    assert "PrefNic" not in lab.cluster.nodes["N1"].props


def test_a_node_with_pools_stays_a_storage_node() -> None:
    lab = Lab(1)
    assert refusal(lab, c.ModifyNode(node="n1", type="AUXILIARY")) == (Conflict, Subject.NODE_TYPE)
    assert refusal(lab, c.ModifyNode(node="n1", type="FOO")) == (Invalid, Subject.NODE_TYPE)
    lab.run(c.ModifyNode(node="n1", type="combined"))
    assert lab.cluster.nodes["N1"].type == "COMBINED"


def test_unknown_nodes() -> None:
    lab = Lab(0)
    assert refusal(lab, c.ModifyNode(node="nope")) == (NotFound, Subject.NODE)
    for command in (c.DeleteNode(node="nope"), c.LoseNode(node="nope")):
        assert codes(lab.run(command)) == ["warning|delete|NODE|NOT_FOUND"]


def test_an_empty_node_is_deleted_at_once_with_its_pools() -> None:
    lab = Lab(1)
    lab.offline("n1")
    assert codes(lab.run(c.DeleteNode(node="n1"))) == ["success|delete|NODE|-"]
    assert not lab.cluster.nodes
    assert not lab.cluster.pools


def test_a_node_with_resources_is_kept_until_it_has_removed_them() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.quiet()
    lab.offline("n1")
    lab.run(c.DeleteNode(node="n1"))
    assert lab.cluster.nodes["N1"].phase is NodePhase.DELETING
    assert "n1" not in lab.resources("vol")
    lab.quiet()
    assert "N1" in lab.cluster.nodes
    lab.online("n1")
    lab.quiet()
    assert "N1" not in lab.cluster.nodes
    assert lab.kinds("vol") == {"n2": "diskful"}


def test_a_node_in_use_is_not_deleted() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.quiet()
    lab.use("vol", "n1")
    assert refusal(lab, c.DeleteNode(node="n1")) == (InUse, Subject.NODE)


def test_only_a_node_that_is_away_is_lost() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.quiet()
    assert refusal(lab, c.LoseNode(node="n1")) == (Exists, Subject.NODE_CONNECTION)
    lab.offline("n1")
    assert codes(lab.run(c.LoseNode(node="n1")))[0] == "success|delete|NODE|-"
    assert not lab.cluster.tombstones_on("n1")
    assert "N1" not in lab.cluster.nodes
    assert lab.kinds("vol") == {"n2": "diskful"}


def test_interfaces() -> None:
    lab = Lab(1)
    made = lab.run(c.CreateNetInterface(node="n1", net_interface=net_if("10.9.0.1", "nic2")))
    assert codes(made) == ["success|create|NET_IF|-"]
    again = c.CreateNetInterface(node="n1", net_interface=net_if("10.9.0.2", "NIC2"))
    assert refusal(lab, again) == (Exists, Subject.NET_IF)
    changed = lab.run(c.ModifyNetInterface(node="n1", name="nic2", address="10.9.0.3"))
    assert codes(changed) == ["success|modify|NET_IF|-"]
    missing = c.ModifyNetInterface(node="n1", name="nope", address="10.9.0.3")
    assert refusal(lab, missing) == (NotFound, Subject.NET_IF)
    wrong = c.ModifyNetInterface(node="n1", name="nic2", address="bad")
    assert refusal(lab, wrong) == (Invalid, Subject.NET_ADDRESS)
    assert codes(lab.run(c.DeleteNetInterface(node="n1", name="nic2"))) == ["success|delete|NET_IF|-"]
    for node in ("n1", "nope"):
        gone = lab.run(c.DeleteNetInterface(node=node, name="nic2"))
        assert codes(gone) == ["warning|delete|NET_IF|NOT_FOUND"]


def test_the_link_moves_to_the_interface_that_is_made_active() -> None:
    lab = Lab(1)
    lab.run(c.CreateNetInterface(node="n1", net_interface=net_if("10.9.0.1", "nic2", **LINK)))
    assert lab.cluster.nodes["N1"].active_net_if == "default"
    lab.run(c.ModifyNetInterface(node="n1", name="nic2", is_active=True))
    node = lab.cluster.nodes["N1"]
    assert (node.active_net_if, node.props["CurStltConnName"]) == ("nic2", "nic2")
    lab.run(c.DeleteNetInterface(node="n1", name="nic2"))
    node = lab.cluster.nodes["N1"]
    assert (node.active_net_if, node.props["CurStltConnName"]) == ("default", "default")


def test_a_default_port_is_filled_in_when_only_the_type_changes() -> None:
    lab = Lab(1)
    lab.run(c.CreateNetInterface(node="n1", net_interface=net_if("10.9.0.1", "nic2")))
    lab.run(c.ModifyNetInterface(node="n1", name="nic2", satellite_encryption="ssl"))
    nic2 = lab.cluster.nodes["N1"].net_interfaces[1]
    assert (nic2.satellite_port, nic2.satellite_encryption) == (3367, "SSL")


def test_the_last_address_of_a_node_in_service_stays() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    assert refusal(lab, c.DeleteNetInterface(node="n1", name="default")) == (InUse, Subject.NET_IF)
