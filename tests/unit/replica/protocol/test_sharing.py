"""The arithmetic of two writers, and what only one sequence of events shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import ConfigError, parse_options
from bollard.replica.protocol.sharing import later, remaining
from replica_world import BLOCK, World

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=6)


@given(st.integers(0, 40), st.integers(1, 40), RANGES)
def test_what_remains_is_exactly_what_is_not_cut(
    start: int, length: int, ranges: list[tuple[int, int]]
) -> None:
    cuts = [(first, first + count) for first, count in ranges]
    pieces = remaining(start, start + length, cuts)
    covered = {place for first, last in cuts for place in range(first, last)}
    assert [place for first, last in pieces for place in range(first, last)] == [
        place for place in range(start, start + length) if place not in covered
    ]
    assert all(first < last for first, last in pieces)


@given(st.integers(1, (1 << 32) - 1), st.integers(1, 1 << 30))
def test_numbers_are_compared_across_their_end(number: int, distance: int) -> None:
    after = (number + distance) & 0xFFFF_FFFF
    if after:
        assert later(after, number)
        assert not later(number, after)
    assert later(number, 0)
    assert not later(0, number)
    assert not later(number, number)


def test_two_primaries_need_protocol_c() -> None:
    assert parse_options([("allow-two-primaries", "yes")]).allow_two_primaries
    with pytest.raises(ConfigError, match="protocol C"):
        parse_options([("allow-two-primaries", "yes"), ("protocol", "A")])


@pytest.mark.parametrize("first", [0, 1])
def test_crossing_writes_end_the_same_on_both(first: int) -> None:
    world = World(seed=3, witnesses=0, allow_two_primaries=True)
    for node in (0, 1):
        world.order(node, e.Promote)
    requests = [
        world.submit(node, e.Verb.WRITE, 5, bytes([65 + node]) * BLOCK) for node in (first, 1 - first)
    ]
    wider = world.submit(first, e.Verb.WRITE, 4, b"w" * 3 * BLOCK)
    for request in (*requests, wider):
        assert world.wait(request).errno == 0
    world.cluster.run(1.0)
    for block in (4, 5, 6):
        assert world.on_disk(0, block) == world.on_disk(1, block), block


def test_a_short_way_is_not_taken_beside_another_primary() -> None:
    world = World(seed=3, witnesses=0, allow_two_primaries=True)
    world.order(0, e.Promote)
    resource = world.cluster.nodes[0].resource
    assert resource is not None
    assert not resource.sharing.active
    world.order(1, e.Promote)
    assert resource.sharing.active
    world.write(0, 1, b"a")
    assert resource.steady.lane(0) is None
    world.order(1, e.Demote)
    world.cluster.run(0.5)
    assert not resource.sharing.active
