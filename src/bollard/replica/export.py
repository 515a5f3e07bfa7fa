"""What can be served over NBD: the Volume contract, the plain volume, and the table of export names.

A volume is asked to open before it is used; a replicated one promotes then. It knows nothing of sockets.
"""

import errno
import os
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from bollard.replica.disk import Backing, Buffer

__all__ = [
    "DEVICES",
    "OWNED_BYTES",
    "Asked",
    "Client",
    "Done",
    "Exports",
    "Opened",
    "PlainVolume",
    "Reading",
    "Volume",
    "Writing",
    "tell",
    "told",
]

Done = Callable[[int, int, Buffer], None]
"""Called once a request: (cookie, errno or 0, data of a read or b"")."""

Opened = Callable[[str], None]
"""Called once an open: "" when granted, else one sentence why not."""

Asked = tuple["Client", bytes]
"""Who wants to know how a write ended, and the cookie for it."""

Writing = tuple[int, memoryview, Asked]
"""A write of a burst: offset, data, whom to tell."""

Reading = tuple[int, int, int]
"""A read of a burst: offset, length, the client's cookie."""

OWNED_BYTES: Final = 64 << 10

DEVICES: Final = ".devices/"
"""Before the name of an export for block devices: never listed, and opened by its first request."""

_NONE: Final = b""


class Client(Protocol):
    """Who is told how the writes of a burst ended."""

    def wrote(self, cookies: list[bytes]) -> None:
        """These have succeeded."""
        ...

    def written(self, cookie: int, code: int, data: Buffer) -> None:
        """One has ended, with an errno or 0. The cookie as a number."""
        ...


def tell(asked: list[Asked]) -> None:
    """All of these have succeeded: each client hears of its own together."""
    client: Client | None = None
    cookies: list[bytes] = []
    for asking, cookie in asked:
        if asking is not client:
            if client is not None:
                client.wrote(cookies)
            client, cookies = asking, []
        cookies.append(cookie)
    if client is not None:
        client.wrote(cookies)


def told(asked: Asked, code: int) -> None:
    """One has ended, with an errno or 0."""
    asked[0].written(int.from_bytes(asked[1]), code, _NONE)


class Volume(Protocol):
    """A served block device. Offsets and lengths are bytes, checked against `size_bytes` by the caller.

    `done` may be called before the method returns. `data` of a write is only valid during the call, unless
    it has OWNED_BYTES or more: then it is the volume's to keep.
    """

    @property
    def size_bytes(self) -> int: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def block_bytes(self) -> int:
        """Offsets and lengths must be multiples of it (1 or 512)."""
        ...

    @property
    def description(self) -> str: ...

    def open(self, done: Opened) -> None:
        """Ask for use by one more client; a replicated volume becomes Primary first."""
        ...

    def close(self) -> None:
        """One client that was granted an open is gone; the last one demotes."""
        ...

    def direct(self) -> Backing | None:
        """What reads may be served from right now, without asking; None asks for `read`."""
        ...

    def count_reads(self, length: int) -> None:
        """So many bytes were read directly."""
        ...

    def write_burst(self, writes: list[Writing]) -> None:
        """One client's short writes without flags, inside of the volume; each is answered once, perhaps now.

        The data is only valid during the call.
        """
        ...

    def read(self, offset: int, length: int, cookie: int, done: Done) -> None: ...
    def write(self, offset: int, data: Buffer, fua: bool, cookie: int, done: Done) -> None: ...
    def flush(self, cookie: int, done: Done) -> None: ...

    def trim(self, offset: int, length: int, fua: bool, cookie: int, done: Done) -> None:
        """The range's content becomes unimportant; it may read as zeroes or as before."""
        ...

    def zero(self, offset: int, length: int, cookie: int, done: Done, *, may_unmap: bool, fua: bool) -> None:
        """The range reads as zeroes afterwards."""
        ...

    def extents(self, offset: int, length: int, limit: int) -> list[tuple[int, bool]]:
        """Up to `limit` runs of (bytes, is_hole) from `offset` on."""
        ...


