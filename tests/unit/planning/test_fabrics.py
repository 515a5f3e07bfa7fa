"""Volumes that one node has and others use by NVMe: who may, where, what nodes are told, what is refused."""

import msgspec
import pytest

from bollard.domain import commands as c
from bollard.domain.errors import (
    Conflict,
    DomainError,
    Exists,
    InUse,
    Invalid,
    NotFound,
    Subject,
    Unsupported,
)
from bollard.domain.layers import LayerKind, ReplicationKind
from bollard.domain.resources import SelectFilter
from bollard.domain.targets import TargetFabric, TargetResource
from bollard.planning.decide import decide
from bollard.planning.targets import target_resource
from planning_lab import CAPABLE, Lab

STACK = ("NVME", "STORAGE")


def on(node: str, *flags: str) -> c.NewResource:
    return c.NewResource(node=node, flags=flags, props={} if flags else {"StorPoolName": "thin"})


def create(*given: c.NewResource) -> c.CreateResources:
    return c.CreateResources(definition="vol", resources=given)


def override(**given: str) -> c.PropsChange:
    return c.PropsChange(override={f"NVMe/{key}": value for key, value in given.items()})


@pytest.fixture
def lab() -> Lab:
    lab = Lab(3)
    able = msgspec.structs.replace(CAPABLE, layers=tuple(LayerKind))
    for node in ("n1", "n2", "n3"):
        lab.online(node, capabilities=able)
    lab.run(c.CreateDefinition(name="vol", layer_stack=STACK))
    lab.run(c.CreateVolumeDefinition(definition="vol", size_kib=10240))
    return lab


def told(lab: Lab, node: str) -> TargetResource:
    return target_resource(lab.cluster, lab.resources("vol")[node])


def offered(lab: Lab) -> TargetFabric:
    (volume,) = told(lab, "n1").volumes
    fabric = volume.layers[-1].fabric
    assert fabric is not None
    return fabric


def refusal(lab: Lab, command: c.Command) -> tuple[type[DomainError], Subject]:
    with pytest.raises(DomainError) as caught:
        decide(command, lab.world)
    return type(caught.value), caught.value.subject


def test_one_node_offers_what_the_others_use(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2", "NVME_INITIATOR"), on("n3", "DISKLESS", "NVME_INITIATOR")))
    assert lab.kinds("vol") == {"n1": "diskful", "n2": "nvme-initiator", "n3": "nvme-initiator"}
    fabric = offered(lab)
    assert (fabric.subsystem, fabric.transport) == ("LS-NVMe_vol", "tcp")
    assert (fabric.address, fabric.port) == ("10.0.0.2", 4420)
    users = [told(lab, node).remote for node in ("n2", "n3")]
    assert all(user is not None for user in users)
    assert sorted(fabric.hosts) == sorted(user.hosts[0] for user in users if user is not None)
    for node in ("n2", "n3"):
        remote = told(lab, node).remote
        assert remote is not None
        assert msgspec.structs.replace(remote, hosts=()) == msgspec.structs.replace(fabric, hosts=())
        assert remote.volumes == ((0, lab.resources("vol")["n1"].volumes[0].uuid),)
        assert told(lab, node).runs_by is ReplicationKind.NVME
        assert [one.gross_kib for one in told(lab, node).volumes] == [None]
    lab.quiet()


def test_transport_port_and_interface_are_properties(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2", "NVME_INITIATOR")))
    lab.run(c.CreateNetInterface(node="n1", net_interface=c.NewNetInterface(name="fast", address="10.9.0.1")))
    lab.run(c.ModifyResource(definition="vol", node="n1", props=override(PrefNic="fast")))
    lab.run(c.ModifyDefinition(name="vol", props=override(TRType="rdma", Port="5000")))
    fabric, user = offered(lab), told(lab, "n2").remote
    assert user is not None
    for one in (fabric, user):
        assert (one.transport, one.address, one.port) == ("rdma", "10.9.0.1", 5000)
    lab.quiet()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (create(on("n2", "NVME_INITIATOR")), (Conflict, Subject.NVME_TARGET)),
        (create(on("n1"), on("n2")), (Exists, Subject.NVME_TARGET)),
        (c.ToggleDisk(definition="vol", node="n1", to_diskful=False), (NotFound, Subject.RESOURCE)),
    ],
)
def test_refused_before_there_is_a_disk(
    lab: Lab, command: c.Command, expected: tuple[type[DomainError], Subject]
) -> None:
    assert refusal(lab, command) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (create(on("n3")), (Exists, Subject.NVME_TARGET)),
        (c.DeleteResource(definition="vol", node="n1"), (InUse, Subject.NVME_TARGET)),
        (c.ToggleDisk(definition="vol", node="n2", to_diskful=True), (Invalid, Subject.LAYER_STACK)),
        (c.ToggleDisk(definition="vol", node="n1", to_diskful=False), (Invalid, Subject.LAYER_STACK)),
    ],
)
def test_refused_while_it_is_used(
    lab: Lab, command: c.Command, expected: tuple[type[DomainError], Subject]
) -> None:
    lab.run(create(on("n1"), on("n2", "NVME_INITIATOR")))
    assert refusal(lab, command) == expected


