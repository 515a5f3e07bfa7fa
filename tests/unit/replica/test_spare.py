"""Memory for long transfers: used again when nobody looks at it, never while somebody does."""

from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.spare import Spare

MIB = 1 << 20


def test_a_piece_is_given_again_once_its_view_is_gone() -> None:
    spare = Spare()
    first = spare.take(MIB)
    view = memoryview(first)[10:20]
    assert spare.take(MIB) is not first
    view.release()
    spare_pieces = {id(spare.take(MIB)) for _ in range(3)}
    assert len(spare_pieces) == 1, "nothing is in use: the one used last"


def test_a_slice_of_a_view_keeps_a_piece_from_being_used_again() -> None:
    spare = Spare()
    first = spare.take(MIB)
    kept = memoryview(first)[100:][5:7]
    others = [memoryview(spare.take(MIB)) for _ in range(20)]
    assert all(view.obj is not first for view in others)
    assert kept.obj is first


def test_only_so_much_is_kept_and_nothing_longer_than_a_megabyte() -> None:
    spare = Spare()
    held = [memoryview(spare.take(MIB)) for _ in range(30)]
    assert len({id(view.obj) for view in held}) == 30
    long_one = spare.take(8 * MIB)
    assert spare.take(8 * MIB) is not long_one


@given(st.lists(st.tuples(st.sampled_from((65536, 100_000, MIB)), st.booleans()), max_size=40))
def test_no_two_users_ever_share_memory(asked: list[tuple[int, bool]]) -> None:
    spare = Spare()
    held: list[tuple[memoryview, int]] = []
    for number, (length, drop) in enumerate(asked):
        view = memoryview(spare.take(length))
        assert len(view) == length
        view[:8] = number.to_bytes(8)
        held.append((view, number))
        if drop:
            held.pop(0)
        assert all(bytes(one[:8]) == value.to_bytes(8) for one, value in held)
