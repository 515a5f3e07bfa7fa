"""Ranges that wait for each other, and for what is beyond an offset."""

from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.protocol.exclusion import Exclusion, RangeCall

MIB = 1 << 20
RANGES = st.tuples(st.integers(0, 400), st.integers(1, 200)).map(lambda pair: (pair[0] << 12, pair[1] << 12))


class Op(RangeCall):
    """Notes when it may run."""

    def __init__(self, log: list["Op"], start: int, length: int) -> None:
        super().__init__(start, start + length, lambda: log.append(self))


def test_overlapping_operations_run_one_after_another() -> None:
    busy, log = Exclusion(), list[Op]()
    first, second, apart = Op(log, 0, 8192), Op(log, 4096, 4096), Op(log, 8192, 4096)
    assert [busy.enter(op) for op in (first, second, apart)] == [True, False, True]
    busy.leave(first)
    assert log == [second]


def test_what_reaches_beyond_waits_for_the_last_lift() -> None:
    busy, log = Exclusion(), list[Op]()
    busy.hold_beyond(MIB)
    busy.hold_beyond(2 * MIB)
    inside, across, behind = Op(log, 0, 4096), Op(log, MIB - 4096, 8192), Op(log, MIB - 4096, 4096)
    assert [busy.enter(op) for op in (inside, across, behind)] == [True, False, False]
    busy.lift()
    assert log == []
    busy.lift()
    assert log == [across]
    busy.leave(across)
    assert log == [across, behind], "those that overlap keep their order"
    busy.leave(behind)
    busy.leave(inside)
    assert busy.enter(Op(log, 5 * MIB, 4096)), "no limit any more"


@given(st.lists(RANGES, max_size=40), st.integers(0, 600), st.randoms(use_true_random=False))
def test_nothing_overlaps_and_order_is_kept(
    ranges: list[tuple[int, int]], limit: int, random: object
) -> None:
    busy, running = Exclusion(), list[Op]()
    ops = [Op(running, *one) for one in ranges]
    order = {id(op): index for index, op in enumerate(ops)}
    busy.hold_beyond(limit << 12)
    for op in ops:
        if busy.enter(op):
            running.append(op)
    assert all(op.end <= limit << 12 for op in running)
    done: list[Op] = []
    busy.lift()
    while running:
        for one in running:
            assert not any(one.start < op.end and op.start < one.end for op in running if op is not one)
        op = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
        done.append(op)
        busy.leave(op)
    assert len(done) == len(ops)
    assert busy.count == 0
    for earlier in range(len(done)):
        for later in done[earlier + 1 :]:
            one = done[earlier]
            if one.start < later.end and later.start < one.end:
                assert order[id(one)] < order[id(later)]
