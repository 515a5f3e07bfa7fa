"""A stock kernel under QEMU: volumes that other nodes use by NVMe over TCP, through the API."""

from collections.abc import Iterator

import pytest

from bollard.lab.emulated import EmulatedLab, find_emulated_kernel
from bollard.lab.network import data_address
from bollard.lab.satellites import LabCluster
from lab_cluster import (
    cluster,
    define,
    lacking,
    place,
    pool,
    resource,
    volume,
    wait_ready,
)

_LACKING = lacking("lvcreate", "thin_check", "modprobe", kernel=find_emulated_kernel)
pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(_LACKING), reason=_LACKING),
]
_MODULES = ("dm-thin-pool", "dm-snapshot", "dm-vdo")
_BLOCK = 4096


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    root = tmp_path_factory.mktemp("emulated")
    with cluster(
        root, nodes=2, disks=2, disk_mib=8192, load=_MODULES, kind=EmulatedLab, memory_mib=640
    ) as made:
        made.lab.exec(1, "vgcreate", "-q", "vg", made.lab.device(0))
        made.lab.exec(1, "lvcreate", "-q", "-L", "512M", "-T", "vg/tp")
        pool(made, 1, "thin", "LVM_THIN", "vg/tp")
        yield made


def _initiate(lab: LabCluster, name: str, node: int) -> None:
    body = {"resource": {"flags": ["NVME_INITIATOR"]}}
    lab.call("POST", f"/v1/resource-definitions/{name}/resources/node{node}", body)


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


_NVMET = "/sys/kernel/config/nvmet"


def test_a_volume_is_used_on_another_node(lab: LabCluster) -> None:
    """Create, write over there, grow, power cut of each node, delete; nothing is left in either kernel."""
    define(lab, "shared", "NVME", "STORAGE")
    place(lab, "shared", 1, "thin")
    wait_ready(lab, "shared", 1)
    refused = lab.call(
        "POST",
        "/v1/resource-definitions/shared/resources/node2",
        {"resource": {"props": {"StorPoolName": "thin"}}},
        ok=False,
    )
    assert "has its disk on 'node1'" in str(refused)
    _initiate(lab, "shared", 2)
    wait_ready(lab, "shared", 1, 2)
    view = resource(lab, "shared", 2)
    assert view is not None
    assert view["flags"] == ["DISKLESS", "NVME_INITIATOR"]
    path = _path(lab, "shared", 2)
    assert path.startswith("/dev/nvme")
    assert _folder(lab, 1, f"{_NVMET}/subsystems") == ["LS-NVMe_shared"]
    assert data_address(1) in lab.lab.exec(2, "cat", "/sys/class/nvme/nvme0/address")
    _put(lab, 2, path, "written over there")
    assert _get(lab, 1, _path(lab, "shared", 1)) == "written over there"
