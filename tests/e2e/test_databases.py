"""A database in a file system on a replicated volume whose Primary loses power at work.

What was not flushed is lost, in any order. Then the file system is sound, the database recovers, and every
transaction that was reported committed is there.
"""

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from replica_cluster import MIB, Cluster
from replica_process import ReplicaProcess
from volatile_replica import PROGRAM, cut_power

_COMMITS = 40
_CHECKS = {"ext4": ["e2fsck", "-f", "-n"], "xfs": ["xfs_repair", "-n"]}
_WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("pragma journal_mode=wal"); db.execute("pragma synchronous=full")
db.execute("create table t (n integer primary key, word blob)")
n = 0
while True:
    n += 1
    db.execute("insert into t values (?, randomblob(3000))", (n,))
    print(n, flush=True)
"""


def _lacking() -> str:
    if os.geteuid() != 0:
        return "mounting needs root"
    if not Path("/dev/fuse").exists():
        return "the kernel has no FUSE"
    missing = [name for name in ("mkfs.ext4", "mkfs.xfs", "losetup") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(_lacking()), reason=_lacking()),
    pytest.mark.timeout(900),
]


@contextlib.contextmanager
def running(root: Path, copies: int) -> Iterator[Cluster]:
    """A volume with so many copies, shown as a file on each node, on disks with a cache."""
    found = Cluster(root, diskful=copies, size_bytes=320 * MIB)
    found.nodes = [
        ReplicaProcess(root / peer.name, "--volumes", str(root / f"{peer.name}.volumes"))
        for peer in found.peers
    ]
    for node in found.nodes:
        node.program = PROGRAM
    try:
        found.start()
        yield found
    finally:
        found.stop()
        for peer in found.peers:
            shown = str(root / f"{peer.name}.volumes")
            subprocess.run(["umount", "-l", shown], check=False, capture_output=True)
        print(found.logs())  # noqa: T201  shown by pytest when the test fails


@contextlib.contextmanager
def looped(cluster: Cluster, number: int) -> Iterator[str]:
    path = cluster.root / f"n{number}.volumes" / "data" / "0"
    argv = ["losetup", "--find", "--show", "--direct-io=on", str(path)]
    made = subprocess.run(argv, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop devices here: {made.stderr}")
    try:
        yield made.stdout.strip()
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


@contextlib.contextmanager
def mounted(device: str, kind: str, where: Path) -> Iterator[Path]:
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", kind, device, str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def made(device: str, kind: str) -> None:
    subprocess.run([f"mkfs.{kind}", "-q", device], check=True, capture_output=True)


def recovered(device: str, kind: str, where: Path) -> None:
    """A mount replays the journal; after it there is nothing to repair."""
    with mounted(device, kind, where):
        pass
    check = subprocess.run([*_CHECKS[kind], device], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr


def numbers_until_cut(process: subprocess.Popen[str], cut: object) -> int:
    """The last number that the process printed; `cut()` is called while it goes on."""
    assert process.stdout is not None
    last = 0
    for line in process.stdout:
        if line.strip().isdigit():
            last = int(line)
        if last == _COMMITS:
            cut()  # type: ignore[operator]
    process.wait(120)
    return last


@pytest.mark.parametrize(("kind", "copies"), [("ext4", 2)])
def test_sqlite_goes_on_elsewhere_when_the_primary_loses_power(
    tmp_path: Path, kind: str, copies: int
) -> None:
    where = tmp_path / "mnt"
    with running(tmp_path, copies) as cluster:
        with looped(cluster, 0) as device:
            made(device, kind)
            with mounted(device, kind, where):
                argv = [sys.executable, "-c", _WRITER, str(where / "db")]
                with subprocess.Popen(
                    argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                ) as writer:
                    committed = numbers_until_cut(writer, cluster.nodes[0].kill)
        assert committed >= _COMMITS
        cut_power(cluster.backing(0), random.Random(1))
        cluster.open(1, timeout_s=120).close()
        with looped(cluster, 1) as device:
            recovered(device, kind, where)
            with mounted(device, kind, where), contextlib.closing(sqlite3.connect(where / "db")) as db:
                assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
                assert db.execute("select count(*), max(n) from t").fetchone()[0] >= committed
        subprocess.run(["umount", "-l", str(tmp_path / "n0.volumes")], check=False, capture_output=True)
        cluster.nodes[0].start()
        cluster.settled(timeout_s=120)
        cluster.stop()
        assert cluster.data(0) == cluster.data(1)
