"""A peer that does not keep up is left behind for a while, and brought up to date when it can take it."""

from random import Random

import pytest

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.commands import WireProtocol
from bollard.replica.protocol.config import QUORUM_OFF, ConfigError, OnCongestion, parse_options
from bollard.replica.protocol.states import ConnState, DiskState, ReplState
from bollard.sim.replica.disk import SimDisk
from replica_world import BLOCK, World

FILL = 8 * BLOCK


def made(policy: OnCongestion = OnCongestion.PULL_AHEAD, **options: object) -> World:
    chosen = {"congestion_fill_bytes": FILL, "quorum": QUORUM_OFF, "witnesses": 0, **options}
    world = World(seed=6, protocol=WireProtocol.A, on_congestion=policy, **chosen)
    world.order(0, e.Promote)
    return world


def disk_of(world: World, node: int) -> SimDisk:
    disk = world.cluster.nodes[node].disk
    assert disk is not None
    return disk


def repl(world: World, node: int) -> ReplState:
    return world.core(node).peers[1 - node].devices[0].repl


def settled(world: World) -> bool:
    return (
        repl(world, 0) is repl(world, 1) is ReplState.ESTABLISHED
        and world.disk(0) is world.disk(1) is DiskState.UP_TO_DATE
    )


def test_options_by_their_names() -> None:
    options = parse_options([("protocol", "A"), ("on-congestion", "pull-ahead"), ("congestion-fill", "100")])
    assert options.on_congestion is OnCongestion.PULL_AHEAD
    assert options.congestion_fill_bytes == 51200
    assert parse_options([("congestion-fill", "2M")]).congestion_fill_bytes == 2 << 20
    with pytest.raises(ConfigError, match="protocol A"):
        parse_options([("on-congestion", "pull-ahead")])


def test_the_primary_goes_ahead_and_the_peer_comes_back_by_resync() -> None:
    world = made()
    disk_of(world, 1).stalled = True
    for block in range(12):
        world.write(0, block, b"a")
    world.cluster.run(0.1)
    assert repl(world, 0) is ReplState.AHEAD
    assert repl(world, 1) is ReplState.BEHIND
    for block in range(12, 40):
        world.write(0, block, b"b")
    assert world.on_disk(1, 39) == bytes(BLOCK)
    tag = world.cluster.command(1, e.Promote)
    assert world.cluster.run_until(lambda: tag in world.cluster.answers, 5.0)
    assert world.cluster.answers[tag].code is not a.Code.OK
    disk_of(world, 1).stalled = False
    assert world.cluster.run_until(lambda: settled(world), 30.0), world.cluster.trace[-10:]
    for block in range(40):
        assert world.on_disk(1, block) == world.on_disk(0, block), block


def test_below_the_limit_nothing_happens() -> None:
    world = made()
    disk_of(world, 1).stalled = True
    for block in range(7):
        world.write(0, block, b"a")
    world.cluster.run(0.1)
    assert repl(world, 0) is ReplState.ESTABLISHED


def test_extents_of_the_log_count_too() -> None:
    world = made(congestion_fill_bytes=0, congestion_extents=2, al_extents=64)
    disk_of(world, 1).stalled = True
    world.write(0, 0, b"a")
    assert repl(world, 0) is ReplState.ESTABLISHED
    world.write(0, 2048, b"a")
    assert repl(world, 0) is ReplState.AHEAD


def test_or_the_peer_is_disconnected() -> None:
    world = made(OnCongestion.DISCONNECT)
    disk_of(world, 1).stalled = True
    for block in range(12):
        world.write(0, block, b"a")
    assert world.core(0).peers[1].cstate is ConnState.STAND_ALONE


def test_a_primary_that_crashes_ahead_has_the_newest_data() -> None:
    world = made()
    disk_of(world, 1).stalled = True
    for block in range(30):
        world.write(0, block, b"c")
    world.cluster.run(0.5)
    world.cluster.crash(0)
    disk_of(world, 1).stalled = False
    world.cluster.run(2.0)
    assert world.disk(1) is DiskState.OUTDATED
    world.cluster.start(0)
    assert world.cluster.run_until(lambda: settled(world), 30.0), world.cluster.trace[-10:]
    for block in range(30):
        assert world.on_disk(1, block) == world.on_disk(0, block), block


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_meanwhile_both_copies_are_equal_in_the_end(seed: int) -> None:
    random = Random(seed)
    world = made(congestion_fill_bytes=random.choice((1, 3, 10)) * BLOCK)
    cluster, newest = world.cluster, dict[int, bytes]()
    for turn in range(60):
        choice = random.random()
        if choice < 0.7:
            block, letter = random.randrange(24), bytes([turn + 1])
            world.write(0, block, letter)
            newest[block] = letter
        elif choice < 0.8:
            # A write that a resync is near waits for the target's disk.
            disk_of(world, 1).stalled = repl(world, 0) is ReplState.ESTABLISHED
        elif choice < 0.85:
            cluster.network.cut(0, 1, silent=random.random() < 0.5)
        elif choice < 0.95:
            cluster.network.heal(0, 1)
        else:
            disk_of(world, 1).stalled = False
            if cluster.alive(1):
                cluster.crash(1)
            else:
                cluster.start(1)
        cluster.run(random.choice((0.0, 0.01, 0.1, 1.5)))
        if repl(world, 0) not in (ReplState.ESTABLISHED, ReplState.AHEAD):
            disk_of(world, 1).stalled = False
    cluster.network.heal(0, 1)
    disk_of(world, 1).stalled = False
    if not cluster.alive(1):
        cluster.start(1)
    cluster.run(2.0)
    assert cluster.run_until(lambda: world.connected() and settled(world), 60.0), cluster.trace[-10:]
    cluster.run(1.0)
    for block, letter in newest.items():
        assert world.on_disk(0, block) == world.on_disk(1, block) == letter * BLOCK, block
