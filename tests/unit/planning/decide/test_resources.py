"""Resources: creating, deleting, disks, availability, by examples of what LINSTOR answered."""

import msgspec
import pytest

from bollard.domain import commands as c
from bollard.domain.cluster import Put
from bollard.domain.errors import (
    Conflict,
    DomainError,
    Exhausted,
    InUse,
    Invalid,
    NotFound,
    Subject,
    Unsupported,
)
from bollard.domain.nodes import NodePhase
from bollard.domain.resources import SelectFilter
from bollard.planning.decide import decide
from bollard.planning.targets import target_resource
from planning_lab import Lab, codes


def refusal(lab: Lab, command: c.Command) -> tuple[type[DomainError], Subject]:
    with pytest.raises(DomainError) as caught:
        decide(command, lab.world)
    return type(caught.value), caught.value.subject


@pytest.fixture
def lab() -> Lab:
    lab = Lab(3)
    lab.run(c.CreateDefinition(name="r1"))
    lab.run(c.CreateVolumeDefinition(definition="r1", size_kib=20480))
    return lab


def on(node: str, *flags: str, pool: str = "thin", **given: object) -> c.NewResource:
    props = {"StorPoolName": pool} if pool else {}
    return c.NewResource(node=node, flags=flags, props=props, **given)  # type: ignore[arg-type]


def create(*given: c.NewResource) -> c.CreateResources:
    return c.CreateResources(definition="r1", resources=given)


def delete(node: str, **given: bool) -> c.DeleteResource:
    return c.DeleteResource(definition="r1", node=node, **given)


def toggle(node: str, *, to_diskful: bool, **given: object) -> c.ToggleDisk:
    return c.ToggleDisk(definition="r1", node=node, to_diskful=to_diskful, **given)  # type: ignore[arg-type]


def available(node: str, **given: object) -> c.MakeAvailable:
    return c.MakeAvailable(definition="r1", node=node, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (create(on("nope")), (NotFound, Subject.NODE)),
        (create(on("n1", pool="nopool")), (NotFound, Subject.POOL_DEFINITION)),
        (create(on("n1", pool="")), (NotFound, Subject.POOL_CONFIGURATION)),
        (create(), (Invalid, Subject.REQUEST)),
        (create(on("n1", "NOPE")), (Invalid, Subject.REQUEST)),
        (create(on("n1", "NVME_INITIATOR")), (Invalid, Subject.LAYER_STACK)),
        (create(on("n1", "EBS_INITIATOR")), (Unsupported, Subject.LAYER_KIND)),
        (create(on("n1", drbd_node_id=99)), (Invalid, Subject.NODE_ID)),
        (create(on("n1", tcp_ports=(99999,))), (Invalid, Subject.TCP_PORT)),
        (create(on("n1"), on("nope")), (NotFound, Subject.NODE)),
        (
            c.CreateResources(definition="nope", resources=(on("n1"),)),
            (NotFound, Subject.RESOURCE_DEFINITION),
        ),
    ],
)
def test_refused_resources(lab: Lab, command: c.Command, expected: tuple[type[DomainError], Subject]) -> None:
    before = list(lab.cluster.records())
    assert refusal(lab, command) == expected
    assert list(lab.cluster.records()) == before


def test_several_at_once_start_equal_and_need_no_sync(lab: Lab) -> None:
    decision = lab.run(create(on("n1"), on("n2"), on("n3", "DISKLESS", pool="")))
    assert codes(decision).count("success|create|RESOURCE|-") == 3
    assert codes(decision)[-1] == "info|create|RESOURCE|PROP_SET"
    generations = {
        target_resource(lab.cluster, one).volumes[0].current_gi
        for one in lab.resources("r1").values()
        if one.diskful
    }
    assert generations == {lab.cluster.definitions["R1"].volumes[0].current_gi}
    assert [one.drbd_node_id for one in lab.resources("r1").values()] == [0, 1, 2]
    assert lab.resources("r1")["n3"].props == {"StorPoolName": "DfltDisklessStorPool"}


