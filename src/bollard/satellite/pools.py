"""Looks at the pools, at once when something changed, otherwise now and then; the board gets what it sees."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from bollard.domain.ids import Key, Uuid, key_of
from bollard.domain.seen import Problem, SeenPool
from bollard.domain.targets import TargetPool
from bollard.satellite.apply import pool_of
from bollard.satellite.board import Board
from bollard.satellite.drivers import Provider
from bollard.satellite.host.base import BackingSeen, Host, HostError

__all__ = ["PoolWatch"]

INTERVAL_S: Final = 30.0
SOON_S: Final = 2.0
"""After a change; others that follow until then are seen with it."""
_LOOK_S: Final = 20.0
_log = logging.getLogger(__name__)


class PoolWatch:
    """The pools of the target. A pool that hangs does not keep the others from being seen."""

    def __init__(self, host: Host, board: Board, mended: Callable[[], None]) -> None:
        """`mended` is called when a pool that had a problem has none any more."""
        self._host = host
        self._board = board
        self._mended = mended
        self._kick = asyncio.Event()
        self._due: asyncio.TimerHandle | None = None
        self.pools: dict[Key, TargetPool] = {}

    def take(self, pools: Mapping[Key, TargetPool]) -> None:
        """These are the pools from now on."""
        self.pools = dict(pools)
        self._board.keep_pools(pool.name for pool in pools.values())
        self._kick.set()

    def wake(self) -> None:
        """Something was made or removed: look again soon."""
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(SOON_S, self._kick.set)

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await self._kick.wait()
            except TimeoutError:
                pass
            self._kick.clear()
            if self._due is not None:
                self._due.cancel()
                self._due = None
            await self.look()

    async def look(self) -> None:
        """Look at every pool once."""
        pools = list(self.pools.values())
        for pool, seen in zip(pools, await asyncio.gather(*map(self._look_at, pools)), strict=True):
            if pool in self.pools.values():
                before = self._board.pools.get(key_of(pool.name))
                self._board.put_pool(seen)
                if before is not None and before.problem is not None and seen.problem is None:
                    self._mended()

    async def survey(self) -> tuple[tuple[BackingSeen, ...], frozenset[Key]]:
        """All that carries our mark, in the pools that can be read; and the pools that cannot."""
        found: list[BackingSeen] = []
        unread: set[Key] = set()
        for pool in list(self.pools.values()):
            try:
                _, provider = pool_of(pool.name, self.pools)
                async with asyncio.timeout(_LOOK_S):
                    found += await provider.observe(pool, self._host)
            except (HostError, TimeoutError) as error:
                _log.warning(
                    "storage pool %s cannot be read: %s", pool.name, str(error) or "it takes too long"
                )
                unread.add(key_of(pool.name))
        return tuple(found), frozenset(unread)

    async def _look_at(self, pool: TargetPool) -> SeenPool:
        try:
            _, provider = pool_of(pool.name, self.pools)
            async with asyncio.timeout(_LOOK_S):
                return await self._observed(provider, pool)
        except HostError as error:
            problem = error.problem()
        except TimeoutError:
            problem = Problem(
                message=f"Storage pool '{pool.name}' does not answer",
                cause=f"Looking at it took longer than {_LOOK_S:g} s.",
                correction="Look for a hung disk or network file system on the node.",
                code="pool-hung",
            )
        return SeenPool(name=pool.name, uuid=Uuid(pool.uuid), problem=problem)

    async def _observed(self, provider: Provider, pool: TargetPool) -> SeenPool:
        """A pool that is not there may have been made after the machine was last looked at."""
        try:
            return await provider.observe_pool(pool, self._host)
        except HostError as error:
            if error.code != "pool-missing":
                raise
        self._host.shared.forget()
        return await provider.observe_pool(pool, self._host)
