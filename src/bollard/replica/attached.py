"""A volume under a block device: the device stays while nobody uses it, and its I/O opens the volume.

A kernel tells the server of a block device nothing of those who open it. So the first read or write opens
the volume (a replicated one promotes), and `release` closes it once somebody saw that the device has no user.
"""

import errno
import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from bollard.replica.disk import Backing, Buffer
from bollard.replica.export import Done, Opened, Volume, Writing
from bollard.replica.loop import Loop

__all__ = ["OPEN_S", "AttachedVolume"]

OPEN_S: Final = 5.0
"""How long requests wait for a volume that another node does not let go of."""
_AGAIN_S: Final = 0.1
_REFUSED_S: Final = 0.25
_NONE: Final = b""
_log = logging.getLogger(__name__)


class _State(Enum):
    CLOSED = auto()
    OPENING = auto()
    OPEN = auto()
    GONE = auto()


class AttachedVolume:
    """`export.Volume` that is opened by its use. Requests that cannot open it fail with EIO."""

    def __init__(self, loop: Loop, name: str, volume: Volume) -> None:
        self._loop = loop
        self._name = name
        self._volume = volume
        self._state = _State.CLOSED
        self._waiting: list[tuple[Callable[[], None], int, Done]] = []
        self._refused_until_s = 0.0
        self.ops = 0
        """Requests so far that read or changed something: equal twice, nothing came in between."""

    @property
    def size_bytes(self) -> int:
        return self._volume.size_bytes

    @property
    def read_only(self) -> bool:
        return self._volume.read_only

    @property
    def block_bytes(self) -> int:
        return self._volume.block_bytes

    @property
    def description(self) -> str:
        return f"block device of {self._volume.description}"

    @property
    def in_use(self) -> bool:
        """Whether it has its volume open."""
        return self._state is _State.OPEN

    def open(self, done: Opened) -> None:
        """The device is attached; the volume is not opened by that."""
        done("")

    def close(self) -> None:
        """The device is gone, and so are its users."""
        if self._state is _State.OPEN:
            self._state = _State.CLOSED
            self._volume.flush(0, lambda _cookie, _code, _data: self._volume.close())
        else:
            self._let_go(_State.CLOSED)

    def release(self, ops: int, finish: Callable[[bool], None]) -> None:
        """Flush and close the volume unless a request came since `ops` was read; whether it was closed."""

        def flushed(_cookie: int, code: int, _data: Buffer) -> None:
            quiet = self._state is _State.OPEN and ops == self.ops and not code
            if quiet:
                self._let_go(_State.CLOSED)
            finish(quiet)

        if self._state is _State.OPEN and ops == self.ops:
            self._volume.flush(0, flushed)
        else:
            finish(False)

    def retire(self) -> None:
        """The volume ends or becomes another: whoever still has the device gets errors, whatever comes."""
        self._let_go(_State.GONE)

    def direct(self) -> Backing | None:
        if self._state is not _State.OPEN:
            return None
        self.ops += 1
        return self._volume.direct()

    def count_reads(self, length: int) -> None:
        self._volume.count_reads(length)

    def write_burst(self, writes: list[Writing]) -> None:
        if self._state is _State.OPEN:
            self.ops += len(writes)
            self._volume.write_burst(writes)
            return
        for offset, data, (client, cookie) in writes:
            self.write(offset, data, False, int.from_bytes(cookie), client.written)

    def read(self, offset: int, length: int, cookie: int, done: Done) -> None:
        self._use(lambda: self._volume.read(offset, length, cookie, done), cookie, done)

    def write(self, offset: int, data: Buffer, fua: bool, cookie: int, done: Done) -> None:
        if self._state is not _State.OPEN:
            data = bytes(data)
        self._use(lambda: self._volume.write(offset, data, fua, cookie, done), cookie, done)

    def flush(self, cookie: int, done: Done) -> None:
        if self._state is _State.OPEN:
            self._volume.flush(cookie, done)
        elif self._waiting:
            self._use(lambda: self._volume.flush(cookie, done), cookie, done)
        else:
            # Nothing was written since it was closed, which flushed.
            done(cookie, errno.EIO if self._state is _State.GONE else 0, _NONE)

    def trim(self, offset: int, length: int, fua: bool, cookie: int, done: Done) -> None:
        self._use(lambda: self._volume.trim(offset, length, fua, cookie, done), cookie, done)

    def zero(self, offset: int, length: int, cookie: int, done: Done, *, may_unmap: bool, fua: bool) -> None:
        def go() -> None:
            self._volume.zero(offset, length, cookie, done, may_unmap=may_unmap, fua=fua)

        self._use(go, cookie, done)

    def extents(self, offset: int, length: int, limit: int) -> list[tuple[int, bool]]:
        return self._volume.extents(offset, length, limit)

    # -- opening by use

    def _use(self, go: Callable[[], None], cookie: int, done: Done) -> None:
        self.ops += 1
        if self._state is _State.OPEN:
            go()
        elif self._state is _State.GONE:
            done(cookie, errno.EIO, _NONE)
        else:
            self._waiting.append((go, cookie, done))
            if self._state is _State.CLOSED:
                self._state = _State.OPENING
                now_s = self._loop.now()
                # Who reads on and on although he is refused does not wait for each of his requests.
                self._ask(now_s if now_s < self._refused_until_s else now_s + OPEN_S)

    def _ask(self, until_s: float) -> None:
        def opened(refusal: str) -> None:
            if self._state is not _State.OPENING:
                # It was let go of meanwhile.
                if not refusal:
                    self._volume.close()
            elif not refusal:
                self._state = _State.OPEN
                waiting, self._waiting = self._waiting, []
                for go, _, _ in waiting:
                    go()
            elif self._loop.now() < until_s:
                self._loop.after(_AGAIN_S, lambda: self._ask(until_s))
            else:
                _log.warning("the block device of %s cannot be used now: %s", self._name, refusal)
                self._refused_until_s = self._loop.now() + _REFUSED_S
                self._let_go(_State.CLOSED)

        if self._state is _State.OPENING:
            self._volume.open(opened)

    def _let_go(self, state: _State) -> None:
        before = self._state
        if before is _State.GONE:
            return
        self._state = state
        waiting, self._waiting = self._waiting, []
        for _, cookie, done in waiting:
            done(cookie, errno.EIO, _NONE)
        if before is _State.OPEN:
            self._volume.close()
