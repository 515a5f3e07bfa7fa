"""Restores, rollbacks and clones: new lives from a snapshot, and what there was is not lost before."""

import pytest

from bollard.domain import commands as c
from bollard.domain.errors import Busy, Conflict, Exists, InUse, Invalid, Unavailable
from bollard.domain.ids import Uuid, key_of
from bollard.domain.procedures import Verb
from bollard.domain.resources import DefinitionPhase
from bollard.domain.seen import Problem
from bollard.planning.targets import target_resource
from planning_lab import Lab


def write(lab: Lab, definition: str, word: str) -> None:
    """All disks get this content."""
    for resource in lab.cluster.resources_of(definition):
        for volume in resource.volumes if resource.diskful else ():
            lab.machines[key_of(resource.node)].contents[volume.uuid] = word


def contents(lab: Lab, definition: str) -> dict[str, str]:
    """Of volume 0, by node."""
    return {
        resource.node: lab.machines[key_of(resource.node)].contents.get(resource.volumes[0].uuid, "")
        for resource in lab.cluster.resources_of(definition)
        if resource.diskful
    }


def disks(lab: Lab, node: str, definition: str) -> set[Uuid]:
    return {one.volume_uuid for one in lab.machines[key_of(node)].local(definition).backings}


def kept() -> Lab:
    """A resource on n1 and n2 with a snapshot of `old`; now it has `new`."""
    lab = Lab(3)
    lab.spawn_on("vol", "n1", "n2")
    lab.quiet()
    write(lab, "vol", "old")
    lab.run(c.CreateSnapshots(snapshots=(c.NewSnapshot(definition="vol", name="s1"),)))
    lab.quiet()
    write(lab, "vol", "new")
    return lab


def restore(lab: Lab, to: str = "copy", nodes: tuple[str, ...] = (), size_kib: int | None = None) -> None:
    lab.run(c.CreateDefinition(name=to))
    lab.run(c.RestoreVolumeDefinitions(definition="vol", snapshot="s1", to=to))
    if size_kib:
        lab.run(c.ModifyVolumeDefinition(definition=to, number=0, size_kib=size_kib))
    lab.run(c.RestoreResources(definition="vol", snapshot="s1", to=to, nodes=nodes))


def test_all_copies_of_a_restore_start_equal_and_without_a_sync() -> None:
    lab = kept()
    restore(lab)
    lab.follow()
    assert contents(lab, "copy") == {"n1": "old", "n2": "old"}
    for node in ("n1", "n2"):
        (volume,) = lab.resources("copy")[node].volumes
        assert volume.uuid in lab.machines[key_of(node)].complete
    lab.quiet()
    (definition,) = [one for one in lab.cluster.definitions.values() if one.name == "copy"]
    source = lab.cluster.definitions["VOL"]
    assert definition.volumes[0].current_gi != source.volumes[0].current_gi
    assert all(
        not volume.day0 and volume.restore is None
        for resource in lab.resources("copy").values()
        for volume in resource.volumes
    )
    assert contents(lab, "vol") == {"n1": "new", "n2": "new"}


def test_a_restore_may_be_larger_and_on_fewer_nodes() -> None:
    lab = kept()
    restore(lab, nodes=("n2",), size_kib=40960)
    volume = target_resource(lab.cluster, lab.resources("copy")["n2"]).volumes[0]
    assert volume.restore is not None
    assert (volume.restore.content_kib, volume.size_kib) == (10240, 40960)
    lab.quiet()
    assert contents(lab, "copy") == {"n2": "old"}


def test_restores_that_do_not_fit_are_refused() -> None:
    lab = kept()
    restore(lab)
    with pytest.raises(Exists):
        lab.run(c.RestoreResources(definition="vol", snapshot="s1", to="copy"))
    with pytest.raises(Exists):
        lab.run(c.RestoreVolumeDefinitions(definition="vol", snapshot="s1", to="copy"))
    lab.run(c.CreateDefinition(name="small"))
    lab.run(c.CreateVolumeDefinition(definition="small", size_kib=4096))
    with pytest.raises(Invalid):
        lab.run(c.RestoreResources(definition="vol", snapshot="s1", to="small"))


def test_a_snapshot_that_goes_before_a_node_restored_is_made_good_by_its_peers() -> None:
    lab = kept()
    lab.offline("n2")
    restore(lab)
    lab.follow()
    lab.tick()
    lab.run(c.DeleteSnapshot(definition="vol", snapshot="s1"))
    lab.online("n2")
    lab.quiet()
    assert not lab.cluster.tombstones
    (volume,) = lab.resources("copy")["n2"].volumes
    assert volume.uuid in lab.machines["N2"].complete


def test_the_only_content_there_can_be_is_not_deleted() -> None:
    lab = kept()
    lab.offline("n1")
    restore(lab, nodes=("n1",))
    with pytest.raises(Conflict):
        lab.run(c.DeleteSnapshot(definition="vol", snapshot="s1"))


