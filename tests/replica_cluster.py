"""Several data processes on loopback addresses that replicate one resource among them."""

import itertools
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bollard.client.nbd import NbdClient, NbdClientError
from bollard.replica.metadata import layout
from bollard.wire import engine as wire
from replica_process import ReplicaProcess

MIB = 1 << 20
BLOCK = 4096
_subnets = itertools.count(os.getpid() % 200 + 20)


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class Cluster:
    """`size_bytes` of volume on `diskful` nodes, and `diskless` more nodes without a disk."""

    root: Path
    diskful: int = 2
    diskless: int = 0
    size_bytes: int = 16 * MIB
    options: dict[str, str] = field(default_factory=dict)
    secret: str = "s3cret of the test"
    initial_uuid: str | None = "5EED5EED5EED5EE0"
    name: str = "data"

    def __post_init__(self) -> None:
        subnet = next(_subnets)
        self.peers = []
        for number in range(self.diskful + self.diskless):
            address = f"127.{subnet % 250}.7.{10 + number}"
            self.peers.append(
                wire.PeerSpec(
                    node_id=number,
                    name=f"n{number}",
                    address=address,
                    port=free_port(address),
                    diskless=number >= self.diskful,
                )
            )
        self.nodes = [ReplicaProcess(self.root / peer.name) for peer in self.peers]

    def backing(self, number: int) -> Path:
        return self.root / f"n{number}.img"

    def spec(self, number: int, **over: Any) -> wire.ResourceSpec:
        me = self.peers[number]
        volume = wire.VolumeSpec(
            number=0,
            size_bytes=self.size_bytes,
            minor=1000,
            backing=None if me.diskless else str(self.backing(number)),
        )
        fields: dict[str, Any] = {
            "name": self.name,
            "uuid": "u1",
            "volumes": (volume,),
            "node_id": number,
            "node_name": me.name,
            "address": me.address,
            "port": me.port,
            "peers": tuple(peer for peer in self.peers if peer is not me),
            "options": {"ping-int": "1", "connect-int": "1", **self.options},
            "shared_secret": self.secret,
            **over,
        }
        return wire.ResourceSpec(**fields)

    def start(self) -> None:
        """Every node up, every disk UpToDate, every pair connected."""
        for number, node in enumerate(self.nodes):
            node.start()
            if not self.peers[number].diskless:
                self.make_disk(number)
        for number, node in enumerate(self.nodes):
            node.control.must(wire.Configure(resource=self.spec(number)))
        self.settled()

    def make_disk(self, number: int) -> None:
        geometry = layout.Geometry(max_peers=7)
        with self.backing(number).open("wb") as out:
            out.truncate(layout.internal_device_bytes(self.size_bytes, geometry))
        request = wire.CreateMd(
            backing=str(self.backing(number)),
            node_id=number,
            size_bytes=self.size_bytes,
            initial_uuid=self.initial_uuid,
        )
        self.nodes[number].control.must(request)

    def settled(self, *numbers: int, timeout_s: float = 30.0) -> None:
        """Waits until the nodes (all by default) are connected, UpToDate and in sync with each other."""
        wanted = numbers or tuple(range(len(self.nodes)))
        for number in wanted:
            others = {peer for peer in wanted if peer != number}
            self.nodes[number].until(
                self.name, lambda state, others=others: whole(state, others), timeout_s=timeout_s
            )

    def open(self, number: int, timeout_s: float = 10.0) -> NbdClient:
        """A client of the volume on a node; asks again while the node refuses."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                return NbdClient(self.nodes[number].nbd, self.name)
            except NbdClientError as error:
                if time.monotonic() > end:
                    raise AssertionError(f"still refused: {error}\n{self.logs()}") from error
                # The refusal itself takes the auto-promote timeout: this does not spin.

    def data(self, number: int) -> bytes:
        """The volume's bytes on the backing file of a node that is stopped or quiet."""
        with self.backing(number).open("rb") as file:
            return file.read(self.size_bytes)

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()

    def logs(self) -> str:
        return "\n".join(f"== {node.directory.name}\n{node.log()[-4000:]}" for node in self.nodes)


def whole(state: dict[str, Any], peers: set[int]) -> bool:
    """Connected to all of `peers`, everything usable and in sync."""
    device = state["devices"][0]
    if device["disk-state"] != "UpToDate" and not device["client"]:
        return False
    found = {
        link["peer-node-id"]
        for link in state["connections"]
        if link["connection-state"] == "Connected"
        and all(
            (one["peer-disk-state"] == "UpToDate" or one["peer-client"])
            and one["out-of-sync"] == 0
            and one["replication-state"] == "Established"
            for one in link["peer_devices"]
        )
    }
    return peers <= found


def pattern(number: int, generation: int) -> bytes:
    """A block that says which it is and in which round it was written."""
    return (number.to_bytes(8) + generation.to_bytes(8)) * (BLOCK // 16)


def blocks(numbers: range, generation: int) -> Iterator[tuple[int, bytes]]:
    return ((number * BLOCK, pattern(number, generation)) for number in numbers)
