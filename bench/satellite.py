"""Satellite: from start to all reported in sync, and memory, with unchanged FILE_THIN resources.

Run: python bench/satellite.py [COUNT]. Each round starts a fresh satellite process over the same storage.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.observed import Observed
from bollard.domain.resources import DiskKind
from bollard.domain.targets import Target, TargetPool, TargetResource, TargetVolume
from bollard.runtime.channel import SocketChannel
from bollard.wire.link import Hello, Ping, Pong, Report, TargetFull
from bollard.wire.version import CONTROLLER_FEATURES

NODE = "bench"
ROUNDS = 3


def target(pool: Path, count: int) -> Target:
    resources = tuple(
        TargetResource(
            ResourceName(f"data{number:05d}"),
            Uuid(f"r{number}"),
            DiskKind.DISKFUL,
            layer_stack=(LayerKind.STORAGE,),
            volumes=(TargetVolume(0, Uuid(f"v{number}"), 65536, "pool", gross_kib=65536),),
        )
        for number in range(count)
    )
    pools = (TargetPool("pool", Uuid("p"), ProviderKind.FILE_THIN, {"StorDriver/StorPoolName": str(pool)}),)
    return Target(NodeName(NODE), Uuid("cluster"), 1, pools, resources)


async def until_settled(port: int, wish: Target) -> float:
    """Connect, send the target, wait until all is reported settled; when the link was up."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        await asyncio.sleep(0.005)
    channel = SocketChannel(reader, writer)
    await channel.send(
        Hello(cluster_uuid="cluster", version="bench", node=NODE, features=CONTROLLER_FEATURES)
    )
    await channel.receive()
    linked_s = time.monotonic()
    await channel.send(TargetFull(target=wish))
    observed = Observed()
    while sum(one.settled for one in observed.node(NODE).resources.values()) < len(wish.resources):
        match await channel.receive():
            case Report(observation=observation):
                observed.take(observation, 0)
            case Ping(number=number):
                await channel.send(Pong(number=number))
            case None:
                raise RuntimeError("the satellite closed the link")
            case _:
                pass
    channel.close()
    return linked_s


def rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def one_round(folder: Path, wish: Target) -> tuple[float, float, float]:
    """Seconds to the link and to all in sync, and MiB, of a fresh satellite."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    argv = [sys.executable, "-c", "from bollard.satellite.app import main; main()", "--node-name", NODE]
    argv += ["--port", str(port), "--state-dir", str(folder / "state"), "--log-level", "warning"]
    begun_s = time.monotonic()
    process = subprocess.Popen(argv)
    try:
        linked_s = asyncio.run(until_settled(port, wish))
        return linked_s - begun_s, time.monotonic() - begun_s, rss_mib(process.pid)
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pool").mkdir()
        try:
            print("| resources | round | linked after s | all in sync after s | RSS MiB |")
            print("|---|---|---|---|---|")
            for size in (0, count):
                wish = target(folder / "pool", size)
                linked, synced, rss = one_round(folder, wish)
                print(f"| {size} | first | {linked:.2f} | {synced:.2f} | {rss:.1f} |")
                for number in range(ROUNDS):
                    linked, synced, rss = one_round(folder, wish)
                    print(f"| {size} | unchanged {number + 1} | {linked:.2f} | {synced:.2f} | {rss:.1f} |")
        finally:
            pid = int((folder / "state" / "replica" / "lock").read_text())
            os.kill(pid, signal.SIGTERM)
            while (
                Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
            ):
                os.sched_yield()


if __name__ == "__main__":
    main()