def test_a_rollback_keeps_the_old_disks_until_the_new_ones_are_complete() -> None:
    lab = kept()
    before = {node: lab.resources("vol")[node] for node in ("n1", "n2")}
    lab.run(c.RollBack(definition="vol", snapshot="s1"))
    lab.follow(only="n1")
    lab.tick()
    assert disks(lab, "n1", "vol") > {before["n1"].volumes[0].uuid}
    assert disks(lab, "n2", "vol") == {before["n2"].volumes[0].uuid}
    lab.quiet()
    assert not lab.cluster.procedures
    assert contents(lab, "vol") == {"n1": "old", "n2": "old"}
    for node, was in before.items():
        now = lab.resources("vol")[node]
        assert disks(lab, node, "vol") == {now.volumes[0].uuid}
        assert now.tcp_ports != was.tcp_ports, "an old life must find no peers"
        assert now.drbd_node_id == was.drbd_node_id
    assert not lab.cluster.tombstones


def test_a_node_that_goes_away_during_a_rollback_holds_nobody_and_never_wins() -> None:
    lab = kept()
    lab.run(c.RollBack(definition="vol", snapshot="s1"))
    lab.offline("n2")
    lab.quiet()
    assert not lab.cluster.procedures
    assert contents(lab, "vol")["n1"] == "old"
    lab.online("n2")
    lab.quiet()
    assert contents(lab, "vol") == {"n1": "old", "n2": "old"}
    assert not lab.cluster.tombstones


def test_when_no_node_can_restore_everything_is_as_it_was() -> None:
    lab = kept()
    before = {node: one.volumes for node, one in lab.resources("vol").items()}
    lab.run(c.RollBack(definition="vol", snapshot="s1"))
    for node in ("n1", "n2"):
        resource = lab.resources("vol")[node]
        seen = lab.observed.node(node).resources["VOL"]
        lab.observed.node(node).resources["VOL"] = type(seen)(
            name=seen.name,
            uuid=resource.uuid,
            revision=lab.cluster.revision,
            problem=Problem("no snapshot", code="snapshot-missing"),
        )
    decision = lab.tick()
    assert [entry.code for entry in decision.entries] == ["ABORTED_FAILED_SNAPSHOT_ROLLBACK"]
    assert {node: one.volumes for node, one in lab.resources("vol").items()} == before
    lab.quiet()
    assert contents(lab, "vol") == {"n1": "new", "n2": "new"}
    assert not lab.cluster.tombstones


def test_a_rollback_brings_sizes_and_volumes_back() -> None:
    lab = kept()
    lab.run(c.ModifyVolumeDefinition(definition="vol", number=0, size_kib=40960))
    lab.quiet()
    lab.run(c.CreateVolumeDefinition(definition="vol", size_kib=4096))
    lab.quiet()
    lab.run(c.RollBack(definition="vol", snapshot="s1"))
    lab.quiet()
    volumes = lab.cluster.definitions["VOL"].volumes
    assert [(volume.number, volume.size_kib) for volume in volumes] == [(0, 10240)]
    assert not lab.cluster.tombstones


def test_a_disk_without_the_snapshot_is_filled_by_the_others() -> None:
    lab = kept()
    lab.run(c.DeleteSnapshot(definition="vol", snapshot="s1", nodes=("n2",)))
    lab.quiet()
    lab.run(c.RollBack(definition="vol", snapshot="s1"))
    lab.follow()
    (volume,) = lab.resources("vol")["n2"].volumes
    assert volume.uuid not in lab.machines["N2"].complete
    lab.quiet()
    assert volume.uuid in lab.machines["N2"].complete


def test_rollbacks_that_cannot_be_are_refused() -> None:
    lab = kept()
    lab.use("vol", "n1")
    with pytest.raises(InUse):
        lab.run(c.RollBack(definition="vol", snapshot="s1"))
    lab = kept()
    lab.offline("n3")
    with pytest.raises(Unavailable):
        lab.run(c.RollBack(definition="vol", snapshot="s1"))
    lab = kept()
    lab.run(c.RollBack(definition="vol", snapshot="s1"))
    for command in (
        c.RollBack(definition="vol", snapshot="s1"),
        c.DeleteSnapshot(definition="vol", snapshot="s1"),
        c.CreateSnapshots(snapshots=(c.NewSnapshot(definition="vol", name="s2"),)),
    ):
        with pytest.raises(Busy):
            lab.run(command)


def test_a_clone_is_a_copy_of_now_and_leaves_no_snapshot() -> None:
    lab = kept()
    lab.run(c.CloneDefinition(source="vol", name="twin"))
    assert lab.cluster.definitions["TWIN"].phase is DefinitionPhase.CLONING
    lab.quiet()
    assert lab.cluster.definitions["TWIN"].phase is DefinitionPhase.NORMAL
    assert contents(lab, "twin") == {"n1": "new", "n2": "new"}
    assert [one.name for one in lab.cluster.snapshots.values()] == ["s1"]
    assert not lab.cluster.procedures
    assert not lab.cluster.tombstones