class PlainVolume:
    """A backing served as it is: no metadata, no peers."""

    block_bytes = 1

    def __init__(
        self,
        name: str,
        backing: Backing,
        size_bytes: int = 0,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`size_bytes` 0 serves the whole backing; more than the backing has is refused (ValueError)."""
        if size_bytes > backing.size_bytes:
            raise ValueError(
                f"volume {name}: {size_bytes} bytes wanted, {backing.path} has only {backing.size_bytes}"
            )
        self.name = name
        self.backing = backing
        self.size_bytes = size_bytes or backing.size_bytes
        self.openers = 0
        self._on_change = on_change
        self.suspended = False
        self.reads = 0
        self.writes = 0
        self._held: list[Callable[[], None]] = []
        self._in_flight = 0
        self._on_quiet: list[Callable[[], None]] = []

    @property
    def read_only(self) -> bool:
        return self.backing.read_only

    @property
    def description(self) -> str:
        return f"plain volume {self.name}"

    def open(self, done: Opened) -> None:
        self.openers += 1
        self._on_change()
        done("")

    def close(self) -> None:
        assert self.openers > 0, "close without open"
        self.openers -= 1
        self._on_change()

    def direct(self) -> Backing | None:
        return self.backing

    def count_reads(self, length: int) -> None:
        self.reads += length

    def write_burst(self, writes: list[Writing]) -> None:
        if self.suspended or self.read_only:
            for offset, data, (client, cookie) in writes:
                self.write(offset, data, False, int.from_bytes(cookie), client.written)
            return
        fd, pwrite = self.backing.fd, os.pwrite
        done: list[Asked] = []
        for offset, data, asked in writes:
            try:
                if pwrite(fd, data, offset) != len(data):
                    self.backing.write(offset, data)
            except OSError as error:
                told(asked, error.errno or errno.EIO)
            else:
                self.writes += len(data)
                done.append(asked)
        tell(done)

    def read(self, offset: int, length: int, cookie: int, done: Done) -> None:
        self.reads += length
        try:
            data = self.backing.read_now(offset, length)
        except OSError as error:
            done(cookie, error.errno or errno.EIO, _NONE)
            return
        if data is not None:
            done(cookie, 0, data)
        else:
            self.backing.read_later(offset, length, lambda code, late: done(cookie, code, late))

    def write(self, offset: int, data: Buffer, fua: bool, cookie: int, done: Done) -> None:
        if self.suspended:
            copy = bytes(data)
            self._held.append(lambda: self.write(offset, copy, fua, cookie, done))
            return
        self.writes += len(data)
        try:
            self.backing.write(offset, data)
        except OSError as error:
            done(cookie, error.errno or errno.EIO, _NONE)
            return
        if fua:
            self.flush(cookie, done)
        else:
            done(cookie, 0, _NONE)

    def flush(self, cookie: int, done: Done) -> None:
        self.backing.flush(lambda code: done(cookie, code, _NONE))

    def trim(self, offset: int, length: int, fua: bool, cookie: int, done: Done) -> None:
        if self.suspended:
            self._held.append(lambda: self.trim(offset, length, fua, cookie, done))
            return
        try:
            self.backing.discard_now(offset, length)
        except OSError as error:
            done(cookie, error.errno or errno.EIO, _NONE)
            return
        if fua:
            self.flush(cookie, done)
        else:
            done(cookie, 0, _NONE)

    def zero(self, offset: int, length: int, cookie: int, done: Done, *, may_unmap: bool, fua: bool) -> None:
        if self.suspended:
            self._held.append(lambda: self.zero(offset, length, cookie, done, may_unmap=may_unmap, fua=fua))
            return

        def zeroed(code: int) -> None:
            self._in_flight -= 1
            if fua and not code:
                self.flush(cookie, done)
            else:
                done(cookie, code, _NONE)
            self._tell_quiet()

        self._in_flight += 1
        self.backing.zero(offset, length, may_unmap=may_unmap, done=zeroed)

    def extents(self, offset: int, length: int, limit: int) -> list[tuple[int, bool]]:
        return self.backing.extents(offset, length, limit)

    # -- standing still for a snapshot

    def suspend(self, quiet: Callable[[], None]) -> None:
        """Hold new changes; `quiet()` once no change is running."""
        self.suspended = True
        self._on_quiet.append(quiet)
        self._tell_quiet()

    def resume(self) -> None:
        self.suspended = False
        held, self._held = self._held, []
        for call in held:
            call()

    def _tell_quiet(self) -> None:
        if self.suspended and not self._in_flight:
            calls, self._on_quiet = self._on_quiet, []
            for call in calls:
                call()


class Exports:
    """Export names to volumes. `resource/number` names a volume; `resource` alone means its volume 0."""

    def __init__(self) -> None:
        self._by_name: dict[str, Volume] = {}

    def add(self, name: str, volume: Volume) -> None:
        """Names are unique; a second one is the caller's mistake."""
        assert name not in self._by_name, f"export {name} exists"
        self._by_name[name] = volume

    def remove(self, name: str) -> None:
        self._by_name.pop(name, None)

    def find(self, name: str) -> Volume | None:
        return self._by_name.get(name) or self._by_name.get(f"{name}/0")

    def exact(self, name: str) -> Volume | None:
        """The volume of exactly this name, those for block devices too."""
        return self._by_name.get(name)

    def within(self, folder: str) -> bool:
        """Whether some name begins with this one and a slash, those for block devices too."""
        return any(name.startswith(f"{folder}/") for name in self._by_name)

    def __iter__(self) -> Iterator[tuple[str, Volume]]:
        """All but those for block devices, by name."""
        return iter(sorted(item for item in self._by_name.items() if not item[0].startswith(DEVICES)))
