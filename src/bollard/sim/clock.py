"""Virtual time: an event loop that jumps to the next timer instead of waiting for it.

It has no sockets, threads or signals, so that a history depends on its seed alone.
"""

import asyncio
from typing import Any, Final

__all__ = ["EPOCH_MS", "Idle", "VirtualClock", "VirtualLoop"]

EPOCH_MS: Final = 1_700_000_000_000


class Idle(RuntimeError):
    """Every task waits and no timer is set: nothing would ever happen again."""


class _Jump:
    """Stands where asyncio expects its selector: instead of blocking it moves the loop's time."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout_s: float | None) -> list[Any]:
        if timeout_s is None:
            raise Idle("all tasks wait and no timer is set")
        if timeout_s > 0:
            self._loop.now_s += timeout_s
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio event loop on virtual time, starting at 0 s."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._selector = _Jump(self)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.now_s

    def _process_events(self, event_list: list[Any]) -> None:
        assert not event_list, event_list

    def _write_to_self(self) -> None:
        """Wake-ups from other threads do not exist here."""


class VirtualClock:
    """`domain.ports.Clock` over a virtual loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return EPOCH_MS + int(self._loop.time() * 1000)

    def monotonic_s(self) -> float:
        return self._loop.time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
