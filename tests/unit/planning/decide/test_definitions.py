"""Resource and volume definitions, by examples of what LINSTOR answered."""

import pytest

from bollard.domain import commands as c
from bollard.domain.cluster import Put
from bollard.domain.errors import Conflict, DomainError, Exhausted, Exists, InUse, Invalid, NotFound, Subject
from bollard.domain.ids import ResourceName, SnapshotName, Uuid
from bollard.domain.layers import LayerKind
from bollard.domain.resources import VolumePhase
from bollard.domain.snapshots import SnapshotDefinition
from bollard.planning.decide import decide
from planning_lab import Lab, codes

D, S = LayerKind.DRBD, LayerKind.STORAGE


def refusal(lab: Lab, command: c.Command) -> tuple[type[DomainError], Subject]:
    with pytest.raises(DomainError) as caught:
        decide(command, lab.world)
    return type(caught.value), caught.value.subject


def create(name: str = "r1", **given: object) -> c.CreateDefinition:
    return c.CreateDefinition(name=name, **given)  # type: ignore[arg-type]


def modify(**given: object) -> c.ModifyDefinition:
    return c.ModifyDefinition(name="r1", **given)  # type: ignore[arg-type]


def volume(size_kib: int = 20480, **given: object) -> c.CreateVolumeDefinition:
    return c.CreateVolumeDefinition(definition="r1", size_kib=size_kib, **given)  # type: ignore[arg-type]


def resize(size_kib: int, number: int = 0) -> c.ModifyVolumeDefinition:
    return c.ModifyVolumeDefinition(definition="r1", number=number, size_kib=size_kib)


def test_a_definition_has_a_secret_and_a_group() -> None:
    lab = Lab(0)
    assert codes(lab.run(create("MixedCase"))) == ["success|create|RESOURCE_DEFINITION|-"]
    made = lab.cluster.definitions["MIXEDCASE"]
    assert (made.name, made.group, made.drbd_secret is not None) == ("MixedCase", "DfltRscGrp", True)
    assert refusal(lab, create("mixedcase")) == (Exists, Subject.RESOURCE_DEFINITION)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (create("a"), (Invalid, Subject.RESOURCE_NAME)),
        (create("all"), (Invalid, Subject.RESOURCE_NAME)),
        (create("y" * 49), (Invalid, Subject.RESOURCE_NAME)),
        (create(""), (Invalid, Subject.RESOURCE_DEFINITION)),
        (create(group="nope"), (NotFound, Subject.GROUP)),
        (create(layer_stack=("FOO",)), (Invalid, Subject.LAYER_KIND)),
        (create(layer_stack=("DRBD", "DRBD", "STORAGE")), (Invalid, Subject.LAYER_STACK)),
        (create(layer_stack=("STORAGE", "DRBD")), (Invalid, Subject.LAYER_STACK)),
        (create(drbd_port=99999), (Invalid, Subject.TCP_PORT)),
        (create(transport_type="PIGEON"), (Invalid, Subject.REQUEST)),
        (create(props={"Nope/x": "1"}), (Invalid, Subject.PROPERTY)),
        (create("", external_name="e" * 257), (Invalid, Subject.EXTERNAL_NAME)),
    ],
)
def test_refused_definitions(command: c.Command, expected: tuple[type[DomainError], Subject]) -> None:
    assert refusal(Lab(0), command) == expected


def test_storage_is_added_below() -> None:
    decision = Lab(0).run(create(layer_stack=("drbd",)))
    assert codes(decision)[0] == "warning|none|RESOURCE_DEFINITION|STORAGE_KIND_ADDED"


@pytest.mark.parametrize("slots", [0, 99, None])
def test_impossible_peer_slots_are_no_wish(slots: int | None) -> None:
    lab = Lab(0)
    lab.run(create(peer_slots=slots))
    assert lab.cluster.definitions["R1"].peer_slots == 7


@pytest.mark.parametrize(
    ("external", "name"),
    [
        ("Plain-Name", "Plain-Name"),
        ("a name, with more", "a_name__with_more"),
        ("123e4567-e89b-12d3-a456-426614174000", "LS_123E4567-E89B-12D3-A456-426614174000"),
        ("z" * 60, "z" * 48),
        ("1st", "_1st"),
    ],
)
def test_external_names(external: str, name: str) -> None:
    lab = Lab(0)
    lab.run(create("", external_name=external))
    assert [one.name for one in lab.cluster.definitions.values()] == [name]
    assert refusal(lab, create("other", external_name=external)) == (Exists, Subject.EXTERNAL_NAME)


def test_an_external_name_that_collides_gets_a_random_one() -> None:
    lab = Lab(0)
    lab.run(create("taken"))
    lab.run(create("", external_name="Taken"))
    assert any(one.name.startswith("LS_") for one in lab.cluster.definitions.values())


