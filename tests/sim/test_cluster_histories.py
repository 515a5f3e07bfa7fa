"""Random histories of a whole simulated cluster: a fixed corpus, fresh seeds, and that a seed is a seed."""

import os
from pathlib import Path

import pytest

from bollard.satellite.wishes import Wishes
from bollard.sim.history import quiet, run_history
from bollard.sim.main import run_many

SEEDS = Path(__file__).parent / "seeds"
FRESH = int(os.environ.get("BOLLARD_SIM_HISTORIES", "20"))


def _corpus(name: str) -> list[tuple[int, int]]:
    lines = (line.partition("#")[0].split() for line in (SEEDS / name).read_text().splitlines())
    return [(int(words[0]), int(words[1])) for words in lines if words]


@pytest.mark.parametrize(("seed", "steps"), _corpus("held.txt"))
def test_every_kept_seed_holds(seed: int, steps: int) -> None:
    (report,) = run_many([seed], steps, 1)
    assert report.ok, "\n".join([*report.violations, f"bollard sim --seed {seed} --steps {steps} --story"])
    assert report.commands > 10
    assert report.virtual_s > 10


@pytest.mark.slow
def test_fresh_histories_hold() -> None:
    first = int.from_bytes(os.urandom(4), "big")
    reports = list(run_many(range(first, first + FRESH), 40, os.cpu_count() or 1))
    broken = {report.seed: report.violations for report in reports if not report.ok}
    assert not broken, f"bollard sim --seed SEED --steps 40 --story: {broken}"


def test_a_seed_is_the_same_history_everywhere() -> None:
    first, again = run_many([77, 77], 30, 2)
    (alone,) = run_many([77], 30, 1)
    other, _ = run_many([78, 79], 30, 2)
    assert sorted(first.story) == sorted(again.story) == sorted(alone.story)
    assert first.digest == again.digest == alone.digest != other.digest


def test_a_history_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster whose satellites never hear of tombstones does not converge, and the report says so."""
    quiet()
    monkeypatch.setattr(Wishes, "stones", lambda _self, _key: ())
    reports = [run_history(seed, 25) for seed in range(5)]
    assert any("still being deleted" in sentence for report in reports for sentence in report.violations)
