"""What is no rate of requests: resync, memory, failover."""

import contextlib
import time
from pathlib import Path

from _replica_servers import META_BYTES, Nodes, ask, data_process, rss_mib, sparse

from bollard.client.nbd import NbdClient, NbdClientError
from bollard.wire import engine as wire

_MIB = 1 << 20


def resync_mib_s(root: Path, size_bytes: int, rounds: int) -> list[float]:
    """A whole resync of one peer, nothing else going on; MiB a second."""
    figures = []
    with contextlib.ExitStack() as stack:
        nodes = Nodes(root, "resync", 2, stack)
        nodes.add("v", size_bytes, port=17000)
        nodes.until_whole("v")
        with contextlib.closing(NbdClient(str(nodes.states[0] / "nbd.sock"), "v")) as client:
            piece = bytes(range(256)) * 4096
            for at in range(0, size_bytes, len(piece)):
                client.write(at, piece)
            client.flush()
        for _ in range(rounds):
            ask(nodes.states[1] / "control.sock", wire.Invalidate(name="v"))
            begin = time.monotonic()
            nodes.until_whole("v", limit_s=600)
            figures.append(size_bytes / _MIB / (time.monotonic() - begin))
    return figures


def memory_mib(root: Path, counts: tuple[int, ...], volume_bytes: int = 64 * _MIB) -> dict[int, float]:
    """Resident memory of one data process with so many replicated volumes, each with one peer."""
    found = {}
    with contextlib.ExitStack() as stack:
        nodes = Nodes(root, "memory", 2, stack)
        made = 0
        for count in counts:
            for number in range(made, count):
                nodes.add(f"v{number}", volume_bytes, port=17000 + number)
            for number in range(made, count):
                nodes.until_whole(f"v{number}")
            made = count
            found[count] = rss_mib(nodes.processes[0].pid)
    return found


def memory_plain_mib(root: Path, counts: tuple[int, ...]) -> dict[int, float]:
    """The same with volumes that have no peers."""
    found = {}
    with data_process(root / "memory-plain") as process:
        made = 0
        for count in counts:
            for number in range(made, count):
                backing = sparse(root / f"memory-plain-{number}.img", META_BYTES)
                volume = wire.VolumeSpec(
                    number=0, size_bytes=META_BYTES, minor=1000 + number, backing=backing
                )
                spec = wire.ResourceSpec(
                    name=f"v{number}", uuid=f"v{number}", kind=wire.Kind.PLAIN, volumes=(volume,)
                )
                ask(root / "memory-plain" / "control.sock", wire.Configure(resource=spec))
            made = count
            found[count] = rss_mib(process.pid)
    return found


def failover_s(root: Path, rounds: int) -> list[float]:
    """From the death of the Primary's process until the other node has acknowledged a write."""
    figures = []
    for number in range(rounds):
        with contextlib.ExitStack() as stack:
            nodes = Nodes(root, f"failover{number}", 2, stack)
            nodes.add("v", 64 * _MIB, port=17000)
            nodes.until_whole("v")
            client = NbdClient(str(nodes.states[0] / "nbd.sock"), "v")
            client.write(0, bytes(4096))
            begin = time.monotonic()
            nodes.processes[0].kill()
            while True:
                try:
                    with contextlib.closing(NbdClient(str(nodes.states[1] / "nbd.sock"), "v")) as other:
                        other.write(0, bytes(4096))
                except (NbdClientError, OSError):
                    assert time.monotonic() < begin + 60
                    time.sleep(0.005)
                else:
                    break
            figures.append(time.monotonic() - begin)
            client.abort()
    return figures
