"""on-io-error: what a disk that fails in one place leads to, on either side, and how it is made good."""

import msgspec
import pytest

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import Handler, OnIoError, Options
from bollard.replica.protocol.model import Core
from bollard.replica.protocol.states import DiskState, ReplState
from bollard.sim.replica.cluster import Cluster
from bollard.sim.replica.disk import SimDisk

BLOCK = 4096
BAD = 7


class World:
    """Node 0 is Primary; block BAD of `victim` can neither be read nor written."""

    def __init__(self, policy: OnIoError, victim: int, *, short_way: bool = False) -> None:
        options = Options(on_io_error=policy, ping_interval_s=2.0, handlers=frozenset(Handler))
        self.cluster = Cluster(5, options, diskful=2, witnesses=0, short_way=short_way)
        self.done: dict[int, a.Complete] = {}
        self.calls: list[tuple[int, str]] = []
        self.cluster.on_complete = lambda _node, action: self.done.__setitem__(action.request, action)
        self.cluster.on_call = self.called
        for node in (0, 1):
            self.cluster.start(node)
        self.until(lambda: self.core(0).peers[1].connected)
        self.cluster.run(1.0)
        tag = self.cluster.command(0, e.Promote)
        self.until(lambda: tag in self.cluster.answers)
        assert self.cluster.answers[tag].code is a.Code.OK
        self.write(1, BAD, b"old")
        self.disk(victim).bad.add(BAD)

    def called(self, node: int, call: a.Call) -> int:
        self.calls.append((node, call.handler))
        return 0

    def until(self, condition: object) -> None:
        assert callable(condition)
        assert self.cluster.run_until(condition, 20.0), "\n".join(self.cluster.trace[-20:])

    def core(self, node: int) -> Core:
        resource = self.cluster.nodes[node].resource
        assert resource is not None
        return resource.core

    def disk(self, node: int) -> SimDisk:
        disk = self.cluster.nodes[node].disk
        assert disk is not None
        return disk

    def state(self, node: int) -> DiskState:
        return self.core(node).volumes[0].disk

    def write(self, number: int, block: int, data: bytes) -> int:
        whole = data.ljust(BLOCK, b".")
        self.cluster.deliver(0, e.Request(0, number, e.Verb.WRITE, block * BLOCK, BLOCK, whole))
        self.until(lambda: number in self.done)
        return self.done[number].errno

    def read(self, number: int, block: int) -> tuple[int, bytes]:
        self.cluster.deliver(0, e.Request(0, number, e.Verb.READ, block * BLOCK, BLOCK))
        self.until(lambda: number in self.done)
        return self.done[number].errno, bytes(self.done[number].data[:3])

    def bits(self, node: int) -> int:
        volume = self.core(node).volumes[0]
        assert volume.bitmap is not None
        return volume.bitmap.count(self.core(node).peers[1 - node].devices[0].slot)

    def reconnect(self) -> None:
        self.cluster.command(1, lambda tag: e.Disconnect(tag, force=True))
        self.cluster.run(0.5)
        self.cluster.command(1, e.Connect)
        self.until(
            lambda: (
                self.core(0).peers[1].connected
                and all(self.core(n).peers[1 - n].devices[0].repl is ReplState.ESTABLISHED for n in (0, 1))
                and self.state(0) is self.state(1) is DiskState.UP_TO_DATE
            )
        )


@pytest.mark.parametrize("short_way", [False, True], ids=["by-events", "short-way"])
@pytest.mark.parametrize("victim", [0, 1], ids=["primary", "secondary"])
def test_pass_on_keeps_the_disk_and_marks_the_place(victim: int, short_way: bool) -> None:
    world = World(OnIoError.PASS_ON, victim, short_way=short_way)
    assert world.write(2, 3, b"3rd") == 0
    assert world.write(3, BAD, b"new") == 0
    world.cluster.run(1.0)
    assert world.state(victim) is DiskState.INCONSISTENT
    assert world.state(1 - victim) is DiskState.UP_TO_DATE
    assert world.core(victim).volumes[0].disk_open
    assert world.bits(0) >= 1
    assert world.read(4, BAD) == (0, b"new")
    assert world.write(5, 8, b"8th") == 0
    world.disk(victim).bad.clear()
    world.reconnect()
    for block, data in ((3, b"3rd"), (BAD, b"new"), (8, b"8th")):
        assert all(world.disk(node).read(block * BLOCK, 3) == data for node in (0, 1)), block


def test_a_read_that_fails_is_answered_by_the_peer_and_its_place_made_good() -> None:
    world = World(OnIoError.PASS_ON, 0)
    assert world.read(2, BAD) == (0, b"old")
    assert world.state(0) is DiskState.INCONSISTENT
    assert world.bits(0) == 1
    world.disk(0).bad.clear()
    world.reconnect()
    assert world.read(3, BAD) == (0, b"old")


def test_alone_only_the_request_fails() -> None:
    world = World(OnIoError.PASS_ON, 0)
    world.cluster.crash(1)
    world.until(lambda: not world.core(0).peers[1].connected)
    assert world.write(2, BAD, b"new") == 5
    assert world.read(3, BAD)[0] == 5
    assert world.write(4, 8, b"8th") == 0
    assert world.read(5, 8) == (0, b"8th")
    assert world.state(0) is DiskState.UP_TO_DATE


def test_a_target_that_cannot_write_a_block_keeps_asking_for_it() -> None:
    world = World(OnIoError.PASS_ON, 1)
    world.cluster.crash(1)
    world.until(lambda: not world.core(0).peers[1].connected)
    assert world.write(2, BAD, b"new") == 0
    world.cluster.start(1)
    world.until(lambda: world.core(0).peers[1].connected)
    world.cluster.run(5.0)
    assert world.state(1) is DiskState.INCONSISTENT
    world.disk(1).bad.clear()
    world.until(lambda: world.state(1) is DiskState.UP_TO_DATE)
    assert world.disk(1).read(BAD * BLOCK, 3) == b"new"


@pytest.mark.parametrize("policy", [OnIoError.DETACH, OnIoError.CALL_LOCAL_IO_ERROR])
def test_the_other_policies_give_the_disk_up(policy: OnIoError) -> None:
    world = World(policy, 0)
    assert world.write(2, BAD, b"new") == 0
    assert world.state(0) is DiskState.DISKLESS
    asked = [(0, "local-io-error")] if policy is OnIoError.CALL_LOCAL_IO_ERROR else []
    assert [call for call in world.calls if call[1] == "local-io-error"] == asked
    assert world.read(3, BAD) == (0, b"new")


def test_a_flush_that_fails_costs_the_disk_also_under_pass_on() -> None:
    world = World(OnIoError.PASS_ON, 0)
    world.disk(0).failing = True
    world.cluster.deliver(0, e.Request(0, 2, e.Verb.FLUSH))
    world.until(lambda: 2 in world.done)
    assert world.done[2].errno == 0
    assert world.state(0) is DiskState.DISKLESS


def test_a_volume_may_have_a_policy_of_its_own_and_change_it() -> None:
    world = World(OnIoError.DETACH, 0)
    config = world.core(0).volumes[0].config
    own = msgspec.structs.replace(config, options=(("on-io-error", "pass_on"),))
    world.cluster.deliver(0, e.ChangeVolume(own))
    assert world.write(2, BAD, b"new") == 0
    assert world.state(0) is DiskState.INCONSISTENT
    world.cluster.deliver(0, e.ChangeVolume(config))
    assert world.write(3, BAD, b"new") == 0
    assert world.state(0) is DiskState.DISKLESS
