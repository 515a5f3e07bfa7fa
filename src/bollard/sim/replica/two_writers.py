"""A history of two Primaries whose clients write to the same few blocks at the same time.

`run_two_writers(seed)` raises Violation when the copies differ in the end, or hold what was overwritten for
sure, or counts what was written.
"""

from random import Random

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import Options
from bollard.replica.protocol.states import Role
from bollard.sim.replica.cluster import Cluster
from bollard.sim.replica.oracle import Violation

_SECTOR = 512
_PLACE_SECTORS = 64
_WRITES = 120


class Write:
    """One request: where, when it was submitted, and when answered."""

    def __init__(self, number: int, sectors: range, submitted_s: float) -> None:
        self.number = number
        self.sectors = sectors
        self.submitted_s = submitted_s
        self.answered_s = float("inf")


class TwoWriters:
    """The world of one seed."""

    def __init__(self, seed: int, *, short_way: bool = False) -> None:
        self.random = Random(seed ^ 0xD0)  # noqa: S311  repeatable on purpose
        options = Options(
            allow_two_primaries=True,
            ping_interval_s=2.0,
            al_extents=self.random.choice((2, 3, 64)),
            max_epoch_size=self.random.choice((4, 2048)),
        )
        self.cluster = Cluster(seed, options, diskful=2, witnesses=0, short_way=short_way)
        self.writes: list[Write] = []
        self.cluster.on_complete = self._completed

    def _completed(self, _node: int, action: a.Complete) -> None:
        if action.errno:
            raise Violation(f"write {action.request} failed with {action.errno}")
        self.writes[action.request - 1].answered_s = self.cluster.now_s

    def primary(self, node: int) -> bool:
        resource = self.cluster.nodes[node].resource
        return resource is not None and resource.core.role is Role.PRIMARY

    def order(self, node: int, kind: type[e.Promote] | type[e.Demote]) -> None:
        tag = self.cluster.command(node, kind)
        if not self.cluster.run_until(lambda: tag in self.cluster.answers, 20.0):
            raise Violation(f"{kind.__name__} of {node} is not answered")
        if self.cluster.answers[tag].code is not a.Code.OK:
            raise Violation(f"{kind.__name__} of {node}: {self.cluster.answers[tag]}")

    def write(self, node: int) -> None:
        """Anywhere in the same few KiB, of any length; sometimes in two extents of the log."""
        random, cluster = self.random, self.cluster
        start = random.randrange(_PLACE_SECTORS)
        length = random.choice((1, 1, 2, 8, 8, 8, 24))
        base = (4 << 20) // _SECTOR - _PLACE_SECTORS // 2
        one = Write(len(self.writes) + 1, range(base + start, base + start + length), cluster.now_s)
        self.writes.append(one)
        data = one.number.to_bytes(8) * (length * _SECTOR // 8)
        verb, data = (e.Verb.WRITE, data) if random.random() < 0.9 else (e.Verb.ZERO, b"")
        if verb is e.Verb.ZERO:
            one.number = 0
        request = len(self.writes)
        event = e.Request(0, request, verb, one.sectors.start * _SECTOR, length * _SECTOR, data, fua=False)
        if verb is not e.Verb.ZERO:
            event = e.Request(0, request, verb, one.sectors.start * _SECTOR, len(data), data)
        cluster.deliver(node, event)

    def run(self) -> int:
        cluster, random = self.cluster, self.random
        for node in (0, 1):
            cluster.start(node)
        if not cluster.run_until(self._connected, 20.0):
            raise Violation("the nodes do not connect")
        self.order(0, e.Promote)
        while len(self.writes) < _WRITES:
            ready = [node for node in (0, 1) if self.primary(node)]
            for _ in range(random.randrange(1, 5)):
                self.write(random.choice(ready))
            cluster.run(random.choice((0.0, 0.0, 0.0005, 0.001, 0.004, 0.05)))
            if random.random() < 0.06:
                self._change_roles()
        cluster.run(5.0)
        self._judge()
        return sum("wrote where we did" in line for line in cluster.trace)

    def _connected(self) -> bool:
        return all(
            peer.connected
            for node in self.cluster.nodes
            if node.resource is not None
            for peer in node.resource.core.peers.values()
        )

    def _change_roles(self) -> None:
        """One comes or goes while the other one's writes are under way."""
        both = self.primary(0) and self.primary(1)
        node = self.random.randrange(2)
        if both:
            self.order(node, e.Demote)
        else:
            self.order(0 if self.primary(1) else 1, e.Promote)

    def _judge(self) -> None:
        unanswered = [one for one in self.writes if one.answered_s == float("inf")]
        if unanswered:
            raise Violation(f"{len(unanswered)} writes are never answered")
        one, other = (node.disk for node in self.cluster.nodes)
        assert one is not None
        assert other is not None
        for sector in sorted({sector for write in self.writes for sector in write.sectors}):
            here, there = one.read(sector * _SECTOR, _SECTOR), other.read(sector * _SECTOR, _SECTOR)
            if here != there:
                raise Violation(f"sector {sector} differs: {here[:8].hex()} and {there[:8].hex()}")
            number = int.from_bytes(here[:8])
            if here != here[:8] * (_SECTOR // 8):
                raise Violation(f"sector {sector} is torn")
            touching = [write for write in self.writes if sector in write.sectors]
            newest = max(write.submitted_s for write in touching)
            if all(write.answered_s < newest for write in touching if write.number == number):
                raise Violation(f"sector {sector} holds write {number}, which was overwritten long ago")


def run_two_writers(seed: int, *, short_way: bool = False) -> int:
    """One history; how many conflicts there were. Raises Violation with the last lines of the trace."""
    world = TwoWriters(seed, short_way=short_way)
    try:
        return world.run()
    except Violation as violation:
        tail = "\n".join(world.cluster.trace[-30:])
        raise Violation(f"seed {seed}: {violation}\n{tail}") from violation
