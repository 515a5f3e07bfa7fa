"""Overlapping operations run one after another in the order they came; others do not wait."""

from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.protocol.exclusion import Exclusion, RangeCall

RANGES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 12)).map(
        lambda pair: (pair[0] << 15, (pair[0] + pair[1]) << 15)
    ),
    max_size=20,
)


def overlap(one: RangeCall, other: RangeCall) -> bool:
    return one.start < other.end and other.start < one.end


@given(RANGES, st.randoms())
def test_order_and_exclusion(ranges: list[tuple[int, int]], random: object) -> None:
    busy = Exclusion()
    running: list[RangeCall] = []
    started: list[RangeCall] = []
    ops: list[RangeCall] = []

    def start(op: RangeCall) -> None:
        assert not any(overlap(op, other) for other in running)
        running.append(op)
        started.append(op)

    for begin, end in ranges:
        op = RangeCall(begin, end, lambda: None)
        op.call = lambda op=op: start(op)
        ops.append(op)
        if busy.enter(op):
            start(op)
        if running and random.random() < 0.5:
            busy.leave(running.pop(random.randrange(len(running))))
    while running:
        busy.leave(running.pop())
    assert sorted(map(id, started)) == sorted(map(id, ops))
    for first, one in enumerate(ops):
        for other in ops[first + 1 :]:
            if overlap(one, other):
                assert started.index(one) < started.index(other)
    assert busy.count == 0


def test_overlaps_is_asked_without_taking_part() -> None:
    busy = Exclusion()
    op = RangeCall(4096, 8192, lambda: None)
    assert busy.enter(op)
    assert busy.overlaps(0, 4097)
    assert not busy.overlaps(8192, 12288)
    busy.leave(op)
    assert not busy.overlaps(0, 1 << 20)
