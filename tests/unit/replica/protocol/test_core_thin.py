"""Thin resync: zeroes are named, not sent; and a peer that takes nothing is cut."""

from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import parse_options
from bollard.replica.protocol.states import DiskState
from bollard.replica.protocol.thin import is_zero
from replica_world import BLOCK, World


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_zeroes_are_recognised(length: int, at: int) -> None:
    assert is_zero(bytes(length))
    assert is_zero(memoryview(bytes(length)))
    if at < length:
        data = bytearray(length)
        data[at] = 1
        assert not is_zero(data)
        assert not is_zero(memoryview(data))


def test_sizes_have_units() -> None:
    assert parse_options([("rs-discard-granularity", "64k")]).rs_discard_granularity_bytes == 65536
    assert parse_options([("rs-discard-granularity", "65536")]).rs_discard_granularity_bytes == 65536


def resynced(granularity: int) -> tuple[World, list[a.Action]]:
    """Node 1 comes back after zeroes were written over data, and some data beside them."""
    world = World(seed=4, rs_discard_granularity_bytes=granularity, resync_request_bytes=1 << 16)
    world.order(0, e.Promote)
    for block in range(64):
        world.write(0, block, b"x")
    world.cluster.crash(1)
    assert world.cluster.run_until(lambda: not world.core(0).peers[1].connected, 10.0)
    for block in range(32):
        world.write(0, block, b"\0")
    for block in range(32, 36):
        world.write(0, block, b"y")
    done: list[a.Action] = []
    act = world.cluster._disk
    world.cluster._disk = lambda node, action: (done.append(action), act(node, action))[1]  # type: ignore  # noqa: PGH003
    world.cluster.start(1)
    assert world.cluster.run_until(lambda: world.disk(1) is DiskState.UP_TO_DATE, 20.0)
    world.cluster.run(1.0)
    return world, done


def test_zeroes_are_unmapped_on_the_target() -> None:
    world, done = resynced(1 << 16)
    zeroed = sum(act.length_bytes for act in done if isinstance(act, a.ZeroDisk))
    assert zeroed == 32 * BLOCK
    for block, letter in ((0, b"\0"), (31, b"\0"), (32, b"y"), (35, b"y"), (36, b"x")):
        assert world.on_disk(1, block) == letter * BLOCK == world.on_disk(0, block)


def test_without_the_option_everything_is_sent() -> None:
    world, done = resynced(0)
    assert not [act for act in done if isinstance(act, a.ZeroDisk)]
    assert world.on_disk(1, 0) == bytes(BLOCK)


def stalled(ko_count: int) -> tuple[World, int]:
    world = World(seed=4, timeout_s=1.0, ko_count=ko_count)
    world.order(0, e.Promote)
    disk = world.cluster.nodes[1].disk
    assert disk is not None
    disk.stalled = True
    return world, world.submit(0, e.Verb.WRITE, 5, b"k" * BLOCK)


def test_a_peer_that_takes_nothing_is_cut_though_it_answers_pings() -> None:
    world, request = stalled(3)
    world.cluster.run(2.5)
    assert request not in world.completed
    assert world.wait(request, 5.0).errno == 0


def test_ko_count_zero_waits_for_ever() -> None:
    world, request = stalled(0)
    world.cluster.run(100.0)
    assert request not in world.completed
    disk = world.cluster.nodes[1].disk
    assert disk is not None
    disk.stalled = False
    assert world.wait(request, 5.0).errno == 0