def test_changing_a_definition() -> None:
    lab = Lab(0)
    lab.run(create())
    lab.run(c.CreateGroup(name="rg1"))
    assert codes(lab.run(modify())) == ["success|modify|RESOURCE_DEFINITION|-"]
    changed = lab.run(
        modify(props=c.PropsChange(override={"Aux/x": "y"}), group="RG1", layer_stack=("STORAGE",))
    )
    assert codes(changed) == ["success|create|RESOURCE_DEFINITION|-", "success|modify|RESOURCE_DEFINITION|-"]
    made = lab.cluster.definitions["R1"]
    assert (made.group, made.layer_stack, made.props) == ("rg1", (S,), {"Aux/x": "y"})
    assert refusal(lab, modify(group="nope")) == (NotFound, Subject.GROUP)
    assert refusal(lab, modify(layer_stack=("STORAGE", "DRBD"))) == (Invalid, Subject.LAYER_STACK)
    for key, value in (
        ("DrbdOptions/Resource/quorum", "most"),
        ("FileSystem/Type", "ntfs"),
        ("ExactSize", "perhaps"),
    ):
        wrong = modify(props=c.PropsChange(override={key: value}))
        assert refusal(lab, wrong) == (Invalid, Subject.PROPERTY)


def test_layers_stay_while_there_are_resources() -> None:
    lab = Lab(1)
    lab.spawn_on("r1", "n1")
    assert refusal(lab, modify(layer_stack=("STORAGE",))) == (Exists, Subject.LAYER_STACK)
    lab.run(modify(layer_stack=("DRBD", "STORAGE")))


def test_quorum_of_a_person_is_left_alone() -> None:
    lab = Lab(3)
    lab.run(create())
    lab.run(modify(props=c.PropsChange(override={"DrbdOptions/Resource/quorum": "off"})))
    lab.run(volume())
    lab.run(c.Autoplace(definition="r1"))
    assert lab.cluster.definitions["R1"].props["DrbdOptions/Resource/quorum"] == "off"
    assert lab.kinds("r1") == {"n1": "diskful", "n2": "diskful"}
    lab.run(modify(props=c.PropsChange(delete=("DrbdOptions/Resource/quorum",))))
    assert lab.cluster.definitions["R1"].props["DrbdOptions/Resource/quorum"] == "majority"
    assert lab.kinds("r1")["n3"] == "tie-breaker"


def test_volumes() -> None:
    lab = Lab(0)
    lab.run(create())
    assert codes(lab.run(volume())) == ["success|create|VOLUME_DEFINITION|-"]
    assert refusal(lab, volume(number=0)) == (Exists, Subject.VOLUME_DEFINITION)
    lab.run(volume(10240, number=5))
    assert lab.run(volume()).entries[0].refs["VlmNr"] == "1"
    for size_kib in (0, -1, 1, 3, 2**40 + 1, 2**62):
        assert refusal(lab, volume(size_kib)) == (Invalid, Subject.VOLUME_SIZE)
    for number in (-1, 65535):
        assert refusal(lab, volume(number=number)) == (Invalid, Subject.VOLUME_NUMBER)
    assert refusal(lab, volume(props={"Bad/x": "1"})) == (Invalid, Subject.PROPERTY)
    assert refusal(lab, volume(flags=("NOPE",))) == (Invalid, Subject.REQUEST)
    lab.run(volume(4096, number=23, minor=2000))
    assert refusal(lab, volume(minor=2000)) == (Invalid, Subject.MINOR)
    assert refusal(lab, volume(minor=-5)) == (Invalid, Subject.MINOR)
    lab.run(volume(2**40, number=30))


def test_sizes_of_what_is_not_deployed_are_free() -> None:
    lab = Lab(0)
    lab.run(create())
    lab.run(volume())
    lab.run(resize(8192))
    assert lab.cluster.definitions["R1"].volumes[0].size_kib == 8192
    same = lab.run(resize(8192))
    assert codes(same)[0] == "warning|modify|VOLUME_DEFINITION|VLMDFN_RESIZE_SAME_SIZE"
    assert refusal(lab, resize(0)) == (Invalid, Subject.VOLUME_SIZE)
    assert refusal(lab, resize(4096, number=99)) == (NotFound, Subject.VOLUME_DEFINITION)
    lab.run(c.ModifyVolumeDefinition(definition="r1", number=0, flags=("GROSS_SIZE",)))
    assert lab.cluster.definitions["R1"].volumes[0].gross_size


def test_replicated_volumes_only_grow() -> None:
    lab = Lab(3)
    lab.spawn_on("r1", "n1", "n2", size_kib=20480)
    lab.quiet()
    assert refusal(lab, resize(10240)) == (Invalid, Subject.VOLUME_SIZE)
    assert codes(lab.run(resize(40960))) == ["success|modify|VOLUME_DEFINITION|-"]
    assert lab.cluster.definitions["R1"].volumes[0].phase is VolumePhase.RESIZING
    lab.quiet()
    assert lab.cluster.definitions["R1"].volumes[0].phase is VolumePhase.NORMAL
    assert not lab.cluster.procedures
    seen = lab.observed.resource("r1", "n1")
    assert seen is not None
    assert seen.volumes[0].size_kib == 40960


