"""Histories of the replication engine: `python -m fuzz.histories --nodes 3+1 --seed 7 --count 20`.

Prints a line for each that broke a promise, with what to type to see it again; `--story` shows all of one.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import NamedTuple

from bollard.sim.replica.history import run_history
from bollard.sim.replica.oracle import Violation

__all__ = ["KINDS", "Kind", "failures"]


class Kind(NamedTuple):
    """Which nodes there are, and what may fail."""

    diskful: int
    witnesses: int
    disks: bool = False
    short: bool = False

    def words(self) -> str:
        """As arguments."""
        flags = [flag for flag, on in (("--disks", self.disks), ("--short", self.short)) if on]
        return " ".join([f"--nodes {self.diskful}+{self.witnesses}", *flags])


KINDS = tuple(
    Kind(diskful, witnesses, disks, short)
    for diskful, witnesses in ((2, 0), (2, 1), (3, 0), (3, 1), (4, 0))
    for disks in (False, True)
    for short in (False, True)
)


def failures(kind: Kind, seeds: range, steps: int) -> Iterator[tuple[int, str]]:
    """Seeds whose history broke a promise, or the engine, and how."""
    for seed in seeds:
        try:
            run_history(
                seed,
                steps,
                diskful=kind.diskful,
                witnesses=kind.witnesses,
                disk_faults=kind.disks,
                short_way=kind.short,
            )
        except Violation as broken:
            yield seed, str(broken)
        except Exception as error:  # noqa: BLE001  # outermost frame of a history
            yield seed, f"{type(error).__name__}: {error}"


def main() -> int:
    """0 when every history held."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.histories", description=__doc__)
    parser.add_argument("--nodes", default="2+1", help="how many with a disk + how many without")
    parser.add_argument("--disks", action="store_true", help="disks fail too")
    parser.add_argument("--short", action="store_true", help="plain writes go the short way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--story", action="store_true", help="all that is known of a failure")
    chosen = parser.parse_args()
    diskful, _, witnesses = chosen.nodes.partition("+")
    kind = Kind(int(diskful), int(witnesses or "0"), chosen.disks, chosen.short)
    found = 0
    for seed, why in failures(kind, range(chosen.seed, chosen.seed + chosen.count), chosen.steps):
        found += 1
        print(why if chosen.story else why.splitlines()[0], flush=True)
        print(
            f"  again: python -m fuzz.histories {kind.words()} --seed {seed} --steps {chosen.steps} --story"
        )
    print(f"{chosen.count} histories with {kind.words()} from seed {chosen.seed}: {found} failed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
