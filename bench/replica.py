"""The data path side by side in one run: fio's nbd engine on our volumes, nbdkit and qemu-nbd.

Prints medians in thousand I/O a second (4 KiB) or MiB/s (1 MiB), and ratios to the best other server.
"""

import argparse
import contextlib
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bollard.wire import engine as wire

_MAIN = "from bollard.replica.app import main; main()"
SIZE_BYTES = 1 << 30
BACKING_BYTES = SIZE_BYTES + (16 << 20)

JOBS = (
    ("4k read qd1", "randread", "4k", 1),
    ("4k read qd16", "randread", "4k", 16),
    ("4k read qd64", "randread", "4k", 64),
    ("4k write qd1", "randwrite", "4k", 1),
    ("4k write qd16", "randwrite", "4k", 16),
    ("4k write qd64", "randwrite", "4k", 64),
    ("1M read qd4", "read", "1m", 4),
    ("1M write qd4", "write", "1m", 4),
)


def wait_for(path: Path, limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
            else:
                return


def ask(control: Path, request: wire.Request) -> wire.Reply:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(control))
        sock.sendall(wire.encode_line(request))
        reply = wire.decode_reply(sock.makefile("rb").readline())
    assert reply.ok, reply.error
    return reply


@contextlib.contextmanager
def running(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def data_process(directory: Path) -> Iterator[Path]:
    with running(sys.executable, "-c", _MAIN, "--state-dir", str(directory)):
        wait_for(directory / "control.sock")
        yield directory


def sparse(path: Path, size_bytes: int) -> str:
    with path.open("wb") as out:
        out.truncate(size_bytes)
    return str(path)


@contextlib.contextmanager
def plain(root: Path) -> Iterator[str]:
    backing = sparse(root / "plain.img", SIZE_BYTES)
    volume = wire.VolumeSpec(number=0, size_bytes=SIZE_BYTES, minor=1000, backing=backing)
    with data_process(root / "plain") as state:
        spec = wire.ResourceSpec(name="v", uuid="u", kind=wire.Kind.PLAIN, volumes=(volume,))
        ask(state / "control.sock", wire.Configure(resource=spec))
        yield f"nbd+unix:///v?socket={state / 'nbd.sock'}"


def replicated(copies: int) -> Callable[[Path], contextlib.AbstractContextManager[str]]:
    """A volume with `copies` diskful replicas, each in a process of its own on a loopback address."""

    @contextlib.contextmanager
    def serve(root: Path) -> Iterator[str]:
        with contextlib.ExitStack() as stack:
            states = [stack.enter_context(data_process(root / f"r{copies}n{n}")) for n in range(copies)]
            nodes = [
                wire.PeerSpec(node_id=n, name=f"n{n}", address=f"127.0.3.{10 + n}", port=17000 + copies)
                for n in range(copies)
            ]
            for state, me in zip(states, nodes, strict=True):
                backing = sparse(root / f"r{copies}n{me.node_id}.img", BACKING_BYTES)
                ask(
                    state / "control.sock",
                    wire.CreateMd(
                        backing=backing, node_id=me.node_id, size_bytes=SIZE_BYTES,
                        initial_uuid="00C0FFEE00C0FFE0",
                    ),
                )  # fmt: skip
                volume = wire.VolumeSpec(number=0, size_bytes=SIZE_BYTES, minor=1000, backing=backing)
                spec = wire.ResourceSpec(
                    name="v", uuid="u", volumes=(volume,), node_id=me.node_id, node_name=me.name,
                    address=me.address, port=me.port, peers=tuple(peer for peer in nodes if peer != me),
                )  # fmt: skip
                ask(state / "control.sock", wire.Configure(resource=spec))
            for state in states:
                _wait_connected(state / "control.sock")
            yield f"nbd+unix:///v?socket={states[0] / 'nbd.sock'}"

    return serve


def _wait_connected(control: Path) -> None:
    end = time.monotonic() + 30
    while True:
        result: Any = ask(control, wire.Status(name="v")).result
        state = result[0]
        whole = all(
            device["peer-disk-state"] == "UpToDate"
            for link in state["connections"]
            for device in link["peer_devices"]
        )
        if state["devices"][0]["disk-state"] == "UpToDate" and whole:
            return
        assert time.monotonic() < end, state
        time.sleep(0.05)


@contextlib.contextmanager
def nbdkit(root: Path) -> Iterator[str]:
    sock = root / "nbdkit.sock"
    with running("nbdkit", "-f", "-U", str(sock), "file", sparse(root / "nbdkit.img", SIZE_BYTES)):
        wait_for(sock)
        yield f"nbd+unix:///?socket={sock}"


@contextlib.contextmanager
def qemu_nbd(root: Path) -> Iterator[str]:
    sock, image = root / "qemu.sock", sparse(root / "qemu.img", SIZE_BYTES)
    with running("qemu-nbd", "-f", "raw", "-e", "8", "-t", "--cache=writeback", "-k", str(sock), image):
        wait_for(sock)
        yield f"nbd+unix:///?socket={sock}"


@contextlib.contextmanager
def qemu_quorum(root: Path) -> Iterator[str]:
    """The nearest thing that others offer: qemu's quorum driver over one file and one nbdkit."""
    sock, peer = root / "quorum.sock", root / "quorum-peer.sock"
    near, far = sparse(root / "quorum0.img", SIZE_BYTES), sparse(root / "quorum1.img", SIZE_BYTES)
    driver = ",".join(
        (
            "driver=quorum,vote-threshold=2,read-pattern=fifo",
            f"children.0.driver=raw,children.0.file.driver=file,children.0.file.filename={near}",
            "children.1.driver=raw,children.1.file.driver=nbd",
            f"children.1.file.server.type=unix,children.1.file.server.path={peer}",
        )
    )
    with running("nbdkit", "-f", "-U", str(peer), "file", far):
        wait_for(peer)
        with running("qemu-nbd", "-t", "-e", "8", "-k", str(sock), "--image-opts", driver):
            wait_for(sock)
            yield f"nbd+unix:///?socket={sock}"


SERVERS: dict[str, tuple[str, Callable[[Path], contextlib.AbstractContextManager[str]]]] = {
    "bollard plain": ("", plain),
    "bollard 2 copies": ("", replicated(2)),
    "bollard 3 copies": ("", replicated(3)),
    "nbdkit": ("nbdkit", nbdkit),
    "qemu-nbd": ("qemu-nbd", qemu_nbd),
    "qemu quorum 2": ("qemu-nbd", qemu_quorum),
}


def measure(uri: str, pattern: str, block: str, depth: int, seconds: int) -> float:
    """Thousand I/O a second for 4 KiB, MiB a second for 1 MiB."""
    out = subprocess.run(
        [
            "fio", "--name=b", "--ioengine=nbd", f"--uri={uri}", f"--rw={pattern}", f"--bs={block}",
            f"--iodepth={depth}", f"--size={SIZE_BYTES}", f"--runtime={seconds}", "--time_based",
            "--output-format=json",
        ],
        capture_output=True, text=True, check=True, cwd=tempfile.gettempdir(),
    ).stdout  # fmt: skip
    job = json.loads(out[out.index("{") :])["jobs"][0]
    side = job["read"] if "read" in pattern else job["write"]
    return side["bw"] / 1024 if block == "1m" else side["iops"] / 1000


def fill(uri: str) -> None:
    """Writes the whole volume once, so that no measurement pays for first allocation."""
    subprocess.run(
        [
            "fio", "--name=f", "--ioengine=nbd", f"--uri={uri}", "--rw=write", "--bs=1m", "--iodepth=4",
            f"--size={SIZE_BYTES}",
        ],
        capture_output=True, check=True, cwd=tempfile.gettempdir(),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--directory", default="/dev/shm")
    parser.add_argument("--only", action="append", help="a server of the table; may be repeated")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.directory) as root:
        for name, (program, serve) in SERVERS.items():
            if (program and not shutil.which(program)) or (arguments.only and name not in arguments.only):
                continue
            with serve(Path(root)) as uri:
                fill(uri)
                for _ in range(arguments.rounds):
                    for title, pattern, block, depth in JOBS:
                        figure = measure(uri, pattern, block, depth, arguments.seconds)
                        figures.setdefault(name, {}).setdefault(title, []).append(figure)
            for image in Path(root).glob("*.img"):
                image.unlink()
    show(figures)


def show(figures: dict[str, dict[str, list[float]]]) -> None:
    medians = {
        name: {title: statistics.median(rounds) for title, rounds in jobs.items()}
        for name, jobs in figures.items()
    }
    print(f"{'k IOPS (4k), MiB/s (1M)':26}" + "".join(f"{name:>18}" for name in medians))
    for title, *_ in JOBS:
        cells = "".join(f"{jobs[title]:18.1f}" for jobs in medians.values())
        print(f"{title:26}{cells}")
    pairs = (
        ("bollard plain", "nbdkit"),
        ("bollard plain", "qemu-nbd"),
        ("bollard 2 copies", "qemu quorum 2"),
        ("bollard 2 copies", "bollard plain"),
        ("bollard 3 copies", "bollard plain"),
    )
    for ours, theirs in pairs:
        if ours in medians and theirs in medians:
            ratios = "  ".join(
                f"{title} {medians[ours][title] / medians[theirs][title]:.2f}" for title, *_ in JOBS
            )
            print(f"{ours} / {theirs}: {ratios}")


if __name__ == "__main__":
    main()
