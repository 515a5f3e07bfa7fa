"""`python -m fuzz.soak --minutes 30`: search for new failures until the time is up, in rounds of all kinds.

Each round draws a number, printed first; everything in the round begins at it. What failed is said again at
the end, with the command that repeats it.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fuzz.histories import KINDS
from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[1]
FUZZ_S = 10
HISTORIES = 25
WIDER_HISTORIES = 10


def main() -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, help="the number of the first round; default: drawn")
    chosen = parser.parse_args()
    end_s = time.monotonic() + chosen.minutes * 60
    dice, failed, done = random.SystemRandom(), [], 0
    seed = chosen.seed if chosen.seed is not None else dice.randrange(1 << 31)
    while time.monotonic() < end_s:
        print(f"== round from {seed}", flush=True)
        for command, environment in _round(seed):
            if time.monotonic() >= end_s:
                break
            done += 1
            run = subprocess.run(
                command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0", **environment}, check=False
            )
            if run.returncode:
                words = [f"{name}={value}" for name, value in environment.items()]
                failed.append(" ".join(["PYTHONHASHSEED=0", *words, *command]))
        seed = dice.randrange(1 << 31)
    print(f"{done} searches, {len(failed)} found something")
    for command in failed:
        print(f"  again: {command}")
    return 1 if failed else 0


def _round(seed: int) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Commands, each with what it needs in its environment; the cheap ones first."""
    python = sys.executable
    for kind in KINDS:
        count = str(WIDER_HISTORIES if kind.diskful > 2 else HISTORIES)
        arguments = [*kind.words().split(), "--seed", str(seed), "--count", count]
        yield [python, "-m", "fuzz.histories", *arguments], {}
    for wide in ([], ["--wide"]):
        arguments = ["sim", "--seed", str(seed), "--histories", str(HISTORIES), *wide]
        yield [python, "-m", "bollard.cli.main", *arguments], {}
    for name in TARGETS:
        yield [python, "-m", "fuzz", name, "--seconds", str(FUZZ_S), "--seed", str(seed)], {}
    tests = sorted(ROOT.glob("tests/**/test_*.py"))
    files = [str(path) for path in tests if "hypothesis" in path.read_text()]
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--hypothesis-seed={seed}", *files]
    yield pytest, {"HYPOTHESIS_PROFILE": "fresh"}
    histories = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/sim"]
    yield histories, {"BOLLARD_SEED_BASE": str(seed)}


if __name__ == "__main__":
    sys.exit(main())
