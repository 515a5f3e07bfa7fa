"""Fencing: when the handler is called, what waits for it, and what its verdicts mean."""

import pytest

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import Fencing, Options
from bollard.replica.protocol.model import Core
from bollard.replica.protocol.states import DiskState
from bollard.sim.replica.cluster import Cluster

BLOCK = 4096


class World:
    """Two disks without quorum; the handler's verdict is given by the test."""

    def __init__(self, fencing: Fencing) -> None:
        self.cluster = Cluster(3, Options(fencing=fencing, ping_interval_s=2.0), diskful=2, witnesses=0)
        self.calls: list[tuple[int, int]] = []
        self.done: dict[int, int] = {}
        self.cluster.on_fence = lambda node, peer: self.calls.append((node, peer))
        self.cluster.on_complete = lambda _node, action: self.done.__setitem__(action.request, action.errno)
        for node in (0, 1):
            self.cluster.start(node)
        assert self.cluster.run_until(lambda: self.core(0).peers[1].connected, 10.0)
        self.cluster.run(1.0)

    def core(self, node: int) -> Core:
        resource = self.cluster.nodes[node].resource
        assert resource is not None
        return resource.core

    def promote(self, node: int) -> a.Answer:
        tag = self.cluster.command(node, e.Promote)
        assert self.cluster.run_until(lambda: tag in self.cluster.answers, 60.0)
        return self.cluster.answers[tag]

    def submit(self, number: int) -> None:
        data = b"x" * BLOCK
        self.cluster.deliver(0, e.Request(0, number, e.Verb.WRITE, number * BLOCK, BLOCK, data))

    def lose_the_peer(self) -> None:
        assert self.promote(0).code is a.Code.OK
        self.cluster.crash(1)
        assert self.cluster.run_until(lambda: not self.core(0).peers[1].connected, 10.0)

    def verdict(self, code: int) -> None:
        self.cluster.deliver(0, e.FenceDone(1, code))
        self.cluster.run(1.0)

    def peer_disk(self) -> DiskState:
        return self.core(0).peers[1].devices[0].disk


def test_nobody_is_fenced_unless_asked_for() -> None:
    world = World(Fencing.DONT_CARE)
    world.lose_the_peer()
    world.cluster.run(1.0)
    assert not world.calls


def test_resource_only_calls_once_and_goes_on_meanwhile() -> None:
    world = World(Fencing.RESOURCE_ONLY)
    world.lose_the_peer()
    world.submit(1)
    world.cluster.run(3.0)
    assert world.calls == [(0, 1)]
    assert world.done == {1: 0}
    world.verdict(5)
    assert world.peer_disk() is DiskState.OUTDATED


@pytest.mark.parametrize(
    ("code", "disk"), [(3, DiskState.INCONSISTENT), (4, DiskState.OUTDATED), (7, DiskState.OUTDATED)]
)
def test_stonith_holds_writes_until_the_peer_is_harmless(code: int, disk: DiskState) -> None:
    world = World(Fencing.RESOURCE_AND_STONITH)
    world.lose_the_peer()
    world.submit(1)
    world.cluster.run(5.0)
    assert not world.done
    world.verdict(code)
    assert world.done == {1: 0}
    assert world.peer_disk() is disk


def test_stonith_that_fails_is_tried_again_and_holds() -> None:
    world = World(Fencing.RESOURCE_AND_STONITH)
    world.lose_the_peer()
    world.submit(1)
    world.verdict(5)
    world.cluster.run(15.0)
    assert not world.done
    assert world.calls == [(0, 1), (0, 1)]
    world.cluster.command(0, e.ResumeIo)
    world.cluster.run(1.0)
    assert world.done == {1: 0}


def test_writes_go_on_when_the_peer_comes_back() -> None:
    world = World(Fencing.RESOURCE_AND_STONITH)
    world.lose_the_peer()
    world.submit(1)
    world.cluster.start(1)
    assert world.cluster.run_until(lambda: bool(world.done), 10.0)
    assert world.done == {1: 0}


def test_a_peer_that_is_primary_makes_our_data_old() -> None:
    world = World(Fencing.RESOURCE_ONLY)
    world.lose_the_peer()
    world.verdict(6)
    assert world.core(0).volumes[0].disk is DiskState.OUTDATED


@pytest.mark.parametrize(("code", "outcome"), [(4, a.Code.OK), (1, a.Code.UNAVAILABLE)])
def test_who_is_promoted_without_its_peer_fences_it_first(code: int, outcome: a.Code) -> None:
    world = World(Fencing.RESOURCE_ONLY)
    world.cluster.crash(1)
    assert world.cluster.run_until(lambda: not world.core(0).peers[1].connected, 10.0)
    world.cluster.on_fence = lambda _node, _peer: world.cluster.at(5.0, lambda: world.verdict(code))
    assert world.promote(0).code is outcome
