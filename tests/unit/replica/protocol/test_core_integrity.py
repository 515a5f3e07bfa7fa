"""data-integrity-alg: data that was changed on its way never reaches a disk, nor a reader."""

import pytest

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.commands import Channel, Cmd
from bollard.replica.protocol.config import QUORUM_MAJORITY, Options
from bollard.replica.protocol.states import ConnState
from bollard.sim.replica.cluster import Cluster
from bollard.sim.replica.network import Network

BLOCK = 4096
GOOD = b"a" * BLOCK


class World:
    """Two disks and a client without one; `spoil` changes the last byte of the next packet of a command."""

    def __init__(self, algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
        options = Options(quorum=QUORUM_MAJORITY, data_integrity_alg=algorithm, ping_interval_s=2.0)
        self.cluster = Cluster(9, options)
        self.done: dict[int, a.Complete] = {}
        self.cluster.on_complete = lambda _node, action: self.done.__setitem__(action.request, action)
        self.spoil: Cmd | None = None
        self.spoilt = 0
        send = Network.send

        def changing(net: Network, node: int, peer: int, channel: Channel, data: bytes) -> None:
            if self.spoil is not None and data[6:8] == int(self.spoil).to_bytes(2, "big"):
                self.spoil = None
                self.spoilt += 1
                data = data[:-1] + b"?"
            send(net, node, peer, channel, data)

        monkeypatch.setattr(Network, "send", changing)
        for node in range(3):
            self.cluster.start(node)
        self.cluster.run(3.0)

    def promote(self, node: int) -> None:
        tag = self.cluster.command(node, e.Promote)
        assert self.cluster.run_until(lambda: tag in self.cluster.answers, 10.0)
        assert self.cluster.answers[tag].code is a.Code.OK

    def ask(self, node: int, verb: e.Verb, data: bytes = b"") -> a.Complete:
        number = len(self.done) + 1
        self.cluster.deliver(node, e.Request(0, number, verb, 5 * BLOCK, BLOCK, data))
        assert self.cluster.run_until(lambda: number in self.done, 20.0)
        return self.done[number]

    def on_disk(self, node: int) -> bytes:
        disk = self.cluster.nodes[node].disk
        assert disk is not None
        return disk.read(5 * BLOCK, BLOCK)


@pytest.mark.parametrize("algorithm", ["crc32c", "sha256"])
def test_a_changed_write_costs_the_connection_and_is_made_good(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(algorithm, monkeypatch)
    world.promote(0)
    world.spoil = Cmd.DATA
    assert world.ask(0, e.Verb.WRITE, GOOD).errno == 0
    world.cluster.run(5.0)
    assert world.spoilt == 1
    assert world.on_disk(1) == world.on_disk(0) == GOOD


def test_without_it_nobody_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("", monkeypatch)
    world.promote(0)
    world.spoil = Cmd.DATA
    assert world.ask(0, e.Verb.WRITE, GOOD).errno == 0
    world.cluster.run(5.0)
    assert world.on_disk(1) != GOOD


def test_a_changed_answer_is_not_what_a_remote_reader_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("sha1", monkeypatch)
    world.promote(2)
    assert world.ask(2, e.Verb.WRITE, GOOD).errno == 0
    world.spoil = Cmd.DATA_REPLY
    answer = world.ask(2, e.Verb.READ)
    assert world.spoilt == 1
    assert answer.errno or bytes(answer.data) == GOOD


def test_a_changed_resync_block_is_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("crc32c", monkeypatch)
    world.promote(0)
    world.cluster.crash(1)
    world.cluster.run(5.0)
    assert world.ask(0, e.Verb.WRITE, GOOD).errno == 0
    world.spoil = Cmd.RS_DATA_REPLY
    world.cluster.start(1)
    assert world.cluster.run_until(lambda: world.on_disk(1) == GOOD, 20.0)
    assert world.spoilt == 1


def test_an_unknown_algorithm_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("no-such-digest", monkeypatch)
    resource = world.cluster.nodes[0].resource
    assert resource is not None
    assert resource.core.peers[1].cstate is ConnState.STAND_ALONE
    assert any("no-such-digest" in line for line in world.cluster.trace)
