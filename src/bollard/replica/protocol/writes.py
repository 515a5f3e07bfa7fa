"""Requests under way: writes, zeroings, flushes, and groups of the parts of one large request."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bollard.replica.protocol.events import Buffer, Verb
from bollard.replica.protocol.exclusion import RangeOp

if TYPE_CHECKING:
    from bollard.replica.protocol.model import Epoch, Volume
    from bollard.replica.protocol.requests import Requests


class Group:
    """A request in several parts: answered when the last one is."""

    __slots__ = ("failed", "left", "request")

    def __init__(self, request: int, parts: int) -> None:
        self.request = request
        self.left = parts
        self.failed = 0


class Place:
    """Where a write was, to be marked should a peer not confirm it."""

    __slots__ = ("end", "start", "volume")

    def __init__(self, volume: "Volume", start: int, end: int) -> None:
        self.volume = volume
        self.start = start
        self.end = end


class QuickOp(Place):
    """A WRITE that took the short way and is on the local disk; it waits for `pending` peers.

    `request` is whatever the caller knows it by.
    """

    __slots__ = ("ok", "pending", "request")

    def __init__(self, volume: "Volume", request: Any, start: int, end: int, pending: int) -> None:
        self.volume = volume
        self.request = request
        self.start = start
        self.end = end
        self.pending = pending
        self.ok = True


class Overtaken(Place):
    """A write of ours that a peer has, while writes of its own from before, up to `until`, may still come."""

    __slots__ = ("block_id", "until")

    def __init__(self, volume: "Volume", start: int, end: int, block_id: int, until: int) -> None:
        super().__init__(volume, start, end)
        self.block_id = block_id
        self.until = until


class WriteOp(RangeOp):
    """A WRITE, TRIM or ZERO of at most one packet's size. `pending` counts the answers it still waits for.

    Beside another Primary `seen` has, by node, the link and the last write received on it before this one.
    """

    __slots__ = (
        "block_id", "data", "epoch", "fua", "group", "may_unmap", "ok", "owner", "pending", "request",
        "seen", "verb", "volume",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917  made once a write: keywords cost
        self,
        owner: "Requests",
        volume: "Volume",
        verb: Verb,
        offset: int,
        length: int,
        data: Buffer,
        request: Any,
    ) -> None:
        super().__init__(offset, offset + length)
        self.owner = owner
        self.volume = volume
        self.verb = verb
        self.data = data
        self.request = request
        self.seen: dict[int, tuple[int, int]] | None = None
        self.fua = False
        self.may_unmap = False
        self.group: Group | None = None
        self.block_id = 0
        self.pending = 0
        self.ok = False
        self.epoch: Epoch | None = None

    def run(self) -> None:
        self.owner.activate(self)

    def local_done(self, errno: int, _data: Buffer) -> None:
        self.owner.local_done(self, errno)


class FlushOp:
    """A FLUSH: waits for the local disk and for the last epoch sent to each peer.

    With `then` it is one of our own: that is called instead of answering a request.
    """

    __slots__ = ("local", "ok", "peers", "request", "then", "volume")

    def __init__(self, volume: "Volume", request: int) -> None:
        self.volume = volume
        self.request = request
        self.local = False
        self.ok = True
        self.peers: dict[int, int] = {}
        self.then: Callable[[], None] | None = None
