"""The controller's properties, pairs of nodes, key-value stores, by examples of what LINSTOR answered."""

import pytest

from bollard.domain import commands as c
from bollard.domain.commands import Command
from bollard.domain.errors import DomainError, Invalid, NotFound, Subject, Unsupported
from bollard.planning.decide import decide
from planning_lab import Lab, codes


def refusal(lab: Lab, command: Command) -> tuple[type[DomainError], Subject]:
    with pytest.raises(DomainError) as caught:
        decide(command, lab.world)
    return type(caught.value), caught.value.subject


def controller(**given: str) -> c.ModifyController:
    override = {key.replace("__", "/"): value for key, value in given.items()}
    return c.ModifyController(props=c.PropsChange(override=override))


def test_one_entry_a_property() -> None:
    lab = Lab(0)
    decision = lab.run(controller(Aux__a="1", Aux__b__c="zwei"))
    assert codes(decision) == ["success|create|CONTROLLER|-"] * 2
    assert lab.cluster.props()["Aux/b/c"] == "zwei"
    decision = lab.run(c.ModifyController(props=c.PropsChange(delete=("Aux/nope",))))
    assert codes(decision) == ["success|delete|CONTROLLER|-"]
    decision = lab.run(c.ModifyController(props=c.PropsChange(delete_namespaces=("Aux/b", "Nope"))))
    assert codes(decision) == []
    assert "Aux/b/c" not in lab.cluster.props()


def test_ranges_of_numbers_say_that_they_are_taken_over() -> None:
    decision = Lab(0).run(controller(TcpPortAutoRange="7000-7999"))
    assert codes(decision) == ["success|modify|CONTROLLER|-", "success|create|CONTROLLER|-"]


def test_refused_properties() -> None:
    lab = Lab(0)
    for command in (
        controller(Unknown__Key="x"),
        controller(Aux__good="1", Bad__Key="2"),
        controller(Cluster__LocalID="x"),
        c.ModifyController(props=c.PropsChange(delete=("Bad/Key",))),
        c.ModifyController(props=c.PropsChange(delete=("Cluster/LocalID",))),
    ):
        assert refusal(lab, command) == (Invalid, Subject.PROPERTY)


def test_an_older_key_is_stored_under_its_present_name() -> None:
    lab = Lab(0)
    lab.run(controller(ExtCmdWaitTimeout="9000"))
    assert lab.cluster.props()["ExtCmd/WaitTimeout"] == "9000"


def test_pairs_of_nodes() -> None:
    lab = Lab(3)
    change = c.PropsChange(override={"Aux/x": "1"})
    decision = lab.run(c.ModifyConnection(node_a="n1", node_b="n2", props=change))
    assert codes(decision) == ["success|create|NODE_CONNECTION|-", "success|modify|NODE_CONNECTION|-"]
    lab.run(c.ModifyConnection(node_a="N2", node_b="N1", props=c.PropsChange(override={"Aux/y": "2"})))
    (connection,) = lab.cluster.connections.values()
    assert connection.props == {"Aux/x": "1", "Aux/y": "2"}
    gone = c.PropsChange(delete_namespaces=("Aux",))
    lab.run(c.ModifyConnection(node_a="n1", node_b="n2", props=gone))
    assert not lab.cluster.connections


def test_refused_pairs() -> None:
    lab = Lab(3)
    change = c.PropsChange(override={"Aux/x": "1"})
    same = c.ModifyConnection(node_a="n1", node_b="N1", props=change)
    assert refusal(lab, same) == (Invalid, Subject.NODE_CONNECTION)
    missing = c.ModifyConnection(node_a="n1", node_b="nope", props=change)
    assert refusal(lab, missing) == (NotFound, Subject.NODE)
    for override in ({"Bad/x": "1"}, {"Paths/p1/n1": "nonic"}, {"Paths/p1/n3": "default"}, {"Paths/p1": "x"}):
        wrong = c.ModifyConnection(node_a="n1", node_b="n2", props=c.PropsChange(override=override))
        assert refusal(lab, wrong) == (Invalid, Subject.PROPERTY)
    paths = c.PropsChange(override={"Paths/p1/n1": "default", "Paths/p1/N2": "DEFAULT"})
    lab.run(c.ModifyConnection(node_a="n1", node_b="n2", props=paths))


def test_pairs_of_one_resource() -> None:
    lab = Lab(3)
    change = c.PropsChange(override={"DrbdOptions/Net/max-buffers": "9000"})
    command = c.ModifyConnection(node_a="n1", node_b="n2", definition="vol", props=change)
    assert refusal(lab, command) == (NotFound, Subject.RESOURCE_DEFINITION)
    lab.spawn("vol")
    decision = lab.run(command)
    assert codes(decision)[0] == "success|create|RESOURCE_CONNECTION|-"
    lab.run(c.DeleteDefinition(name="vol"))
    assert not lab.cluster.connections


def test_key_value_stores_are_free() -> None:
    lab = Lab(0)
    decision = lab.run(
        c.ModifyKeyValueStore(name="Kv", props=c.PropsChange(override={"any key": "v", "a/b": "1"}))
    )
    assert codes(decision) == ["success|modify|KEY_VALUE_STORE|-"]
    lab.run(c.ModifyKeyValueStore(name="kv", props=c.PropsChange(delete=("any key",))))
    assert lab.cluster.kvs["KV"].props == {"a/b": "1"}
    lab.run(c.ModifyKeyValueStore(name="kv", props=c.PropsChange(delete_namespaces=("a",))))
    assert not lab.cluster.kvs
    gone = lab.run(c.DeleteKeyValueStore(name="kv"))
    assert codes(gone) == ["warning|delete|KEY_VALUE_STORE|NOT_FOUND"]
    lab.run(c.ModifyKeyValueStore(name="kv", props=c.PropsChange(override={"a": "1"})))
    assert codes(lab.run(c.DeleteKeyValueStore(name="kv"))) == ["success|delete|KEY_VALUE_STORE|-"]


def test_a_command_of_another_capability_is_named() -> None:
    class ShipBackup(Command, frozen=True):
        """Not of this version."""

    assert refusal(Lab(0), ShipBackup()) == (Unsupported, Subject.COMMAND)
