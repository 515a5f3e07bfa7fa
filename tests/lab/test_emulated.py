"""A stock kernel under QEMU: volumes that another node uses by NVMe over TCP, and VDO, through the API."""

import shutil
from collections.abc import Iterator

import pytest

from bollard.lab.beside import BesideCluster
from bollard.lab.emulated import EmulatedLab, find_emulated_kernel
from bollard.lab.network import data_address
from bollard.lab.satellites import LabCluster
from bollard.satellite.tools.device_pool import VDO_LVM, lvm_version
from lab_cluster import (
    cluster,
    define,
    delete,
    lacking,
    logical_volumes,
    place,
    pool,
    resource,
    volume,
    wait_ready,
)

_LACKING = lacking("lvcreate", "thin_check", "modprobe", kernel=find_emulated_kernel)
pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(3600),  # some two minutes of work on two idle processors
    pytest.mark.skipif(bool(_LACKING), reason=_LACKING),
]
_MODULES = ("dm-thin-pool", "dm-snapshot", "dm-vdo")
_BLOCK = 4096
_NVMET = "/sys/kernel/config/nvmet"
_VOLUME = "/v1/resource-definitions/shared/volume-definitions/0"
_RESOURCE = "/v1/resource-definitions/shared/resources/node"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    root = tmp_path_factory.mktemp("emulated")
    with cluster(
        root,
        nodes=2,
        disks=2,
        disk_mib=8192,
        load=_MODULES,
        kind=EmulatedLab,
        satellites=BesideCluster,
        memory_mib=1024,
    ) as made:
        made.lab.exec(1, "vgcreate", "-q", "vg", made.lab.device(0))
        made.lab.exec(1, "lvcreate", "-q", "-L", "512M", "-T", "vg/tp")
        pool(made, 1, "thin", "LVM_THIN", "vg/tp")
        yield made


def _path(lab: LabCluster, name: str, node: int) -> str:
    return str(volume(lab, name, node).get("device_path", ""))


def _put(lab: LabCluster, node: int, path: str, word: str) -> None:
    block = word.encode().ljust(_BLOCK)
    lab.lab.exec(node, "dd", f"of={path}", "bs=4096", "conv=nocreat,fsync", "oflag=direct", stdin=block)


def _get(lab: LabCluster, node: int, path: str) -> str:
    return lab.lab.exec(node, "dd", f"if={path}", "iflag=direct", "bs=4096", "count=1").strip()


def _sectors(lab: LabCluster, node: int, path: str) -> int:
    return int(lab.lab.exec(node, "blockdev", "--getsz", path))


def _folder(lab: LabCluster, node: int, path: str) -> list[str]:
    return lab.lab.exec(node, "@list", path).split()


def _power_cut(lab: LabCluster, node: int) -> None:
    lab.stop_satellite(node, kill=True)
    lab.lab.kill(node)
    lab.lab.boot(node)
    lab.start_satellite(node)
    lab.wait_online(node)


def test_a_volume_is_used_on_another_node(lab: LabCluster) -> None:
    """Create, write over there, grow, a power cut of each node, delete; neither kernel keeps anything."""
    define(lab, "shared", "NVME", "STORAGE")
    place(lab, "shared", 1, "thin")
    lab.call("POST", _RESOURCE + "2", {"resource": {"flags": ["NVME_INITIATOR"]}})
    wait_ready(lab, "shared", 1, 2)
    view = resource(lab, "shared", 2)
    assert view is not None
    assert view["flags"] == ["DISKLESS", "NVME_INITIATOR"]
    assert view["layer_object"]["nvme"]["nvme_volumes"][0]["usable_size_kib"] == 20480
    path = _path(lab, "shared", 2)
    assert path.startswith("/dev/nvme")
    assert data_address(1) in lab.lab.exec(2, "cat", "/sys/class/nvme/nvme0/address")
    _put(lab, 2, path, "written over there")
    assert _get(lab, 1, _path(lab, "shared", 1)) == "written over there"
    lab.call("PUT", _VOLUME, {"size_kib": 40960})
    lab.until(lambda: _sectors(lab, 2, path) == 81920, "the volume to grow over there")

    for node in (1, 2):
        _power_cut(lab, node)
        wait_ready(lab, "shared", 1, 2)
        assert _get(lab, 2, _path(lab, "shared", 2)) == "written over there"

    refused = lab.call("DELETE", _RESOURCE + "1", ok=False)
    assert "use its disk by NVMe: node2" in str(refused)
    delete(lab, "shared")
    lab.until(lambda: _folder(lab, 2, "/sys/class/nvme") == [], "the connection to go")
    lab.until(lambda: "shared_00000" not in logical_volumes(lab, 1), "the volume to go")
    for name in ("hosts", "ports", "subsystems"):
        assert _folder(lab, 1, f"{_NVMET}/{name}") == []


def test_a_thin_pool_on_vdo_or_the_reason_why_not(lab: LabCluster) -> None:
    """LVM before 2.03.24 cannot; then nothing has been written."""
    device = lab.lab.device(1)
    body = {
        "provider_kind": "LVM_THIN",
        "device_paths": [device],
        "pool_name": "dense",
        "vdo_enable": True,
        "vdo_slab_size_kib": 131072,
        "with_storage_pool": {"name": "dense"},
    }
    able = lvm_version(lab.lab.exec(1, "lvm", "version")) >= VDO_LVM and shutil.which("vdoformat")
    said = lab.call("POST", "/v1/physical-storage/node1", body, ok=False)
    if not able:
        assert "package vdo" in str(said) or "2.03.24" in str(said)
        assert lab.lab.try_exec(1, "blkid", "--probe", device).code == 2, "it carries something"
        return
    define(lab, "packed", "STORAGE")
    place(lab, "packed", 1, "dense")
    wait_ready(lab, "packed", 1)
    _put(lab, 1, _path(lab, "packed", 1), "packed word")
    assert _get(lab, 1, _path(lab, "packed", 1)) == "packed word"
    delete(lab, "packed")
    lab.until(lambda: "packed_00000" not in logical_volumes(lab, 1), "the volume to go")
