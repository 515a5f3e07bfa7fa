"""Disks that fail and fill up under real satellites: what is shown, what goes on, and how it comes back."""

import hashlib
from collections.abc import Iterator

import pytest

from bollard.lab.cluster import Lab
from bollard.lab.faults import FAULT_MODULES, FaultyDisk
from bollard.lab.satellites import LabCluster
from lab_cluster import (
    cluster,
    define,
    delete,
    lacking,
    logical_volumes,
    place,
    pool,
    problem,
    resource,
    state,
    volume,
    wait_problem,
    wait_ready,
)

_LACKING = lacking("lvcreate", "thin_check", "drbdadm", "dmsetup", "nbdcopy")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
MODULES = ("dm-thin-pool", "dm-snapshot", "drbd", "loop", *FAULT_MODULES)
KEY = "Bollard/DrbdImplementation"
SICK, WELL, OTHER = 2, 1, 3
MIB = 1 << 20


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    root = tmp_path_factory.mktemp("faults")
    with cluster(root, nodes=3, disks=2, disk_mib=512, load=MODULES) as made:
        for node in made.lab.nodes:
            device = made.lab.faulty_disk(node).lay() if node == SICK else "/dev/ubdb"
            made.lab.exec(node, "vgcreate", "-q", "vg", device)
            made.lab.exec(node, "lvcreate", "-q", "-L", "200M", "-T", "vg/tp")
            pool(made, node, "thin", "LVM_THIN", "vg/tp")
        yield made


@pytest.fixture
def disk(lab: LabCluster) -> Iterator[FaultyDisk]:
    """Of the sick node; well again at the end."""
    found = lab.lab.faulty_disk(SICK)
    yield found
    found.heal()


def _write(lab: LabCluster, name: str, data: bytes) -> None:
    """Durably, from the volume's start, on the well node."""
    path = volume(lab, name, WELL)["device_path"]
    if path.startswith("nbd"):
        lab.lab.exec(WELL, "sh", "-c", 'cat >/run/data && nbdcopy --flush /run/data "$0"', path, stdin=data)
        return
    minor = path.removeprefix("/dev/drbd")
    lab.lab.exec(WELL, "drbdsetup", "primary", minor)
    lab.lab.exec(WELL, "dd", f"of={path}", "bs=64k", "oflag=direct", "iflag=fullblock", stdin=data)
    script = f"until drbdsetup secondary {minor}; do sleep 0.1; done"
    lab.lab.exec(WELL, "timeout", "240", "sh", "-c", script)


def _digest(lab: LabCluster, name: str, node: int, length_bytes: int, group: str) -> str:
    """Of the storage below a volume, past every cache; its end, where DRBD keeps its own data, left out."""
    count = length_bytes >> 16
    read = f"dd if=/dev/{group}/{name}_00000 bs=64k count={count} iflag=direct status=none"
    command = f"{read} | sha256sum"
    return lab.lab.exec(node, "sh", "-c", command).split()[0]


def _same(lab: LabCluster, name: str, data: bytes, *nodes: int, group: str = "vg") -> None:
    assert len(data) % (1 << 16) == 0
    wanted = hashlib.sha256(data).hexdigest()
    assert {node: _digest(lab, name, node, len(data), group) for node in nodes} == dict.fromkeys(
        nodes, wanted
    )


def _said_of_pool(lab: LabCluster, node: int, name: str) -> str:
    pools = lab.call("GET", f"/v1/view/storage-pools?nodes=node{node}&storage_pools={name}")
    return " ".join(entry["message"] for one in pools for entry in one.get("reports", []))


def _gone(lab: LabCluster, name: str, *nodes: int) -> None:
    delete(lab, name)
    for node in nodes:
        lab.until(lambda node=node: f"{name}_00000" not in logical_volumes(lab, node), f"{name} to go")  # type: ignore[misc]


