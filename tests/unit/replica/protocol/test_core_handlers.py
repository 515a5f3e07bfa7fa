"""Which handler is run when, and what follows where one is asked."""

from collections.abc import Callable

import msgspec
import pytest

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.commands import AfterSplitBrain
from bollard.replica.protocol.config import QUORUM_MAJORITY, Fencing, Handler, Options
from bollard.replica.protocol.model import Core
from bollard.replica.protocol.states import ConnState, DiskState, Role
from bollard.sim.replica.cluster import Cluster

BLOCK = 4096
OPTIONS = Options(ping_interval_s=2.0, handlers=frozenset(Handler))


class World:
    """Two disks; every handler that is run is noted, and ends with what `codes` says."""

    def __init__(self, options: Options = OPTIONS) -> None:
        self.cluster = Cluster(11, options, diskful=2, witnesses=0)
        self.calls: list[tuple[int, a.Call]] = []
        self.codes: dict[str, int] = {}
        self.cluster.on_call = self.called
        for node in (0, 1):
            self.cluster.start(node)
        self.until(lambda: self.core(0).peers[1].connected and self.core(1).peers[0].connected)
        self.cluster.run(1.0)

    def called(self, node: int, call: a.Call) -> int:
        self.calls.append((node, call))
        return self.codes.get(call.handler, 0)

    def names(self) -> set[tuple[int, str]]:
        return {(node, call.handler) for node, call in self.calls}

    def until(self, condition: Callable[[], bool]) -> None:
        assert self.cluster.run_until(condition, 30.0), "\n".join(self.cluster.trace[-20:])

    def core(self, node: int) -> Core:
        resource = self.cluster.nodes[node].resource
        assert resource is not None
        return resource.core

    def disk(self, node: int) -> DiskState:
        return self.core(node).volumes[0].disk

    def promote(self, node: int) -> None:
        tag = self.cluster.command(node, e.Promote)
        self.until(lambda: tag in self.cluster.answers)
        assert self.cluster.answers[tag].code is a.Code.OK, self.cluster.answers[tag]

    def write(self, node: int, block: int) -> None:
        request = e.Request(0, block, e.Verb.WRITE, block * BLOCK, BLOCK, b"x" * BLOCK)
        self.cluster.deliver(node, request)
        self.cluster.run(1.0)

    def part(self) -> None:
        self.cluster.network.cut(0, 1, silent=False)
        self.until(lambda: not self.core(0).peers[1].connected and not self.core(1).peers[0].connected)

    def meet(self) -> None:
        self.cluster.network.heal(0, 1)
        self.cluster.run(5.0)


def behind(options: Options = OPTIONS) -> World:
    """Node 1 lacks a write of the Primary, node 0, and does not reach it."""
    world = World(options)
    world.promote(0)
    world.part()
    world.write(0, 5)
    return world


def test_a_resync_is_announced_on_both_sides() -> None:
    world = behind(msgspec.structs.replace(OPTIONS, fencing=Fencing.RESOURCE_ONLY))
    assert (0, "disconnected") in world.names()
    world.calls.clear()
    world.meet()
    assert world.disk(1) is DiskState.UP_TO_DATE
    names = [(node, call.handler) for node, call in world.calls]
    assert sorted(names) == [
        (0, "before-resync-source"),
        (0, "unfence-peer"),
        (1, "after-resync-target"),
        (1, "before-resync-target"),
    ]
    before = next(call for node, call in world.calls if call.handler == "before-resync-target")
    assert (before.volume, before.peer, before.state, before.good_nodes) == (0, 0, "Connected", 0b01)
    after = next(call for node, call in world.calls if call.handler == "after-resync-target")
    assert after.good_nodes == 0b11


@pytest.mark.parametrize(
    ("handler", "node", "code"),
    [
        (Handler.BEFORE_RESYNC_TARGET, 1, 1),
        (Handler.BEFORE_RESYNC_SOURCE, 0, 1),
        (Handler.BEFORE_RESYNC_TARGET, 1, 3),
    ],
)
def test_one_that_objects_keeps_the_nodes_apart(handler: Handler, node: int, code: int) -> None:
    world = behind()
    world.codes[handler] = code
    world.meet()
    assert world.core(node).peers[1 - node].cstate is ConnState.STAND_ALONE
    assert world.disk(1) < DiskState.CONSISTENT
    assert (1, "after-resync-target") not in world.names()


