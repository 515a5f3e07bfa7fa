"""The containers and each way generations change; histories with data: test_generation_histories.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.protocol.generations import (
    MAX_HISTORY,
    Generations,
    PeerDisk,
    Slot,
    adopt_marker,
    connect_in_sync,
    copy_slot,
    finish_as_source,
    finish_as_target,
    force_primary,
    new_generation,
    push_history,
    receive_new_generation,
    restart_generation,
    rotate_into_bitmap,
    set_bitmap,
    set_current,
    set_primary,
    skip_initial_sync,
    start_as_source,
    start_as_target,
    vouched_for,
)
from bollard.replica.protocol.outcomes import Side
from bollard.replica.protocol.states import DiskState
from bollard.replica.protocol.uuids import JUST_CREATED, UNKNOWN, UuidFlag, masked

A, B, C, D, N, F = 0xA0, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0
UP = PeerDisk(DiskState.UP_TO_DATE)
AWAY = PeerDisk(DiskState.UNKNOWN)
CLIENT = PeerDisk(DiskState.DISKLESS, diskless=True)


def at(current: int, *history: int, **slots: int) -> Generations:
    """`p3=B`: node 3 stopped at B."""
    base = Generations(current=current, history=history)
    marks = {int(name[1:]): uuid for name, uuid in slots.items()}
    table = tuple(Slot(marks.get(node, 0)) for node in range(len(base.slots)))
    return Generations(current=current, slots=table, history=history)


def marks(generations: Generations) -> dict[int, int]:
    return {node: slot.bitmap_uuid for node, slot in enumerate(generations.slots) if slot.bitmap_uuid}


@pytest.mark.parametrize(
    ("before", "uuid", "history"),
    [
        (at(A), B, (B,)),
        (at(A), B | 1, (B,)),
        (at(A), 0, ()),
        (at(A), JUST_CREATED, ()),
        (at(A), UNKNOWN, ()),
        (at(A | 1), A, ()),
        (at(A, p2=B), B, ()),
        (at(A, C, B), B, (C, B)),
        (at(A, C), B, (B, C)),
    ],
)
def test_history_takes_only_what_is_nowhere_else(
    before: Generations, uuid: int, history: tuple[int, ...]
) -> None:
    assert push_history(before, uuid).history == history


@given(st.lists(st.integers(0, 1 << 64), max_size=80))
def test_history_is_bounded_and_newest_first(values: list[int]) -> None:
    result = at(A)
    for value in values:
        result = push_history(result, value % (1 << 64))
    assert len(result.history) <= MAX_HISTORY
    assert len(set(result.history)) == len(result.history)


def test_a_slot_that_is_cleared_becomes_history() -> None:
    result = set_bitmap(at(A, p2=B), 2, 0)
    assert (marks(result), result.history) == ({}, (B,))
    assert set_bitmap(at(A), 2, C, 77).slots[2] == Slot(C, 77)
    assert set_bitmap(at(A), 2, 0, 77).slots[2] == Slot(0, 0)


def test_primary_bit_comes_and_goes() -> None:
    assert set_primary(at(A), primary=True).current == A | 1
    assert set_primary(at(A | 1), primary=False).current == A
    assert set_current(at(A), B | 1, primary=False) == at(B, A)


def test_rotation_marks_those_who_will_miss_writes() -> None:
    peers = {
        1: UP,
        2: AWAY,
        3: CLIENT,
        4: PeerDisk(DiskState.NEGOTIATING),
        5: PeerDisk(DiskState.FAILED),
        6: AWAY,
    }
    rotation = rotate_into_bitmap(at(A | 1, p6=B), peers, fresh_uuid=F, dagtag=9)
    assert marks(rotation.generations) == {2: A | 1, 5: A | 1, 6: B}
    assert rotation.marked == {2, 5}
    assert rotation.generations.slots[2].dagtag == 9
    weak = rotate_into_bitmap(at(A), {1: UP}, weak=0b10, fresh_uuid=F)
    assert marks(weak.generations) == {1: A}
    day0 = rotate_into_bitmap(at(A), {1: UP}, fresh_uuid=F, unconfigured=0b1100)
    assert marks(day0.generations) == {2: A, 3: A}


def test_new_generation_only_when_somebody_misses_it() -> None:
    quiet = new_generation(at(A), {1: UP}, uuid=N, fresh_uuid=F)
    assert (quiet.generations, quiet.marked) == (at(A), frozenset())
    loud = new_generation(at(A), {1: AWAY}, uuid=N, fresh_uuid=F).generations
    assert (loud.current, marks(loud), loud.history) == (N | 1, {1: A}, ())
    again = new_generation(loud, {1: AWAY}, uuid=D, fresh_uuid=F)
    assert again.generations == loud


def test_forced_promotion_of_a_new_node() -> None:
    forced = force_primary(
        at(JUST_CREATED), {1: AWAY, 2: PeerDisk(DiskState.INCONSISTENT)}, uuid=N, fresh_uuid=F
    )
    assert (forced.generations.current, marks(forced.generations)) == (N | 1, {1: F, 2: F})
    assert forced.generations.history == ()


def test_reserved_values_are_no_new_generations() -> None:
    with pytest.raises(AssertionError):
        new_generation(at(A), {1: AWAY}, uuid=JUST_CREATED, fresh_uuid=F)


def test_receiver_of_a_new_generation() -> None:
    peers = {0: UP, 2: AWAY, 3: AWAY}
    result = receive_new_generation(at(A, p3=C), peers, me=1, uuid=N | 1, weak=0b100, fresh_uuid=F)
    assert (result.current, marks(result)) == (N, {2: A, 3: N})
    assert result.history == (C,)
    older = receive_new_generation(at(A, p2=C), peers, me=1, uuid=N, weak=0b100, fresh_uuid=F)
    assert marks(older) == {2: C}
    assert older.history == (A,)


def test_restart_and_skipped_initial_sync() -> None:
    assert restart_generation(at(A, p2=B), uuid=N, primary=True) == at(N | 1, A, B)
    told = Side(node_id=0, current=N | 1, flags=int(UuidFlag.SKIP_INITIAL_SYNC))
    assert skip_initial_sync(at(JUST_CREATED), told) == at(N)


def test_connecting_with_equal_data() -> None:
    assert connect_in_sync(at(A, p1=B, p2=C), 1) == at(A, B, p2=C)
    assert connect_in_sync(at(A, p1=B, p2=C), 1, also=[2]) == at(A, C, B)
    peer = Side(node_id=1, current=A | 1, bitmap_uuids=((2, 0), (3, D)))
    assert vouched_for(at(A, p2=C, p3=C), peer, [2, 3, 4]) == (2,)
    assert vouched_for(at(B, p2=C), peer, [2]) == ()


def test_start_as_target() -> None:
    source = Side(node_id=0, current=N, bitmap_uuids=((1, A),))
    start = start_as_target(at(A), source, {0: UP, 2: AWAY}, me=1, fresh_uuid=F)
    assert (start.start_uuid, marks(start.generations), start.generations.current) == (A, {2: A}, A)
    new = start_as_target(at(JUST_CREATED), source, {0: UP, 2: AWAY}, me=1, fresh_uuid=F)
    assert (new.start_uuid, new.generations) == (F, at(JUST_CREATED))


def test_a_new_disk_takes_only_a_point_that_nobody_else_knows() -> None:
    before = Side(node_id=0, current=N, bitmap_uuids=((1, A),))
    after = Side(node_id=0, current=N, bitmap_uuids=((1, F),))
    assert adopt_marker(at(JUST_CREATED), before, before, me=1) == at(JUST_CREATED)
    assert adopt_marker(at(JUST_CREATED), before, after, me=1) == at(F)
    assert adopt_marker(at(B), before, after, me=1) == at(B)


def test_start_as_source() -> None:
    target = Side(node_id=1, current=B)
    assert start_as_source(at(A), target, full=False, fresh_uuid=F) == at(A)
    assert start_as_source(at(A), target, full=True, fresh_uuid=F) == at(A, p1=B)
    new = Side(node_id=1, current=JUST_CREATED)
    assert start_as_source(at(A), new, full=True, fresh_uuid=F) == at(A, p1=F)
    assert start_as_source(at(A, p1=D), new, full=True, fresh_uuid=F) == at(A, D, p1=F)


def test_finish_as_target() -> None:
    source = Side(node_id=0, current=N | 1, bitmap_uuids=((1, B), (2, D), (3, 0)), history=(C,))
    result = finish_as_target(at(B, p2=A, p3=B), source, start_uuid=B, me=1, others=[2, 3])
    assert (result.current, marks(result)) == (N, {2: A})
    assert set(result.history) == {B, D, C}
    unseen = finish_as_target(at(B), source, start_uuid=B, me=1, others=[2, 3])
    assert marks(unseen) == {2: B}


def test_finish_as_source() -> None:
    behind = at(N | 1, p1=B)
    done = Side(node_id=1, current=N, bitmap_uuids=((0, 0),))
    assert finish_as_source(behind, done, me=0) == at(N | 1, B)
    assert finish_as_source(behind, Side(node_id=1, current=B), me=0) == behind
    owing = Side(node_id=1, current=N, bitmap_uuids=((0, C),))
    assert finish_as_source(behind, owing, me=0) == behind


def test_a_slot_is_copied_with_its_position() -> None:
    before = set_bitmap(at(A), 3, B, 55)
    assert copy_slot(before, 1, 3).slots[1] == Slot(B, 55)
    assert masked(copy_slot(before, 1, 3).current) == A
