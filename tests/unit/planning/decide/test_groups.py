"""Resource groups, volume groups and spawning, by examples of what LINSTOR answered."""

import pytest

from bollard.domain import commands as c
from bollard.domain.errors import DomainError, Exhausted, Exists, InUse, Invalid, NotFound, Subject
from bollard.domain.layers import LayerKind
from bollard.domain.resources import SelectFilter
from bollard.planning.decide import decide
from planning_lab import Lab, codes


def refusal(lab: Lab, command: c.Command) -> tuple[type[DomainError], Subject]:
    with pytest.raises(DomainError) as caught:
        decide(command, lab.world)
    return type(caught.value), caught.value.subject


@pytest.fixture
def lab() -> Lab:
    lab = Lab(3)
    lab.run(c.CreateGroup(name="rg1", select_filter=SelectFilter(place_count=2, storage_pools=("thin",))))
    lab.run(c.CreateVolumeGroup(group="rg1"))
    return lab


def spawn(name: str | None, *sizes_kib: int, group: str = "rg1", **given: object) -> c.SpawnResource:
    return c.SpawnResource(group=group, name=name, sizes_kib=sizes_kib, **given)  # type: ignore[arg-type]


def test_groups(lab: Lab) -> None:
    assert refusal(lab, c.CreateGroup(name="RG1")) == (Exists, Subject.GROUP)
    for name in ("a", "rg empty", "", "x" * 49):
        assert refusal(lab, c.CreateGroup(name=name)) == (Invalid, Subject.GROUP_NAME)
    missing = lab.run(c.CreateGroup(name="rg4", select_filter=SelectFilter(storage_pools=("nopool",))))
    assert codes(missing) == ["warning|none|GROUP|NOT_FOUND", "success|create|GROUP|-"]
    for wrong, subject in (
        (SelectFilter(place_count=-2), Subject.PLACE_COUNT),
        (SelectFilter(providers=("FLOPPY",)), Subject.PROVIDER),
    ):
        assert refusal(lab, c.CreateGroup(name="rg5", select_filter=wrong)) == (Invalid, subject)
    assert refusal(lab, c.CreateGroup(name="rg6", peer_slots=40)) == (Invalid, Subject.PEER_SLOTS)


def test_changing_a_group(lab: Lab) -> None:
    decision = lab.run(c.ModifyGroup(name="rg1", description="changed", peer_slots=5))
    assert codes(decision) == ["success|modify|GROUP|-"]
    lab.run(c.ModifyGroup(name="rg1", select_filter=SelectFilter(replicas_on_different=("Aux/zone",))))
    lab.run(c.ModifyGroup(name="rg1", select_filter=SelectFilter(place_count=3)))
    group = lab.cluster.groups["RG1"]
    assert group.select_filter.replicas_on_different == ("Aux/zone",)
    assert group.select_filter.place_count == 3
    lab.run(c.ModifyGroup(name="rg1", select_filter=SelectFilter(replicas_on_different=())))
    assert lab.cluster.groups["RG1"].select_filter.replicas_on_different == ()
    set_prop = lab.run(c.ModifyGroup(name="rg1", props=c.PropsChange(override={"Aux/z": "1"})))
    assert codes(set_prop) == ["success|create|RESOURCE_DEFINITION|-", "success|modify|GROUP|-"]
    assert refusal(lab, c.ModifyGroup(name="nope")) == (NotFound, Subject.GROUP)


def test_deleting_groups(lab: Lab) -> None:
    lab.run(spawn("vol", 10240))
    assert refusal(lab, c.DeleteGroup(name="rg1")) == (InUse, Subject.GROUP)
    assert refusal(lab, c.DeleteGroup(name="DfltRscGrp")) == (InUse, Subject.GROUP)
    assert codes(lab.run(c.DeleteGroup(name="nope"))) == ["warning|delete|GROUP|NOT_FOUND"]
    lab.run(c.DeleteDefinition(name="vol"))
    assert codes(lab.run(c.DeleteGroup(name="rg1"))) == ["success|delete|GROUP|-"]


def test_volume_groups(lab: Lab) -> None:
    lab.run(c.CreateVolumeGroup(group="rg1"))
    assert refusal(lab, c.CreateVolumeGroup(group="rg1", number=0)) == (Exists, Subject.VOLUME_GROUP)
    assert refusal(lab, c.CreateVolumeGroup(group="rg1", number=-1)) == (Invalid, Subject.VOLUME_NUMBER)
    lab.run(c.CreateVolumeGroup(group="rg1", number=7, props={"Aux/v": "1"}, gross_size=True))
    assert [volume.number for volume in lab.cluster.groups["RG1"].volume_groups] == [0, 1, 7]
    lab.run(c.ModifyVolumeGroup(group="rg1", number=7, flags=("-gross_size",)))
    assert not lab.cluster.groups["RG1"].volume_groups[2].gross_size
    wrong = c.ModifyVolumeGroup(group="rg1", number=7, flags=("NOPE",))
    assert refusal(lab, wrong) == (Invalid, Subject.REQUEST)
    missing = c.DeleteVolumeGroup(group="rg1", number=55)
    assert refusal(lab, missing) == (NotFound, Subject.VOLUME_GROUP)
    assert codes(lab.run(c.DeleteVolumeGroup(group="rg1", number=7))) == ["success|delete|VOLUME_GROUP|-"]


