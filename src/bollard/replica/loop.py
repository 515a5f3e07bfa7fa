"""The data process's only thread of decisions: epoll, timers, deferred work and a small pool for slow calls.

Everything else in the shell is called from here. It knows nothing of volumes, peers or clients.
"""

import errno
import heapq
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bollard.replica.spare import Spare

__all__ = ["READ", "WRITE", "Loop", "PoolDone", "Timer"]

READ: Final = select.EPOLLIN | select.EPOLLRDHUP
WRITE: Final = select.EPOLLOUT

_BATCH: Final = 256
_POOL_THREADS: Final = 4
_log = logging.getLogger(__name__)

PoolDone = Callable[[int], None]


class Timer:
    """A pending call; `cancel` is final and may be repeated."""

    __slots__ = ("call", "when_s")

    def __init__(self, when_s: float, call: Callable[[], None]) -> None:
        self.when_s = when_s
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Level-triggered epoll. Handlers run one after another; a round is: ready files, timers, deferred calls.

    A handler that raises is a bug in one client's or peer's code: it is logged, counted in `failures`, and
    its owner told through `on_failure`, so that the other volumes of the node go on.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.spare = Spare()
        self.failures = 0
        self._epoll = select.epoll()
        self._handlers: dict[int, tuple[Callable[[int], None], Callable[[], None] | None]] = {}
        self._forgotten: set[int] = set()
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_count = 0
        self._deferred: list[Callable[[], None]] = []
        self._posted: list[Callable[[], None]] = []
        # Reentrant: a signal handler may post while the same thread holds it.
        self._posted_lock = threading.RLock()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._pool = ThreadPoolExecutor(_POOL_THREADS, "bollard-disk")
        self._stopped = False
        self.watch(self._wake_fd, READ, self._on_wake)

    def watch(
        self,
        fd: int,
        events: int,
        handler: Callable[[int], None],
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        """Call `handler(ready_events)` whenever `fd` is ready for one of `events`, an error or a hang-up."""
        self._handlers[fd] = (handler, on_failure)
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching; must come before the file is closed. Unknown files are ignored."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._forgotten.add(fd)

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call once, `delay_s` from now."""
        return self.at(self.now() + delay_s, call)

    def at(self, when_s: float, call: Callable[[], None]) -> Timer:
        """Call once, when the loop's clock shows `when_s`."""
        timer = Timer(when_s, call)
        self._timer_count += 1
        heapq.heappush(self._timers, (timer.when_s, self._timer_count, timer))
        return timer

    def defer(self, call: Callable[[], None]) -> None:
        """Call at the end of this round, after every ready file was served: the place to flush output."""
        self._deferred.append(call)

    def post(self, call: Callable[[], None]) -> None:
        """Call from the loop's thread soon; the only method that other threads and signal handlers
        may use.
        """
        with self._posted_lock:
            first = not self._posted
            self._posted.append(call)
        if first:
            os.eventfd_write(self._wake_fd, 1)

    def in_pool(self, work: Callable[[], None], done: PoolDone) -> None:
        """Run a blocking `work` on a pool thread, then `done(errno)` on the loop (0 when it succeeded)."""

        def run() -> None:
            code = 0
            try:
                work()
            except OSError as error:
                code = error.errno or errno.EIO
            except Exception:  # noqa: BLE001  a thread's outermost frame: the request must still be answered
                _log.exception("work on the disk pool failed")
                self.failures += 1
                code = errno.EIO
            self.post(lambda: done(code))

        self._pool.submit(run)

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopped:
            self.run_once(self._wait_s())

    def run_once(self, timeout_s: float) -> None:
        """One round; waits at most `timeout_s` (negative: without limit) for something to be ready."""
        try:
            ready = self._epoll.poll(timeout_s, _BATCH)
        except InterruptedError:
            ready = []
        handlers, forgotten = self._handlers, self._forgotten
        forgotten.clear()
        for fd, events in ready:
            entry = handlers.get(fd)
            # A number that was closed in this round may already belong to another file.
            if entry is None or fd in forgotten:
                continue
            handler, on_failure = entry
            try:
                handler(events)
            except Exception:  # noqa: BLE001  a handler's outermost frame
                self._failed(on_failure)
        self._run_timers()
        calls, self._deferred = self._deferred, []
        for call in calls:
            self._guarded(call)

    def stop(self) -> None:
        """Ends `run` after this round, or at once if it waits; also safe in a signal handler."""
        self._stopped = True
        os.eventfd_write(self._wake_fd, 1)

    def close(self) -> None:
        """Ends the pool and releases the files; the loop is of no use afterwards."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.forget(self._wake_fd)
        os.close(self._wake_fd)
        self._epoll.close()

    def _wait_s(self) -> float:
        if self._deferred:
            return 0
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return -1
        return max(0.0, self._timers[0][0] - self.now())

    def _run_timers(self) -> None:
        if not self._timers:
            return
        now = self.now()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            call, timer.call = timer.call, None
            if call is not None:
                self._guarded(call)

    def _on_wake(self, _events: int) -> None:
        os.eventfd_read(self._wake_fd)
        with self._posted_lock:
            calls, self._posted = self._posted, []
        for call in calls:
            self._guarded(call)

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001  a callback's outermost frame
            self._failed(None)

    def _failed(self, on_failure: Callable[[], None] | None) -> None:
        _log.exception("a handler of the data process failed")
        self.failures += 1
        if on_failure is not None:
            self._guarded(on_failure)
