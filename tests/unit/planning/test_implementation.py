"""What runs the DRBD layer: the default, pins, refusals with their reason, and moves from one to another."""

import pytest
from msgspec.structs import replace

from bollard.domain import commands as c
from bollard.domain.errors import Conflict
from bollard.domain.layers import ProviderKind, ReplicationKind
from bollard.planning.targets import target_resource
from planning_lab import CAPABLE, Lab

KEY = "Bollard/DrbdImplementation"
USER, NINE, EIGHT = ReplicationKind.USER, ReplicationKind.DRBD9, ReplicationKind.DRBD84
ABLE = replace(CAPABLE, providers=(*CAPABLE.providers, ProviderKind.LVM_THIN))


def kernels(lab: Lab, kind: ReplicationKind, *nodes: str) -> None:
    """These nodes have the kernel's DRBD too."""
    version = "9.3.3" if kind is NINE else "8.4.11"
    for node in nodes:
        lab.online(node, capabilities=replace(ABLE, replication=(USER, kind), drbd_version=version))


def lab_of(*nodes: str, kind: ReplicationKind = NINE, provider: str = "LVM_THIN") -> Lab:
    lab = Lab(4)
    for number in range(1, 5):
        lab.online(f"n{number}", capabilities=ABLE)
        lab.add_pool(f"n{number}", "group", provider=provider)
    kernels(lab, kind, *nodes)
    return lab


def what_runs(lab: Lab, name: str = "r1") -> dict[str, ReplicationKind]:
    return {one.node: one.implementation for one in lab.cluster.resources_of(name)}


def pin(lab: Lab, value: str, name: str = "r1") -> None:
    lab.run(c.ModifyDefinition(name=name, props=c.PropsChange(override={KEY: value})))


def spawn(lab: Lab, *nodes: str, value: str = "", pool: str = "group") -> None:
    props = {KEY: value} if value else {}
    lab.run(c.CreateDefinition(name="r1", props=props))
    lab.run(c.CreateVolumeDefinition(definition="r1", size_kib=10240))
    add(lab, *nodes, pool=pool)


def add(lab: Lab, *nodes: str, pool: str = "group") -> None:
    places = tuple(c.NewResource(node=node, props={"StorPoolName": pool}) for node in nodes)
    lab.run(c.CreateResources(definition="r1", resources=places))


def test_the_kernel_runs_it_where_every_node_has_9() -> None:
    lab = lab_of("n1", "n2")
    spawn(lab, "n1", "n2")
    lab.quiet()
    runs = what_runs(lab)
    assert (runs["n1"], runs["n2"]) == (NINE, NINE)
    # The tie-breaker's node has no module: it speaks the same protocol.
    assert set(runs.values()) == {NINE, USER}
    (one,) = [one for one in lab.cluster.resources_of("r1") if one.node == "n1"]
    target = target_resource(lab.cluster, one)
    assert target.replication is not None
    assert target.replication.implementation is NINE


def test_the_data_process_runs_it_elsewhere() -> None:
    plain = lab_of("n1", "n2", provider="FILE_THIN")
    spawn(plain, "n1", "n2")
    assert set(what_runs(plain).values()) == {USER}, "files are no block devices"
    lacking = lab_of("n2")
    spawn(lacking, "n1", "n2")
    assert what_runs(lacking)["n1"] is USER
    assert what_runs(lacking)["n2"] is USER, "the first decides"
    eight = lab_of("n1", "n2", kind=EIGHT)
    spawn(eight, "n1", "n2")
    assert set(what_runs(eight).values()) == {USER}, "8.4 only where it is asked for"