def test_plain_volumes_do_not_shrink_either() -> None:
    lab = Lab(1)
    lab.run(create(layer_stack=("STORAGE",)))
    lab.run(volume())
    lab.run(resize(10240))
    lab.run(resize(20480))
    place = c.NewResource(node="n1", props={"StorPoolName": "thin"})
    lab.run(c.CreateResources(definition="r1", resources=(place,)))
    lab.quiet()
    assert refusal(lab, resize(10240)) == (Invalid, Subject.VOLUME_SIZE)
    assert lab.machines["N1"].local("r1").backings[0].size_kib == 20480


def test_growing_beyond_the_space_is_refused() -> None:
    lab = Lab(1, free_kib=100_000)
    lab.spawn_on("r1", "n1")
    assert refusal(lab, resize(10**9)) == (Exhausted, Subject.FREE_SPACE)


def test_an_offline_node_does_not_hold_up_growing() -> None:
    lab = Lab(3)
    lab.spawn_on("r1", "n1", "n2")
    lab.quiet()
    lab.offline("n2")
    lab.run(resize(40960))
    lab.quiet()
    assert not lab.cluster.procedures
    lab.online("n2")
    lab.quiet()
    assert lab.machines["N2"].local("r1").backings[0].size_kib > 40960


def test_a_volume_comes_to_all_replicas_and_goes_from_all() -> None:
    lab = Lab(3)
    lab.spawn_on("r1", "n1", "n2")
    lab.quiet()
    lab.run(volume(8192))
    lab.quiet()
    assert all(len(one.volumes) == 2 for one in lab.resources("r1").values())
    seen = lab.observed.resource("r1", "n2")
    assert seen is not None
    assert [one.disk_state for one in seen.volumes] == ["UpToDate", "UpToDate"]
    lab.run(c.DeleteVolumeDefinition(definition="r1", number=1))
    lab.quiet()
    assert [len(lab.machines[key].local("r1").backings) for key in ("N1", "N2", "N3")] == [1, 1, 0]
    assert not lab.cluster.tombstones


def test_deleting_what_is_not_there() -> None:
    lab = Lab(0)
    assert codes(lab.run(c.DeleteDefinition(name="nope"))) == ["warning|delete|RESOURCE_DEFINITION|NOT_FOUND"]
    gone = lab.run(c.DeleteVolumeDefinition(definition="nope", number=0))
    assert codes(gone) == ["warning|delete|VOLUME_DEFINITION|NOT_FOUND"]
    assert refusal(lab, c.DeleteDefinition(name="a")) == (Invalid, Subject.RESOURCE_NAME)


def test_what_is_in_use_is_not_deleted() -> None:
    lab = Lab(3)
    lab.spawn_on("r1", "n1", "n2")
    lab.quiet()
    lab.use("r1", "n1")
    assert refusal(lab, c.DeleteDefinition(name="r1")) == (InUse, Subject.RESOURCE_DEFINITION)
    gone = c.DeleteVolumeDefinition(definition="r1", number=0)
    assert refusal(lab, gone) == (InUse, Subject.RESOURCE_DEFINITION)
    lab.offline("n1")
    lab.run(c.DeleteDefinition(name="r1"))


def test_snapshots_keep_their_definition() -> None:
    lab = Lab(0)
    lab.run(create())
    snapshot = SnapshotDefinition(ResourceName("r1"), SnapshotName("snap"), Uuid("s1"))
    lab.cluster.apply((Put(snapshot),))
    assert refusal(lab, c.DeleteDefinition(name="r1")) == (InUse, Subject.SNAPSHOT)


def test_a_name_is_free_at_once_and_its_data_is_new() -> None:
    lab = Lab(3)
    lab.spawn_on("r1", "n1", "n2")
    lab.quiet()
    lab.offline("n2")
    lab.run(c.DeleteDefinition(name="r1"))
    lab.spawn_on("r1", "n1", "n2", size_kib=30720)
    lab.online("n2")
    lab.quiet()
    for key in ("N1", "N2"):
        (backing,) = lab.machines[key].local("r1").backings
        assert backing.size_kib > 30720
    assert not lab.cluster.tombstones


def test_an_online_verify_needs_two_complete_replicas() -> None:
    lab = Lab(3)
    lab.spawn_on("r1", "n1", "n2")
    assert refusal(lab, c.VerifyDefinition(name="r1")) == (Conflict, Subject.REPLICA_COUNT)
    lab.quiet()
    lab.run(c.VerifyDefinition(name="r1"))
    assert lab.cluster.definitions["R1"].verify_request == 1
