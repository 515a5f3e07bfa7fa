"""Real satellites over LVM on a real kernel: volumes from creation to removal, and what can go wrong."""

from collections.abc import Iterator

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
    take_snapshot,
    volume,
    wait_problem,
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
    """Create, grow, snapshot, restore, roll back, delete: the block device itself is what users open."""
    name = f"plain-{where}"
    define(lab, name, "STORAGE")
    place(lab, name, 1, where)
    wait_ready(lab, name, 1)
    path = volume(lab, name, 1)["device_path"]
    assert path == f"/dev/vg/{name}_00000"
    _put(lab, 1, path, "first")
    lab.call("PUT", f"/v1/resource-definitions/{name}/volume-definitions/0", {"size_kib": 40960})
    lab.until(lambda: logical_volumes(lab, 1)[f"{name}_00000"] == 40, "the volume to grow")
    wait_ready(lab, name, 1)
    take_snapshot(lab, name, "s1")
    assert f"{name}_00000_s1" in logical_volumes(lab, 1)
    _put(lab, 1, path, "second")

    copy = f"copy-{where}"
    define(lab, copy, "STORAGE", sizes=())
    for verb in ("volume-definition", "resource"):
        to = {"to_resource": copy}
        lab.call("POST", f"/v1/resource-definitions/{name}/snapshot-restore-{verb}/s1", to)
    wait_ready(lab, copy, 1)
    assert _get(lab, 1, volume(lab, copy, 1)["device_path"]) == "first"
    assert _get(lab, 1, path) == "second"
    lab.call("POST", f"/v1/resource-definitions/{name}/snapshot-rollback/s1")
    lab.until(lambda: _rolled_back(lab, name), "the volume to be rolled back")

    lab.call("DELETE", f"/v1/resource-definitions/{name}/snapshots/s1")
    for one in (name, copy):
        delete(lab, one)
    _wait_gone(lab, 1, where)


def _rolled_back(lab: LabCluster, name: str) -> bool:
    path = volume(lab, name, 1).get("device_path", "")
    return bool(path) and state(lab, name, 1) == "Created" and _get(lab, 1, path) == "first"


def _wait_gone(lab: LabCluster, node: int, word: str) -> None:
    lab.until(
        lambda: not any(word in name for name in logical_volumes(lab, node)), f"{word} to go from node{node}"
    )


def test_replicas_on_thin_volumes_survive_a_power_cut(lab: LabCluster) -> None:
    """Two nodes; one loses its power while the volume grows and comes back to the same."""
    define(lab, "twice", "DRBD", "STORAGE")
    for node in (1, 2):
        place(lab, "twice", node, "thin")
    wait_ready(lab, "twice", 1, 2)
    lab.lose(2)
    lab.call("PUT", "/v1/resource-definitions/twice/volume-definitions/0", {"size_kib": 40960})
    define(lab, "later", "STORAGE")
    place(lab, "later", 2, "thin")
    lab.bring_back(2)
    wait_ready(lab, "twice", 1, 2)
    wait_ready(lab, "later", 2)
    lab.until(
        lambda: all(logical_volumes(lab, node)["twice_00000"] == 44 for node in (1, 2)), "both to be grown"
    )
    for name in ("twice", "later"):
        delete(lab, name)
    for node in (1, 2):
        _wait_gone(lab, node, "twice")
    _wait_gone(lab, 2, "later")


def test_a_satellite_that_is_killed_again_and_again_ends_with_the_same(lab: LabCluster) -> None:
    """Killed in the middle of creating many: nothing twice, nothing missing, nothing of strangers touched."""
    lab.lab.exec(1, "lvcreate", "-q", "-y", "-L", "4M", "-n", "stranger", "vg")
    names = [f"many{number}" for number in range(6)]
    for name in names:
        define(lab, name, "STORAGE", sizes=(8192,))
    for index, name in enumerate(names):
        lab.call(
            "POST",
            f"/v1/resource-definitions/{name}/resources/node1?async_msg=true",
            {"resource": {"props": {"StorPoolName": "thin" if index % 2 else "thick"}}},
        )
        if index % 2:
            lab.restart_satellite(1, kill=True)
    for name in names:
        wait_ready(lab, name, 1)
    expected = {f"{name}_00000": 8 for name in names} | {"stranger": 4}
    assert logical_volumes(lab, 1) == expected
    for name in names:
        delete(lab, name)
    _wait_gone(lab, 1, "many")
    assert logical_volumes(lab, 1) == {"stranger": 4}
    lab.lab.exec(1, "lvremove", "-q", "-y", "vg/stranger")


def test_a_stranger_under_our_name_is_said_and_stays(lab: LabCluster) -> None:
    lab.lab.exec(1, "lvcreate", "-q", "-y", "-L", "4M", "-n", "taken_00000", "vg")
    define(lab, "taken", "STORAGE")
    body = {"resource": {"props": {"StorPoolName": "thick"}}}
    lab.call("POST", "/v1/resource-definitions/taken/resources/node1", body, ok=False)
    wait_problem(lab, "taken", 1, "is not Bollard's volume")
    delete(lab, "taken")
    lab.until(lambda: not _defined(lab, "taken"), "the definition to go")
    assert logical_volumes(lab, 1) == {"taken_00000": 4}
    lab.lab.exec(1, "lvremove", "-q", "-y", "vg/taken_00000")


