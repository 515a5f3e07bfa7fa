"""The cluster twice: the head, against which decisions are made, and what is durable, which all others read.

Changes go to the head at once and to the durable cluster when the store has them, in the same order.
When the store fails, both are read again from it; until then nothing is decided.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from bollard.controller.parents import orphans, placeholders
from bollard.controller.store.base import Quarantined, Store
from bollard.domain.cluster import Change, Cluster, Put, Record
from bollard.domain.errors import Conflict, DomainError, InUse, Subject, Unavailable
from bollard.domain.ids import Key
from bollard.domain.ports import Clock, Draw
from bollard.planning.bootstrap import initial_records
from bollard.planning.targets import touched

Touched = frozenset[tuple[Key, Key | None]]
"""Node key and definition key (None: the node's pools)."""
Committed = Callable[[int, Sequence[Change], Touched], None]

Initial = Callable[[Draw], Sequence[Record]]
"""The records of a fresh cluster."""

RETRY_S: Final = 1.0
_log = logging.getLogger(__name__)


class Wish:
    """Owner of both clusters and of the way from one to the other."""

    def __init__(self, store: Store, clock: Clock, draw: Draw, initial: Initial = initial_records) -> None:
        self.head = Cluster()
        self.durable = Cluster()
        self.lost: asyncio.Future[DomainError] = asyncio.get_running_loop().create_future()
        """Done when the database belongs to another controller now: this one must end."""
        self.on_commit: Committed = lambda _revision, _changes, _touched: None
        self.on_quarantine: Callable[[Quarantined], None] = lambda _item: None
        self.on_reload: Callable[[], None] = lambda: None
        self._store = store
        self._clock = clock
        self._draw = draw
        self._initial = initial
        self._usable = asyncio.Event()
        self._under_way: set[asyncio.Task[tuple[int, Touched]]] = set()
        self._reload: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read all records; make those of a fresh cluster when there are none. Raises DomainError."""
        loaded = await self._store.load()
        records = list(loaded.records)
        lost = orphans(records)
        if lost:
            await self._store.quarantine(lost)
            gone = {(item.kind, item.key) for item in lost}
            records = [it for it in records if (it.__struct_config__.tag, it.key) not in gone]
        for item in (*loaded.set_aside, *lost):
            self.on_quarantine(item)
        kept = len(loaded.quarantined) + len(lost)
        if kept:
            _log.warning("%s records are in quarantine", kept)
        revision = loaded.revision
        here = {(it.__struct_config__.tag, it.key) for it in records}
        first = [it for it in self._initial(self._draw) if (it.__struct_config__.tag, it.key) not in here]
        missing = first if not records else [*first, *placeholders([*records, *first], self._draw)]
        if missing:
            revision = await self._store.commit([Put(record) for record in missing], revision)
        self.head = Cluster((*records, *missing), revision)
        self.durable = Cluster((*records, *missing), revision)
        self._usable.set()

    async def usable(self, deadline_s: float) -> None:
        """Wait until decisions can be made: long only while the store is read again. Raises Unavailable."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._usable.wait()
        except TimeoutError:
            raise Unavailable(
                Subject.DATABASE,
                "database",
                "The database cannot be used at the moment",
                cause="The last attempt to write to it failed, and reading it again has not succeeded yet.",
                details="Nothing was changed.",
                correction="Look at the controller's log for the reason, and try again.",
            ) from None

    def commit(self, changes: Sequence[Change]) -> "asyncio.Future[tuple[int, Touched]]":
        """Make changes of a decision that was made on the head just now; the result: revision and touched.

        The future raises DomainError when they are not durable. Cancelling the caller cancels nothing.
        """
        assert self._usable.is_set(), "decided while the store is read again"
        expected = self.head.revision
        task = asyncio.get_running_loop().create_task(self._make_durable(tuple(changes), expected))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            self.head.apply(changes)
        except BaseException:
            # A decision whose changes cannot be applied is a bug; what it left in the head is thrown away.
            task.cancel()
            self._start_reload()
            raise
        return asyncio.shield(task)

    async def close(self) -> None:
        """Wait until all commits are through."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        if self._reload is not None:
            self._reload.cancel()
            await asyncio.wait([self._reload])

    async def _make_durable(self, changes: tuple[Change, ...], expected: int) -> tuple[int, Touched]:
        try:
            revision = await self._store.commit(changes, expected)
            assert self.durable.revision == expected, (self.durable.revision, expected)
            before = touched(changes, self.durable)
            self.durable.apply(changes)
            both = frozenset(before | touched(changes, self.durable))
            self.on_commit(revision, changes, both)
        except DomainError as error:
            if self._usable.is_set() and isinstance(error, Conflict | InUse):
                self._lose(error)
            self._start_reload()
            raise Unavailable(
                Subject.DATABASE,
                error.name,
                "The change is not stored",
                cause=error.message,
                details="Nothing was changed.",
                correction=error.correction,
            ) from error
        except BaseException:
            self._start_reload()
            raise
        return revision, both

    def _start_reload(self) -> None:
        if self._usable.is_set():
            self._usable.clear()
            self._reload = asyncio.get_running_loop().create_task(self._load_again())

    async def _load_again(self) -> None:
        while not self.lost.done():
            while self._under_way:
                await asyncio.wait(self._under_way)
            try:
                await self.load()
            except (Conflict, InUse) as error:
                self._lose(error)
            except DomainError as error:
                _log.error("the database cannot be read, next try in %s s: %s", RETRY_S, error.message)
                await self._clock.sleep(RETRY_S)
            else:
                _log.warning("the database was read again, at revision %s", self.head.revision)
                self.on_reload()
                return

    def _lose(self, error: DomainError) -> None:
        if not self.lost.done():
            _log.critical("the database has another owner: %s", error.message)
            self.lost.set_result(error)
