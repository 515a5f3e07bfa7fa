"""What the cluster does by itself in histories: it happens, and doing it without restraint is found."""

from collections import Counter

import pytest

from bollard.planning.upkeep import auto_evict, surplus
from bollard.sim.history import quiet, run_history

SEEDS = range(5000, 5050)
STEPS = 60


def test_automatics_happen_in_histories_and_never_overreach(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet()
    done: Counter[str] = Counter()
    evict, choose = auto_evict.evacuate.evict, surplus.choose

    def counted(*args: object) -> None:
        done["evicted"] += 1
        evict(*args)  # type: ignore[arg-type]

    def chosen(*args: object) -> object:
        found = choose(*args)  # type: ignore[arg-type]
        done["surplus"] += found is not None
        return found

    monkeypatch.setattr(auto_evict.evacuate, "evict", counted)
    monkeypatch.setattr(surplus, "choose", chosen)
    reports = [run_history(seed, STEPS, wide=True) for seed in SEEDS]
    assert not [report.violations for report in reports if not report.ok]
    assert done["evicted"] >= 1, done
    assert done["surplus"] >= 1, done


def test_evictions_without_standing_down_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet()
    monkeypatch.setattr(auto_evict, "stand_down", lambda _world, _node: "")
    found = [text for seed in SEEDS[:20] for text in run_history(seed, STEPS, wide=True).violations]
    assert any("was given up while" in text for text in found)


def test_a_surplus_that_is_none_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet()
    monkeypatch.setattr(surplus, "goal_of", lambda _draft, _definition: 1)
    found = [text for seed in SEEDS[:10] for text in run_history(seed, STEPS, wide=True).violations]
    assert any("went as surplus" in text for text in found)
