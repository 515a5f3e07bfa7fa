"""The servers that the replica bench measures, ours and others, and what their processes use."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

import bollard
from bollard.wire import engine as wire

_MAIN = "from bollard.replica.app import main; main()"
_PACKAGES = (Path(bollard.__file__).parents[1], Path(msgspec.__file__).parents[1])
_TICKS = os.sysconf("SC_CLK_TCK")
META_BYTES = 16 << 20


class Python:
    """What runs the data processes: this interpreter, or the one that users have (`--python`)."""

    path = sys.executable


class Server:
    """A running export and the processes behind it, the one that clients talk to first."""

    def __init__(self, uri: str, processes: "list[subprocess.Popen[bytes]]") -> None:
        self.uri = uri
        self.processes = processes

    def cpu_s(self) -> list[float]:
        """User and system time of each process so far."""
        return [cpu_s(process.pid) for process in self.processes]


Serve = Callable[[Path, int], contextlib.AbstractContextManager[Server]]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("a process has a size")


def wait_for(path: Path, limit_s: float = 20.0) -> None:
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
        sock.settimeout(60)
        sock.connect(str(control))
        sock.sendall(wire.encode_line(request))
        reply = wire.decode_reply(sock.makefile("rb").readline())
    assert reply.ok, reply.error
    return reply


@contextlib.contextmanager
def running(*argv: str, **more: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A process until the end of the block; `more` goes to its environment."""
    process = subprocess.Popen(
        argv, env={**os.environ, **more}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
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
def data_process(directory: Path) -> "Iterator[subprocess.Popen[bytes]]":
    path = os.pathsep.join(map(str, _PACKAGES))
    with running(Python.path, "-c", _MAIN, "--state-dir", str(directory), PYTHONPATH=path) as process:
        wait_for(directory / "control.sock")
        yield process


def sparse(path: Path, size_bytes: int) -> str:
    with path.open("wb") as out:
        out.truncate(size_bytes)
    return str(path)


class Nodes:
    """Data processes on loopback addresses that share resources; each resource has a copy on each."""

    def __init__(self, root: Path, name: str, copies: int, stack: contextlib.ExitStack) -> None:
        self.root = root
        self.name = name
        self.states = [root / f"{name}-{n}" for n in range(copies)]
        self.processes = [stack.enter_context(data_process(state)) for state in self.states]
        self.subnet = sum(name.encode()) % 200 + 10

    def peer(self, node: int, port: int) -> wire.PeerSpec:
        return wire.PeerSpec(
            node_id=node, name=f"n{node}", address=f"127.0.{self.subnet}.{10 + node}", port=port
        )

    def add(self, volume: str, size_bytes: int, *, port: int, same: bool = True) -> None:
        """A resource of one volume; `same`: its copies are equal from the start."""
        copies = range(len(self.states))
        for node in copies:
            me, state = self.peer(node, port), self.states[node] / "control.sock"
            backing = sparse(self.root / f"{self.name}-{node}-{volume}.img", size_bytes + META_BYTES)
            uuid = "00C0FFEE00C0FFE0" if same else None
            ask(state, wire.CreateMd(backing=backing, node_id=node, size_bytes=size_bytes, initial_uuid=uuid))
            spec = wire.ResourceSpec(
                name=volume,
                uuid=volume,
                volumes=(wire.VolumeSpec(number=0, size_bytes=size_bytes, minor=port, backing=backing),),
                node_id=node,
                node_name=me.name,
                address=me.address,
                port=port,
                peers=tuple(self.peer(other, port) for other in copies if other != node),
            )
            ask(state, wire.Configure(resource=spec))

    def status(self, node: int, volume: str) -> Any:
        result: Any = ask(self.states[node] / "control.sock", wire.Status(name=volume)).result
        return result[0]

    def whole(self, node: int, volume: str) -> bool:
        state = self.status(node, volume)
        return bool(state["devices"][0]["disk-state"] == "UpToDate") and all(
            device["peer-disk-state"] == "UpToDate" and device["replication-state"] == "Established"
            for link in state["connections"]
            for device in link["peer_devices"]
        )

    def until_whole(self, volume: str, nodes: int | None = None, limit_s: float = 120.0) -> None:
        end = time.monotonic() + limit_s
        for node in range(nodes if nodes is not None else len(self.states)):
            while not self.whole(node, volume):
                assert time.monotonic() < end, self.status(node, volume)
                time.sleep(0.02)

    def uri(self, node: int, volume: str) -> str:
        return f"nbd+unix:///{volume}?socket={self.states[node] / 'nbd.sock'}"


@contextlib.contextmanager
def plain(root: Path, size_bytes: int) -> Iterator[Server]:
    backing = sparse(root / "plain.img", size_bytes)
    volume = wire.VolumeSpec(number=0, size_bytes=size_bytes, minor=1000, backing=backing)
    state = root / "plain"
    with data_process(state) as process:
        spec = wire.ResourceSpec(name="v", uuid="u", kind=wire.Kind.PLAIN, volumes=(volume,))
        ask(state / "control.sock", wire.Configure(resource=spec))
        yield Server(f"nbd+unix:///v?socket={state / 'nbd.sock'}", [process])


def replicated(copies: int) -> Serve:
    """A volume with `copies` diskful replicas, each in a process of its own."""

    @contextlib.contextmanager
    def serve(root: Path, size_bytes: int) -> Iterator[Server]:
        with contextlib.ExitStack() as stack:
            nodes = Nodes(root, f"copies{copies}", copies, stack)
            nodes.add("v", size_bytes, port=17000)
            nodes.until_whole("v")
            yield Server(nodes.uri(0, "v"), nodes.processes)

    return serve


@contextlib.contextmanager
def nbdkit(root: Path, size_bytes: int) -> Iterator[Server]:
    sock = root / "nbdkit.sock"
    with running("nbdkit", "-f", "-U", str(sock), "file", sparse(root / "nbdkit.img", size_bytes)) as process:
        wait_for(sock)
        yield Server(f"nbd+unix:///?socket={sock}", [process])


@contextlib.contextmanager
def qemu_nbd(root: Path, size_bytes: int) -> Iterator[Server]:
    sock, image = root / "qemu.sock", sparse(root / "qemu.img", size_bytes)
    argv = ("qemu-nbd", "-f", "raw", "-e", "8", "-t", "--cache=writeback", "-k", str(sock), image)
    with running(*argv) as process:
        wait_for(sock)
        yield Server(f"nbd+unix:///?socket={sock}", [process])


@contextlib.contextmanager
def storage_daemon(root: Path, size_bytes: int) -> Iterator[Server]:
    sock, image = root / "daemon.sock", sparse(root / "daemon.img", size_bytes)
    argv = (
        "qemu-storage-daemon",
        "--blockdev",
        f"driver=file,filename={image},node-name=f",
        "--nbd-server",
        f"addr.type=unix,addr.path={sock},max-connections=8",
        "--export",
        "type=nbd,id=e,node-name=f,name=v,writable=on",
    )
    with running(*argv) as process:
        wait_for(sock)
        yield Server(f"nbd+unix:///v?socket={sock}", [process])


def qemu_quorum(copies: int, program: str) -> Serve:
    """The nearest thing that others offer: qemu's quorum driver over one file and nbdkits, all must write."""

    @contextlib.contextmanager
    def serve(root: Path, size_bytes: int) -> Iterator[Server]:
        name = f"{program}-quorum{copies}"
        near = sparse(root / f"{name}-0.img", size_bytes)
        children = [("file", {"driver": "file", "filename": near})]
        with contextlib.ExitStack() as stack:
            peers = []
            for n in range(1, copies):
                sock, far = root / f"{name}-{n}.sock", sparse(root / f"{name}-{n}.img", size_bytes)
                peers.append(stack.enter_context(running("nbdkit", "-f", "-U", str(sock), "file", far)))
                wait_for(sock)
                children.append(("nbd", {"driver": "nbd", "server.type": "unix", "server.path": str(sock)}))
            options = [f"driver=quorum,vote-threshold={copies},read-pattern=fifo"]
            for n, (_, child) in enumerate(children):
                options.append(f"children.{n}.driver=raw")
                options += [f"children.{n}.file.{key}={value}" for key, value in child.items()]
            sock = root / f"{name}.sock"
            if program == "qemu-nbd":
                argv = [program, "-t", "-e", "8", "-k", str(sock), "--image-opts", ",".join(options)]
                uri = f"nbd+unix:///?socket={sock}"
            else:
                argv = [
                    program,
                    "--blockdev",
                    ",".join([*options, "node-name=q"]),
                    "--nbd-server",
                    f"addr.type=unix,addr.path={sock},max-connections=8",
                    "--export",
                    "type=nbd,id=e,node-name=q,name=v,writable=on",
                ]
                uri = f"nbd+unix:///v?socket={sock}"
            head = stack.enter_context(running(*argv))
            wait_for(sock)
            yield Server(uri, [head, *peers])

    return serve


SERVERS: dict[str, tuple[str, Serve]] = {
    "bollard": ("", plain),
    "bollard +1": ("", replicated(2)),
    "bollard +2": ("", replicated(3)),
    "nbdkit": ("nbdkit", nbdkit),
    "qemu-nbd": ("qemu-nbd", qemu_nbd),
    "q-s-d": ("qemu-storage-daemon", storage_daemon),
    "quorum +1": ("qemu-nbd", qemu_quorum(2, "qemu-nbd")),
    "quorum +2": ("qemu-nbd", qemu_quorum(3, "qemu-nbd")),
    "q-s-d quorum +1": ("qemu-storage-daemon", qemu_quorum(2, "qemu-storage-daemon")),
    "q-s-d quorum +2": ("qemu-storage-daemon", qemu_quorum(3, "qemu-storage-daemon")),
}
"""Name, the program it needs, and how to start it. `+N`: with N peers that hold a copy each."""


def available(program: str) -> bool:
    return not program or shutil.which(program) is not None
