"""Others' tools on a replicated volume while nodes fail: fio's verify, a file system and its fsck."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from replica_cluster import MIB, Cluster

pytestmark = pytest.mark.tool
Make = Callable[..., Cluster]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def build(**kwargs: object) -> Cluster:
            cluster = Cluster(tmp_path, **kwargs)  # type: ignore[arg-type]
            stack.callback(lambda: print(cluster.logs()))  # noqa: T201  shown when the test fails
            stack.callback(cluster.stop)
            return cluster

        yield build


def tool(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def uri(cluster: Cluster, number: int) -> str:
    return f"nbd+unix:///{cluster.name}?socket={cluster.nodes[number].nbd.removeprefix('unix:')}"


def fio(cluster: Cluster, number: int, *arguments: str) -> list[str]:
    return [
        tool("fio"), "--name=v", "--ioengine=nbd", f"--uri={uri(cluster, number)}", "--rw=randwrite",
        "--bsrange=4k-64k", "--iodepth=16", f"--size={cluster.size_bytes}", "--verify=crc32c",
        "--randseed=7", "--verify_backlog=0", "--output-format=json", *arguments,
    ]  # fmt: skip


def finished(process: subprocess.Popen[str]) -> dict[str, object]:
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, out + errors
    job = json.loads(out[out.index("{") :])["jobs"][0]
    assert isinstance(job, dict)
    assert job["error"] == 0
    return job


def test_fio_verifies_while_secondaries_come_and_go_and_the_copies_are_equal(make: Make) -> None:
    cluster = make(diskful=3, size_bytes=32 * MIB)
    cluster.start()
    argv = fio(cluster, 0, "--do_verify=1", "--fsync=64", "--loops=3", "--rate=12m")
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cluster.root
    )
    try:
        for victim in (1, 2, 1):
            away = cluster.peers[victim].name
            cluster.nodes[0].until("data", lambda state: state["devices"][0]["written"] > 0)
            cluster.nodes[victim].kill()
            cluster.nodes[0].until(
                "data",
                lambda state, away=away: any(
                    link["name"] == away and link["connection-state"] != "Connected"
                    for link in state["connections"]
                ),
            )
            cluster.nodes[victim].start()
            cluster.settled()
        finished(process)
    finally:
        process.kill()
        process.communicate()
    for node in cluster.nodes:
        assert node.terminate() == 0
    assert cluster.data(0) == cluster.data(1) == cluster.data(2)


def test_a_file_system_written_on_one_node_is_clean_on_the_other(make: Make) -> None:
    mkfs, fsck, debugfs = tool("mkfs.ext4"), tool("fsck.ext4"), tool("debugfs")
    nbdcopy = tool("nbdcopy")
    cluster = make(size_bytes=32 * MIB)
    cluster.start()
    image, back = cluster.root / "fs.img", cluster.root / "back.img"
    with image.open("wb") as out:
        out.truncate(cluster.size_bytes)
    content = cluster.root / "content"
    content.write_bytes(b"a line of a file\n" * 4000)
    subprocess.run([mkfs, "-q", str(image)], check=True, capture_output=True, timeout=60)
    subprocess.run(
        [debugfs, "-w", "-R", f"write {content} kept", str(image)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    subprocess.run(
        [nbdcopy, "--flush", str(image), uri(cluster, 0)], check=True, capture_output=True, timeout=60
    )
    cluster.nodes[0].kill()
    with cluster.open(1):
        pass
    subprocess.run([nbdcopy, uri(cluster, 1), str(back)], check=True, capture_output=True, timeout=60)
    checked = subprocess.run([fsck, "-fn", str(back)], check=False, capture_output=True, timeout=60)
    assert checked.returncode == 0, checked.stdout
    read = subprocess.run([debugfs, "-R", "cat kept", str(back)], check=True, capture_output=True, timeout=60)
    assert read.stdout == content.read_bytes()


def test_drbdmeta_reads_what_a_killed_primary_left_and_applies_its_log(make: Make) -> None:
    drbdmeta = tool("drbdmeta")
    cluster = make(size_bytes=32 * MIB)
    cluster.start()
    with cluster.open(0) as client:
        for number in range(6):
            client.write(number * 5 * MIB, b"\x11" * 4096)
        cluster.nodes[0].kill()
        client.abort()
    about = [drbdmeta, "--force", "-", "v09", str(cluster.backing(0)), "internal"]
    applied = subprocess.run([*about, "apply-al"], check=False, capture_output=True, text=True, timeout=60)
    assert applied.returncode == 0, applied.stderr
    dumped = subprocess.run([*about, "dump-md"], check=False, capture_output=True, text=True, timeout=60)
    assert dumped.returncode == 0, dumped.stderr
    lines = [line.strip() for line in dumped.stdout.splitlines()]
    assert "node-id 0;" in lines
    assert f"la-size-sect {cluster.size_bytes // 512};" in lines
    # Six extents of 4 MiB were hot: all their blocks are marked for the peer now.
    marked = [line for line in lines if "bits-set" in line]
    assert any("6144" in line for line in marked), marked
    cluster.nodes[0].start()
    cluster.settled()