def test_a_replica_that_comes_later_is_synchronised(lab: Lab) -> None:
    lab.run(create(on("n1")))
    lab.run(create(on("n2")))
    first, second = (lab.resources("r1")[node] for node in ("n1", "n2"))
    assert target_resource(lab.cluster, first).volumes[0].current_gi is not None
    assert target_resource(lab.cluster, second).volumes[0].current_gi is None


def test_once_complete_a_disk_never_starts_equal_again(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    lab.quiet()
    for one in lab.resources("r1").values():
        assert all(vol.current_gi is None for vol in target_resource(lab.cluster, one).volumes)
    assert lab.cluster.definitions["R1"].volumes[0].initialized


def test_first_replicas_of_a_second_life_are_no_kin_of_the_first(lab: Lab) -> None:
    lab.run(create(on("n1")))
    lab.quiet()
    before = lab.cluster.definitions["R1"].volumes[0].current_gi
    lab.run(delete("n1"))
    lab.run(create(on("n2")))
    assert lab.cluster.definitions["R1"].volumes[0].current_gi != before


def test_initial_sync_can_be_forced(lab: Lab) -> None:
    forced = c.PropsChange(override={"DrbdOptions/ForceInitialSync": "true"})
    lab.run(c.ModifyDefinition(name="r1", props=forced))
    lab.run(create(on("n1"), on("n2")))
    starts = [one.volumes[0].day0 for one in lab.resources("r1").values() if one.diskful]
    assert starts == [True, False]


def test_what_is_there_is_said_and_left(lab: Lab) -> None:
    lab.run(create(on("n1")))
    again = lab.run(create(on("n1", drbd_node_id=5)))
    assert codes(again) == ["info|create|RESOURCE|RSC_ALREADY_EXISTS"]
    assert not again.changes


def test_wishes_for_numbers(lab: Lab) -> None:
    lab.run(create(on("n1", drbd_node_id=3, tcp_ports=(7777,))))
    lab.run(create(on("n2", drbd_node_id=3)))
    first, second = (lab.resources("r1")[node] for node in ("n1", "n2"))
    assert (first.drbd_node_id, first.tcp_ports, second.drbd_node_id) == (3, (7777,), 0)


def test_a_third_node_becomes_the_tiebreaker_and_then_whatever_is_asked_of_it(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    assert lab.kinds("r1")["n3"] == "tie-breaker"
    lab.run(create(on("n3", "DISKLESS", pool="")))
    assert lab.kinds("r1")["n3"] == "diskless"
    lab.quiet()
    lab.run(create(on("n1")))
    lab.run(toggle("n3", to_diskful=True, pool="thin"))
    assert lab.kinds("r1")["n3"] == "diskful"


def test_a_tiebreaker_gets_a_disk_when_a_replica_is_created_there(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    lab.quiet()
    lab.run(create(on("n3")))
    assert lab.kinds("r1")["n3"] == "diskful"
    lab.quiet()
    assert lab.resources("r1")["n3"].phase == "normal"
    assert lab.cluster.definitions["R1"].props["DrbdOptions/Resource/quorum"] == "majority"


def test_a_client_has_no_vote(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    decision = lab.run(create(on("n3", "DISKLESS", pool="", client=True)))
    assert "warning|create|RESOURCE|NOT_ENOUGH_NODES_FOR_TIE_BREAKER" in codes(decision)
    peers = target_resource(lab.cluster, lab.resources("r1")["n1"]).replication
    assert peers is not None
    assert [peer.votes for peer in peers.peers] == [True, False]
    assert lab.cluster.definitions["R1"].props["DrbdOptions/Resource/quorum"] == "off"


def test_an_offline_node_may_get_a_resource(lab: Lab) -> None:
    lab.offline("n3")
    lab.run(create(on("n3")))
    lab.quiet()
    assert lab.machines["N3"].local("r1").backings == ()
    lab.online("n3")
    lab.quiet()
    assert len(lab.machines["N3"].local("r1").backings) == 1


def test_a_full_pool_and_a_leaving_node_take_nothing(lab: Lab) -> None:
    lab.see_pool("n1", "thin", free_kib=100, total_kib=100)
    assert refusal(lab, create(on("n1"))) == (Exhausted, Subject.FREE_SPACE)
    leaving = msgspec.structs.replace(lab.cluster.nodes["N2"], phase=NodePhase.EVACUATING)
    lab.cluster.apply((Put(leaving),))
    assert refusal(lab, create(on("n2"))) == (Conflict, Subject.NODE)


def test_kinds_of_storage_are_not_mixed_unless_allowed(lab: Lab) -> None:
    lab.offline("n2")
    lab.run(c.CreatePool(node="n2", name="vgpool", provider="LVM", props={"StorDriver/LvmVg": "vg"}))
    lab.run(create(on("n1")))
    assert refusal(lab, create(on("n2", pool="vgpool"))) == (Conflict, Subject.PROVIDER)
    allow = c.PropsChange(override={"AllowMixingStoragePoolDriver": "true"})
    lab.run(c.ModifyDefinition(name="r1", props=allow))
    lab.run(create(on("n2", pool="vgpool")))


def test_more_replicas_than_peer_slots() -> None:
    lab = Lab(3)
    lab.run(c.CreateDefinition(name="r1", peer_slots=1))
    lab.run(c.CreateVolumeDefinition(definition="r1", size_kib=20480))
    lab.run(create(on("n1"), on("n2")))
    assert refusal(lab, create(on("n3"))) == (Exhausted, Subject.PEER_SLOTS)


def test_plain_storage_has_no_diskless_resources(lab: Lab) -> None:
    lab.run(c.ModifyDefinition(name="r1", layer_stack=("STORAGE",)))
    lab.run(create(on("n1")))
    assert refusal(lab, create(on("n2", "DISKLESS"))) == (Invalid, Subject.LAYER_STACK)
    assert refusal(lab, toggle("n1", to_diskful=False)) == (Invalid, Subject.LAYER_STACK)
    assert refusal(lab, available("n2")) == (NotFound, Subject.RESOURCE)


def test_properties_of_resources_and_volumes(lab: Lab) -> None:
    lab.run(create(on("n1")))
    change = c.PropsChange(override={"Aux/k": "v"})
    changed = lab.run(c.ModifyResource(definition="r1", node="n1", props=change))
    assert codes(changed) == ["success|create|RESOURCE|-", "success|modify|RESOURCE|-"]
    wrong = c.PropsChange(override={"DrbdOptions/Resource/quorum": "off"})
    bad = c.ModifyResource(definition="r1", node="n1", props=wrong)
    assert refusal(lab, bad) == (Invalid, Subject.PROPERTY)
    lab.run(c.ModifyVolume(definition="r1", node="n1", number=0, props=change))
    missing = c.ModifyVolume(definition="r1", node="n1", number=7, props=change)
    assert refusal(lab, missing) == (NotFound, Subject.VOLUME)
    assert refusal(lab, c.ModifyResource(definition="r1", node="n2")) == (NotFound, Subject.RESOURCE)


def test_switching_between_diskless_kinds(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2"), on("n3", "DISKLESS", pool="")))
    lab.run(c.ModifyResource(definition="r1", node="n3", client=True))
    assert lab.kinds("r1")["n3"] == "client"
    lab.run(c.ModifyResource(definition="r1", node="n3", client=False))
    assert lab.kinds("r1")["n3"] == "diskless"
    lab.run(c.ModifyResource(definition="r1", node="n3", tie_breaker=True))
    assert lab.kinds("r1")["n3"] == "tie-breaker"
    wrong = c.ModifyResource(definition="r1", node="n1", tie_breaker=True)
    assert refusal(lab, wrong) == (Invalid, Subject.RESOURCE_STATE)


def test_deleting(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2"), on("n3")))
    lab.quiet()
    decision = lab.run(delete("n2"))
    assert codes(decision) == ["success|delete|RESOURCE|-", "info|create|RESOURCE|TIE_BREAKER_TAKEOVER"]
    assert lab.kinds("r1") == {"n1": "diskful", "n2": "tie-breaker", "n3": "diskful"}
    lab.quiet()
    assert lab.machines["N2"].local("r1").backings == ()
    lab.run(delete("n3"))
    assert lab.kinds("r1") == {"n1": "diskful"}
    lab.run(delete("n1"))
    assert codes(lab.run(delete("n1"))) == ["warning|delete|RESOURCE|NOT_FOUND"]
    lab.quiet()
    assert not lab.cluster.tombstones


def test_a_person_who_deletes_the_tiebreaker_means_it(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    lab.quiet()
    lab.run(delete("n3", keep_tiebreaker=True))
    assert lab.kinds("r1")["n3"] == "tie-breaker"
    decision = lab.run(delete("n3"))
    assert "info|create|RESOURCE|PROP_SET" in codes(decision)
    lab.quiet()
    assert lab.kinds("r1") == {"n1": "diskful", "n2": "diskful"}


def test_what_is_needed_is_not_deleted(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    lab.follow()
    machine = lab.machines["N2"]
    machine.complete.clear()
    lab.follow()
    assert refusal(lab, delete("n1")) == (Conflict, Subject.REPLICA_COUNT)
    lab.run(delete("n2"))
    lab.run(create(on("n3", "DISKLESS", pool="")))
    assert refusal(lab, delete("n1")) == (Conflict, Subject.REPLICA_COUNT)
    lab.run(delete("n3"))
    lab.use("r1", "n1")
    assert refusal(lab, delete("n1")) == (InUse, Subject.RESOURCE)


def test_a_report_of_the_disk_before_says_nothing_about_the_new_one(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    lab.quiet()
    lab.run(toggle("n2", to_diskful=False))
    lab.run(toggle("n2", to_diskful=True, pool="thin"))
    assert lab.observed.resource("r1", "n2").volumes[0].disk_state == "UpToDate"  # type: ignore[union-attr]
    assert refusal(lab, delete("n1")) == (Conflict, Subject.REPLICA_COUNT)
    lab.quiet()
    lab.run(delete("n1"))


def test_a_node_that_is_away_may_have_the_only_copy(lab: Lab) -> None:
    lab.run(create(on("n1")))
    lab.quiet()
    lab.run(create(on("n2")))
    lab.follow()
    lab.offline("n1")
    assert refusal(lab, delete("n1")) == (Conflict, Subject.REPLICA_COUNT)
    assert refusal(lab, c.DeleteNode(node="n1")) == (InUse, Subject.NODE)


def test_what_is_not_known_of_a_node_that_is_away_is_taken_for_the_worse(lab: Lab) -> None:
    lab.run(create(on("n1")))
    lab.quiet()
    lab.run(create(on("n2")))
    lab.follow()
    lab.offline("n1")
    lab.observed.forget("n1")
    assert refusal(lab, delete("n1")) == (Conflict, Subject.REPLICA_COUNT)
    lab.run(c.CreateDefinition(name="new"))
    lab.run(c.CreateVolumeDefinition(definition="new", size_kib=4096))
    lab.run(c.CreateResources(definition="new", resources=(on("n1"), on("n2"))))
    lab.run(c.DeleteResource(definition="new", node="n1"))


def test_a_disk_on_a_node_without_volumes_yet_keeps_its_pool(lab: Lab) -> None:
    lab.run(c.CreateDefinition(name="empty"))
    lab.run(c.CreateResources(definition="empty", resources=(on("n3", "DISKLESS", pool=""),)))
    lab.run(c.ToggleDisk(definition="empty", node="n3", to_diskful=True, pool="thin"))
    lab.run(c.CreateVolumeDefinition(definition="empty", size_kib=4096))
    assert lab.resources("empty")["n3"].volumes[0].pool == "thin"
    lab.quiet()


def test_a_minor_is_free_when_all_nodes_have_let_go(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    lab.quiet()
    lab.offline("n2")
    lab.run(c.DeleteDefinition(name="r1"))
    lab.quiet()
    lab.run(c.CreateDefinition(name="next"))
    lab.run(c.CreateVolumeDefinition(definition="next", size_kib=4096))
    assert lab.cluster.definitions["NEXT"].volumes[0].minor == 1001
    lab.online("n2")
    lab.quiet()
    lab.run(c.CreateVolumeDefinition(definition="next", size_kib=4096))
    assert lab.cluster.definitions["NEXT"].volumes[1].minor == 1000


def test_a_new_volume_does_not_hide_the_old_one(lab: Lab) -> None:
    lab.run(create(on("n1")))
    lab.quiet()
    lab.run(create(on("n2")))
    lab.run(c.CreateVolumeDefinition(definition="r1", size_kib=4096))
    assert refusal(lab, delete("n1")) == (Conflict, Subject.REPLICA_COUNT)


def test_toggling_to_a_disk_and_back(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    lab.quiet()
    assert codes(lab.run(toggle("n3", to_diskful=True, pool="thin"))) == ["success|modify|RESOURCE|-"]
    assert lab.resources("r1")["n3"].phase == "disk-adding"
    noop = lab.run(toggle("n3", to_diskful=True))
    assert codes(noop) == ["info|modify|RESOURCE|NOOP"]
    lab.quiet()
    resource = lab.resources("r1")["n3"]
    assert (resource.phase, resource.props["DiskfulBy"]) == ("normal", "user")
    lab.run(toggle("n3", to_diskful=False))
    assert lab.resources("r1")["n3"].phase == "disk-removing"
    lab.quiet()
    resource = lab.resources("r1")["n3"]
    assert (resource.disk, resource.phase) == ("diskless", "normal")
    assert "DiskfulBy" not in resource.props
    assert lab.machines["N3"].local("r1").backings == ()
    assert codes(lab.run(toggle("n3", to_diskful=False))) == ["info|modify|RESOURCE|NOOP"]
    assert refusal(lab, toggle("n3", to_diskful=True, pool="nopool")) == (
        NotFound,
        Subject.POOL_CONFIGURATION,
    )
    assert refusal(lab, toggle("n9", to_diskful=True)) == (NotFound, Subject.NODE)


def test_the_first_disk_of_all_has_nobody_to_wait_for(lab: Lab) -> None:
    lab.run(create(on("n3", "DISKLESS", pool="")))
    lab.run(toggle("n3", to_diskful=True, pool="thin"))
    lab.quiet()
    assert lab.resources("r1")["n3"].phase == "normal"
    assert not lab.cluster.procedures
    lab.run(create(on("n1")))
    assert not lab.resources("r1")["n1"].volumes[0].day0


def test_toggling_the_other_way_while_it_runs(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    lab.quiet()
    lab.run(toggle("n3", to_diskful=True, pool="thin"))
    lab.follow()
    lab.run(toggle("n3", to_diskful=False))
    lab.quiet()
    assert lab.machines["N3"].local("r1").backings == ()
    assert not lab.cluster.procedures


def test_the_only_complete_copy_keeps_its_disk(lab: Lab) -> None:
    lab.run(create(on("n1")))
    lab.quiet()
    assert refusal(lab, toggle("n1", to_diskful=False)) == (Invalid, Subject.REPLICA_COUNT)


def test_a_primary_may_lose_its_disk(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    lab.quiet()
    lab.use("r1", "n1")
    lab.run(toggle("n1", to_diskful=False))
    assert lab.kinds("r1")["n1"] == "diskless"


def test_migrating_keeps_the_source_until_the_target_is_complete(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    lab.quiet()
    lab.run(toggle("n3", to_diskful=True, pool="thin", migrate_from="n1"))
    lab.follow()
    lab.tick()
    assert lab.kinds("r1")["n1"] == "diskful"
    lab.use("r1", "n1")
    lab.sync()
    lab.follow()
    lab.tick()
    assert lab.kinds("r1")["n1"] == "diskful"
    lab.roles.clear()
    lab.quiet()
    assert lab.kinds("r1") == {"n1": "tie-breaker", "n2": "diskful", "n3": "diskful"}
    assert not lab.cluster.procedures


def test_inactive_resources_keep_their_data(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2")))
    lab.quiet()
    put_down = c.DeactivateResource(definition="r1", node="n2")
    assert codes(lab.run(put_down)) == ["success|modify|RESOURCE|-"]
    assert codes(lab.run(put_down)) == ["info|modify|RESOURCE|NOOP"]
    lab.quiet()
    local = lab.machines["N2"].local("r1")
    assert (local.engine, len(local.backings)) == (None, 1)
    take_up = c.ActivateResource(definition="r1", node="n2")
    assert codes(lab.run(take_up)) == ["success|modify|RESOURCE|-"]
    assert codes(lab.run(take_up)) == ["info|modify|RESOURCE|NOOP"]
    lab.quiet()
    lab.use("r1", "n1")
    busy = c.DeactivateResource(definition="r1", node="n1")
    assert refusal(lab, busy) == (InUse, Subject.RESOURCE)


def test_made_available(lab: Lab) -> None:
    lab.run(available("n1"))
    assert lab.kinds("r1") == {"n1": "diskful"}
    there = lab.run(available("n1"))
    assert codes(there) == ["success|none|RESOURCE|-"]
    lab.run(available("n2"))
    assert lab.kinds("r1") == {"n1": "diskful", "n2": "client"}
    lab.quiet()
    lab.run(available("n2", diskful=True))
    lab.quiet()
    assert lab.kinds("r1") == {"n1": "diskful", "n2": "diskful", "n3": "tie-breaker"}
    lab.run(available("n3"))
    assert lab.kinds("r1")["n3"] == "diskless"
    assert refusal(lab, available("nope")) == (NotFound, Subject.NODE)


def test_autoplacing(lab: Lab) -> None:
    place = c.Autoplace(definition="r1")
    decision = lab.run(place)
    assert decision.entries[2].refs["Node/1"] == "n2"
    assert lab.kinds("r1") == {"n1": "diskful", "n2": "diskful", "n3": "tie-breaker"}
    assert codes(lab.run(place)) == ["warning|create|RESOURCE|RSC_ALREADY_DEPLOYED"]
    one_more = SelectFilter(additional_place_count=1)
    lab.run(c.Autoplace(definition="r1", select_filter=one_more))
    assert lab.kinds("r1") == {"n1": "diskful", "n2": "diskful", "n3": "diskful"}
    too_many = c.Autoplace(definition="r1", select_filter=one_more)
    assert refusal(lab, too_many) == (Exhausted, Subject.PLACEMENT)


@pytest.mark.parametrize("count", [0, -1])
def test_a_place_count_below_one_does_nothing(lab: Lab, count: int) -> None:
    decision = lab.run(c.Autoplace(definition="r1", select_filter=SelectFilter(place_count=count)))
    assert codes(decision) == ["warning|create|RESOURCE|RSC_ALREADY_DEPLOYED"]


def test_diskless_on_remaining(lab: Lab) -> None:
    wanted = SelectFilter(place_count=1, diskless_on_remaining=True)
    lab.run(c.Autoplace(definition="r1", select_filter=wanted))
    assert sorted(lab.kinds("r1").values()) == ["client", "client", "diskful"]
    nvme = SelectFilter(place_count=1, diskless_on_remaining=True, diskless_type="NVME_INITIATOR")
    refused = c.Autoplace(definition="r1", select_filter=nvme)
    assert refusal(lab, refused) == (Invalid, Subject.LAYER_STACK)
