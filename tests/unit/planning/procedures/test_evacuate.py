"""Emptying a node: replicas are made elsewhere before they go, and what is in use stays."""

import msgspec

from bollard.domain.nodes import NodePhase
from bollard.planning.draft import Draft
from bollard.planning.procedures import evacuate
from planning_lab import Lab


def evacuating(lab: Lab, node: str) -> None:
    draft = Draft(lab.world)
    evacuate.start(draft, draft.node(node))
    lab.cluster.apply(draft.changes())


def test_a_replica_moves_to_another_node() -> None:
    lab = Lab(4)
    lab.spawn("vol")
    lab.quiet()
    evacuating(lab, "n1")
    lab.tick()
    kinds = lab.kinds("vol")
    assert kinds["n1"] == "diskful"
    assert sum(kind == "diskful" for kind in kinds.values()) == 3
    lab.quiet()
    kinds = lab.kinds("vol")
    assert "n1" not in kinds
    assert sum(kind == "diskful" for kind in kinds.values()) == 2
    assert lab.cluster.nodes["N1"].phase is NodePhase.EVACUATING
    assert not lab.cluster.procedures


def test_what_is_in_use_waits() -> None:
    lab = Lab(4)
    lab.spawn("vol")
    lab.quiet()
    lab.use("vol", "n1")
    evacuating(lab, "n1")
    lab.quiet()
    assert lab.kinds("vol")["n1"] == "diskful"
    lab.roles.clear()
    lab.quiet()
    assert "n1" not in lab.kinds("vol")


def test_without_another_node_the_replica_stays() -> None:
    lab = Lab(2)
    lab.spawn("vol")
    lab.quiet()
    evacuating(lab, "n1")
    lab.quiet()
    assert lab.kinds("vol")["n1"] == "diskful"
    assert lab.cluster.procedures


def test_a_restored_node_ends_it() -> None:
    lab = Lab(2)
    lab.spawn("vol")
    lab.quiet()
    evacuating(lab, "n1")
    draft = Draft(lab.world)
    node = draft.node("n1")
    draft.put(msgspec.structs.replace(node, phase=NodePhase.NORMAL))
    lab.cluster.apply(draft.changes())
    lab.tick()
    assert not lab.cluster.procedures