def test_the_source_goes_on_where_old_tools_know_no_such_handler() -> None:
    world = behind()
    world.codes[Handler.BEFORE_RESYNC_SOURCE] = 3
    world.meet()
    assert world.disk(1) is DiskState.UP_TO_DATE


def test_without_handlers_none_is_run() -> None:
    world = behind(msgspec.structs.replace(OPTIONS, handlers=frozenset()))
    world.meet()
    assert world.disk(1) is DiskState.UP_TO_DATE
    assert not world.calls


def split(options: Options = OPTIONS) -> World:
    """Both sides were written to; node 1 is still Primary and in use."""
    world = behind(options)
    world.cluster.command(0, lambda tag: e.Demote(tag, force=True))
    world.cluster.run(1.0)
    tag = world.cluster.command(1, lambda tag: e.Open(tag, 0, True))
    world.until(lambda: tag in world.cluster.answers)
    world.write(1, 6)
    world.calls.clear()
    world.meet()
    return world


def test_a_split_brain_is_told_when_found_and_when_left_to_people() -> None:
    world = split()
    assert {call.handler for _, call in world.calls} >= {"initial-split-brain", "split-brain"}


def test_one_that_is_settled_by_policy_is_only_told_when_found() -> None:
    world = split(msgspec.structs.replace(OPTIONS, after_sb_1pri=AfterSplitBrain.DISCARD_SECONDARY))
    told = {call.handler for _, call in world.calls}
    assert "initial-split-brain" in told
    assert "split-brain" not in told
    assert world.disk(0) is world.disk(1) is DiskState.UP_TO_DATE


@pytest.mark.parametrize("in_use", [True, False])
def test_a_primary_whose_data_loses_gives_way_or_calls_for_help(in_use: bool) -> None:
    options = msgspec.structs.replace(
        OPTIONS,
        after_sb_0pri=AfterSplitBrain.DISCARD_YOUNGER,
        after_sb_1pri=AfterSplitBrain.CALL_HELPER,
    )
    world = behind(options)
    world.cluster.command(0, lambda tag: e.Demote(tag, force=True))
    world.cluster.run(1.0)
    if in_use:
        tag = world.cluster.command(1, lambda tag: e.Open(tag, 0, True))
        world.until(lambda: tag in world.cluster.answers)
    else:
        world.promote(1)
    world.write(1, 6)
    world.meet()
    lost = ((1, "pri-lost-after-sb") in world.names()) or ((0, "pri-lost-after-sb") in world.names())
    assert lost is in_use
    if not in_use:
        world.until(lambda: world.disk(0) is world.disk(1) is DiskState.UP_TO_DATE)
        assert world.core(1).role is Role.SECONDARY


def test_a_primary_without_good_data_calls() -> None:
    world = World()
    world.promote(0)
    world.cluster.command(0, lambda tag: e.Detach(tag, 0))
    world.cluster.run(1.0)
    assert (0, "pri-on-incon-degr") not in world.names()
    world.cluster.crash(1)
    world.until(lambda: not world.core(0).peers[1].connected)
    world.cluster.run(1.0)
    assert [(n, c.handler) for n, c in world.calls].count((0, "pri-on-incon-degr")) == 1


def test_a_primary_without_quorum_calls() -> None:
    world = World(msgspec.structs.replace(OPTIONS, quorum=QUORUM_MAJORITY))
    world.promote(0)
    world.cluster.crash(1)
    world.until(lambda: not world.core(0).peers[1].connected)
    assert (0, "quorum-lost") in world.names()


def test_a_verify_that_finds_differences_calls() -> None:
    world = World()
    disk = world.cluster.nodes[1].disk
    assert disk is not None
    disk.write(9 * BLOCK, b"flipped")
    tag = world.cluster.command(0, lambda tag: e.Verify(tag, 0, 1))
    world.until(lambda: tag in world.cluster.answers)
    world.until(lambda: (0, "out-of-sync") in world.names())
