"""A volume of which no copy was ever complete begins anew; one that may have data somewhere never does."""

import msgspec
import pytest

from bollard.domain import commands as c
from bollard.domain.procedures import Verb
from bollard.domain.resources import VolumeOnNode
from planning_lab import Lab


def orphaned(lab: Lab) -> None:
    """The second replica, that was to be filled from the first; the first went before it was made."""
    lab.offline("n1")
    lab.spawn_on("vol", "n1")
    second = c.NewResource(node="n2", props={"StorPoolName": "thin"})
    lab.run(c.CreateResources(definition="vol", resources=(second,)))
    lab.follow()
    lab.run(c.DeleteResource(definition="vol", node="n1"))
    assert not disk(lab, "n2").day0


def disk(lab: Lab, node: str) -> VolumeOnNode:
    return lab.resources("vol")[node].volumes[0]


def verbs(lab: Lab) -> set[Verb]:
    return {procedure.verb for procedure in lab.cluster.procedures.values()}


def settle(lab: Lab, rounds: int = 8) -> None:
    for _ in range(rounds):
        lab.follow()
        lab.sync()
        lab.tick()


@pytest.fixture
def lab() -> Lab:
    return Lab(3)


def test_it_begins_anew_when_nobody_can_have_data(lab: Lab) -> None:
    orphaned(lab)
    before = disk(lab, "n2").uuid
    generation = lab.cluster.definitions["VOL"].volumes[0].current_gi
    lab.online("n1")
    lab.quiet()
    assert disk(lab, "n2").uuid != before
    assert lab.cluster.definitions["VOL"].volumes[0].current_gi != generation
    assert lab.cluster.definitions["VOL"].volumes[0].initialized
    assert not disk(lab, "n2").day0
    assert not lab.cluster.procedures
    assert not lab.cluster.tombstones


def test_the_other_disks_are_filled_from_the_new_one(lab: Lab) -> None:
    orphaned(lab)
    lab.run(
        c.CreateResources(
            definition="vol", resources=(c.NewResource(node="n3", props={"StorPoolName": "thin"}),)
        )
    )
    third = disk(lab, "n3").uuid
    lab.online("n1")
    lab.quiet()
    assert disk(lab, "n3").uuid == third
    assert third in lab.machines["N3"].complete


def test_a_disk_that_is_still_to_be_removed_is_waited_for(lab: Lab) -> None:
    orphaned(lab)
    before = disk(lab, "n2").uuid
    settle(lab)
    assert disk(lab, "n2").uuid == before
    assert not verbs(lab)


def test_a_replica_that_is_away_is_waited_for(lab: Lab) -> None:
    orphaned(lab)
    lab.run(
        c.CreateResources(
            definition="vol", resources=(c.NewResource(node="n3", props={"StorPoolName": "thin"}),)
        )
    )
    lab.online("n1")
    lab.offline("n3")
    before = disk(lab, "n2").uuid
    settle(lab)
    assert disk(lab, "n2").uuid == before
    lab.online("n3")
    lab.quiet()
    assert lab.cluster.definitions["VOL"].volumes[0].initialized


def test_what_was_complete_once_never_begins_anew(lab: Lab) -> None:
    lab.spawn_on("vol", "n1")
    lab.quiet()
    lab.run(
        c.CreateResources(
            definition="vol", resources=(c.NewResource(node="n2", props={"StorPoolName": "thin"}),)
        )
    )
    lab.follow()
    lab.offline("n1")
    lab.run(c.LoseNode(node="n1"))
    before = disk(lab, "n2").uuid
    settle(lab)
    assert disk(lab, "n2").uuid == before
    assert not lab.cluster.procedures


def test_a_report_of_before_the_question_is_no_answer(lab: Lab) -> None:
    orphaned(lab)
    lab.online("n1")
    lab.follow(only="n1")
    lab.tick()
    lab.tick()
    before = disk(lab, "n2").uuid
    assert verbs(lab) == {Verb.FIRST_COPY}
    lab.tick()
    assert disk(lab, "n2").uuid == before
    lab.follow()
    lab.tick()
    assert disk(lab, "n2").uuid != before


def test_a_copy_that_turns_up_ends_the_question(lab: Lab) -> None:
    orphaned(lab)
    lab.online("n1")
    lab.follow(only="n1")
    lab.tick()
    lab.tick()
    assert verbs(lab) == {Verb.FIRST_COPY}
    before = disk(lab, "n2").uuid
    seen = lab.observed.node("n2").resources
    volumes = (msgspec.structs.replace(seen["VOL"].volumes[0], disk_state="UpToDate"),)
    seen["VOL"] = msgspec.structs.replace(seen["VOL"], volumes=volumes)
    lab.tick()
    assert not lab.cluster.procedures
    assert disk(lab, "n2").uuid == before
    assert lab.cluster.definitions["VOL"].volumes[0].initialized


@pytest.mark.parametrize("state", ["DUnknown", "Consistent", "Outdated", "Failed"])
def test_only_a_disk_known_to_be_empty_is_made_anew(lab: Lab, state: str) -> None:
    orphaned(lab)
    lab.online("n1")
    before = disk(lab, "n2").uuid
    for _ in range(4):
        lab.follow()
        seen = lab.observed.node("n2").resources
        volumes = (msgspec.structs.replace(seen["VOL"].volumes[0], disk_state=state),)
        seen["VOL"] = msgspec.structs.replace(seen["VOL"], volumes=volumes)
        lab.tick()
    assert disk(lab, "n2").uuid == before
    assert not lab.cluster.procedures


def test_a_disk_given_where_none_was_ever_made(lab: Lab) -> None:
    """The first replica's disk was to be taken away before it was made; a toggle must end."""
    lab.offline("n1")
    lab.spawn_on("vol", "n1")
    lab.run(c.CreateResources(definition="vol", resources=(c.NewResource(node="n2", flags=("DISKLESS",)),)))
    lab.run(c.ToggleDisk(definition="vol", node="n2", to_diskful=True, pool="thin"))
    lab.follow()
    lab.run(c.ToggleDisk(definition="vol", node="n1", to_diskful=False))
    lab.online("n1")
    lab.quiet()
    assert lab.resources("vol")["n2"].phase == "normal"
    assert not lab.cluster.procedures


def test_each_volume_is_noted_for_itself(lab: Lab) -> None:
    """A disk that is complete is no first disk any more, whatever became of the volume beside it."""
    lab.spawn_on("vol", "n1")
    lab.run(c.CreateVolumeDefinition(definition="vol", size_kib=4096))
    lab.follow()
    seen = lab.observed.node("n1").resources
    whole, other = seen["VOL"].volumes
    other = msgspec.structs.replace(other, disk_state="DUnknown")
    seen["VOL"] = msgspec.structs.replace(seen["VOL"], volumes=(whole, other))
    lab.tick()
    assert [volume.day0 for volume in lab.resources("vol")["n1"].volumes] == [False, True]
    assert [volume.initialized for volume in lab.cluster.definitions["VOL"].volumes] == [True, False]


def test_a_later_volume_goes_to_the_pool_of_the_disk(lab: Lab) -> None:
    lab.run(c.CreateDefinition(name="vol"))
    lab.run(c.CreateResources(definition="vol", resources=(c.NewResource(node="n1", flags=("DISKLESS",)),)))
    lab.run(c.ToggleDisk(definition="vol", node="n1", to_diskful=True, pool="thin"))
    lab.run(c.CreateVolumeDefinition(definition="vol", size_kib=4096))
    assert disk(lab, "n1").pool == "thin"
    lab.quiet()
    assert lab.cluster.definitions["VOL"].volumes[0].initialized
