"""Snapshots of volumes of DRBD 8.4: equal on both nodes under a writer, and nothing stays held."""

from collections.abc import Iterator

import pytest

from bollard.lab.satellites import LabCluster
from bollard.satellite import guard
from lab_cluster import cluster, define, lacking, place, pool, volume, wait_ready

_LACKING = lacking("lvcreate", "thin_check", "drbdadm")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
KEY = "Bollard/DrbdImplementation"
_NET_KIB = 20480
_WRITER = "tr '\\0' x </dev/zero | dd of={path} bs=4096 oflag=direct iflag=fullblock count=4000 2>/dev/null"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    root = tmp_path_factory.mktemp("snapshots")
    with cluster(root, nodes=2, disks=1, disk_mib=512, load=("drbd", "dm-thin-pool", "loop")) as made:
        for node in made.lab.nodes:
            made.lab.exec(node, "vgcreate", "-q", "vg", "/dev/ubdb")
            made.lab.exec(node, "lvcreate", "-q", "-L", "256M", "-T", "vg/tp")
            pool(made, node, "thin", "LVM_THIN", "vg/tp")
        made.call("POST", "/v1/controller/properties", {"override_props": {KEY: "drbd84"}})
        yield made


def _made(lab: LabCluster, name: str) -> str:
    """A replicated volume, promoted on node 1; its device."""
    define(lab, name, "DRBD", "STORAGE", sizes=(_NET_KIB,))
    for node in (1, 2):
        place(lab, name, node, "thin")
    wait_ready(lab, name, 1, 2)
    path = str(volume(lab, name, 1)["device_path"])
    lab.until(lambda: lab.lab.try_exec(1, "drbdadm", "primary", name).code == 0, "the promotion")
    return path


def _sum_of(lab: LabCluster, node: int, kept: str) -> str:
    """Of the net part of a logical volume."""
    lab.lab.exec(node, "lvchange", "-ay", "-K", f"vg/{kept}")
    script = f"dd if=/dev/vg/{kept} bs=1k count={_NET_KIB} 2>/dev/null | md5sum"
    try:
        return lab.lab.exec(node, "sh", "-c", script).split()[0]
    finally:
        lab.lab.exec(node, "lvchange", "-an", f"vg/{kept}")


def _put(lab: LabCluster, path: str, word: str) -> None:
    block = word.encode().ljust(4096)
    lab.lab.exec(1, "dd", f"of={path}", "bs=4096", "conv=nocreat,fsync", "oflag=direct", stdin=block)


def _take(lab: LabCluster, name: str, snapshot: str) -> None:
    """A machine that is too slow for the deadline gives a snapshot up, and may be asked again."""
    path = f"/v1/resource-definitions/{name}/snapshots"

    def taken() -> bool:
        lab.call("POST", path, {"name": snapshot}, ok=False)
        if "SUCCESSFUL" in lab.call("GET", f"{path}/{snapshot}").get("flags", []):
            return True
        lab.call("DELETE", f"{path}/{snapshot}", ok=False)
        return False

    lab.until(taken, f"snapshot {snapshot} of {name}", 600.0)


def _suspended(lab: LabCluster, node: int) -> bool:
    return "suspended:user" in lab.lab.exec(node, "drbdsetup", "events2", "--now")


def test_both_nodes_keep_the_same_instant_under_a_writer(lab: LabCluster) -> None:
    path = _made(lab, "busy")
    writer = lab.lab.try_exec(1, "sh", "-c", _WRITER.format(path=path), background=True)
    assert writer.code == 0
    _take(lab, "busy", "s1")
    assert _sum_of(lab, 1, "busy_00000_s1") == _sum_of(lab, 2, "busy_00000_s1")
    for node in (1, 2):
        assert not _suspended(lab, node), "it goes on"
        assert "busy.res.frozen" in lab.lab.exec(node, "ls", "/var/lib/bollard/drbd.d")


def test_io_goes_on_at_the_deadline_though_the_satellite_is_dead(lab: LabCluster) -> None:
    """The guard alone is left: nothing else on the node knows of the freeze."""
    path = _made(lab, "held")
    lab.stop_satellite(1)
    minor = path.removeprefix("/dev/drbd")
    frozen = "/var/lib/bollard/drbd.d/held.res.frozen"
    record = f'{{"token":"t","minors":[{minor}],"over":false}}'
    lab.lab.exec(1, "sh", "-c", f"cat >{frozen}", stdin=record.encode())
    started = lab.lab.try_exec(1, *guard.argv(frozen, "t", (int(minor),), 3000), background=True)
    assert started.code == 0
    lab.lab.exec(1, "drbdsetup", "suspend-io", minor)
    assert _suspended(lab, 1)
    lab.until(lambda: not _suspended(lab, 1), "the guard to end it")
    _put(lab, path, "it goes on")
    lab.start_satellite(1)
    wait_ready(lab, "held", 1, 2)
