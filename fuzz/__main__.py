"""`python -m fuzz [TARGET ...]`: every target for some time or runs, and what to type to see a failure again.

Without atheris the same targets get mutations of the seeds that are drawn here, which finds less.
"""

import argparse
import importlib.util
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.corpus import seeds
from fuzz.targets import TARGETS, crash_of

RSS_MIB = 1024
INPUT_BYTES_MAX = 64 << 10


def main() -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="default: all")
    parser.add_argument("--seconds", type=int, default=20, help="for each target; 0: no limit but --runs")
    parser.add_argument("--runs", type=int, default=-1, help="inputs for each target; default: no limit")
    parser.add_argument("--seed", type=int, default=0, help="0: another one in each run")
    parser.add_argument(
        "--keep", type=Path, help="where corpora grow and failing inputs go; default: nowhere"
    )
    chosen = parser.parse_args()
    if unknown := set(chosen.targets) - set(TARGETS):
        parser.error(f"no such targets: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    names, guided = chosen.targets or list(TARGETS), importlib.util.find_spec("atheris") is not None
    if not guided:
        print("atheris is not installed: drawing mutations without looking at coverage", flush=True)
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.keep or Path(scratch)
        for name in names:
            held = _guided(name, folder, chosen) if guided else _drawn(name, chosen)
            print(f"{name}: {'held' if held else 'FAILED'}", flush=True)
            failed += [] if held else [name]
    return 1 if failed else 0


def _guided(name: str, folder: Path, chosen: argparse.Namespace) -> bool:
    corpus, found = folder / name, folder / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    for number, data in enumerate(seeds(name)):
        (corpus / f"seed-{number:03}").write_bytes(data)
    limits = [f"-max_total_time={chosen.seconds}", f"-runs={chosen.runs}", f"-seed={chosen.seed}"]
    limits += [f"-rss_limit_mb={RSS_MIB}", f"-max_len={INPUT_BYTES_MAX}", f"-artifact_prefix={found}/{name}-"]
    argv = [sys.executable, "-m", "fuzz.one", name, str(corpus), *limits]
    run = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    if run.returncode:
        print(run.stdout[-2000:] + run.stderr[-6000:])
        for file in sorted(found.glob(f"{name}-*")):
            print(f"  again: python -m fuzz.one {name} {file}   # {file.read_bytes()[:200].hex()}")
    return run.returncode == 0


def _drawn(name: str, chosen: argparse.Namespace) -> bool:
    dice = random.Random(chosen.seed or None)
    bases = seeds(name) or [b""]
    for _ in range(chosen.runs if chosen.runs >= 0 else 2000 * max(chosen.seconds, 1)):
        data = bytearray(dice.choice(bases))
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(data) + 1)
            data[at : at + dice.randrange(4)] = dice.randbytes(dice.randrange(4))
        if error := crash_of(name, bytes(data)):
            print(f"  {error!r} on {bytes(data)[:400].hex()}")
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