def test_spawning_places_explains_and_adds_a_tiebreaker(lab: Lab) -> None:
    decision = lab.run(spawn("sp1", 10240))
    assert codes(decision) == [
        "success|create|VOLUME_DEFINITION|-",
        "success|create|RESOURCE_DEFINITION|-",
        "success|create|RESOURCE|-",
        "success|create|RESOURCE|-",
        "success|create|GROUP|-",
        "info|create|RESOURCE|TIE_BREAKER_CREATED",
        "info|create|RESOURCE|PROP_SET",
    ]
    summary = decision.entries[4]
    assert summary.refs["Node/0"] == "n1"
    assert summary.refs["StoragePool/1/0"] == "thin,FILE_THIN"
    assert lab.kinds("sp1") == {"n1": "diskful", "n2": "diskful", "n3": "tie-breaker"}
    assert {(one.node, one.chosen) for one in decision.explanation} == {
        ("n1", True),
        ("n2", True),
        ("n3", False),
    }
    assert all(wait.ready for wait in decision.waits)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (spawn("sp2"), (Invalid, Subject.VOLUME_SIZES)),
        (spawn("sp4", 10240, 20480), (Invalid, Subject.VOLUME_SIZES)),
        (spawn(None, 10240), (Invalid, Subject.RESOURCE_DEFINITION)),
        (spawn("bad name", 10240), (Invalid, Subject.RESOURCE_NAME)),
        (spawn("sp7", 0), (Invalid, Subject.VOLUME_SIZE)),
        (spawn("sp8", -5), (Invalid, Subject.VOLUME_SIZE)),
        (spawn("sp11", 10240, select_filter=SelectFilter(place_count=9)), (Exhausted, Subject.PLACEMENT)),
        (spawn("sp14", 10240, group="nope"), (NotFound, Subject.GROUP)),
        (spawn("sp18", 1072668082176), (Exhausted, Subject.PLACEMENT)),
    ],
)
def test_a_refused_spawn_leaves_nothing(
    lab: Lab, command: c.Command, expected: tuple[type[DomainError], Subject]
) -> None:
    before = list(lab.cluster.records())
    assert refusal(lab, command) == expected
    assert list(lab.cluster.records()) == before


def test_a_partial_spawn_takes_any_number_of_sizes(lab: Lab) -> None:
    lab.run(spawn("sp5", 10240, 20480, partial=True))
    assert [vol.size_kib for vol in lab.cluster.definitions["SP5"].volumes] == [10240, 20480]
    lab.run(c.CreateVolumeGroup(group="rg1"))
    lab.run(spawn("sp6", 10240, partial=True))
    assert len(lab.cluster.definitions["SP6"].volumes) == 1


def test_only_the_definitions(lab: Lab) -> None:
    decision = lab.run(spawn("sp6", 10240, definitions_only=True))
    assert codes(decision)[-1] == "info|create|GROUP|NO_RSC_SPAWNED"
    assert lab.resources("sp6") == {}


def test_a_group_gives_its_layers(lab: Lab) -> None:
    plain = SelectFilter(place_count=1, layer_stack=(LayerKind.STORAGE,), storage_pools=("thin",))
    lab.run(c.CreateGroup(name="rgsto", select_filter=plain))
    lab.run(spawn("sp16", 10240, group="rgsto"))
    assert lab.cluster.definitions["SP16"].layer_stack == (LayerKind.STORAGE,)
    (only,) = lab.resources("sp16").values()
    assert (only.drbd_node_id, only.tcp_ports) == (None, ())
    assert lab.cluster.definitions["SP16"].volumes[0].minor is None


def test_external_names(lab: Lab) -> None:
    lab.run(spawn(None, 10240, external_name="ext spawn"))
    assert lab.cluster.definitions["EXT_SPAWN"].external_name == "ext spawn"


def test_adjusting_a_group(lab: Lab) -> None:
    lab.run(spawn("sp1", 10240))
    lab.quiet()
    enough = lab.run(c.AdjustGroup(group="rg1"))
    assert codes(enough) == ["warning|create|RESOURCE|RSC_ALREADY_DEPLOYED"]
    lab.run(c.ModifyGroup(name="rg1", select_filter=SelectFilter(place_count=3)))
    lab.run(c.AdjustGroup(group=None))
    assert lab.kinds("sp1") == {"n1": "diskful", "n2": "diskful", "n3": "diskful"}
    lab.quiet()
    assert lab.resources("sp1")["n3"].phase == "normal"
