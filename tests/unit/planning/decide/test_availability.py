"""Making a resource usable on a node and taking that back; shared storage, and groups that ask for more."""

import pytest

from bollard.domain import commands as c
from bollard.domain.errors import InUse
from bollard.domain.resources import ResourcePhase, SelectFilter
from bollard.planning.decide import decide
from planning_lab import Lab, codes


def test_what_has_no_disk_goes_again_and_a_replica_stays() -> None:
    lab = Lab(4)
    lab.spawn("vol")
    lab.run(c.MakeAvailable(definition="vol", node="n4"))
    lab.quiet()
    assert lab.kinds("vol")["n4"] == "client"
    lab.use("vol", "n4")
    with pytest.raises(InUse):
        decide(c.UnmakeAvailable(definition="vol", node="n4"), lab.world)
    lab.roles.clear()
    lab.follow()
    lab.run(c.UnmakeAvailable(definition="vol", node="n4"))
    assert "n4" not in lab.kinds("vol")
    for node in ("n1", "n3"):
        decision = lab.run(c.UnmakeAvailable(definition="vol", node=node))
        assert codes(decision) == ["info|modify|RESOURCE|NOOP"]
    gone = lab.run(c.UnmakeAvailable(definition="vol", node="n4"))
    assert codes(gone) == ["warning|delete|RESOURCE|NOT_FOUND"]


def on_shared_storage() -> Lab:
    lab = Lab(2)
    for node in ("n1", "n2"):
        place = {"StorDriver/StorPoolName": "/srv/san"}
        lab.run(c.CreatePool(node=node, name="san", provider="FILE", props=place, shared_space="san1"))
        lab.see_pool(node, "san", free_kib=1 << 20)
    lab.run(c.CreateDefinition(name="vol", layer_stack=("STORAGE",)))
    lab.run(c.CreateVolumeDefinition(definition="vol", size_kib=4096))
    places = tuple(c.NewResource(node=node, props={"StorPoolName": "san"}) for node in ("n1", "n2"))
    lab.run(c.CreateResources(definition="vol", resources=places))
    return lab


def phases(lab: Lab) -> list[ResourcePhase]:
    return [one.phase for one in lab.resources("vol").values()]


def test_only_one_replica_on_shared_storage_is_active_and_it_moves() -> None:
    lab = on_shared_storage()
    assert phases(lab) == [ResourcePhase.NORMAL, ResourcePhase.INACTIVE]
    with pytest.raises(InUse):
        decide(c.ActivateResource(definition="vol", node="n2"), lab.world)
    lab.follow()
    lab.use("vol", "n1")
    with pytest.raises(InUse):
        decide(c.MakeAvailable(definition="vol", node="n2"), lab.world)
    lab.roles.clear()
    lab.follow()
    lab.run(c.MakeAvailable(definition="vol", node="n2"))
    assert phases(lab) == [ResourcePhase.INACTIVE, ResourcePhase.NORMAL]
    lab.offline("n2")
    with pytest.raises(InUse):
        decide(c.MakeAvailable(definition="vol", node="n1"), lab.world)


def test_a_replica_may_be_created_inactive() -> None:
    lab = Lab(2)
    lab.run(c.CreateDefinition(name="vol"))
    lab.run(c.CreateVolumeDefinition(definition="vol", size_kib=4096))
    given = c.NewResource(node="n1", flags=("inactive",), props={"StorPoolName": "thin"})
    lab.run(c.CreateResources(definition="vol", resources=(given,)))
    assert phases(lab) == [ResourcePhase.INACTIVE]


def test_a_group_that_asks_for_more_replicas_gets_them() -> None:
    lab = Lab(4)
    lab.run(c.CreateGroup(name="grp", select_filter=SelectFilter(place_count=2)))
    lab.spawn("one", group="grp")
    lab.spawn("two", group="grp")
    lab.quiet()
    lab.run(c.ModifyGroup(name="grp", select_filter=SelectFilter(place_count=3)))
    for name in ("one", "two"):
        assert sorted(lab.kinds(name).values()) == ["diskful"] * 3
    lab.quiet()
    for node in ("n1", "n2", "n3", "n4"):
        lab.offline(node)
    decision = lab.run(c.ModifyGroup(name="grp", select_filter=SelectFilter(place_count=4)))
    assert codes(decision).count("warning|create|RESOURCE|NO_EFFECT") == 2
    less = lab.run(c.ModifyGroup(name="grp", select_filter=SelectFilter(place_count=1)))
    assert codes(less) == ["success|modify|GROUP|-"]
