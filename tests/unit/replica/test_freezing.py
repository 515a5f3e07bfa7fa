"""Freezes end by themselves, once for each token, and say whether anything changed meanwhile."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bollard.replica.freezing import FREEZE_MAX_MS, Freezes
from bollard.replica.loop import Loop
from bollard.replica.trouble import Trouble


class FakeStill:
    """Gets quiet when it is told to."""

    def __init__(self) -> None:
        self.changes = 5
        self.held = False
        self.quiet: Callable[[Trouble | None], None] | None = None
        self.at_once = True

    def stand_still(self, quiet: Callable[[Trouble | None], None]) -> None:
        self.held = True
        self.quiet = quiet
        if self.at_once:
            quiet(None)

    def go_on(self) -> None:
        self.held = False


class Bench:
    """Freezes of one resource on a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.loop = Loop(now=lambda: self.now_s)
        self.freezes = Freezes(self.loop, "life-1")
        self.still = FakeStill()
        self.told: list[tuple[bool, Any, Trouble | None]] = []

    def freeze(self, token: str = "t1", deadline_ms: int = 2000) -> None:
        self.freezes.freeze("r", self.still, token, deadline_ms, lambda *told: self.told.append(told))

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.loop.run_once(0)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.loop.close()


def test_a_freeze_holds_until_it_is_thawed(bench: Bench) -> None:
    bench.freeze()
    assert bench.still.held
    assert bench.told == [(True, {"held": True, "left_ms": 2000, "changes": 5, "instance": "life-1"}, None)]
    bench.wait(1.5)
    changed, result = bench.freezes.thaw("r", bench.still, "t1")
    assert (changed, result["held"], result["left_ms"]) == (True, True, 500)
    assert not bench.still.held


def test_it_thaws_by_itself_and_its_token_never_freezes_again(bench: Bench) -> None:
    bench.freeze()
    bench.wait(2.0)
    assert not bench.still.held
    changed, result = bench.freezes.thaw("r", bench.still, "t1")
    assert (changed, result["held"]) == (False, False)
    bench.freeze()
    assert not bench.still.held
    assert bench.told[-1][1]["held"] is False


def test_the_same_token_asks_how_it_does(bench: Bench) -> None:
    bench.freeze()
    bench.wait(0.5)
    bench.freeze()
    assert bench.told[-1] == (
        False,
        {"held": True, "left_ms": 1500, "changes": 5, "instance": "life-1"},
        None,
    )
    bench.wait(1.5)
    assert not bench.still.held, "asking does not extend the deadline"


def test_what_does_not_get_quiet_in_time_never_held(bench: Bench) -> None:
    bench.still.at_once = False
    bench.freeze()
    bench.freeze()
    assert not bench.told
    bench.wait(2.0)
    assert [told[1]["held"] for told in bench.told] == [False, False]
    assert not bench.still.held
    assert bench.still.quiet is not None
    bench.still.quiet(None)
    assert len(bench.told) == 2, "late news change nothing"


def test_another_token_is_refused_while_one_is_on(bench: Bench) -> None:
    bench.freeze()
    with pytest.raises(Trouble) as caught:
        bench.freeze("t2")
    assert caught.value.error.code.value == "busy"
    assert bench.freezes.thaw("r", bench.still, "t2")[0] is False
    assert bench.still.held


@pytest.mark.parametrize("deadline_ms", [0, -1, FREEZE_MAX_MS + 1])
def test_a_freeze_needs_a_deadline(bench: Bench, deadline_ms: int) -> None:
    with pytest.raises(Trouble):
        bench.freeze(deadline_ms=deadline_ms)
    assert not bench.still.held


def test_a_refusal_of_the_resource_is_passed_on(bench: Bench) -> None:
    bench.still.at_once = False
    bench.freeze()
    assert bench.still.quiet is not None
    trouble = Trouble.__new__(Trouble)
    bench.still.quiet(trouble)
    assert bench.told == [(False, None, trouble)]
    assert not bench.still.held


def test_a_resource_that_goes_takes_its_freeze_along(bench: Bench) -> None:
    bench.still.at_once = False
    bench.freeze()
    bench.freezes.forget("r")
    assert [told[1]["held"] for told in bench.told] == [False]
