"""All short histories over two disks and a witness; BOLLARD_REPLICA_DEPTH asks for longer ones."""

import os

import pytest

from bollard.replica.protocol.rotation import Rotation
from bollard.sim.replica.explore import World, all_events, explore, replay
from bollard.sim.replica.oracle import Violation

DEPTH = int(os.environ.get("BOLLARD_REPLICA_DEPTH", "3"))


@pytest.mark.timeout(1800)
def test_every_history_keeps_the_promises_and_comes_together_again() -> None:
    seen = explore(DEPTH)
    print(seen)  # noqa: T201  the counts are the result
    assert sum(seen.states) >= (1, 8, 45, 224)[min(DEPTH, 3)]
    assert {verb for verb, _, _ in all_events()} <= set(seen.events)


def test_events_during_a_handshake_too() -> None:
    assert sum(explore(2, pause_s=0.02).states) > 40


def test_the_two_disks_may_change_places() -> None:
    left, right = (
        replay((("promote", 0, -1), ("crash", 1, -1))),
        replay((("promote", 1, -1), ("crash", 0, -1))),
    )
    assert left.key() == right.key()
    assert left.key() != replay((("promote", 0, -1), ("crash", 2, -1))).key()


def test_a_resync_stands_still_until_it_is_told_to_end() -> None:
    history = ("promote", 0, -1), ("write", -1, -1), ("crash", 1, -1), ("write", -1, -1), ("boot", 1, -1)
    world = replay(history)
    assert world.possible(("finish", -1, -1))
    assert not world.healthy()
    world.happen(("finish", -1, -1))
    assert world.healthy()


@pytest.mark.timeout(1800)
def test_it_finds_generations_that_are_not_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rotation, "want", lambda *_args, **_kwargs: None)
    with pytest.raises(Violation, match="read on node"):
        explore(4)


def test_nothing_can_happen_that_changes_nothing() -> None:
    assert not World().possible(("boot", 0, -1))
    assert not World().possible(("write", -1, -1))
