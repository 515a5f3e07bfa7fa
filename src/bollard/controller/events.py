"""What has happened, as one ordered stream that any number of readers follow. It is told, never the truth.

A reader that is too slow loses the oldest events and is told how many.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator

import msgspec

from bollard.domain.cluster import Change
from bollard.domain.ports import Clock


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """The root of all events."""

    number: int = 0
    """Grows by one with each event of this process."""
    at_ms: int = 0


class Committed(Event, frozen=True, tag="committed"):
    """The wish has changed."""

    revision: int
    changes: tuple[Change, ...]


class NodeStatus(Event, frozen=True, tag="node-status"):
    """A node came, went or was refused."""

    node: str
    old: str
    new: str
    message: str = ""


class Reported(Event, frozen=True, tag="reported"):
    """A node has reported; these of its resource definitions (None: all) may look different now."""

    node: str
    definitions: tuple[str, ...] | None = None


class MayPromote(Event, frozen=True, tag="may-promote"):
    """Whether a resource could become Primary on a node has changed."""

    definition: str
    node: str
    may_promote: bool


class Missed(Event, frozen=True, tag="missed"):
    """This reader was too slow; so many events before this one are lost to it: read the whole again."""

    count: int


AnyEvent = Committed | NodeStatus | Reported | MayPromote | Missed
BACKLOG_MAX = 10_000
"""Events kept for one reader."""


class Events:
    """The stream. `tell` never waits; each reader has a queue of its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._number = 0
        self._readers: weakref.WeakSet[Reader] = weakref.WeakSet()
        # Weak, so that a reader that was dropped without being closed costs nothing.

    def tell(self, event: AnyEvent) -> None:
        """Number the event, date it, give it to every reader."""
        self._number += 1
        dated = msgspec.structs.replace(event, number=self._number, at_ms=self._clock.now_ms())
        for reader in tuple(self._readers):
            reader.put(dated)

    def end(self) -> None:
        """Close every reader: the program stops."""
        for reader in tuple(self._readers):
            reader.close()

    def follow(self) -> "Reader":
        """A reader of all events from now on. Close it when done."""
        reader = Reader(self._readers)
        self._readers.add(reader)
        return reader


class Reader(AsyncIterator[AnyEvent]):
    """One reader's place in the stream."""

    def __init__(self, readers: "weakref.WeakSet[Reader]") -> None:
        self._readers = readers
        self._queue: deque[AnyEvent] = deque()
        self._there = asyncio.Event()
        self._missed = 0
        self._closed = False

    def put(self, event: AnyEvent) -> None:
        """Keep an event for the reader; the oldest gives way when it is too slow."""
        if len(self._queue) >= BACKLOG_MAX:
            self._queue.popleft()
            self._missed += 1
        self._queue.append(event)
        self._there.set()

    async def __anext__(self) -> AnyEvent:
        """The next event; waits for it."""
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._there.clear()
            await self._there.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            return Missed(count=missed, number=self._queue[0].number, at_ms=self._queue[0].at_ms)
        return self._queue.popleft()

    def close(self) -> None:
        """Stop following; what is kept can still be read."""
        self._closed = True
        self._readers.discard(self)
        self._there.set()

    async def aclose(self) -> None:
        """The same, for those who close asynchronous iterators."""
        self.close()
