"""What a replicated resource wants done: the outputs of `Resource.step`, to be carried out in order.

Plain values. Order matters for `Send` of one peer and channel, and for `Send` before `HangUp`; disk actions
under way together never overlap where one of them writes, and may finish in any order.
"""

from enum import StrEnum
from typing import Any

import msgspec

from bollard.replica.protocol.commands import Channel
from bollard.replica.protocol.events import Buffer


class _Action(msgspec.Struct, frozen=True, gc=False):
    """What all actions share."""


class _Held(msgspec.Struct, frozen=True):
    """Actions that carry containers."""


# ---- the network


class Send(_Held, frozen=True):
    """Write the buffers, one after another. If the link is down: drop them (its LinkDown is on the way)."""

    peer: int
    channel: Channel
    buffers: tuple[Buffer, ...]


class Dial(_Action, frozen=True):
    """Try to have a link to this peer, `delay_s` from now on, again and again, until LinkUp or `HangUp`."""

    peer: int
    delay_s: float = 0.0


class HangUp(_Action, frozen=True):
    """Close the link after what was sent before, stop dialling and stop accepting from this peer.

    No LinkDown and no Received follows for it. `Dial` may come right after.
    """

    peer: int


# ---- disks: each of these is answered by DiskDone(tag)


class ReadDisk(_Action, frozen=True):
    """Read `length_bytes` at `offset_bytes` of the data device."""

    tag: int
    volume: int
    offset_bytes: int
    length_bytes: int


class WriteDisk(_Action, frozen=True):
    """Write `data`; `fua`: it is durable before DiskDone."""

    tag: int
    volume: int
    offset_bytes: int
    data: Buffer
    fua: bool = False


class ZeroDisk(_Action, frozen=True):
    """Make a range read as zeroes, by a hole where `may_unmap` allows it; durable first if `fua`."""

    tag: int
    volume: int
    offset_bytes: int
    length_bytes: int
    may_unmap: bool = True
    fua: bool = False


class FlushDisk(_Action, frozen=True):
    """Everything written to the data device so far (DiskDone given) is durable before DiskDone."""

    tag: int
    volume: int


class WriteMeta(_Held, frozen=True):
    """Write pieces (offset on the metadata device, bytes), then make them durable before DiskDone.

    `flush_data`: everything written to the data device so far must be durable before the first piece is
    written. Offsets and lengths are multiples of 4096. At most one WriteMeta of a volume is under way.
    """

    tag: int
    volume: int
    pieces: tuple[tuple[int, bytes], ...]
    flush_data: bool = False


# ---- disks: not answered by DiskDone


class OpenDisk(_Action, frozen=True):
    """Open the backing and read its metadata; answered by DiskAttached or DiskOpenFailed."""

    volume: int


class CloseDisk(_Action, frozen=True):
    """Close the backing once what is under way has ended; its DiskDones are of no interest any more."""

    volume: int


# ---- applications


class Complete(_Held, frozen=True):
    """The answer to a `Request` or, by what it was given, to a short write.

    `errno` 0 = done, `data` for a READ.
    """

    request: Any
    errno: int = 0
    data: Buffer = b""


class VolumeSize(_Action, frozen=True):
    """The usable size is now this (0 = not known yet: do not serve)."""

    volume: int
    size_bytes: int


class MetadataAt(_Action, frozen=True):
    """The metadata is here now, durably: where to look for it when a further growth was cut off."""

    volume: int
    superblock_offset_bytes: int


# ---- answers and news


class Code(StrEnum):
    """Why a command was refused, by what the caller should do; the words of the control socket."""

    OK = "ok"
    INVALID = "invalid"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    DENIED = "denied"
    INTERNAL = "internal"


class Answer(_Action, frozen=True):
    """The result of a command or an Open. `number` is DRBD's code of a refused change (-2, ...) or 0."""

    tag: int
    code: Code = Code.OK
    message: str = ""
    changed: bool = True
    number: int = 0


class Notify(_Held, frozen=True):
    """One line of the event stream, in the words of `events2`.

    `action` is create, change or destroy; `kind` is resource, connection, device or peer-device; `fields`
    are its identity keys, then the values (all of them, also those that did not change).
    """

    action: str
    kind: str
    fields: tuple[tuple[str, str], ...]


class Fence(_Held, frozen=True):
    """Call the fence-peer handler for a peer; answered by FenceDone."""

    peer: int


class Call(_Action, frozen=True):
    """Run another handler. With a `tag` it is answered by CallDone, else nobody waits for it.

    `volume` and `peer` (a node id) are what it is about, where it is about one; `state` and `good_nodes` are
    the connection's state and the nodes with UpToDate data, as the handler is told.
    """

    handler: str
    tag: int = 0
    volume: int | None = None
    peer: int | None = None
    state: str = ""
    good_nodes: int = 0


class Log(_Action, frozen=True):
    """One event for people: `level` is info, warning or error; no payloads, no secrets."""

    level: str
    text: str


Action = (
    Send | Dial | HangUp | ReadDisk | WriteDisk | ZeroDisk | FlushDisk | WriteMeta | OpenDisk | CloseDisk
    | Complete | VolumeSize | MetadataAt | Answer | Notify | Fence | Call | Log
)  # fmt: skip
