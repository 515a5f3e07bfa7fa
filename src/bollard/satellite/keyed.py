"""Work by key: one run a key at a time, several keys at once, a key that is woken while it runs runs again.

It knows nothing of what the work is.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from bollard.domain.ids import Key

__all__ = ["KeyedWork"]

AT_ONCE: Final = 16


class KeyedWork:
    """`work` must not raise: it is a task's outermost frame."""

    def __init__(self, work: Callable[[Key], Awaitable[None]], at_once: int = AT_ONCE) -> None:
        self._work = work
        self._at_once = at_once
        self._due: dict[Key, None] = {}
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._stopped = False

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits for its turn; timers do not count."""
        return not self._due and not self._running

    def wake(self, key: Key, delay_s: float = 0.0) -> None:
        """Run for this key, now or later; the earliest wish counts."""
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if delay_s and timer.when() <= loop.time() + delay_s:
                return
            timer.cancel()
            del self._timers[key]
        if delay_s:
            self._timers[key] = loop.call_later(delay_s, self._ring, key)
        else:
            self._due[key] = None
            self._start()

    async def stop(self) -> None:
        """Cut what runs and forget the rest."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._due.clear()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ring(self, key: Key) -> None:
        del self._timers[key]
        self.wake(key)

    def _start(self) -> None:
        for key in [key for key in self._due if key not in self._running]:
            if len(self._running) >= self._at_once:
                return
            del self._due[key]
            self._running[key] = asyncio.create_task(self._run(key))

    async def _run(self, key: Key) -> None:
        try:
            await self._work(key)
        finally:
            del self._running[key]
            if not self._stopped:
                self._start()
