"""Giving up nodes that are away: when, when not, and what it may never cost."""

import pytest

from bollard.domain import commands as c
from bollard.domain.errors import DomainError, InUse
from bollard.domain.nodes import NodePhase
from bollard.domain.resources import SelectFilter
from bollard.planning.decide import decide
from bollard.planning.upkeep import auto_evict
from planning_lab import Lab

MINUTE_MS = 60_000


def set_on(lab: Lab, **values: str) -> None:
    props = {f"DrbdOptions/{key}": value for key, value in values.items()}
    lab.run(c.ModifyController(props=c.PropsChange(override=props)))


def gone(lab: Lab, *nodes: str, minutes: float) -> None:
    """These nodes went away so long ago; their peers have noticed."""
    for node in nodes:
        lab.offline(node)
        lab.observed.node(node).away_since_ms = lab.now_ms
    lab.lose_links(*nodes)
    lab.now_ms += int(minutes * MINUTE_MS)


def phase(lab: Lab, node: str) -> NodePhase:
    return lab.cluster.nodes[node.upper()].phase  # type: ignore[index]


def survey(lab: Lab) -> None:
    lab.run(c.Tick(survey=True))


@pytest.fixture(name="lab")
def _lab() -> Lab:
    lab = Lab(4)
    lab.spawn("vol")
    lab.quiet()
    assert lab.kinds("vol") == {"n1": "diskful", "n2": "diskful", "n3": "tie-breaker"}
    return lab


def test_a_node_that_is_away_for_long_is_given_up_and_its_replica_made_again(lab: Lab) -> None:
    set_on(lab, AutoEvictAfterTime="30")
    gone(lab, "n2", minutes=29.9)
    survey(lab)
    assert phase(lab, "n2") is NodePhase.NORMAL
    lab.now_ms += MINUTE_MS
    survey(lab)
    assert phase(lab, "n2") is NodePhase.EVICTED
    # Nothing is taken away before the new replica is complete.
    assert "n2" in lab.resources("vol")
    lab.quiet()
    assert lab.kinds("vol")["n1"] == "diskful"
    assert sorted(lab.kinds("vol").values()) == ["diskful", "diskful", "tie-breaker"]
    assert "n2" not in lab.resources("vol")


def test_nobody_is_given_up_when_the_network_is_away(lab: Lab) -> None:
    gone(lab, "n1", "n2", minutes=10_000)
    survey(lab)
    assert {phase(lab, node) for node in ("n1", "n2")} == {NodePhase.NORMAL}
    node = lab.cluster.nodes["N1"]  # type: ignore[index]
    assert "2 of 4 nodes are away" in auto_evict.stand_down(lab.world, node)
    set_on(lab, AutoEvictMaxDisconnectedNodes="50")
    survey(lab)
    assert {phase(lab, node) for node in ("n1", "n2")} == {NodePhase.EVICTED}


def test_a_node_that_its_peers_still_reach_is_kept(lab: Lab) -> None:
    gone(lab, "n2", minutes=10_000)
    lab.lose_links()
    survey(lab)
    assert phase(lab, "n2") is NodePhase.NORMAL
    node = lab.cluster.nodes["N2"]  # type: ignore[index]
    assert "still connected" in auto_evict.stand_down(lab.world, node)
    lab.lose_links("n2")
    survey(lab)
    assert phase(lab, "n2") is NodePhase.EVICTED


@pytest.mark.parametrize("scope", ["controller", "node", "deleted"])
def test_the_property_switches_it_off(lab: Lab, scope: str) -> None:
    key = "DrbdOptions/AutoEvictAllowEviction"
    match scope:
        case "controller":
            lab.run(c.ModifyController(props=c.PropsChange(override={key: "false"})))
        case "node":
            lab.run(c.ModifyNode(node="n2", props=c.PropsChange(override={key: "false"})))
        case _:
            lab.run(c.ModifyController(props=c.PropsChange(delete=(key,))))
    gone(lab, "n2", minutes=10_000)
    survey(lab)
    assert phase(lab, "n2") is NodePhase.NORMAL


def test_a_controller_that_has_just_started_counts_from_then(lab: Lab) -> None:
    lab.offline("n2")
    lab.lose_links("n2")
    assert lab.observed.node("n2").away_since_ms is None
    lab.now_ms += 10_000 * MINUTE_MS
    survey(lab)
    assert phase(lab, "n2") is NodePhase.NORMAL


def test_fewer_replicas_suffice_where_the_property_says_so(lab: Lab) -> None:
    set_on(lab, AutoEvictMinReplicaCount="1")
    gone(lab, "n2", minutes=10_000)
    survey(lab)
    lab.quiet()
    assert [node for node, kind in lab.kinds("vol").items() if kind == "diskful"] == ["n1"]


def test_what_may_be_the_only_copy_stays_with_the_node() -> None:
    lab = Lab(3)
    lab.spawn_on("vol", "n1")
    lab.quiet()
    gone(lab, "n1", minutes=10_000)
    survey(lab)
    assert phase(lab, "n1") is NodePhase.EVICTED
    for _ in range(5):
        lab.follow()
        lab.sync()
        lab.tick()
    assert lab.kinds("vol")["n1"] == "diskful"
    lab.run(c.RestoreNode(node="n1"))
    lab.online("n1")
    lab.quiet()
    assert lab.kinds("vol")["n1"] == "diskful"
    assert lab.machines["N1"].local("vol").backings  # type: ignore[index]


def test_by_hand_only_when_it_is_away(lab: Lab) -> None:
    with pytest.raises(InUse):
        decide(c.EvictNode(node="n2"), lab.world)
    lab.offline("n2")
    lab.lose_links("n2")
    lab.run(c.EvictNode(node="n2"))
    assert phase(lab, "n2") is NodePhase.EVICTED
    assert lab.run(c.EvictNode(node="n2")).changes == ()
    lab.quiet()
    assert "n2" not in lab.resources("vol")


def test_restored_without_what_was_on_it() -> None:
    lab = Lab(4)
    lab.run(c.CreateGroup(name="three", select_filter=SelectFilter(place_count=3)))
    lab.spawn("vol", group="three")
    lab.quiet()
    lab.run(c.EvacuateNode(node="n1"))
    lab.run(c.RestoreNode(node="n1", delete_resources=True))
    lab.quiet()
    assert "n1" not in lab.resources("vol")
    lab.offline("n2")
    lab.run(c.EvictNode(node="n2"))
    lab.offline("n3")
    lab.offline("n4")
    with pytest.raises(DomainError):
        lab.run(c.RestoreNode(node="n2", delete_resources=True))