def _defined(lab: LabCluster, name: str) -> bool:
    return name in {one["name"] for one in lab.call("GET", "/v1/resource-definitions")}


def test_a_group_that_is_full_stops_one_and_not_the_others(lab: LabCluster) -> None:
    """The space is gone before the controller knows; the volume is made as soon as there is room."""
    lab.lab.exec(1, "lvcreate", "-q", "-y", "-l", "100%FREE", "-n", "filler", "vg")
    define(lab, "waits", "STORAGE")
    body = {"resource": {"props": {"StorPoolName": "thick"}}}
    answer = lab.call("POST", "/v1/resource-definitions/waits/resources/node1", body, ok=False)
    if resource(lab, "waits", 1) is None:
        assert any("cannot take" in str(entry) for entry in answer), answer
    else:
        wait_problem(lab, "waits", 1, "no space")
    define(lab, "goes", "STORAGE")
    place(lab, "goes", 1, "thin")
    wait_ready(lab, "goes", 1)
    lab.lab.exec(1, "lvremove", "-q", "-y", "vg/filler")
    lab.until(lambda: _made(lab, "waits"), "the volume to be made after all")
    for name in ("waits", "goes"):
        delete(lab, name)
        _wait_gone(lab, 1, name)


def _made(lab: LabCluster, name: str) -> bool:
    """It is retried by the satellite, or asked for again when the controller knew that there was no room."""
    if resource(lab, name, 1) is None:
        body = {"resource": {"props": {"StorPoolName": "thick"}}}
        lab.call("POST", f"/v1/resource-definitions/{name}/resources/node1", body, ok=False)
    return state(lab, name, 1) == "Created"


def test_a_thin_pool_warns_before_it_is_full_and_says_when_it_is(lab: LabCluster) -> None:
    define(lab, "fat", "STORAGE", sizes=(600 * 1024,))
    place(lab, "fat", 2, "thin")
    wait_ready(lab, "fat", 2)
    path = volume(lab, "fat", 2)["device_path"]
    lab.lab.exec(2, "dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=390", "oflag=direct", "conv=nocreat")
    lab.until(lambda: "more than 70 %" in _pool_says(lab), "the warning")
    # Otherwise the writer waits a minute for space.
    lab.lab.exec(2, "lvchange", "--errorwhenfull", "y", "vg/tp")
    full = lab.lab.try_exec(2, "dd", "if=/dev/zero", f"of={path}", "bs=1M", "oflag=direct", "conv=nocreat")
    assert full.code != 0
    lab.until(lambda: "is full" in _pool_says(lab), "the pool to be called full")
    delete(lab, "fat")
    _wait_gone(lab, 2, "fat")
    lab.until(lambda: _pool_says(lab) == "", "the pool to be well again")


def _pool_says(lab: LabCluster) -> str:
    pools = lab.call("GET", "/v1/view/storage-pools?nodes=node2&storage_pools=thin")
    return " ".join(entry["message"] for one in pools for entry in one.get("reports", []))


def test_what_nothing_names_is_reported_and_left(lab: LabCluster) -> None:
    tags = ("node=node1", "resource=ghost", "number=0", "volume=0000-ghost")
    words = [word for tag in tags for word in ("--addtag", f"bollard.{tag}")]
    lab.lab.exec(1, "lvcreate", "-q", "-y", "-L", "4M", "-n", "ghost_00000", *words, "vg")
    lab.restart_satellite(1)
    lab.until(lambda: "ghost_00000" in lab.log(1), "the leftover to be named")
    assert logical_volumes(lab, 1) == {"ghost_00000": 4}
    lab.lab.exec(1, "lvremove", "-q", "-y", "vg/ghost_00000")


def test_missing_tools_are_named(lab: LabCluster) -> None:
    lab.lab.exec(2, "mv", "/usr/sbin/thin_check", "/usr/sbin/thin_check.away")
    lab.restart_satellite(2)
    (node,) = (one for one in lab.call("GET", "/v1/nodes") if one["name"] == "node2")
    assert "thin-provisioning-tools" in str(node["unsupported_providers"]["LVM_THIN"])
    assert "LVM" in node["storage_providers"]
    lab.lab.exec(2, "mv", "/usr/sbin/thin_check.away", "/usr/sbin/thin_check")


def test_files_stand_beside_it(lab: LabCluster) -> None:
    define(lab, "plainfile", "STORAGE")
    place(lab, "plainfile", 1, "file")
    wait_ready(lab, "plainfile", 1)
    assert volume(lab, "plainfile", 1)["device_path"].startswith("nbd+unix:///plainfile/0")
    delete(lab, "plainfile")
    lab.until(lambda: lab.lab.exec(1, "ls", "/var/pool") == "", "the file to go")