def test_initiators_need_the_layer_on_top(lab: Lab) -> None:
    lab.run(c.CreateDefinition(name="plain", layer_stack=("STORAGE",)))
    lab.run(c.CreateDefinition(name="high", layer_stack=("DRBD", "NVME", "STORAGE")))
    user = on("n1", "NVME_INITIATOR")
    refused = c.CreateResources(definition="plain", resources=(user,))
    assert refusal(lab, refused) == (Invalid, Subject.LAYER_STACK)
    for command in (
        c.CreateResources(definition="high", resources=(on("n1"),)),
        c.Autoplace(definition="high", select_filter=SelectFilter(place_count=1)),
        c.MakeAvailable(definition="high", node="n1"),
    ):
        assert refusal(lab, command) == (Unsupported, Subject.LAYER_STACK)


def test_placing_makes_one_disk_and_users_where_asked(lab: Lab) -> None:
    wanted = SelectFilter(place_count=3, diskless_on_remaining=True, diskless_type="NVME_INITIATOR")
    lab.run(c.Autoplace(definition="vol", select_filter=wanted))
    assert sorted(lab.kinds("vol").values()) == ["diskful", "nvme-initiator", "nvme-initiator"]
    drbd = SelectFilter(diskless_on_remaining=True, diskless_type="DRBD_DISKLESS")
    assert refusal(lab, c.Autoplace(definition="vol", select_filter=drbd)) == (Invalid, Subject.LAYER_STACK)


def test_made_available_where_it_is_needed(lab: Lab) -> None:
    lab.run(c.MakeAvailable(definition="vol", node="n2"))
    lab.run(c.MakeAvailable(definition="vol", node="n1"))
    assert lab.kinds("vol") == {"n1": "nvme-initiator", "n2": "diskful"}


def test_the_life_of_a_used_volume_comes_to_rest(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2", "NVME_INITIATOR")))
    lab.quiet()
    lab.run(c.ModifyVolumeDefinition(definition="vol", number=0, size_kib=20480))
    lab.quiet()
    engine = lab.machines["N2"].local("vol").engine  # type: ignore[index]
    assert engine is not None
    assert [one.size_kib for one in engine.volumes] == [20480]
    lab.run(create(on("n3", "NVME_INITIATOR")))
    lab.run(c.DeleteResource(definition="vol", node="n2"))
    lab.quiet()
    assert lab.machines["N2"].local("vol").engine is None  # type: ignore[index]
    (backing,) = lab.machines["N1"].local("vol").backings  # type: ignore[index]
    assert backing.layers[0].shown == offered(lab).shown
    lab.run(c.DeleteDefinition(name="vol"))
    lab.quiet()
    assert not any(machine.local("vol").backings for machine in lab.machines.values())


def test_nobody_is_told_of_a_disk_that_sleeps(lab: Lab) -> None:
    lab.run(create(on("n1"), on("n2", "NVME_INITIATOR")))
    lab.run(c.DeactivateResource(definition="vol", node="n1"))
    remote = told(lab, "n2").remote
    assert remote is not None
    assert remote.address == ""
