"""The board: whole and deltas say the same to a reader that follows them."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.observed import Observed
from bollard.domain.seen import SeenPool, SeenResource
from bollard.satellite.board import Board

NAMES = st.sampled_from(["a", "b", "Data"])
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, st.integers(0, 2)),
        st.tuples(st.just("drop"), NAMES, st.just(0)),
        st.tuples(st.just("pool"), NAMES, st.integers(0, 2)),
        st.tuples(st.just("pools"), NAMES, st.just(0)),
        st.tuples(st.just("report"), NAMES, st.just(0)),
        st.tuples(st.just("relink"), NAMES, st.just(0)),
        st.tuples(st.just("revision"), NAMES, st.integers(0, 9)),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(acts=ACTS)
def test_a_reader_that_takes_every_report_knows_what_the_board_knows(
    acts: list[tuple[str, str, int]],
) -> None:
    async def main() -> None:
        board, observed = Board(NodeName("n1")), Observed()
        observed.take(board.whole(), 0)
        for act, name, number in acts:
            match act:
                case "put":
                    board.put_resource(SeenResource(ResourceName(name), Uuid("u"), revision=number))
                case "drop":
                    board.drop_resource(name)
                case "pool":
                    board.put_pool(SeenPool(name, Uuid("p"), free_kib=number))
                case "pools":
                    board.keep_pools([name])
                case "revision":
                    board.put_revision(number)
                case "report":
                    observed.take(board.due(), 0)
                case _:
                    observed = Observed()
                    observed.take(board.whole(), 0)
        observed.take(board.due(), 0)
        assert observed.node("n1").resources == board.resources
        assert observed.node("n1").pools == board.pools

    asyncio.run(main())


def test_nothing_new_is_not_due_and_removed_is_told_until_it_is_known() -> None:
    async def main() -> None:
        board = Board(NodeName("n1"))
        seen = SeenResource(ResourceName("a"), Uuid("u"))
        board.put_resource(seen)
        board.put_removed(Uuid("dead"))
        board.put_leftovers(["x"])
        first = board.due()
        assert first.complete
        assert first.removed == ("dead",)
        assert first.leftovers == ("x",)
        board.put_resource(seen)
        board.put_removed(Uuid("dead"))
        board.put_leftovers(["x"])
        try:
            async with asyncio.timeout(0.01):
                await board.wait()
        except TimeoutError:
            pass
        else:
            raise AssertionError("something was due")
        assert board.whole().removed == ("dead",)
        board.keep_removed([])
        assert board.whole().removed == ()

    asyncio.run(main())