def test_what_is_pinned_is_used_or_refused() -> None:
    lab = lab_of("n1", "n2")
    spawn(lab, "n1", "n2", value="user")
    assert set(what_runs(lab).values()) == {USER}
    lab = lab_of("n1")
    with pytest.raises(Conflict) as caught:
        spawn(lab, "n1", "n2", value="drbd9")
    assert "n2" in caught.value.message
    assert "no module" in caught.value.cause
    lab = lab_of("n1", "n2", provider="FILE_THIN")
    with pytest.raises(Conflict) as caught:
        spawn(lab, "n1", "n2", value="drbd9")
    assert "plain files: FILE_THIN" in caught.value.cause


def test_84_is_two_disks_without_quorum() -> None:
    lab = lab_of("n1", "n2", "n3", kind=EIGHT)
    spawn(lab, "n1", "n2", value="drbd84")
    lab.quiet()
    assert what_runs(lab) == {"n1": EIGHT, "n2": EIGHT}, "and no tie-breaker"
    assert lab.cluster.definitions["R1"].props["DrbdOptions/Resource/quorum"] == "off"
    with pytest.raises(Conflict, match="cannot have a replica on 'n3'") as caught:
        add(lab, "n3")
    assert "exactly two" in caught.value.cause
    with pytest.raises(Conflict, match="without a disk on 'n3'"):
        lab.run(
            c.CreateResources(definition="r1", resources=(c.NewResource(node="n3", flags=("DISKLESS",)),))
        )
    change = c.PropsChange(override={"DrbdOptions/Resource/quorum": "majority"})
    with pytest.raises(Conflict, match="cannot have quorum"):
        lab.run(c.ModifyDefinition(name="r1", props=change))


def test_metadata_of_84_stays_what_it_is() -> None:
    lab = lab_of("n1", "n2", kind=EIGHT)
    spawn(lab, "n1", "n2")
    with pytest.raises(Conflict, match="to or from DRBD 8.4"):
        pin(lab, "drbd84")
    lab = lab_of("n1", "n2", kind=EIGHT)
    spawn(lab, "n1", "n2", value="drbd84")
    with pytest.raises(Conflict, match="to or from DRBD 8.4"):
        pin(lab, "user")


def test_a_pin_moves_one_node_after_the_other() -> None:
    lab = lab_of("n1", "n2", "n3")
    spawn(lab, "n1", "n2", "n3", value="user")
    lab.quiet()
    pin(lab, "drbd9")
    seen: list[list[str]] = []
    for _ in range(12):
        lab.tick()
        seen.append(sorted(node for node, kind in what_runs(lab).items() if kind is NINE))
        lab.follow()
    assert [len(nodes) for nodes in seen[:3]] == [1, 2, 3], "never two at a time"
    pin(lab, "user")
    lab.quiet()
    assert set(what_runs(lab).values()) == {USER}


def test_a_node_in_use_or_away_is_moved_later() -> None:
    lab = lab_of("n1", "n2", "n3")
    spawn(lab, "n1", "n2", "n3", value="user")
    lab.quiet()
    lab.roles["R1", "N1"] = "Primary"
    lab.follow()
    lab.offline("n3")
    pin(lab, "drbd9")
    lab.quiet()
    assert what_runs(lab) == {"n1": USER, "n2": NINE, "n3": USER}
    del lab.roles["R1", "N1"]
    kernels(lab, NINE, "n3")
    lab.quiet()
    assert set(what_runs(lab).values()) == {NINE}


def test_nothing_moves_while_a_replica_is_incomplete() -> None:
    lab = lab_of("n1", "n2")
    spawn(lab, "n1", "n2", value="user")
    pin(lab, "drbd9")
    for _ in range(3):
        lab.tick()
    assert set(what_runs(lab).values()) == {USER}, "nobody has reported yet"


def test_a_verify_of_what_the_kernel_runs_is_refused() -> None:
    lab = lab_of("n1", "n2")
    spawn(lab, "n1", "n2", value="drbd9")
    lab.quiet()
    with pytest.raises(Conflict, match="cannot be verified from here") as caught:
        lab.run(c.VerifyDefinition(name="r1"))
    assert "drbdadm verify r1" in caught.value.correction
