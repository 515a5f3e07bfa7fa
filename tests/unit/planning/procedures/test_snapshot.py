"""Taking snapshots: all nodes or none, one instant for all, and nobody is waited for."""

import pytest

from bollard.domain import commands as c
from bollard.domain.errors import (
    Busy,
    Conflict,
    DomainError,
    Exists,
    Invalid,
    NotFound,
    Unavailable,
    Unsupported,
)
from bollard.domain.ids import key_of
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.snapshots import SnapshotDefinition, SnapshotPhase
from bollard.planning.procedures import snapshot as taking
from bollard.planning.targets import target_resource
from planning_lab import Lab


def lab_with(*names: str) -> Lab:
    lab = Lab(3)
    for name in names:
        lab.spawn_on(name, "n1", "n2")
    lab.quiet()
    return lab


def take(lab: Lab, *definitions: str, name: str = "s1", nodes: tuple[str, ...] = ()) -> None:
    lab.run(
        c.CreateSnapshots(
            snapshots=tuple(c.NewSnapshot(definition=one, name=name, nodes=nodes) for one in definitions)
        )
    )


def snapshot(lab: Lab, definition: str = "vol", name: str = "s1") -> SnapshotDefinition:
    return lab.cluster.snapshots[key_of(definition, name)]


def running(lab: Lab, definition: str = "vol") -> Procedure | None:
    return lab.cluster.procedures.get(key_of(Verb.SNAPSHOT, definition, ""))


def marks(lab: Lab, node: str, definition: str = "vol") -> set[str]:
    return {one.snapshot_uuid for one in lab.machines[key_of(node)].local(definition).snapshots}


def phase(lab: Lab, definition: str = "vol") -> str:
    found = running(lab, definition)
    return found.phase if found is not None else ""


def test_everybody_stands_still_before_anybody_takes_and_until_all_have() -> None:
    lab = lab_with("vol")
    take(lab, "vol")
    assert phase(lab) == "freeze"
    for node in ("n1", "n2", "n3"):
        lab.tick()
        assert phase(lab) == "freeze", "not all nodes have answered"
        lab.follow(only=node)
    lab.tick()
    assert phase(lab) == "take"
    assert not marks(lab, "n1")
    lab.follow(only="n1")
    lab.follow(only="n3")
    lab.tick()
    assert phase(lab) == "take"
    assert marks(lab, "n1") == {snapshot(lab).uuid}
    lab.follow(only="n2")
    lab.tick()
    assert phase(lab) == "prove"
    lab.follow(only="n1")
    lab.tick()
    assert phase(lab) == "prove", "who goes on early moves the data of others"
    assert snapshot(lab).phase is SnapshotPhase.TAKING, "it counts when all have said that nothing moved"
    lab.follow()
    lab.tick()
    assert phase(lab) == "thaw"
    lab.quiet()
    assert running(lab) is None
    assert snapshot(lab).phase is SnapshotPhase.SUCCESSFUL
    assert not marks(lab, "n3"), "a node without a disk keeps nothing"
    assert target_resource(lab.cluster, lab.resources("vol")["n1"]).snapshot is None


def test_several_resources_go_from_phase_to_phase_together() -> None:
    lab = lab_with("vol", "log")
    take(lab, "vol", "log")
    lab.follow(only="n1")
    lab.follow(only="n3")
    lab.tick()
    assert (phase(lab, "vol"), phase(lab, "log")) == ("freeze", "freeze")
    lab.follow()
    lab.tick()
    assert (phase(lab, "vol"), phase(lab, "log")) == ("take", "take")
    lab.machines["N2"].cannot_hold = True
    lab.quiet()
    assert {snapshot(lab, one).phase for one in ("vol", "log")} == {SnapshotPhase.FAILED_DEPLOYMENT}
    assert not marks(lab, "n1"), "what one node has of a failed snapshot is removed"


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_a_node_that_moved_fails_it_in_every_phase(rounds: int) -> None:
    lab = lab_with("vol")
    take(lab, "vol")
    for _ in range(rounds):
        lab.follow()
        lab.tick()
    lab.machines["N2"].cannot_hold = True
    lab.quiet()
    assert snapshot(lab).phase is SnapshotPhase.FAILED_DEPLOYMENT
    assert snapshot(lab).message
    assert running(lab) is None
    assert not marks(lab, "n1")


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_a_node_that_goes_away_fails_it_and_holds_nobody(rounds: int) -> None:
    lab = lab_with("vol")
    take(lab, "vol")
    for _ in range(rounds):
        lab.follow()
        lab.tick()
    lab.offline("n2")
    lab.quiet()
    assert snapshot(lab).phase is SnapshotPhase.FAILED_DISCONNECT
    assert running(lab) is None
    lab.online("n2")
    lab.quiet()
    assert not marks(lab, "n2")
    assert not lab.cluster.tombstones


