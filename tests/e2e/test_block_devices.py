"""Volumes of the data process as block devices, over the API and on the real kernel, as clients use them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from block_cluster import BlockCluster, block_cluster, lacking, mounted, must, run
from bollard.satellite.host import loop_devices

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(lacking()), reason=lacking())]
MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockCluster]:
    with block_cluster(tmp_path_factory.mktemp("nodes")) as running:
        yield running


def test_a_file_system_moves_from_node_to_node(cluster: BlockCluster, tmp_path: Path) -> None:
    cluster.spawn("moves", "alpha", "beta")
    one, other = cluster.device("moves", "alpha"), cluster.device("moves", "beta")
    volume = cluster.view("moves", "alpha")["volumes"][0]
    assert volume["nbd_uri"].startswith("nbd+unix:///moves/0?")
    assert cluster.call("GET", "/v1/nodes/alpha")["attach"] == "loop"
    link = cluster.root / "alpha" / "by-res" / "moves" / "0"
    assert str(link.readlink()) == one
    must("mkfs.ext4", "-q", one)
    with mounted(one, tmp_path / "mnt") as where:
        (where / "word").write_bytes(kept := os.urandom(3 * MIB))
        must("sync", where / "word")
        cluster.until(lambda: cluster.view("moves", "alpha")["state"]["in_use"])
        refused = run("mount", other, where)
        assert refused.returncode != 0, "the other node is Primary"
        assert "error" in run("dd", f"if={other}", "of=/dev/null", "bs=4096", "count=1").stderr.lower()
    cluster.until_free("moves", "alpha")
    with mounted(other, tmp_path / "mnt") as where:
        assert (where / "word").read_bytes() == kept
    # At once: the first request here waits until the volume is let go of there.
    must("e2fsck", "-fn", one)
    cluster.delete("/v1/resource-definitions/moves")
    cluster.until(lambda: not Path(one).exists() and not Path(other).exists() and not link.is_symlink())


def test_a_mounted_volume_is_not_deleted_and_the_client_path_works(
    cluster: BlockCluster, tmp_path: Path
) -> None:
    """What the CSI driver does: make available, format, mount, unmount, take the client away, delete."""
    cluster.spawn("claim", "alpha", "beta")
    device = cluster.make_available("claim", "gamma")
    assert "DISKLESS" in cluster.view("claim", "gamma")["flags"]
    assert not run("blkid", "-o", "value", "-s", "TYPE", device).stdout
    must("mkfs.ext4", "-q", device)
    with mounted(device, tmp_path / "mnt") as where:
        (where / "word").write_bytes(b"kept")
        cluster.until(lambda: cluster.view("claim", "gamma")["state"]["in_use"])
        for path in ("/v1/resource-definitions/claim", "/v1/resource-definitions/claim/resources/gamma"):
            refused = cluster.rest.call("DELETE", path)
            assert not refused.ok
            assert "gamma" in str(refused.body)
    cluster.delete("/v1/resource-definitions/claim/resources/gamma?keep_tiebreaker=true")
    cluster.until(lambda: not Path(device).exists())
    again = cluster.make_available("claim", "beta")
    with mounted(again, tmp_path / "mnt") as where:
        assert (where / "word").read_bytes() == b"kept"
    cluster.delete("/v1/resource-definitions/claim")
    cluster.until(lambda: not cluster.call("GET", "/v1/view/resources?resources=claim"))


def test_it_grows_under_a_file_system(cluster: BlockCluster, tmp_path: Path) -> None:
    cluster.spawn("grows", "alpha", "beta", size_mib=32)
    device = cluster.device("grows", "alpha")
    must("mkfs.ext4", "-q", device)
    with mounted(device, tmp_path / "mnt") as where:
        (where / "word").write_bytes(kept := os.urandom(MIB))
        cluster.call("PUT", "/v1/resource-definitions/grows/volume-definitions/0", size_kib=96 << 10)
        size = Path(f"/sys/block/{device.removeprefix('/dev/')}/size")
        cluster.until(lambda: int(size.read_text()) * 512 == 96 * MIB)
    must("e2fsck", "-fy", device)
    must("resize2fs", device)
    with mounted(device, tmp_path / "mnt") as where:
        found = os.statvfs(where)
        assert found.f_blocks * found.f_frsize > 80 * MIB
        assert (where / "word").read_bytes() == kept


def test_when_the_data_process_dies_there_are_errors_and_never_wrong_data(
    cluster: BlockCluster, tmp_path: Path
) -> None:
    cluster.spawn("dies", "alpha", "beta")
    device = cluster.device("dies", "alpha")
    must("mkfs.ext4", "-q", device)
    with mounted(device, tmp_path / "mnt") as where:
        (where / "word").write_bytes(kept := os.urandom(MIB))
        must("sync", "-f", where)
        for pid in cluster.servers.data_processes("alpha"):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(OSError, match="error|ead-only"):
            _fill(where)
        fresh = cluster.until(
            lambda: (path := cluster.device("dies", "alpha")) != device and Path(path).exists() and path
        )
    cluster.until(lambda: device not in {loop.path for loop in loop_devices.found("/dies/")})
    assert run("e2fsck", "-fy", fresh).returncode in (0, 1), "the journal is played, and counters follow"
    must("e2fsck", "-fn", fresh)
    with mounted(fresh, tmp_path / "mnt") as where:
        assert (where / "word").read_bytes() == kept


def _fill(where: Path) -> None:
    for number in range(1000):
        with (where / f"more{number}").open("wb") as out:
            out.write(bytes(MIB))
            os.fsync(out.fileno())


def test_attaching_can_be_switched_off(cluster: BlockCluster) -> None:
    cluster.spawn("off", "alpha")
    device = cluster.device("off", "alpha")
    path = "/v1/resource-definitions/off"
    cluster.call("PUT", path, override_props={"Bollard/Attach": "none"})
    cluster.until(lambda: not Path(device).exists())
    cluster.until(lambda: cluster.view("off", "alpha")["volumes"][0]["device_path"].startswith("nbd"))
    cluster.call("PUT", path, delete_props=["Bollard/Attach"])
    assert cluster.device("off", "alpha") == device
