"""Volumes as files: opened, written, mounted over a loop device, grown, and lost with their process."""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from bollard.wire import engine as wire
from replica_cluster import MIB, Cluster
from replica_process import ReplicaProcess

_BLOCK = 4096


def _lacking() -> str:
    if os.geteuid() != 0:
        return "mounting needs root"
    if not Path("/dev/fuse").exists():
        return "the kernel has no FUSE"
    return ""


pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(_lacking()), reason=_lacking())]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two copies of a volume on nodes that show their volumes as files."""
    found = Cluster(tmp_path, size_bytes=64 * MIB)
    found.nodes = [
        ReplicaProcess(tmp_path / peer.name, "--volumes", str(tmp_path / f"{peer.name}.volumes"))
        for peer in found.peers
    ]
    found.start()
    yield found
    for node in found.nodes:
        with contextlib.suppress(AssertionError):
            node.terminate()
    found.stop()
    for peer in found.peers:
        subprocess.run(
            ["umount", "-l", str(tmp_path / f"{peer.name}.volumes")], check=False, capture_output=True
        )
    print(found.logs())  # noqa: T201  shown by pytest when the test fails


def file(cluster: Cluster, number: int) -> Path:
    return cluster.root / f"n{number}.volumes" / "data" / "0"


def test_an_open_file_is_an_open_volume(cluster: Cluster) -> None:
    assert [one.name for one in (cluster.root / "n0.volumes").iterdir()] == ["data"]
    assert file(cluster, 0).stat().st_size == 64 * MIB
    with file(cluster, 0).open("r+b", buffering=0) as opened:
        opened.seek(3 * _BLOCK)
        opened.write(b"x" * _BLOCK)
        opened.seek(1 * MIB)
        opened.write(b"y" * (2 * MIB))
        os.fsync(opened.fileno())
        assert cluster.nodes[0].status("data")["role"] == "Primary"
        with pytest.raises(OSError, match="medium") as refusal:
            file(cluster, 1).open("r+b").close()
        assert refusal.value.errno == errno.EMEDIUMTYPE
    cluster.nodes[0].until("data", lambda state: state["role"] == "Secondary")
    with file(cluster, 1).open("rb") as opened:
        opened.seek(3 * _BLOCK - 5)
        assert opened.read(10) == bytes(5) + b"x" * 5
        opened.seek(1 * MIB)
        assert opened.read(2 * MIB) == b"y" * (2 * MIB)


def test_holes_read_as_zeroes_and_sizes_stay(cluster: Cluster) -> None:
    fallocate = shutil.which("fallocate")
    if fallocate is None:
        pytest.skip("fallocate is not installed")
    path = file(cluster, 0)
    with path.open("r+b", buffering=0) as opened:
        opened.write(b"z" * MIB)
        for words in (("--punch-hole", "--offset", "4096"), ("--zero-range", "--offset", "65536")):
            subprocess.run([fallocate, *words, "--length", "8192", str(path)], check=True)
        assert opened.seek(0) == 0
        found = opened.read(MIB)
        assert found[4096:12288] == bytes(8192)
        assert found[65536:73728] == bytes(8192)
        assert found[:4096] == b"z" * 4096
        longer = subprocess.run([fallocate, "--length", "128M", str(path)], check=False, capture_output=True)
        assert longer.returncode != 0
        with pytest.raises(OSError, match="space") as refusal:
            os.pwrite(opened.fileno(), b"w" * _BLOCK, 64 * MIB)
        assert refusal.value.errno == errno.ENOSPC
    assert path.stat().st_size == 64 * MIB


@contextlib.contextmanager
def looped(path: Path) -> Iterator[str]:
    device = subprocess.run(
        ["losetup", "--find", "--show", "--direct-io=on", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if device.returncode:
        pytest.skip(f"no loop devices here: {device.stderr}")
    yield device.stdout.strip()
    subprocess.run(["losetup", "--detach", device.stdout.strip()], check=True)


def test_a_file_system_moves_to_the_other_node(cluster: Cluster, tmp_path: Path) -> None:
    where = tmp_path / "mnt"
    where.mkdir()
    with looped(file(cluster, 0)) as device:
        subprocess.run(["mkfs.ext4", "-q", device], check=True)
        subprocess.run(["mount", device, str(where)], check=True)
        (where / "word").write_bytes(Random(3).randbytes(3 * MIB))
        kept = (where / "word").read_bytes()
        subprocess.run(["umount", str(where)], check=True)
    cluster.nodes[0].until("data", lambda state: state["role"] == "Secondary")
    with looped(file(cluster, 1)) as device:
        subprocess.run(["e2fsck", "-fn", device], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "ro", device, str(where)], check=True)
        assert (where / "word").read_bytes() == kept
        subprocess.run(["umount", str(where)], check=True)


def test_a_grown_volume_is_a_longer_file(tmp_path: Path) -> None:
    node = ReplicaProcess(tmp_path / "n", "--volumes", str(tmp_path / "volumes")).start()
    backing = tmp_path / "img"
    with backing.open("wb") as out:
        out.truncate(8 * MIB)
    try:
        for size_bytes in (4 * MIB, 8 * MIB):
            volume = wire.VolumeSpec(number=0, minor=1, size_bytes=size_bytes, backing=str(backing))
            spec = wire.ResourceSpec(name="r", uuid="u", kind=wire.Kind.PLAIN, volumes=(volume,))
            node.control.must(wire.Configure(resource=spec))
            assert (tmp_path / "volumes" / "r" / "0").stat().st_size == size_bytes
    finally:
        node.terminate()
    assert not (tmp_path / "volumes").is_mount()


def test_a_process_that_died_leaves_nothing_in_the_way(cluster: Cluster) -> None:
    opened = file(cluster, 0).open("rb", buffering=0)
    cluster.nodes[0].kill()
    with pytest.raises(OSError) as lost:
        opened.read(_BLOCK)
    assert lost.value.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)
    with contextlib.suppress(OSError):
        opened.close()
    cluster.nodes[0].start()
    cluster.settled()
    with file(cluster, 0).open("rb") as again:
        assert len(again.read(_BLOCK)) == _BLOCK
