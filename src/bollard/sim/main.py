"""`bollard sim`: lives through random histories of a cluster and says which seeds broke a property.

Histories run in fresh processes with a fixed hash seed, so that a seed means the same everywhere.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final

from bollard.sim.history import Report, quiet, run_history

__all__ = ["run", "run_many"]

_VIOLATIONS_SHOWN: Final = 10
_PROGRESS_EVERY: Final = 250


def run(argv: Sequence[str]) -> int:
    """Do what the arguments say; 0: all properties held, 1: some did not (the seeds are printed)."""
    arguments = _parser().parse_args(list(argv))
    seed = arguments.seed if arguments.seed is not None else int.from_bytes(os.urandom(4), "big")
    begun_s = time.monotonic()
    done = failed = commands = faults = 0
    virtual_s = 0.0
    wide = " --wide" if arguments.wide else ""
    seeds = range(seed, seed + arguments.histories)
    for report in run_many(seeds, arguments.steps, arguments.workers, wide=arguments.wide):
        done += 1
        commands, faults = commands + report.commands, faults + report.faults
        virtual_s += report.virtual_s
        if arguments.story:
            _write("\n".join(report.story))
        if not report.ok:
            failed += 1
            _write(f"seed {report.seed}: {len(report.violations)} broken, digest {report.digest}")
            for sentence in report.violations[:_VIOLATIONS_SHOWN]:
                _write(f"  {sentence}")
            _write(f"  again: bollard sim --seed {report.seed} --steps {report.steps}{wide} --story")
        elif arguments.histories == 1:
            _write(f"seed {report.seed}: every property held, digest {report.digest}")
        if done % _PROGRESS_EVERY == 0:
            _write(f"{done} of {arguments.histories} histories from seed {seed}: {failed} failed")
    took_s = time.monotonic() - begun_s
    _write(
        f"{done} histories from seed {seed}: {failed} failed; {commands} commands, {faults} faults, "
        f"{virtual_s / 3600:.1f} h of cluster time in {took_s:.1f} s"
    )
    return 1 if failed else 0


def run_many(seeds: Sequence[int], steps: int, workers: int, *, wide: bool = False) -> Iterator[Report]:
    """The reports in the order of the seeds."""
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(seeds)), context, initializer=quiet) as pool:
            yield from pool.map(partial(run_history, steps=steps, wide=wide), seeds, chunksize=1)
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bollard sim", description="Random histories of a simulated cluster."
    )
    parser.add_argument("--seed", type=int, help="the first seed; default: a random one, printed")
    parser.add_argument("--steps", type=int, default=40, help="commands and faults in a history")
    parser.add_argument(
        "--wide", action="store_true", help="also evacuate nodes, verify, and use thick files"
    )
    parser.add_argument("--histories", type=int, default=1, help="how many, each with the next seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--story", action="store_true", help="print all that happens")
    return parser


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
