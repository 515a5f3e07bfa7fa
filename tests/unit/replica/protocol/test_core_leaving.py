"""Who disconnects may not cost a Primary its quorum, unless that is wanted."""

import pytest

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import QUORUM_OFF
from bollard.replica.protocol.states import ConnState
from replica_world import World


def made(**shape: int) -> World:
    world = World(seed=2, **shape)
    world.order(0, e.Promote)
    world.cluster.run(0.5)
    return world


def leave(world: World, node: int, peer: int | None, *, force: bool = False) -> a.Answer:
    return world.order(node, lambda tag: e.Disconnect(tag, peer, force))


def test_a_primary_keeps_the_peer_that_gives_it_quorum() -> None:
    world = made(witnesses=0)
    answer = leave(world, 0, 1)
    assert (answer.code, answer.number) == (a.Code.CONFLICT, -25)
    assert world.core(0).peers[1].connected
    assert leave(world, 0, 1, force=True).code is a.Code.OK
    assert world.core(0).peers[1].cstate is ConnState.STAND_ALONE
    assert not world.core(0).volumes[0].quorum


def test_it_may_leave_one_of_enough() -> None:
    world = made(witnesses=1)
    assert leave(world, 0, 1).code is a.Code.OK
    assert world.core(0).volumes[0].quorum
    answer = leave(world, 0, 2)
    assert answer.number == -25


def test_without_quorum_configured_it_may_leave_all() -> None:
    world = World(seed=2, witnesses=0, quorum=QUORUM_OFF)
    world.order(0, e.Promote)
    assert leave(world, 0, None).code is a.Code.OK


def test_a_secondary_that_the_primary_needs_is_refused() -> None:
    world = made(diskful=3, witnesses=0)
    world.cluster.crash(2)
    assert world.cluster.run_until(lambda: not world.core(0).peers[2].connected, 10.0)
    answer = leave(world, 1, 0)
    assert (answer.code, answer.number) == (a.Code.CONFLICT, -10)
    assert world.core(0).peers[1].connected
    assert world.core(0).volumes[0].quorum
    assert leave(world, 1, 0, force=True).code is a.Code.OK


@pytest.mark.parametrize("peer", [0, None])
def test_one_that_is_not_needed_may_go(peer: int | None) -> None:
    world = made(diskful=3, witnesses=0)
    assert leave(world, 1, peer).code is a.Code.OK
    world.cluster.run(1.0)
    assert world.core(0).volumes[0].quorum
    assert world.core(1).peers[0].cstate is ConnState.STAND_ALONE
