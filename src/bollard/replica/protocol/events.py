"""What can happen to a replicated resource: the inputs of `Resource.step(event, now_s)`.

Plain values, made by the shell or a simulator. Times are seconds of any monotonic clock, beside the event.
"""

from enum import IntEnum

import msgspec

from bollard.replica.protocol.commands import Channel
from bollard.replica.protocol.config import PeerConfig, VolumeConfig

Buffer = bytes | bytearray | memoryview


class Verb(IntEnum):
    """What an application asks of a volume."""

    READ = 0
    WRITE = 1
    FLUSH = 2
    TRIM = 3
    ZERO = 4


class _Event(msgspec.Struct, frozen=True, gc=False):
    """What all events share."""


class _Held(msgspec.Struct, frozen=True):
    """Events that carry nested records."""


# ---- configuration


class AddVolume(_Held, frozen=True):
    """A volume exists from now on. A diskful one is attached by a later `Attach` command."""

    config: VolumeConfig


class ChangeVolume(_Event, frozen=True):
    """Other options of a volume that is there; all else of it is as it was."""

    config: VolumeConfig


class RemoveVolume(_Event, frozen=True):
    """Forget a volume; its clients must be closed. A disk is released as by `Detach` first."""

    volume: int


class AddPeer(_Held, frozen=True):
    """Another node exists. No connection is tried before a `Connect` command."""

    config: PeerConfig


class RemovePeer(_Event, frozen=True):
    """Forget a node; its connection is closed."""

    peer: int


class SetOptions(_Event, frozen=True):
    """All options by DRBD's names; those not named get their defaults. Answered by `Answer(tag)`."""

    tag: int
    options: tuple[tuple[str, str], ...]


# ---- disks


class DiskAttached(_Event, frozen=True):
    """The answer to the action `OpenDisk`: the backing is open, its metadata was read.

    `backing_bytes` is the size of the data device (for internal metadata: of the whole backing), and
    `meta_bytes` that of the device which holds the metadata (the same for internal). `superblock` are the
    4096 bytes at `superblock_offset_bytes` of the metadata device; `activity_log` and `bitmap` the areas it
    points to, whole. Nothing has been applied yet: replaying the log is the core's work.
    """

    volume: int
    backing_bytes: int
    meta_bytes: int
    superblock_offset_bytes: int
    superblock: bytes
    activity_log: bytes
    bitmap: bytes
    internal: bool = True


class DiskOpenFailed(_Event, frozen=True):
    """The other answer to `OpenDisk`; `reason` is one sentence for people."""

    volume: int
    reason: str


class DiskDone(_Event, frozen=True):
    """A disk action has ended: `tag` is the action's. `errno` 0 = done; `data` is what a read brought.

    Tags of a disk that was closed by `CloseDisk` meanwhile are ignored.
    """

    tag: int
    errno: int = 0
    data: Buffer = b""


class BackingResized(_Event, frozen=True):
    """The backing was grown; takes effect with the next `Resize` command."""

    volume: int
    backing_bytes: int
    meta_bytes: int


# ---- the network


class LinkUp(_Event, frozen=True):
    """Both TCP connections to a peer stand; nothing but the INITIAL packets was exchanged on them.

    `resolve_conflicts` is True on the side that accepted the INITIAL_META packet. The core makes fresh
    readers: see `Resource.reader`.
    """

    peer: int
    resolve_conflicts: bool


class LinkDown(_Event, frozen=True):
    """The link is gone (end of stream, reset, or a failed write). Not sent after the core said `HangUp`.

    A later LinkUp of the same peer is only given after this or after `HangUp`.
    """

    peer: int
    reason: str = ""


class Received(_Event, frozen=True):
    """Bytes arrived. Either they are in `data`, or they were put into the reader's own buffer before:

    `reader = resource.reader(peer, channel)`, receive into `reader.get_buffer()`, `reader.received(count)`,
    then this event with empty `data`. Payload views handed out later keep their own memory: nothing that was
    received is overwritten.
    """

    peer: int
    channel: Channel
    data: Buffer = b""


# ---- time


class Tick(_Event, frozen=True):
    """`Resource.deadline_s` has passed. Too early or too late ticks do no harm."""


