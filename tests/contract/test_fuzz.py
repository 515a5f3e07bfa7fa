"""Every decoder against its seeds, their mutations, and what atheris finds: always the same inputs."""

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from fuzz.corpus import seeds  # noqa: E402  # it is beside the tests, not among them
from fuzz.targets import TARGETS, crash_of  # noqa: E402

RUNS = 1500
MUTATIONS = 400


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_their_mutations_end_in_the_decoders_own_error(name: str) -> None:
    dice = random.Random(name)
    bases = seeds(name)
    assert bases, "nothing to begin with"
    for data in bases:
        assert crash_of(name, data) is None, data.hex()
    for _ in range(MUTATIONS):
        data = bytearray(dice.choice(bases))
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(data) + 1)
            data[at : at + dice.randrange(4)] = dice.randbytes(dice.randrange(4))
        assert crash_of(name, bytes(data)) is None, data.hex()


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_inputs_that_reach_new_code_do_too(tmp_path: Path) -> None:
    limits = ["--seconds", "0", "--runs", str(RUNS), "--seed", "1", "--keep", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-m", "fuzz", *limits], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count(": held") == len(TARGETS)


def test_a_crash_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(data: bytes) -> None:
        data.decode()

    monkeypatch.setitem(TARGETS, "drbd-packet", careless)
    assert crash_of("drbd-packet", b"fine") is None
    assert isinstance(crash_of("drbd-packet", b"\xff"), UnicodeDecodeError)
