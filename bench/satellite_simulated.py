"""The satellite's own work: from a target to all settled on the simulated host, with 1 000 resources.

No process, file or socket of the machine is touched, so that what is left is the satellite's code.
"""

import asyncio
import contextlib
import resource
import sys
import time
from pathlib import Path

from bollard.domain.ids import NodeName
from bollard.domain.targets import Target
from bollard.runtime.clock import RealClock
from bollard.satellite.board import Board
from bollard.satellite.loop import Loop
from bollard.sim.engine import Mesh
from bollard.sim.host import POOL_FOLDER, SimMachine

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.satellite import NODE, ROUNDS, target  # beside this file


async def settle(machine: SimMachine, wish: Target) -> float:
    """Seconds until a fresh loop has every resource settled."""
    board = Board(NodeName(NODE))
    loop = Loop(machine.host(), board, RealClock())
    begun_s = time.monotonic()
    task = asyncio.create_task(loop.run())
    loop.take_full(wish)
    while sum(one.settled for one in board.resources.values()) < len(wish.resources):  # noqa: ASYNC110  # ends soon
        await asyncio.sleep(0)
    took_s = time.monotonic() - begun_s
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return took_s


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    machine = SimMachine(NODE, Mesh())
    wish = target(Path(POOL_FOLDER), count)
    print("| resources | round | all in sync after s | peak RSS MiB |")
    print("|---|---|---|---|")
    for number in range(ROUNDS + 1):
        took_s = asyncio.run(settle(machine, wish))
        name = f"unchanged {number}" if number else "first"
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {count} | {name} | {took_s:.2f} | {peak_mib:.1f} |")


if __name__ == "__main__":
    main()