# ---- applications


class Request(_Event, frozen=True):
    """One request of a client; answered by exactly one `Complete(request)`.

    `offset_bytes` and `length_bytes` are multiples of 512 inside the volume (0 for FLUSH); `data` of a WRITE
    has length_bytes bytes, must stay unchanged until the answer, and is passed through to disk and peers.
    `fua`: durable on every connected replica before the answer. `may_unmap` (ZERO): holes are welcome.
    """

    volume: int
    request: int
    verb: Verb
    offset_bytes: int = 0
    length_bytes: int = 0
    data: Buffer = b""
    fua: bool = False
    may_unmap: bool = False


class Open(_Event, frozen=True):
    """A client wants to use a volume; answered by `Answer(tag)`. With auto-promote a writer promotes."""

    tag: int
    volume: int
    writable: bool = True


class Close(_Event, frozen=True):
    """A client whose Open was granted is gone. The last writer's close demotes what auto-promote promoted."""

    volume: int
    writable: bool = True


# ---- commands; each is answered by exactly one `Answer(tag)`


class Promote(_Event, frozen=True):
    """Become Primary. `force` makes the local data UpToDate, whatever it was."""

    tag: int
    force: bool = False


class Demote(_Event, frozen=True):
    """Become Secondary; waits for running writes. `force` fails suspended requests and open clients."""

    tag: int
    force: bool = False


class Connect(_Event, frozen=True):
    """Keep a connection to a peer (None = all of them) from now on."""

    tag: int
    peer: int | None = None
    discard_my_data: bool = False


class Disconnect(_Event, frozen=True):
    """Drop the connection and stay apart until `Connect`."""

    tag: int
    peer: int | None = None
    force: bool = False


class Attach(_Event, frozen=True):
    """Open the disk of a diskful volume. Answered when its state is known."""

    tag: int
    volume: int


class Detach(_Event, frozen=True):
    """Let go of the disk; refused where the Primary would lose its last good data, unless `force`."""

    tag: int
    volume: int
    force: bool = False


class Outdate(_Event, frozen=True):
    """Mark the local data as not to be used until a peer confirmed or replaced it."""

    tag: int


class Invalidate(_Event, frozen=True):
    """Give up the local data of a volume and fetch all of it from a peer."""

    tag: int
    volume: int


class Verify(_Event, frozen=True):
    """Compare with one connected peer (None = each), and mark the differences out of sync."""

    tag: int
    volume: int
    peer: int | None = None


class Resize(_Event, frozen=True):
    """Grow to `size_bytes`, or (0) to what all nodes can hold."""

    tag: int
    volume: int
    size_bytes: int = 0
    assume_clean: bool = False


class NewCurrentUuid(_Event, frozen=True):
    """Start a new generation; with `clear_bitmap` all connected nodes count as equal from here on."""

    tag: int
    volume: int
    clear_bitmap: bool = False


class SuspendIo(_Event, frozen=True):
    """Hold new requests; answered when no write is running."""

    tag: int


class ResumeIo(_Event, frozen=True):
    """Undo SuspendIo, and let requests that wait for quorum or data try again."""

    tag: int


class Stop(_Event, frozen=True):
    """End cleanly: drain, demote, write final metadata, close disks and links; answered when all is done.

    With `force` nothing is waited for: suspended requests fail.
    """

    tag: int
    force: bool = False


class FenceDone(_Event, frozen=True):
    """The answer to the action `Fence`: the exit code of the handler (3..7, see the fence-peer contract)."""

    peer: int
    code: int


class CallDone(_Event, frozen=True):
    """The answer to the action `Call` with this tag: the handler's exit code, 0 if it could not run."""

    tag: int
    code: int


Event = (
    AddVolume | ChangeVolume | RemoveVolume | AddPeer | RemovePeer | SetOptions | DiskAttached
    | DiskOpenFailed | DiskDone
    | BackingResized | LinkUp | LinkDown | Received | Tick | Request | Open | Close | Promote | Demote
    | Connect | Disconnect | Attach | Detach | Outdate | Invalidate | Verify | Resize | NewCurrentUuid
    | SuspendIo | ResumeIo | Stop | FenceDone | CallDone
)  # fmt: skip
