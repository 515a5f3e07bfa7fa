"""Corners of toggling, migrating and activating."""

import msgspec
import pytest

from bollard.domain import commands as c
from bollard.domain.cluster import Put
from bollard.domain.errors import Conflict, DomainError, InUse, Invalid, Subject, Unsupported
from bollard.domain.layers import LayerKind
from bollard.domain.resources import DefinitionPhase
from bollard.planning.decide import decide
from planning_lab import CAPABLE, Lab, codes


def refusal(lab: Lab, command: c.Command) -> tuple[type[DomainError], Subject]:
    with pytest.raises(DomainError) as caught:
        decide(command, lab.world)
    return type(caught.value), caught.value.subject


@pytest.fixture
def lab() -> Lab:
    lab = Lab(3)
    lab.spawn_on("vol", "n1", "n2")
    lab.quiet()
    return lab


def toggle(node: str, *, to_diskful: bool, **given: object) -> c.ToggleDisk:
    return c.ToggleDisk(definition="vol", node=node, to_diskful=to_diskful, **given)  # type: ignore[arg-type]


def test_a_disk_cannot_come_from_where_none_is(lab: Lab) -> None:
    lab.run(c.CreateResources(definition="vol", resources=(c.NewResource(node="n3", flags=("DISKLESS",)),)))
    lab.run(c.DeleteResource(definition="vol", node="n2"))
    wrong = toggle("n1", to_diskful=True, migrate_from="n3")
    assert refusal(lab, wrong) == (Invalid, Subject.RESOURCE_STATE)
    same = lab.run(toggle("n1", to_diskful=True, migrate_from="n1"))
    assert codes(same) == ["info|modify|RESOURCE|NOOP"]


def test_a_disk_that_is_there_takes_over_from_another(lab: Lab) -> None:
    lab.run(toggle("n1", to_diskful=True, migrate_from="n2"))
    lab.quiet()
    assert lab.kinds("vol") == {"n1": "diskful"}


def test_a_migration_whose_target_goes_is_over(lab: Lab) -> None:
    lab.run(toggle("n3", to_diskful=True, pool="thin", migrate_from="n1"))
    lab.run(c.DeleteResource(definition="vol", node="n3"))
    lab.quiet()
    assert not lab.cluster.procedures
    assert lab.kinds("vol") == {"n1": "diskful", "n2": "diskful", "n3": "tie-breaker"}


def test_diskless_becomes_client_and_diskless_stays(lab: Lab) -> None:
    lab.run(toggle("n3", to_diskful=False, client=True))
    assert lab.kinds("vol")["n3"] == "client"
    again = lab.run(toggle("n3", to_diskful=False))
    assert codes(again) == ["info|modify|RESOURCE|NOOP"]


def test_two_nodes_are_not_active_on_one_shared_space() -> None:
    lab = Lab(0)
    for name in ("n1", "n2"):
        lab.add_node(name, f"10.0.0.{name[1]}")
        place = {"StorDriver/StorPoolName": "/srv/shared"}
        lab.run(c.CreatePool(node=name, name="thin", provider="FILE", props=place, shared_space="san"))
        lab.see_pool(name, "thin", free_kib=10**6)
    lab.spawn_on("vol", "n1")
    lab.quiet()
    lab.run(c.DeactivateResource(definition="vol", node="n1"))
    place_too = c.NewResource(node="n2", props={"StorPoolName": "thin"})
    lab.run(c.CreateResources(definition="vol", resources=(place_too,)))
    assert refusal(lab, c.ActivateResource(definition="vol", node="n1")) == (InUse, Subject.RESOURCE)
    lab.run(c.DeactivateResource(definition="vol", node="n2"))
    lab.run(c.ActivateResource(definition="vol", node="n1"))


def test_nodes_and_definitions_that_take_nothing(lab: Lab) -> None:
    link = c.NewNetInterface(name="default", address="10.5.0.1")
    lab.run(c.CreateNode(name="aux1", type="AUXILIARY", net_interfaces=(link,)))
    on_aux = c.CreateResources(definition="vol", resources=(c.NewResource(node="aux1"),))
    assert refusal(lab, on_aux) == (Conflict, Subject.NODE_TYPE)
    lab.run(c.DeleteResource(definition="vol", node="n3"))
    only_storage = msgspec.structs.replace(
        CAPABLE, layers=(LayerKind.STORAGE,), unsupported_layers={"DRBD": ["no data process"]}
    )
    lab.online("n3", capabilities=only_storage)
    on_n3 = c.CreateResources(definition="vol", resources=(c.NewResource(node="n3"),))
    assert refusal(lab, on_n3) == (Unsupported, Subject.LAYER_KIND)
    cloning = msgspec.structs.replace(lab.cluster.definitions["VOL"], phase=DefinitionPhase.CLONING)
    lab.online("n3")
    lab.cluster.apply((Put(cloning),))
    assert refusal(lab, on_n3) == (Conflict, Subject.RESOURCE_DEFINITION)


def test_layers_are_those_of_the_first_resources() -> None:
    lab = Lab(3)
    lab.run(c.CreateDefinition(name="vol"))
    lab.run(c.CreateVolumeDefinition(definition="vol", size_kib=4096))
    plain = c.NewResource(node="n1", props={"StorPoolName": "thin"}, layer_stack=("STORAGE",))
    lab.run(c.CreateResources(definition="vol", resources=(plain,)))
    assert lab.cluster.definitions["VOL"].layer_stack == (LayerKind.STORAGE,)
    other = c.NewResource(node="n2", props={"StorPoolName": "thin"}, layer_stack=("DRBD", "STORAGE"))
    mixed = c.CreateResources(definition="vol", resources=(other,))
    assert refusal(lab, mixed) == (Invalid, Subject.LAYER_STACK)
    placed = c.Autoplace(definition="vol", layer_stack=("DRBD", "STORAGE"))
    assert refusal(lab, placed) == (Invalid, Subject.LAYER_STACK)


def test_an_inactive_resource_is_made_available_again(lab: Lab) -> None:
    lab.run(c.DeactivateResource(definition="vol", node="n2"))
    lab.run(c.MakeAvailable(definition="vol", node="n2"))
    assert lab.resources("vol")["n2"].phase == "normal"
