"""Random histories of a whole simulated cluster: a fixed corpus, more seeds, and that a seed is a seed."""

import os
import sys
from pathlib import Path

import pytest

from bollard.domain.resources import ResourceDefinition
from bollard.planning import replicas
from bollard.planning.draft import Draft
from bollard.planning.procedures import first_copy
from bollard.satellite.wishes import Wishes
from bollard.sim.history import Report, quiet, run_history
from bollard.sim.main import run_many
from seeds import BASE

SEEDS = Path(__file__).parent / "seeds"
COUNT = int(os.environ.get("BOLLARD_SIM_HISTORIES", "500"))
"""A quarter of them are of the wide kind."""


def _corpus(name: str) -> dict[tuple[int, bool], list[int]]:
    """Seeds by their steps, and whether the histories are of the wide kind."""
    found: dict[tuple[int, bool], list[int]] = {}
    for line in (SEEDS / name).read_text().splitlines():
        words = line.partition("#")[0].split()
        if words:
            found.setdefault((int(words[1]), words[2:] == ["wide"]), []).append(int(words[0]))
    return found


def _again(report: Report) -> str:
    """What to type to see it again, and what is broken."""
    wide = " --wide" if report.wide else ""
    again = f"bollard sim --seed {report.seed} --steps {report.steps}{wide} --story"
    return "\n  ".join([again, *report.violations])


@pytest.mark.parametrize(("steps", "wide"), sorted(_corpus("held.txt")))
def test_every_kept_seed_holds(steps: int, *, wide: bool) -> None:
    reports = list(run_many(_corpus("held.txt")[steps, wide], steps, os.cpu_count() or 1, wide=wide))
    broken = [_again(report) for report in reports if not report.ok]
    assert not broken, "\n".join(broken)
    assert all(report.commands > 10 for report in reports)
    assert all(report.virtual_s > 10 for report in reports)


@pytest.mark.slow
@pytest.mark.timeout(240 + COUNT)
@pytest.mark.parametrize("wide", [False, True], ids=["narrow", "wide"])
def test_histories_from_the_base_hold(*, wide: bool) -> None:
    """The next ones from the base; what fails is printed as what to type to see it again."""
    count = COUNT // 4 if wide else COUNT - COUNT // 4
    broken = []
    for report in run_many(range(BASE, BASE + count), 40, os.cpu_count() or 1, wide=wide):
        if not report.ok:
            broken.append(_again(report))
            sys.stderr.write(broken[-1] + "\n")  # also when the time is up before the end
    assert not broken, "\n".join(broken)


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


def test_data_that_is_declared_good_too_soon_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that begins a volume anew beside the copies there are makes unrelated ones."""
    quiet()
    begun: dict[str, int] = {}

    def orphans(draft: Draft, definition: ResourceDefinition, **_: int) -> set[int]:
        """Every volume with two disks, for a while."""
        looks = begun[definition.uuid] = begun.get(definition.uuid, 0) + 1
        two = len(replicas.diskful(draft.resources_of(definition.name))) > 1
        return {volume.number for volume in definition.volumes} if two and looks < 40 else set()

    monkeypatch.setattr(first_copy, "_orphans", orphans)
    reports = [run_history(seed, 25) for seed in range(3)]
    assert any("unrelated" in sentence for report in reports for sentence in report.violations)
