"""What follows from reports and time."""

from bollard.domain import commands as c
from bollard.planning.assess import assess
from planning_lab import Lab, codes


def test_a_cluster_at_rest_asks_for_nothing() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.quiet()
    assert assess(lab.world).changes == ()
    assert assess(lab.world, ("vol",)).changes == ()
    assert assess(lab.world, ("gone",)).changes == ()


def test_tombstones_go_when_their_node_has_said_so() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.quiet()
    lab.offline("n1")
    lab.run(c.DeleteDefinition(name="vol"))
    lab.follow()
    lab.tick()
    assert {stone.node for stone in lab.cluster.tombstones.values()} == {"n1"}
    lab.online("n1")
    lab.quiet()
    assert not lab.cluster.tombstones


def test_only_the_named_definitions_are_looked_at() -> None:
    lab = Lab(3)
    lab.spawn("one")
    lab.spawn("two")
    lab.follow()
    changed = assess(lab.world, ("one",))
    assert changed.changes
    lab.cluster.apply(changed.changes)
    assert lab.cluster.definitions["ONE"].volumes[0].initialized
    assert not lab.cluster.definitions["TWO"].volumes[0].initialized


def test_a_tiebreaker_comes_with_the_third_node() -> None:
    lab = Lab(2)
    decision = lab.spawn("vol")
    assert "warning|create|RESOURCE|NOT_ENOUGH_NODES_FOR_TIE_BREAKER" in codes(decision)
    lab.quiet()
    lab.add_node("n3", "10.0.9.9")
    lab.quiet()
    assert lab.kinds("vol")["n3"] == "tie-breaker"
    assert lab.cluster.definitions["VOL"].props["DrbdOptions/Resource/quorum"] == "majority"


def test_a_tiebreaker_that_is_not_wanted_any_more_goes() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.quiet()
    off = c.PropsChange(override={"DrbdOptions/auto-add-quorum-tiebreaker": "false"})
    decision = lab.run(c.ModifyDefinition(name="vol", props=off))
    assert "info|delete|RESOURCE|TIE_BREAKER_DELETING" in codes(decision)
    assert "info|delete|RESOURCE|PROP_REMOVED" in codes(decision)
    lab.quiet()
    assert lab.kinds("vol") == {"n1": "diskful", "n2": "diskful"}


def test_the_first_complete_replica_is_remembered() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.quiet()
    volume = lab.cluster.definitions["VOL"].volumes[0]
    assert volume.props["Linstor/Drbd/InitialUptoDateOn"] == "N1"
