"""Bare disks of a real kernel: offered, made into pools with and without RAID, refused once they are used."""

from collections.abc import Iterator

import pytest

from bollard.lab.satellites import LabCluster
from lab_cluster import cluster, define, lacking, place, volume, wait_ready

_LACKING = lacking("lvcreate", "thin_check", "mdadm")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    root = tmp_path_factory.mktemp("devices")
    load = ("dm-thin-pool", "raid1", "loop")
    with cluster(root, nodes=1, disks=5, disk_mib=1100, load=load) as made:
        yield made


def _offered(lab: LabCluster) -> set[str]:
    """Nothing while the node is busy for too long to say."""
    found = lab.call("GET", "/v1/physical-storage/node1", ok=False)
    return {one.get("device", "") for one in found}


def _wait_taken(lab: LabCluster, *devices: str) -> None:
    """The list follows what udev knows, and that comes a moment after the change."""

    def taken() -> bool:
        found = _offered(lab)
        return "/dev/ubde" in found and found.isdisjoint(devices)

    lab.until(taken, f"{', '.join(devices)} to be offered no more")


def _make(lab: LabCluster, kind: str, name: str, *devices: str, **more: object) -> list[dict[str, object]]:
    body = {
        "provider_kind": kind,
        "device_paths": list(devices),
        "pool_name": name,
        "with_storage_pool": {"name": name},
        **more,
    }
    answer: list[dict[str, object]] = lab.call("POST", "/v1/physical-storage/node1", body, ok=False)
    return answer


def _refused(answer: list[dict[str, object]]) -> bool:
    """Whether there is an error among it; that a busy node needs longer is a warning."""
    return any(int(str(entry["ret_code"])) >> 62 & 3 == 3 for entry in answer)


def test_disks_become_pools_and_are_offered_no_more(lab: LabCluster) -> None:
    lab.lab.exec(1, "mkfs.ext4", "-q", "/dev/ubdf")
    bare = {"/dev/ubdb", "/dev/ubdc", "/dev/ubdd", "/dev/ubde"}
    lab.until(lambda: bare <= _offered(lab), "the bare disks to be offered")
    _wait_taken(lab, "/dev/ubdf")
    answer = _make(lab, "LVM_THIN", "fast", "/dev/ubdb")
    assert not _refused(answer), answer
    _wait_taken(lab, "/dev/ubdb")
    define(lab, "one", "STORAGE")
    place(lab, "one", 1, "fast")
    wait_ready(lab, "one", 1)
    assert volume(lab, "one", 1)["device_path"] == "/dev/linstor_fast/one_00000"

    answer = _make(lab, "LVM", "mirror", "/dev/ubdc", "/dev/ubdd", raid_level="RAID1")
    assert not _refused(answer), answer
    assert "raid1" in lab.lab.exec(1, "cat", "/proc/mdstat")
    _wait_taken(lab, "/dev/ubdc", "/dev/ubdd")


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_plain_volume_gets_its_file_system_and_keeps_it(lab: LabCluster, kind: str) -> None:
    name = f"with-{kind}"
    define(lab, name, "STORAGE", sizes=(327680,))
    given = {"FileSystem/Type": kind, "FileSystem/User": "33", "FileSystem/Group": "34"}
    lab.call("PUT", f"/v1/resource-definitions/{name}", {"override_props": given})
    place(lab, name, 1, "fast")
    wait_ready(lab, name, 1)
    path = volume(lab, name, 1)["device_path"]
    tools = ("blkid", "-p", "-o", "value", "-s", "UUID", path)
    uuid = lab.lab.exec(1, *tools)
    lab.lab.exec(1, "sh", "-c", f"modprobe {kind}; mkdir -p /mnt/x && mount -t {kind} {path} /mnt/x")
    assert lab.lab.exec(1, "stat", "-c", "%u:%g", "/mnt/x").strip() == "33:34"
    lab.lab.exec(1, "umount", "/mnt/x")
    lab.restart_satellite(1)
    wait_ready(lab, name, 1)
    assert lab.lab.exec(1, *tools) == uuid


def test_what_is_used_or_carries_something_is_refused_before_it_is_touched(lab: LabCluster) -> None:
    before = lab.lab.exec(1, "dd", "if=/dev/ubdf", "bs=1M", "count=1", "status=none").strip()
    for path, why in (("/dev/ubdf", "signature of ext4"), ("/dev/nope", "no block device")):
        answer = _make(lab, "LVM", "never", "/dev/ubde", path)
        assert why in str(answer), answer
        lab.until(lambda: "/dev/ubde" in _offered(lab), "it to be offered still: it was not touched")
    assert lab.lab.exec(1, "dd", "if=/dev/ubdf", "bs=1M", "count=1", "status=none").strip() == before
    answer = _make(lab, "LVM", "linstor_fast", "/dev/ubde")
    assert "already" in str(answer), answer
