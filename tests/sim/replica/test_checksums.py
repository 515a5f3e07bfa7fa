"""Resync by checksums between two engines: only blocks that differ move, and writes go on."""

from collections.abc import Callable
from random import Random

import pytest

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.commands import Cmd
from bollard.replica.protocol.config import QUORUM_MAJORITY, Options
from bollard.replica.protocol.states import DiskState, ReplState
from bollard.sim.replica.cluster import Cluster

BLOCK = 4096
SIZE = 16 << 20


class Pair:
    """Two disks and a witness; node 0 writes first."""

    def __init__(self, *, after_crash_only: bool = True, alg: str = "sha256") -> None:
        options = Options(
            quorum=QUORUM_MAJORITY,
            ping_interval_s=2.0,
            twopc_timeout_s=5.0,
            csums_alg=alg,
            csums_after_crash_only=after_crash_only,
        )
        self.cluster = Cluster(5, options, volume_bytes=SIZE)
        self.acked: set[int] = set()
        self.requests = 0
        self.cluster.on_complete = lambda _node, action: (
            self.acked.add(action.request) if not action.errno else None
        )
        self.packets: dict[Cmd, int] = {}
        send = self.cluster.network.send

        def counted(node: int, peer: int, channel: object, data: bytes) -> None:
            at = 0
            while at < len(data):
                cmd = (
                    Cmd(int.from_bytes(data[at + 6 : at + 8]))
                    if data[at : at + 4].hex() == "8620ec20"
                    else None
                )
                if cmd is None:
                    break
                self.packets[cmd] = self.packets.get(cmd, 0) + 1
                at += 16 + int.from_bytes(data[at + 8 : at + 12])
            send(node, peer, channel, data)  # type: ignore[arg-type]

        self.cluster.network.send = counted  # type: ignore[method-assign]
        for node in self.cluster.nodes:
            self.cluster.start(node.node_id)
        self.until(self.settled)

    def until(self, condition: Callable[[], bool]) -> None:
        assert self.cluster.run_until(condition, 60.0), "\n".join(self.cluster.trace[-20:])

    def settled(self) -> bool:
        for node in self.cluster.nodes:
            core = node.resource.core if node.resource is not None else None
            if core is None or (node.disk is not None and core.volumes[0].disk != DiskState.UP_TO_DATE):
                return False
            if any(
                not p.connected or p.devices[0].repl != ReplState.ESTABLISHED for p in core.peers.values()
            ):
                return False
        return True

    def promote(self, node: int) -> None:
        """Asked again while a lost node has not been noticed yet."""
        answers = self.cluster.answers
        for _ in range(10):
            tag = self.cluster.command(node, e.Promote)
            self.until(lambda tag=tag: tag in answers)  # type: ignore[misc]
            if answers[tag].code is a.Code.OK:
                return
            self.cluster.run(1.0)
        raise AssertionError(answers[tag])

    def write(self, node: int, blocks: range, fill: int) -> None:
        for block in blocks:
            self.requests += 1
            number = self.requests
            data = bytes((fill,)) * BLOCK
            self.cluster.deliver(node, e.Request(0, number, e.Verb.WRITE, block * BLOCK, BLOCK, data))
            self.until(lambda number=number: number in self.acked)  # type: ignore[misc]

    def flush(self, node: int) -> None:
        self.requests += 1
        self.cluster.deliver(node, e.Request(0, self.requests, e.Verb.FLUSH))
        self.until(lambda: self.requests in self.acked)

    def moved(self, target: int, source: int) -> int:
        resource = self.cluster.nodes[target].resource
        assert resource is not None
        return resource.core.peers[source].devices[0].last_resync_bytes

    def differing(self) -> int:
        """Blocks that are not the same on both disks."""
        one, other = (node.disk for node in self.cluster.nodes[:2])
        assert one is not None
        assert other is not None
        return sum(one.read(at, BLOCK) != other.read(at, BLOCK) for at in range(0, SIZE, BLOCK))


def crash_and_return(pair: Pair, *, meanwhile: range) -> int:
    """The Primary, with hot extents, dies; the other one writes a little; it comes back.

    Returns how many blocks differed before.
    """
    pair.promote(0)
    pair.write(0, range(0, 4096, 256), 1)
    pair.cluster.run(3.0)
    pair.cluster.crash(0)
    pair.promote(1)
    pair.write(1, meanwhile, 2)
    differing = pair.differing()
    pair.cluster.start(0)
    pair.until(pair.settled)
    return differing


def test_after_a_crash_only_what_differs_moves() -> None:
    pair = Pair()
    differing = crash_and_return(pair, meanwhile=range(100, 107))
    assert 7 <= differing <= 7 + 16, "what was written meanwhile, and what the crash lost"
    assert pair.packets[Cmd.CSUM_RS_REQUEST] == SIZE // BLOCK, "each block of the hot extents is compared"
    assert pair.packets[Cmd.RS_IS_IN_SYNC] == SIZE // BLOCK - differing
    assert pair.moved(0, 1) == differing * BLOCK
    assert Cmd.RS_DATA_REQUEST not in pair.packets
    assert not pair.differing()


def test_without_a_digest_all_of_it_moves() -> None:
    pair = Pair(alg="")
    crash_and_return(pair, meanwhile=range(100, 107))
    assert Cmd.CSUM_RS_REQUEST not in pair.packets
    assert pair.moved(0, 1) == SIZE
    assert not pair.differing()


@pytest.mark.parametrize("after_crash_only", [True, False])
def test_without_a_crash_it_is_used_only_when_asked_for(after_crash_only: bool) -> None:
    pair = Pair(after_crash_only=after_crash_only)
    pair.promote(0)
    pair.write(0, range(50), 1)
    pair.cluster.run(3.0)
    pair.cluster.network.cut(0, 1, silent=False)
    pair.write(0, range(40, 60), 3)
    pair.cluster.network.heal(0, 1)
    pair.until(pair.settled)
    assert pair.packets.get(Cmd.CSUM_RS_REQUEST, 0) == (0 if after_crash_only else 20)
    assert pair.moved(1, 0) == 20 * BLOCK
    assert not pair.differing()


def test_writes_during_the_comparison_are_not_lost() -> None:
    pair = Pair()
    random = Random(3)
    pair.promote(0)
    pair.write(0, range(0, 4096, 128), 1)
    pair.cluster.run(3.0)
    pair.cluster.crash(0)
    pair.promote(1)
    pair.cluster.start(0)
    for generation in range(2, 250):
        block = random.randrange(SIZE // BLOCK)
        pair.write(1, range(block, block + 1), generation)
    pair.until(pair.settled)
    assert pair.packets[Cmd.RS_IS_IN_SYNC] > 3000
    assert not pair.differing()


def test_a_source_that_loses_power_in_the_midst_does_not_leave_wrong_bits() -> None:
    pair = Pair()
    pair.promote(0)
    pair.write(0, range(0, 4096, 64), 1)
    pair.cluster.run(3.0)
    pair.cluster.crash(0)
    pair.promote(1)
    pair.write(1, range(1000, 1040), 2)
    pair.flush(1)
    pair.cluster.start(0)
    pair.until(lambda: pair.packets.get(Cmd.RS_IS_IN_SYNC, 0) > 1500)
    pair.cluster.crash(1)
    pair.cluster.run(1.0)
    pair.cluster.start(1)
    pair.until(pair.settled)
    assert not pair.differing()
    disk = pair.cluster.nodes[0].disk
    assert disk is not None
    assert disk.read(1000 * BLOCK, 40 * BLOCK) == bytes((2,)) * BLOCK * 40
