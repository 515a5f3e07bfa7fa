"""Emptying nodes and taking them back."""

import pytest

from bollard.domain import commands as c
from bollard.domain.errors import Conflict, DomainError, Invalid, NotFound, Subject
from bollard.domain.nodes import NodePhase
from bollard.planning.decide import decide
from planning_lab import Lab, codes


def refusal(lab: Lab, command: c.Command) -> tuple[type[DomainError], Subject]:
    with pytest.raises(DomainError) as caught:
        decide(command, lab.world)
    return type(caught.value), caught.value.subject


def test_a_node_is_marked_and_emptied() -> None:
    lab = Lab(4)
    lab.spawn("vol")
    lab.quiet()
    assert codes(lab.run(c.EvacuateNode(node="n1")))[0] == "success|modify|NODE|-"
    assert lab.cluster.nodes["N1"].phase is NodePhase.EVACUATING
    assert lab.run(c.EvacuateNode(node="n1")).changes == ()
    lab.quiet()
    assert lab.cluster.resources_on("n1") == []
    assert not lab.machines["N1"].local("vol").backings


def test_only_the_named_nodes_are_used() -> None:
    lab = Lab(4)
    lab.spawn_on("vol", "n1")
    lab.quiet()
    lab.run(c.EvacuateNode(node="n1", targets=("n4",)))
    lab.quiet()
    assert lab.kinds("vol") == {"n4": "diskful"}


def test_plain_volumes_stay_and_are_named() -> None:
    lab = Lab(2)
    lab.run(c.CreateDefinition(name="plain", layer_stack=("STORAGE",)))
    lab.run(c.CreateVolumeDefinition(definition="plain", size_kib=4096))
    lab.run(c.MakeAvailable(definition="plain", node="n1"))
    decision = lab.run(c.EvacuateNode(node="n1"))
    assert "warning|modify|NODE|NOT_EVACUATING" in codes(decision)
    lab.quiet()
    assert lab.kinds("plain") == {"n1": "diskful"}


def test_refusals() -> None:
    lab = Lab(2)
    assert refusal(lab, c.EvacuateNode(node="nope")) == (NotFound, Subject.NODE)
    both = c.EvacuateNode(node="n1", targets=("n2",), not_targets=("n2",))
    assert refusal(lab, both) == (Invalid, Subject.REQUEST)
    lab.spawn("vol")
    lab.quiet()
    lab.run(c.DeleteDefinition(name="vol"))
    lab.spawn("vol")
    lab.run(c.EvacuateNode(node="n1"))
    place = c.CreateResources(definition="vol", resources=(c.NewResource(node="n1"),))
    lab.run(c.DeleteResource(definition="vol", node="n1"))
    assert refusal(lab, place) == (Conflict, Subject.NODE)


def test_a_node_is_taken_back() -> None:
    lab = Lab(2)
    lab.spawn("vol")
    lab.quiet()
    lab.run(c.EvacuateNode(node="n1"))
    lab.run(c.RestoreNode(node="n1"))
    assert lab.cluster.nodes["N1"].phase is NodePhase.NORMAL
    lab.quiet()
    assert lab.kinds("vol")["n1"] == "diskful"
    assert not lab.cluster.procedures
