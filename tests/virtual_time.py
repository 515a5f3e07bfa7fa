"""Runs a test's body on a clock of its own, on which nobody waits."""

import asyncio
from collections.abc import Awaitable, Callable

from bollard.sim.clock import VirtualLoop


def on_virtual_time(body: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await body()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())
