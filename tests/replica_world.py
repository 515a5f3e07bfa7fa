"""A simulated cluster of one resource, with helpers that wait for what they asked for."""

from collections.abc import Callable

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import QUORUM_MAJORITY, Options
from bollard.replica.protocol.model import Core
from bollard.replica.protocol.states import DiskState, ReplState
from bollard.sim.replica.cluster import Cluster

BLOCK = 4096


class World:
    """A cluster with helpers that wait for what they asked for."""

    def __init__(
        self, seed: int = 1, *, diskful: int = 2, witnesses: int = 1, day0: bool = True, **options: object
    ) -> None:
        chosen = {"quorum": QUORUM_MAJORITY, "ping_interval_s": 2.0, "al_extents": 3, **options}
        self.cluster = Cluster(seed, Options(**chosen), diskful=diskful, witnesses=witnesses, day0=day0)
        self.completed: dict[int, a.Complete] = {}
        self.cluster.on_complete = lambda _node, action: self.completed.__setitem__(action.request, action)
        self.requests = 0
        for node in self.cluster.nodes:
            self.cluster.start(node.node_id)
        assert self.cluster.run_until(self.connected, 15.0), "the nodes do not connect"
        self.cluster.run(0.5)

    def connected(self) -> bool:
        return all(
            peer.connected for node in self.cluster.nodes for peer in node.resource.core.peers.values()
        )

    def core(self, node: int) -> Core:
        resource = self.cluster.nodes[node].resource
        assert resource is not None
        return resource.core

    def disk(self, node: int) -> DiskState:
        return self.core(node).volumes[0].disk

    def order(self, node: int, make: Callable[[int], e.Event], wait_s: float = 10.0) -> a.Answer:
        tag = self.cluster.command(node, make)
        assert self.cluster.run_until(lambda: tag in self.cluster.answers, wait_s), "no answer"
        return self.cluster.answers[tag]

    def submit(
        self,
        node: int,
        verb: e.Verb,
        block: int = 0,
        data: bytes = b"",
        *,
        length: int = 0,
        fua: bool = False,
    ) -> int:
        self.requests += 1
        event = e.Request(0, self.requests, verb, block * BLOCK, length or len(data), data, fua)
        self.cluster.deliver(node, event)
        return self.requests

    def wait(self, request: int, wait_s: float = 15.0) -> a.Complete:
        assert self.cluster.run_until(lambda: request in self.completed, wait_s), "no completion"
        return self.completed[request]

    def write(self, node: int, block: int, letter: bytes) -> None:
        assert self.wait(self.submit(node, e.Verb.WRITE, block, letter * BLOCK)).errno == 0

    def read(self, node: int, block: int) -> bytes:
        answer = self.wait(self.submit(node, e.Verb.READ, block, length=BLOCK))
        assert answer.errno == 0
        return bytes(answer.data)

    def on_disk(self, node: int, block: int) -> bytes:
        disk = self.cluster.nodes[node].disk
        assert disk is not None
        return disk.read(block * BLOCK, BLOCK)

    def healthy(self) -> bool:
        return all(
            peer.connected and peer.devices[0].repl is ReplState.ESTABLISHED
            for node in self.cluster.nodes
            if node.resource is not None
            for peer in node.resource.core.peers.values()
        ) and all(self.disk(node.node_id) is DiskState.UP_TO_DATE for node in self.cluster.nodes if node.disk)
