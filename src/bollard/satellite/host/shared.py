"""What passes over different resources share: looks at the whole machine, and locks.

A look is made once for all that ask at the same time, and serves until something it showed was changed.
It knows nothing of what is looked at.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from typing import Any, Final, TypeVar

__all__ = ["CALM_S", "MAX_AGE_S", "Shared"]

MAX_AGE_S: Final = 10.0
"""What others change on the machine is seen after this time."""
CALM_S: Final = 5.0
"""A look at one part waits for changes that are announced, to serve all who make them: so long for each,"""
PATIENCE_S: Final = 20.0
"""and so long for all of them, at most."""

_T = TypeVar("_T")
_WHOLE: Final = ""


class _Look:
    def __init__(self, task: "asyncio.Task[Any]", serial: int, begun_s: float) -> None:
        self.task = task
        self.serial = serial
        self.begun_s = begun_s


class Shared:
    """Of one machine. `what` names a look; `part` is a piece of it that changes by itself (a resource)."""

    def __init__(self) -> None:
        self._serial = 0
        self._looks: dict[str, _Look] = {}
        self._changes: dict[str, dict[str, int]] = {}
        self._newest: dict[str, int] = {}
        self._coming: dict[str, int] = {}
        self._moved: dict[str, asyncio.Event] = {}
        self._moved_s: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._hung: dict[str, tuple[float, Exception]] = {}

    async def look(
        self, what: str, load: Callable[[], Coroutine[Any, Any, _T]], part: str | None = None
    ) -> _T:
        """What `load` found, after the last change to `part` (None: to anything); its error if it failed."""
        found = self._serving(what, part)
        if found is None and part is not None and self._coming.get(what):
            await self._calm(what)
            found = self._serving(what, part)
        if found is None:
            self._serial += 1
            now_s = asyncio.get_running_loop().time()
            found = self._looks[what] = _Look(asyncio.create_task(load()), self._serial, now_s)
            found.task.add_done_callback(lambda task: self._ended(what, task))
        result: _T = await asyncio.shield(found.task)
        return result

    def _serving(self, what: str, part: str | None) -> _Look | None:
        """The newest look, if it is new enough."""
        found = self._looks.get(what)
        if found is None or asyncio.get_running_loop().time() - found.begun_s > MAX_AGE_S:
            return None
        return found if found.serial > self._changed_at(what, part) else None

    @contextmanager
    def announced(self, what: str) -> Iterator[None]:
        """A change is to be made within, after others perhaps. No look is taken there."""
        now_s = asyncio.get_running_loop().time
        if not self._coming.get(what):
            self._moved_s[what] = now_s()
        self._coming[what] = self._coming.get(what, 0) + 1
        try:
            yield
        finally:
            self._coming[what] -= 1
            self._moved_s[what] = now_s()
            self._moved.pop(what, asyncio.Event()).set()

    async def _calm(self, what: str) -> None:
        """Until no change is announced; not for long where none gets done."""
        now_s = asyncio.get_running_loop().time
        end_s = now_s() + PATIENCE_S
        while self._coming[what] and now_s() < (until_s := min(end_s, self._moved_s[what] + CALM_S)):
            moved = self._moved.setdefault(what, asyncio.Event())
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until_s):
                    await moved.wait()

    def changed(self, what: str, part: str = _WHOLE) -> None:
        """A part of it, or all of it, is no longer as any look showed that has begun until now."""
        self._serial += 1
        self._changes.setdefault(what, {})[part] = self._serial
        self._newest[what] = self._serial

    def forget(self) -> None:
        """Whoever looks next looks anew, because somebody else may have changed anything."""
        self._looks.clear()

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """One at a time for each name, in the order in which they come."""
        return self._locks.setdefault(name, asyncio.Lock())

    def mark_hung(self, name: str, error: Exception, for_s: float) -> None:
        """Let `refuse_hung` raise this error for a while: what hangs shall not hold up everybody's turn."""
        self._hung[name] = (asyncio.get_running_loop().time() + for_s, error)

    def refuse_hung(self, name: str) -> None:
        """Raise the error of something that hung a short time ago."""
        until_s, error = self._hung.get(name, (0.0, None))
        if error is not None and asyncio.get_running_loop().time() < until_s:
            raise error

    async def changing(self, what: str, part: str, change: Awaitable[_T]) -> _T:
        """Carry out a change of one part; looks that began before its end do not count for that part."""
        try:
            return await change
        finally:
            self.changed(what, part)

    def _changed_at(self, what: str, part: str | None) -> int:
        changes = self._changes.get(what, {})
        if part is None:
            return self._newest.get(what, 0)
        return max(changes.get(_WHOLE, 0), changes.get(part, 0))

    def _ended(self, what: str, task: "asyncio.Task[Any]") -> None:
        """A look that failed serves those who waited for it, and nobody else."""
        failed = task.cancelled() or task.exception() is not None
        found = self._looks.get(what)
        if failed and found is not None and found.task is task:
            del self._looks[what]
