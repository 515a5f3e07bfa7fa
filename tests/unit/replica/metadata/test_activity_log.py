"""The running log: eviction, order, and that a crash at any moment loses no hot extent."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.metadata.activity_log import ActivityLog, AlTransaction, extents_of
from bollard.replica.metadata.al_block import INITIALISED_BLOCK, decode_block, replay


def write(ring: list[bytes], transaction: AlTransaction) -> None:
    ring[transaction.offset_bytes // 4096] = transaction.data


def activate(log: ActivityLog, *extents: int) -> AlTransaction:
    transaction = log.prepare(extents)
    assert transaction is not None
    log.commit(transaction)
    return transaction


def test_a_miss_then_a_hit() -> None:
    log = ActivityLog()
    assert not log.hold(5)
    transaction = log.prepare([5])
    assert transaction is not None
    assert (transaction.activated, transaction.evicted) == ((5,), ())
    assert not log.hold(5), "not before the block is durable"
    log.commit(transaction)
    assert log.hold(5)
    assert log.hold(5)
    log.release(5)
    assert log.held_count == 1
    log.release(5)
    assert log.held_count == 0
    assert log.is_active(5)
    assert log.prepare([5]) is None


def test_slots_are_handed_out_from_the_highest() -> None:
    log = ActivityLog(slots=1237)
    block = decode_block(activate(log, 100, 200).data)
    assert block is not None
    assert block.updates == ((1236, 100), (1235, 200))


def test_the_context_rotates_over_1237_slots() -> None:
    log = ActivityLog(slots=1237)
    starts, sizes = [], []
    for extent in range(4):
        block = decode_block(activate(log, extent).data)
        assert block is not None
        starts.append(block.context_start)
        sizes.append(len(block.context))
    assert starts == [0, 919, 0, 919]
    assert sizes == [919, 318, 919, 318]


def test_at_most_64_extents_at_once_and_in_order() -> None:
    log = ActivityLog(slots=100)
    assert activate(log, *range(80)).activated == tuple(range(64))
    assert activate(log, *range(80)).activated == tuple(range(64, 80))


def test_the_longest_unused_goes_first_and_held_ones_never() -> None:
    log = ActivityLog(slots=4)
    activate(log, 1, 2, 3, 4)
    assert log.hold_all([1, 3]) == ()
    log.release(1)
    assert activate(log, 10).evicted == (2,)
    assert activate(log, 11).evicted == (4,)
    assert activate(log, 12).evicted == (1,)
    assert log.active == {3, 10, 11, 12}
    assert log.hold_all([10, 11, 12]) == ()
    assert log.prepare([13]) is None, "all slots are held"
    log.release(11)
    assert activate(log, 13).evicted == (11,)


def test_hold_all_takes_all_or_none() -> None:
    log = ActivityLog(slots=8)
    activate(log, 1)
    assert log.hold_all([1, 2]) == (2,)
    assert log.held_count == 0


def test_as_many_as_slots_can_be_had() -> None:
    log = ActivityLog(slots=4)
    activate(log, 1, 2, 3)
    log.hold_all([1, 2])
    transaction = activate(log, 7, 8, 9)
    assert transaction.activated == (7, 8)
    assert transaction.evicted == (3,)


def test_an_aborted_block_is_written_again_at_its_place() -> None:
    log = ActivityLog(slots=4)
    activate(log, 1)
    first = log.prepare([2])
    assert first is not None
    log.abort(first)
    assert log.active == {1}
    second = activate(log, 3)
    assert (second.number, second.offset_bytes) == (first.number, first.offset_bytes)


def test_stripes_take_turns() -> None:
    log = ActivityLog(stripes=2, stripe_blocks=8)
    offsets = [activate(log, extent).offset_bytes for extent in range(4)]
    assert offsets == [0, 8 * 4096, 4096, 9 * 4096]


def test_too_many_slots_for_the_ring() -> None:
    with pytest.raises(AssertionError):
        ActivityLog(slots=6434)


@given(st.integers(0, 1 << 40), st.integers(1, 64 << 20))
def test_extents_of_a_range(offset: int, length: int) -> None:
    extents = extents_of(offset, length)
    assert extents[0] * (4 << 20) <= offset < (extents[0] + 1) * (4 << 20)
    assert extents[-1] * (4 << 20) < offset + length <= (extents[-1] + 1) * (4 << 20)


@pytest.mark.parametrize("slots", [67, 919, 920, 1237, 6433])
@pytest.mark.parametrize("next_number", [0, 5, 2**32 - 1])
def test_a_ring_written_anew_says_what_is_active(slots: int, next_number: int) -> None:
    log = ActivityLog(slots=slots, next_number=next_number)
    assert replay([*_blocks(log.whole_ring())]).hot == frozenset()
    for start in range(0, 300, 60):
        activate(log, *range(start, start + 60))
    ring = _blocks(log.whole_ring())
    said = replay(ring)
    assert said.complete
    assert said.hot == log.active
    for extent in range(1000, 1020):
        write(ring, activate(log, extent))
        said = replay(ring)
        assert said.complete
        assert said.hot == log.active


def _blocks(ring: bytes) -> list[bytes]:
    return [ring[at : at + 4096] for at in range(0, len(ring), 4096)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("miss"), st.lists(st.integers(0, 12), min_size=1, max_size=4)),
        st.tuples(st.just("fail"), st.lists(st.integers(0, 12), min_size=1, max_size=4)),
        st.tuples(st.just("hold"), st.lists(st.integers(0, 12), min_size=1, max_size=2)),
        st.tuples(st.just("release"), st.lists(st.integers(0, 12), min_size=1, max_size=1)),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(
    STEPS,
    st.sampled_from([(5, 1, 8), (8, 2, 4), (1000, 1, 8)]),
    st.sampled_from([0, 2**32 - 5]),
)
def test_a_crash_at_any_moment_loses_no_hot_extent(
    steps: list[tuple[str, list[int]]], shape: tuple[int, int, int], next_number: int
) -> None:
    slots, stripes, stripe_blocks = shape
    log = ActivityLog(slots=slots, stripes=stripes, stripe_blocks=stripe_blocks, next_number=next_number)
    ring = [INITIALISED_BLOCK] * (stripes * stripe_blocks)
    held: dict[int, int] = {}

    def crash(*, torn: int | None = None) -> None:
        disk = list(ring)
        if torn is not None:
            disk[torn] = disk[torn][:512] + b"\xee" * 3584
        said = replay(disk, stripes=stripes)
        assert said.complete
        assert log.active <= said.hot

    for verb, extents in steps:
        if verb in ("miss", "fail"):
            transaction = log.prepare(extents)
            if transaction is None:
                continue
            assert not set(transaction.evicted) & held.keys()
            crash()
            crash(torn=transaction.offset_bytes // 4096)
            if verb == "fail":
                log.abort(transaction)
                crash(torn=transaction.offset_bytes // 4096)
            else:
                write(ring, transaction)
                crash()
                log.commit(transaction)
                # No needless work after a crash either: the disk names exactly the active ones.
                assert replay(ring, stripes=stripes).hot == log.active
        elif verb == "hold" and not log.hold_all(extents):
            for extent in extents:
                held[extent] = held.get(extent, 0) + 1
        elif verb == "release" and extents[0] in held:
            log.release(extents[0])
            held[extents[0]] -= 1
            if not held[extents[0]]:
                del held[extents[0]]
        assert held.keys() <= log.active
        assert len(log.active) <= slots
        crash()


def test_long_histories_with_more_slots_than_a_context() -> None:
    log = ActivityLog(slots=3000)
    ring = [INITIALISED_BLOCK] * 8
    for start in range(0, 20000, 61):
        transaction = activate(log, *range(start, start + 61))
        write(ring, transaction)
        newest = transaction.offset_bytes // 4096
        said = replay(ring)
        assert said.complete
        assert said.hot == log.active
        torn = list(ring)
        torn[(newest + 1) % 8] = bytes(4096)
        assert replay(torn).hot >= log.active
