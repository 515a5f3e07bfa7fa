"""Numbers are never given twice, whatever was taken before, and addresses are shared between nodes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.domain import commands as c
from bollard.domain.errors import Conflict, Exhausted, Invalid
from bollard.planning import allocate
from bollard.planning.draft import Draft
from planning_lab import Lab


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("7000-7999", ((7000, 7999),)),
        ("7000", ((7000, 7000),)),
        ("8000-7000", ((7000, 8000),)),
        ("7000,7010-7012", ((7000, 7000), (7010, 7012))),
        ("", ()),
        ("x,9-", ((9, 9),)),
    ],
)
def test_ranges(text: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert allocate.number_ranges(text) == ranges


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_port_minor_or_node_id_is_used_twice(data: st.DataObject) -> None:
    lab = Lab(2)
    shared = data.draw(st.booleans(), label="third node shares the first one's address")
    lab.add_node("n3", "10.0.0.1" if shared else "10.0.0.3")
    lab.add_pool("n3", "thin")
    names = [f"vol{number}" for number in range(4)]
    for _ in range(data.draw(st.integers(1, 14))):
        name = data.draw(st.sampled_from(names))
        if lab.cluster.definitions.get(name.upper()) is None:  # type: ignore[call-overload]
            lab.spawn(name)
        elif data.draw(st.booleans()):
            lab.run(c.DeleteDefinition(name=name))
        else:
            node = data.draw(st.sampled_from(["n1", "n2", "n3"]))
            if len(lab.resources(name)) > 1:
                lab.run(c.DeleteResource(definition=name, node=node))
        if data.draw(st.booleans()):
            lab.quiet()
        check_unique(lab)


def check_unique(lab: Lab) -> None:
    minors = [vol.minor for record in lab.cluster.definitions.values() for vol in record.volumes]
    assert len(set(minors)) == len(minors)
    ports: list[tuple[str, int]] = []
    for record in (*lab.cluster.resources.values(), *lab.cluster.tombstones.values()):
        address = lab.cluster.nodes[record.node.upper()].net_interfaces[0].address  # type: ignore[index]
        ports += [(address, port) for port in record.tcp_ports]
    assert len(set(ports)) == len(ports)
    for definition in lab.cluster.definitions.values():
        ids = [one.drbd_node_id for one in lab.cluster.resources_of(definition.name)]
        assert len(set(ids)) == len(ids)


def test_the_port_of_a_removed_resource_is_free_when_its_node_has_let_go() -> None:
    lab = Lab(1)
    lab.run(c.CreateDefinition(name="one"))
    lab.run(c.CreateVolumeDefinition(definition="one", size_kib=10240))
    place = (c.NewResource(node="n1", props={"StorPoolName": "thin"}),)
    lab.run(c.CreateResources(definition="one", resources=place))
    lab.quiet()
    lab.run(c.DeleteResource(definition="one", node="n1"))
    lab.run(c.CreateResources(definition="one", resources=place))
    assert lab.resources("one")["n1"].tcp_ports == (7001,)
    lab.quiet()
    lab.run(c.DeleteResource(definition="one", node="n1"))
    lab.quiet()
    lab.run(c.CreateResources(definition="one", resources=place))
    assert lab.resources("one")["n1"].tcp_ports == (7000,)


def test_ranges_and_blocked_ports_are_kept_to() -> None:
    lab = Lab(1)
    lab.run(c.ModifyController(props=c.PropsChange(override={"TcpPortAutoRange": "7100-7102"})))
    lab.run(c.ModifyNode(node="n1", props=c.PropsChange(override={"TcpPortsBlocked": "7100"})))
    draft = Draft(lab.world)
    assert allocate.free_port(draft, draft.node("n1")) == 7101
    lab.run(c.ModifyNode(node="n1", props=c.PropsChange(override={"TcpPortsBlocked": "7100-7102"})))
    draft = Draft(lab.world)
    with pytest.raises(Exhausted):
        allocate.free_port(draft, draft.node("n1"))


def test_numbers_of_the_callers_choice() -> None:
    lab = Lab(1)
    draft = Draft(lab.world)
    node = draft.node("n1")
    assert allocate.checked_ports(draft, node, (9000,)) == (9000,)
    with pytest.raises(Invalid):
        allocate.checked_ports(draft, node, (70000,))
    lab.spawn_on("own", "n1")
    draft = Draft(lab.world)
    with pytest.raises(Conflict):
        allocate.checked_ports(draft, node, (7000,))
    for wrong in (-1, allocate.MINOR_MAX + 1, 1000):
        with pytest.raises(Invalid):
            allocate.checked_minor(draft, wrong)
    assert allocate.checked_minor(draft, 2000) == 2000


def test_minors_run_out() -> None:
    lab = Lab(1)
    lab.run(c.ModifyController(props=c.PropsChange(override={"MinorNrAutoRange": "10-11"})))
    lab.run(c.CreateDefinition(name="one"))
    for _ in range(2):
        lab.run(c.CreateVolumeDefinition(definition="one", size_kib=10240))
    with pytest.raises(Exhausted):
        lab.run(c.CreateVolumeDefinition(definition="one", size_kib=10240))
    lab.run(c.DeleteVolumeDefinition(definition="one", number=0))
    lab.run(c.CreateVolumeDefinition(definition="one", size_kib=10240))
    assert {vol.minor for vol in lab.cluster.definitions["ONE"].volumes} == {10, 11}  # type: ignore[index]


def test_node_ids_run_out() -> None:
    assert allocate.free_node_id([0, 1, None, 3], "one") == 2
    with pytest.raises(Exhausted):
        allocate.free_node_id(range(32), "one")
