"""The API's way to volumes that the kernel's DRBD 8.4 runs: chosen by a property, refused with the reason."""

from collections.abc import Iterator

import pytest

from bollard.lab.satellites import LabCluster
from lab_cluster import cluster, define, lacking, place, pool, volume, wait_ready

_LACKING = lacking("lvcreate", "thin_check", "drbdadm")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
KEY = "Bollard/DrbdImplementation"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    root = tmp_path_factory.mktemp("api")
    modules = ("drbd", "dm-thin-pool", "loop")
    with cluster(root, nodes=2, disks=1, disk_mib=512, load=modules) as made:
        for node in made.lab.nodes:
            made.lab.exec(node, "vgcreate", "-q", "vg", "/dev/ubdb")
            made.lab.exec(node, "lvcreate", "-q", "-L", "256M", "-T", "vg/tp")
            made.lab.exec(node, "mkdir", "-p", "/var/pool")
            pool(made, node, "thin", "LVM_THIN", "vg/tp")
            pool(made, node, "file", "FILE_THIN", "/var/pool")
        yield made


def _pinned(lab: LabCluster, name: str, value: str) -> None:
    define(lab, name, "DRBD", "STORAGE")
    lab.call("PUT", f"/v1/resource-definitions/{name}", {"override_props": {KEY: value}})


def _size_kib(lab: LabCluster, node: int, path: str) -> int:
    """Of a device that nobody may open now."""
    return int(lab.lab.exec(node, "cat", f"/sys/block/{path.removeprefix('/dev/')}/size")) // 2


def _healthy(lab: LabCluster, node: int, name: str) -> bool:
    cstate, dstate = (lab.lab.try_exec(node, "drbdadm", word, name).stdout for word in ("cstate", "dstate"))
    return (cstate.strip(), dstate.strip()) == ("Connected", "UpToDate/UpToDate")


def _refusal(lab: LabCluster, method: str, path: str, body: object) -> str:
    found = lab.call(method, path, body, ok=False)
    return " ".join(f"{one['message']} {one.get('cause', '')}" for one in found)


def test_a_volume_of_84_from_creation_to_removal(lab: LabCluster) -> None:
    _pinned(lab, "eight", "drbd84")
    for node in (1, 2):
        place(lab, "eight", node, "thin")
    wait_ready(lab, "eight", 1, 2)
    path = volume(lab, "eight", 1)["device_path"]
    assert path.startswith("/dev/drbd")
    assert _size_kib(lab, 1, path) == 20480
    for node in (1, 2):
        lab.until(lambda node=node: _healthy(lab, node, "eight"), "both to be connected")  # type: ignore[misc]
    quorum = _refusal(
        lab,
        "PUT",
        "/v1/resource-definitions/eight",
        {"override_props": {"DrbdOptions/Resource/quorum": "majority"}},
    )
    assert "cannot have quorum" in quorum
    assert "8.4" in quorum
    lab.call("PUT", "/v1/resource-definitions/eight/volume-definitions/0", {"size_kib": 40960})
    lab.until(lambda: _size_kib(lab, 2, path) == _size_kib(lab, 1, path) == 40960, "both to be larger")
    lab.call("DELETE", "/v1/resource-definitions/eight")
    for node in (1, 2):
        lab.until(lambda node=node: "eight" not in lab.lab.exec(node, "lvs"), "the storage to go")  # type: ignore[misc]
        assert "eight" not in lab.lab.exec(node, "ls", "/var/lib/bollard/drbd.d")


def test_what_cannot_work_is_refused_with_the_reason(lab: LabCluster) -> None:
    _pinned(lab, "filed", "drbd84")
    body = {"resource": {"props": {"StorPoolName": "file"}}}
    said = _refusal(lab, "POST", "/v1/resource-definitions/filed/resources/node1", body)
    assert "plain files" in said
    _pinned(lab, "nine", "drbd9")
    body = {"resource": {"props": {"StorPoolName": "thin"}}}
    said = _refusal(lab, "POST", "/v1/resource-definitions/nine/resources/node1", body)
    assert "DRBD 8.4.11" in said
    define(lab, "own", "DRBD", "STORAGE")
    place(lab, "own", 1, "thin")
    wait_ready(lab, "own", 1)
    assert volume(lab, "own", 1)["device_path"].startswith("nbd+unix:"), "8.4 only where it is asked for"
    said = _refusal(lab, "PUT", "/v1/resource-definitions/own", {"override_props": {KEY: "drbd84"}})
    assert "metadata of another version" in said