def test_a_device_that_fails_is_let_go_rebuilt_elsewhere_and_taken_back(
    lab: LabCluster, disk: FaultyDisk
) -> None:
    """Under the data process and under the kernel's DRBD 8.4 at once; nobody who writes notices."""
    define(lab, "served", "DRBD", "STORAGE")
    define(lab, "kernel", "DRBD", "STORAGE")
    lab.call("PUT", "/v1/resource-definitions/kernel", {"override_props": {KEY: "drbd84"}})
    for name in ("served", "kernel"):
        for node in (WELL, SICK):
            place(lab, name, node, "thin")
        wait_ready(lab, name, WELL, SICK)
        _write(lab, name, b"before" * 32768)
    disk.fail()
    data = {name: (name.encode() * 65536)[: 256 << 10] for name in ("served", "kernel")}
    for name in ("served", "kernel"):
        _write(lab, name, data[name])
        lab.until(lambda name=name: state(lab, name, SICK) in {"Diskless", "Failed"}, "it to be detached")  # type: ignore[misc]
        lab.until(lambda name=name: problem(lab, name, SICK) != "", "the trouble to be named")  # type: ignore[misc]
        assert state(lab, name, WELL) == "UpToDate"
        _same(lab, name, data[name], WELL)
    lab.until(lambda: bool(_said_of_pool(lab, SICK, "thin")), "the pool's trouble to be named")

    body = {"resource": {"props": {"StorPoolName": "thin"}}}
    path = f"/v1/resource-definitions/served/resources/node{OTHER}"
    lab.call("POST", path, body, ok=False)  # that the sick node has its trouble is said here, too
    wait_ready(lab, "served", OTHER)
    _same(lab, "served", data["served"], OTHER)

    disk.heal()
    # What a person does once the disk is in its place again: a thin pool that failed must be opened anew.
    lab.until(lambda: _opened_anew(lab.lab), "the volume group to be opened anew")
    for name in ("served", "kernel"):
        wait_ready(lab, name, WELL, SICK)
        _same(lab, name, data[name], WELL, SICK)
    lab.until(lambda: _said_of_pool(lab, SICK, "thin") == "", "the pool to be well")
    _gone(lab, "served", WELL, SICK, OTHER)
    _gone(lab, "kernel", WELL, SICK)


def _opened_anew(lab: Lab) -> bool:
    return all(lab.try_exec(SICK, "vgchange", "-q", "-a", way, "vg").code == 0 for way in "ny")


def test_a_thin_pool_that_runs_out_under_load_loses_nothing_and_recovers_when_it_grows(
    lab: LabCluster,
) -> None:
    """The sick node's pool is smaller than what is written; the well node has it all."""
    for node, size in ((WELL, "160M"), (SICK, "48M")):
        lab.lab.exec(node, "vgcreate", "-q", "tight", "/dev/ubdc")
        lab.lab.exec(node, "lvcreate", "-q", "-L", size, "-T", "tight/tp")
        pool(lab, node, "tight", "LVM_THIN", "tight/tp")
    # So long a full pool lets writers wait for somebody to extend it.
    waits = "/sys/module/dm_thin_pool/parameters/no_space_timeout"
    lab.lab.exec(SICK, "tee", waits, stdin=b"5")
    define(lab, "big", "DRBD", "STORAGE", sizes=(100 * 1024,))
    # Both at once: one that is added later is filled by a resync, and that alone is too much for the pool.
    props = {"StorPoolName": "tight"}
    both = [
        {"resource": {"name": "big", "node_name": f"node{node}", "props": props}} for node in (WELL, SICK)
    ]
    lab.call("POST", "/v1/resource-definitions/big/resources", both)
    wait_ready(lab, "big", WELL, SICK)
    line = "0123456789abcde"
    data = f"{line}\n".encode() * (5 << 20)
    path = volume(lab, "big", WELL)["device_path"]
    script = f'yes {line} | head -c {len(data)} >/var/data && nbdcopy --flush /var/data "$0"'
    lab.lab.exec(WELL, "sh", "-c", script, path)
    lab.until(lambda: state(lab, "big", SICK) in {"Diskless", "Failed"}, "the full side to let go")
    wait_problem(lab, "big", SICK, "lost its disk")
    lab.until(lambda: "is full" in _said_of_pool(lab, SICK, "tight"), "the pool to be called full")
    assert state(lab, "big", WELL) == "UpToDate"

    # Nothing new is made there, and nothing is left of the attempt.
    define(lab, "more", "STORAGE")
    body = {"resource": {"props": {"StorPoolName": "tight"}}}
    path = f"/v1/resource-definitions/more/resources/node{SICK}"
    said = str(lab.call("POST", path, body, ok=False))
    assert "tight" in said, said
    assert resource(lab, "more", SICK) is None
    assert set(logical_volumes(lab, SICK)) == {"big_00000"}

    lab.lab.exec(SICK, "lvextend", "-q", "-L", "+100M", "tight/tp")
    wait_ready(lab, "big", WELL, SICK)
    lab.until(lambda: _said_of_pool(lab, SICK, "tight") == "", "the pool to be well")
    _same(lab, "big", data, WELL, SICK, group="tight")
    place(lab, "more", SICK, "tight")
    wait_ready(lab, "more", SICK)
    _gone(lab, "more", SICK)
    _gone(lab, "big", WELL, SICK)
