"""Waits until something that spans nodes and time has ended, and lets procedures go on while it waits.

It decides nothing: it asks for the next phase whenever a node has reported, like the ticker, only sooner.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from bollard.controller.events import Committed, NodeStatus, Reader, Reported
from bollard.controller.service import Service
from bollard.domain.cluster import Cluster
from bollard.domain.commands import Tick
from bollard.domain.errors import DomainError
from bollard.domain.ids import Key, key_of

__all__ = ["settled"]

_AGAIN_S = 1.0
"""For what only time changes."""


async def settled(
    service: Service, definitions: Iterable[str], done: Callable[[Cluster], bool], deadline_s: float
) -> bool:
    """Whether `done` of the durable cluster became true before the deadline."""
    names = tuple(definitions)
    keys = {key_of(name) for name in names}
    reader = service.subscribe()
    try:
        async with asyncio.timeout(deadline_s):
            while not done(service.cluster):
                with contextlib.suppress(DomainError):
                    await service.submit(Tick(definitions=names), deadline_s=0.0)
                if done(service.cluster):
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_AGAIN_S):
                        await _news(reader, keys)
    except TimeoutError:
        return done(service.cluster)
    finally:
        reader.close()
    return True


async def _news(reader: Reader, keys: set[Key]) -> None:
    async for event in reader:
        match event:
            case Reported(definitions=None) | NodeStatus() | Committed():
                return
            case Reported(definitions=tuple() as names) if keys & {key_of(name) for name in names}:
                return
            case _:
                pass
