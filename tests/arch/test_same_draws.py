"""The same checkout draws the same: whatever was loaded, ran before, or the hashes of words are."""

import os
import random
import subprocess
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seeds import BASE

ROOT = Path(__file__).parents[2]
UNUSUAL = 913_247_711
pytestmark = pytest.mark.skipif(
    os.environ.get("HYPOTHESIS_PROFILE", "same") != "same", reason="this run draws anew"
)


def draws() -> list[object]:
    """What a property test of every basic kind of value is given."""
    seen: list[object] = []

    @settings(max_examples=300)
    @given(st.tuples(st.integers(), st.text(), st.binary(), st.floats()), st.randoms())
    def test(values: tuple[object, ...], dice: random.Random) -> None:
        seen.append((repr(values), dice.random()))

    test()
    return seen


def test_a_second_run_draws_the_same() -> None:
    assert draws() == draws()


def test_numbers_in_modules_that_are_loaded_are_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more module may be loaded when the tests of another folder run in the same process."""
    before = draws()
    file = tmp_path / "loaded_meanwhile.py"
    numbers = [UNUSUAL + at for at in range(40)]
    file.write_text(f"NUMBERS = {numbers}\nWORDS = {[f'word {number}' for number in numbers]}\n")
    module = types.ModuleType("loaded_meanwhile")
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "loaded_meanwhile", module)
    after = draws()
    assert before == after
    assert str(UNUSUAL)[:6] not in str(after)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_other_processes_draw_the_same(hash_seed: str) -> None:
    program = "import conftest, arch.test_same_draws as here; print(repr(here.draws()))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "PYTHONHASHSEED": hash_seed},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert run.stdout.strip() == repr(draws())


def test_histories_start_at_the_number_of_the_release() -> None:
    assert int(os.environ.get("BOLLARD_SEED_BASE", "1000")) == BASE
