"""A replicated volume as NBD clients see it: every request becomes an event of the core."""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from bollard.replica.disk import Backing, Buffer
from bollard.replica.export import OWNED_BYTES, Done, Opened, Writing
from bollard.replica.metadisk import Disk
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e

__all__ = ["Owner", "ReplicatedVolume"]

_ONE_BLOCK: Final = 512
_READ: Final = e.Verb.READ
_WRITE: Final = e.Verb.WRITE


class Owner(Protocol):
    """What a volume needs of its resource."""

    @property
    def tickets(self) -> Iterator[int]: ...
    def submit(self, cookie: int, done: Done, request: e.Request) -> None: ...
    def write_quickly(self, number: int, writes: list[Writing]) -> list[Writing]: ...
    def count_reads(self, number: int, length: int) -> None: ...
    def pump(self, event: e.Event) -> None: ...
    def command(self, make: Callable[[int], e.Event], answered: Callable[[a.Answer], None]) -> None: ...
    def readable_disk(self, number: int) -> Disk | None: ...


class ReplicatedVolume:
    """The Volume that NBD clients see; every request becomes an event of the core."""

    block_bytes = _ONE_BLOCK
    read_only = False

    def __init__(self, owner: Owner, name: str, number: int) -> None:
        self._owner = owner
        self._tickets = owner.tickets
        self._name = name
        self.number = number
        self.size_bytes = 0
        self.openers = 0

    @property
    def description(self) -> str:
        return f"replicated volume {self._name}/{self.number}"

    def open(self, done: Opened) -> None:
        def answered(answer: a.Answer) -> None:
            if answer.code is a.Code.OK:
                self.openers += 1
                done("")
            else:
                done(answer.message or f"refused: {answer.code.value}")

        if not self.size_bytes:
            name = f"{self._name}/{self.number}"
            done(f"volume {name} has no size yet: neither a disk nor a peer with one was seen")
            return
        self._owner.command(lambda tag: e.Open(tag, self.number), answered)

    def close(self) -> None:
        assert self.openers > 0, "close without open"
        self.openers -= 1
        self._owner.pump(e.Close(self.number))

    def direct(self) -> Backing | None:
        disk = self._owner.readable_disk(self.number)
        return disk.data if disk is not None else None

    def count_reads(self, length: int) -> None:
        self._owner.count_reads(self.number, length)

    def write_burst(self, writes: list[Writing]) -> None:
        for offset, data, (client, cookie) in self._owner.write_quickly(self.number, writes):
            self.write(offset, data, False, int.from_bytes(cookie), client.written)

    def read(self, offset: int, length: int, cookie: int, done: Done) -> None:
        owner = self._owner
        owner.submit(cookie, done, e.Request(self.number, next(self._tickets), _READ, offset, length))

    def write(self, offset: int, data: Buffer, fua: bool, cookie: int, done: Done) -> None:
        kept = data if len(data) >= OWNED_BYTES else bytes(data)
        owner = self._owner
        request = e.Request(self.number, next(self._tickets), _WRITE, offset, len(kept), kept, fua)
        owner.submit(cookie, done, request)

    def flush(self, cookie: int, done: Done) -> None:
        owner = self._owner
        owner.submit(cookie, done, e.Request(self.number, next(self._tickets), e.Verb.FLUSH))

    def trim(self, offset: int, length: int, fua: bool, cookie: int, done: Done) -> None:
        owner = self._owner
        request = e.Request(self.number, next(self._tickets), e.Verb.TRIM, offset, length, b"", fua)
        owner.submit(cookie, done, request)

    def zero(self, offset: int, length: int, cookie: int, done: Done, *, may_unmap: bool, fua: bool) -> None:
        owner = self._owner
        request = e.Request(
            self.number, next(self._tickets), e.Verb.ZERO, offset, length, b"", fua, may_unmap
        )
        owner.submit(cookie, done, request)

    def extents(self, offset: int, length: int, limit: int) -> list[tuple[int, bool]]:
        disk = self._owner.readable_disk(self.number)
        if disk is None:
            return [(length, False)]
        return disk.data.extents(offset, length, limit)
