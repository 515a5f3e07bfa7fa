"""A controller with many resources: time to serving, time to all nodes online, RSS, and listing them.

The controller is a process of its own over SQLite; the satellites are stand-ins here that report at once.
"""

import argparse
import asyncio
import contextlib
import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bollard.controller.store.sqlite import sqlite_store
from bollard.domain.cluster import Put, Record
from bollard.domain.ids import DEFAULT_GROUP, NetIfName, NodeName, ResourceName
from bollard.domain.layers import DEFAULT_STACK, ProviderKind
from bollard.domain.nodes import Encryption, NetInterface, Node, StoragePool, StoragePoolDefinition
from bollard.domain.resources import Resource, ResourceDefinition, VolumeDefinition, VolumeOnNode
from bollard.domain.seen import (
    Capabilities,
    Observation,
    SeenPeer,
    SeenPeerVolume,
    SeenPool,
    SeenResource,
    SeenVolume,
)
from bollard.domain.targets import Target, TargetResource
from bollard.planning.bootstrap import initial_records
from bollard.runtime.clock import RealDraw
from bollard.wire.link import (
    FRAME_BYTES_MAX,
    AnyMessage,
    FrameReader,
    Hello,
    Ping,
    Pong,
    Report,
    TargetFull,
    Welcome,
    decode,
    encode,
)
from bollard.wire.version import SATELLITE_FEATURES

NODES = 10
REPLICAS = 2