def test_nodes_that_never_answer_are_given_up() -> None:
    lab = lab_with("vol")
    take(lab, "vol")
    lab.follow(only="n1")
    lab.now_ms += taking.DEADLINE_MS + 60_000
    lab.tick()
    assert phase(lab) == "thaw"
    lab.tick()
    assert snapshot(lab).phase is SnapshotPhase.FAILED_DEPLOYMENT


def test_right_after_a_restart_nothing_is_known_and_nothing_fails() -> None:
    lab = lab_with("vol")
    take(lab, "vol")
    lab.follow()
    for node in ("n1", "n2", "n3"):
        lab.observed.forget(node)
    lab.tick()
    assert phase(lab) == "freeze"


def test_a_replica_out_of_touch_has_other_data_perhaps() -> None:
    lab = lab_with("vol")
    take(lab, "vol")
    lab.lose_links("n2")
    lab.quiet()
    assert snapshot(lab).phase is SnapshotPhase.FAILED_DEPLOYMENT
    with pytest.raises(Conflict):
        take(lab, "vol", name="s2")
    take(lab, "vol", name="s2", nodes=("n1",))


def test_deleting_it_while_it_is_taken_lets_everybody_go_on() -> None:
    lab = lab_with("vol", "log")
    take(lab, "vol", "log")
    lab.follow()
    lab.tick()
    lab.follow()
    lab.run(c.DeleteSnapshot(definition="vol", snapshot="s1"))
    lab.quiet()
    assert not lab.cluster.procedures
    assert key_of("vol", "s1") not in lab.cluster.snapshots
    assert snapshot(lab, "log").phase is SnapshotPhase.FAILED_DEPLOYMENT
    assert not marks(lab, "n1")
    assert not marks(lab, "n1", "log")


def test_parts_are_deleted_by_node_and_the_whole_with_the_last() -> None:
    lab = lab_with("vol")
    take(lab, "vol")
    lab.quiet()
    lab.run(c.DeleteSnapshot(definition="vol", snapshot="s1", nodes=("n1",)))
    lab.quiet()
    assert [part.node for part in snapshot(lab).nodes] == ["n2"]
    assert not marks(lab, "n1")
    lab.run(c.DeleteSnapshot(definition="vol", snapshot="s1", nodes=("n2",)))
    lab.quiet()
    assert not lab.cluster.snapshots
    assert not lab.cluster.tombstones


def test_a_node_that_leaves_takes_its_parts_along() -> None:
    lab = lab_with("vol")
    take(lab, "vol")
    lab.quiet()
    lab.run(c.DeleteResource(definition="vol", node="n1"))
    lab.quiet()
    lab.run(c.DeleteNode(node="n1"))
    lab.quiet()
    assert [part.node for part in snapshot(lab).nodes] == ["n2"]
    assert "N1" not in lab.cluster.nodes


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (c.NewSnapshot(definition="vol", name="s1"), Exists),
        (c.NewSnapshot(definition="vol", name="bad name"), Invalid),
        (c.NewSnapshot(definition="nope", name="s2"), NotFound),
        (c.NewSnapshot(definition="vol", name="s2", nodes=("n3",)), Unsupported),
        (c.NewSnapshot(definition="vol", name="s2", nodes=("nope",)), NotFound),
        (c.NewSnapshot(definition="empty", name="s2"), Unavailable),
    ],
)
def test_what_cannot_be_is_refused(wanted: c.NewSnapshot, error: type[DomainError]) -> None:
    lab = lab_with("vol")
    lab.run(c.CreateDefinition(name="empty"))
    take(lab, "vol")
    lab.quiet()
    with pytest.raises(error):
        lab.run(c.CreateSnapshots(snapshots=(wanted,)))


def test_one_at_a_time() -> None:
    lab = lab_with("vol")
    take(lab, "vol")
    with pytest.raises(Busy):
        take(lab, "vol", name="s2")
    with pytest.raises(Invalid):
        take(lab_with("vol"), "vol", "VOL")