def test_a_clone_without_replication_of_a_replicated_source() -> None:
    lab = kept()
    lab.run(c.CloneDefinition(source="vol", name="twin", layer_stack=("STORAGE",)))
    lab.quiet()
    target = target_resource(lab.cluster, lab.resources("twin")["n1"])
    assert target.replication is None
    assert contents(lab, "twin") == {"n1": "new", "n2": "new"}


def test_a_node_that_is_away_does_not_hold_a_clone() -> None:
    lab = kept()
    lab.run(c.CloneDefinition(source="vol", name="twin"))
    while lab.cluster.procedures[key_of(Verb.CLONE, "twin", "")].phase == "snapshot":
        lab.follow()
        lab.tick()
    lab.offline("n2")
    lab.quiet()
    assert lab.cluster.definitions["TWIN"].phase is DefinitionPhase.NORMAL
    lab.online("n2")
    lab.quiet()
    assert not lab.cluster.tombstones
    (volume,) = lab.resources("twin")["n2"].volumes
    assert volume.uuid in lab.machines["N2"].complete


def test_a_clone_whose_snapshot_fails_is_marked() -> None:
    lab = kept()
    lab.run(c.CloneDefinition(source="vol", name="twin"))
    lab.machines["N2"].cannot_hold = True
    lab.quiet()
    assert lab.cluster.definitions["TWIN"].phase is DefinitionPhase.FAILED
    assert [one.name for one in lab.cluster.snapshots.values()] == ["s1"]
    lab.run(c.DeleteDefinition(name="twin"))
    lab.quiet()
    assert "TWIN" not in lab.cluster.definitions


@pytest.mark.parametrize("rounds", range(6))
def test_deleting_a_clone_on_its_way_leaves_nothing(rounds: int) -> None:
    lab = kept()
    lab.run(c.CloneDefinition(source="vol", name="twin"))
    for _ in range(rounds):
        lab.follow()
        lab.tick()
    lab.run(c.DeleteDefinition(name="twin"))
    lab.quiet()
    assert not lab.cluster.procedures
    assert not lab.cluster.tombstones
    assert [one.name for one in lab.cluster.snapshots.values()] == ["s1"]
    assert target_resource(lab.cluster, lab.resources("vol")["n1"]).snapshot is None


@pytest.mark.parametrize("rounds", range(4))
def test_deleting_a_definition_on_its_way_back_leaves_nothing(rounds: int) -> None:
    lab = kept()
    lab.run(c.RollBack(definition="vol", snapshot="s1"))
    for _ in range(rounds):
        lab.follow(only="n1")
        lab.tick()
    with pytest.raises(InUse):
        lab.run(c.DeleteDefinition(name="vol"))
    lab.quiet()
    lab.run(c.DeleteSnapshot(definition="vol", snapshot="s1"))
    lab.run(c.DeleteDefinition(name="vol"))
    lab.quiet()
    assert not lab.cluster.tombstones
    assert not lab.machines["N1"].local("vol").backings


def test_nothing_is_put_into_a_clone_on_its_way() -> None:
    lab = kept()
    lab.run(c.CloneDefinition(source="vol", name="twin"))
    for command in (
        c.RestoreResources(definition="vol", snapshot="s1", to="twin"),
        c.RestoreVolumeDefinitions(definition="vol", snapshot="s1", to="twin"),
        c.CreateVolumeDefinition(definition="twin", size_kib=4096),
    ):
        with pytest.raises(Busy):
            lab.run(command)


def test_a_clone_whose_resources_are_deleted_before_they_are_made_fails() -> None:
    lab = kept()
    lab.run(c.CloneDefinition(source="vol", name="twin"))
    while lab.cluster.procedures[key_of(Verb.CLONE, "twin", "")].phase == "snapshot":
        lab.follow()
        lab.tick()
    for node in list(lab.resources("twin")):
        lab.run(c.DeleteResource(definition="twin", node=node))
    lab.quiet()
    assert lab.cluster.definitions["TWIN"].phase is DefinitionPhase.FAILED
    assert not lab.cluster.procedures


def test_a_clone_may_be_larger_and_not_smaller() -> None:
    lab = kept()
    with pytest.raises(Invalid):
        lab.run(c.CloneDefinition(source="vol", name="twin", sizes_kib=(4096,)))
    with pytest.raises(Invalid):
        lab.run(c.CloneDefinition(source="vol", name="twin", sizes_kib=(40960, 40960)))
    lab.run(c.CloneDefinition(source="vol", name="twin", sizes_kib=(40960,)))
    lab.quiet()
    assert lab.cluster.definitions["TWIN"].volumes[0].size_kib == 40960
    assert contents(lab, "twin") == {"n1": "new", "n2": "new"}


def test_with_its_last_snapshot_an_empty_definition_may_go_too() -> None:
    lab = kept()
    for node in list(lab.resources("vol")):
        lab.run(c.DeleteResource(definition="vol", node=node))
    lab.quiet()
    lab.run(c.DeleteSnapshot(definition="vol", snapshot="s1", with_empty_definition=True))
    assert "VOL" not in lab.cluster.definitions
    lab.quiet()
    assert not lab.cluster.tombstones