def cluster_of(resources: int, ports: list[int]) -> Iterator[Record]:
    """Records of a cluster with so many resources, two for each definition."""
    draw = RealDraw()
    yield from initial_records(draw)
    yield StoragePoolDefinition("pool1", draw.uuid())
    for index, port in enumerate(ports):
        net_if = NetInterface(NetIfName("default"), "127.0.0.1", draw.uuid(), port, Encryption.PLAIN)
        name = NodeName(f"node{index}")
        yield Node(name, draw.uuid(), net_interfaces=(net_if,), active_net_if=net_if.name)
        yield StoragePool(name, "pool1", draw.uuid(), ProviderKind.FILE_THIN, {"StorDriver/FileDir": "/p"})
    for number in range(resources // REPLICAS):
        name = ResourceName(f"pvc-{number:08x}")
        minor, port = 1000 + number, 7000 + number
        volume = VolumeDefinition(0, draw.uuid(), 10 << 20, minor=minor, current_gi=draw.hex16())
        yield ResourceDefinition(
            name,
            draw.uuid(),
            DEFAULT_GROUP,
            props={"Aux/csi-volume": f"pvc-{number}"},
            layer_stack=DEFAULT_STACK,
            volumes=(volume,),
            drbd_secret=draw.secret(),
        )
        for replica in range(REPLICAS):
            yield Resource(
                name,
                NodeName(f"node{(number + replica) % NODES}"),
                draw.uuid(),
                layer_stack=DEFAULT_STACK,
                volumes=(VolumeOnNode(0, draw.uuid(), "pool1"),),
                drbd_node_id=replica,
                tcp_ports=(port,),
                create_timestamp_ms=1_700_000_000_000,
            )


def report_of(target: Target) -> Observation:
    """What a node reports that is where it should be."""
    return Observation(
        target.node,
        complete=True,
        revision=target.revision,
        pools=tuple(SeenPool(it.name, it.uuid, 1 << 40, 1 << 41) for it in target.pools),
        resources=tuple(_seen(it, target.revision) for it in target.resources),
    )


def _seen(resource: TargetResource, revision: int) -> SeenResource:
    peers = resource.replication.peers if resource.replication is not None else ()
    state = SeenPeerVolume(0, replication_state="Established", peer_disk_state="UpToDate")
    return SeenResource(
        resource.name,
        resource.uuid,
        revision,
        settled=True,
        role="Secondary",
        volumes=tuple(
            SeenVolume(
                it.number,
                device_path=f"/dev/drbd{it.minor}",
                backing_path=f"/p/{resource.name}_{it.number:05}.img",
                size_kib=it.size_kib,
                allocated_kib=1024,
                disk_state="UpToDate",
            )
            for it in resource.volumes
        ),
        peers=tuple(SeenPeer(it.node, "Connected", "Secondary", (state,)) for it in peers),
    )


class StandIn:
    """A satellite of few words."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reported = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader(FRAME_BYTES_MAX)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(1 << 20):
                frames.feed(data)
                while (payload := frames.next()) is not None:
                    answer = self._answer(decode(payload))
                    if answer is not None:
                        writer.write(encode(answer))
        writer.close()

    def _answer(self, message: AnyMessage | None) -> AnyMessage | None:
        match message:
            case Hello():
                able = Capabilities(
                    "bench", self.name, (ProviderKind.FILE_THIN,), DEFAULT_STACK, features=SATELLITE_FEATURES
                )
                return Welcome(node=self.name, capabilities=able)
            case Ping(number=number):
                return Pong(number=number)
            case TargetFull(target=target):
                self.reported = True
                return Report(observation=report_of(target))
            case _:
                return None


def get(port: int, path: str) -> tuple[float, bytes]:
    """Seconds and body of a GET. Raises OSError while nobody serves."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    started = time.perf_counter()
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise RuntimeError(f"{path}: status {reply.status}: {body[:300]!r}")
        return time.perf_counter() - started, body
    finally:
        connection.close()


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def measure(resources: int, folder: Path) -> list[str]:
    """One row of the table."""
    stand_ins = [StandIn(f"node{index}") for index in range(NODES)]
    servers = [await asyncio.start_server(it.serve, "127.0.0.1", 0) for it in stand_ins]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    if resources:
        store = sqlite_store(folder / "controller.db")
        await store.open()
        await store.commit([Put(record) for record in cluster_of(resources, ports)], 0)
        await store.close()
    port = free_port()
    argv = [sys.executable, "-m", "bollard.controller.app", "--state-dir", str(folder)]
    argv += ["--rest-bind", f"127.0.0.1:{port}", "--log-level", "WARNING"]
    started = time.perf_counter()
    process = subprocess.Popen(argv)  # noqa: ASYNC220  # measured from here
    try:
        while True:
            try:
                await asyncio.to_thread(get, port, "/v1/controller/version")
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError("the controller ended") from None
                await asyncio.sleep(0.005)
        serving_s = time.perf_counter() - started
        while resources and not all(it.reported for it in stand_ins):  # noqa: ASYNC110  # in bench
            await asyncio.sleep(0.01)
        online_s = time.perf_counter() - started
        await asyncio.sleep(2)
        rss = rss_mib(process.pid)
        busy = cpu_s(process.pid)
        view, length = [], 0
        for _ in range(7):
            seconds, body = await asyncio.to_thread(get, port, "/v1/view/resources")
            view.append(seconds)
            length = len(body)
        definitions = [(await asyncio.to_thread(get, port, "/v1/resource-definitions"))[0] for _ in range(7)]
        after = rss_mib(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        for server in servers:
            server.close()
    return [
        f"{resources:,}",
        f"{serving_s:.2f}",
        f"{online_s:.2f}" if resources else "-",
        f"{rss:.0f}",
        f"{after:.0f}",
        f"{busy:.1f}",
        f"{view[0] * 1000:.0f}",
        f"{statistics.median(view[1:]) * 1000:.0f}",
        f"{length / (1 << 20):.1f}",
        f"{statistics.median(definitions) * 1000:.0f}",
    ]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("resources", type=int, nargs="*", default=[0, 1000, 10_000])
    names = [
        "resources", "serving s", "online s", "RSS MiB", "after lists", "CPU s", "view 1st ms", "view ms",
        "view MiB", "definitions ms",
    ]  # fmt: skip
    print("  ".join(f"{name:>12}" for name in names))
    for resources in parser.parse_args().resources:
        with tempfile.TemporaryDirectory() as folder:
            row = asyncio.run(measure(resources, Path(folder)))
            print("  ".join(f"{value:>12}" for value in row), flush=True)


if __name__ == "__main__":
    main()
