"""Records of the data process's control socket: one JSON object a line, requests in, replies and events out.

Pure: records and codecs only. The satellite builds these; `bollard-replica` answers them.
Secrets travel only inside `ResourceSpec.shared_secret` and are never echoed back.
"""

from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

__all__ = [
    "CAPABILITIES",
    "MAX_LINE_BYTES",
    "V08",
    "V09",
    "Attach",
    "Configure",
    "Connect",
    "CreateMd",
    "Detach",
    "Disconnect",
    "EngineError",
    "ErrorCode",
    "Event",
    "Invalidate",
    "Kind",
    "NewCurrentUuid",
    "Outdate",
    "PathSpec",
    "PeerSpec",
    "Primary",
    "ReleaseDevice",
    "Remove",
    "Reply",
    "Request",
    "Resize",
    "ResourceSpec",
    "ResumeIo",
    "Secondary",
    "Show",
    "Shutdown",
    "Status",
    "SuspendIo",
    "Verify",
    "Version",
    "VolumeSpec",
    "WatchEvents",
    "decode_reply",
    "decode_request",
    "decode_spec",
    "encode_line",
    "encode_spec",
]

MAX_LINE_BYTES: Final = 4 << 20
V09: Final = "v09"
V08: Final = "v08"
"""The versions of metadata: DRBD 9's, and that of 8.4."""

CAPABILITIES: Final = (
    "plain",
    "drbd9",
    "drbd8",
    "internal-metadata",
    "external-metadata",
    "nbd-unix",
    "nbd-tcp",
    "nbd-tls",
    "verify",
    "resize",
    "diskless",
    "quorum",
    "freeze",
    "devices",
)


class Kind(StrEnum):
    """PLAIN exports a file or device as it is; REPLICATED runs it as a DRBD peer."""

    PLAIN = "plain"
    REPLICATED = "replicated"


class PathSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to a peer, by literal addresses of both ends; the ports are those of the resource."""

    address: str
    peer_address: str


class PeerSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One other node of a resource. `address` is a literal IPv4 or IPv6 address, `port` its DRBD port.

    Where there are `paths` they are used, one after the other as the one before fails, and `address` is not.
    """

    node_id: int
    name: str
    address: str
    port: int
    diskless: bool = False
    paths: tuple[PathSpec, ...] = ()


META_INTERNAL: Final = "internal"
"""Metadata at the end of the backing."""


class VolumeSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One volume on this node.

    `size_bytes` is what users see (multiple of 4096; 0 = all the backing allows). `backing` is a file or a
    block device, None on a diskless node. `meta` is "internal" or the path of an external metadata file.
    `minor` names the volume in status output. `nbd_socket` asks for a Unix socket of its own, whose
    default export is this volume. `options` are those of the volume's disk that go before the resource's:
    on-io-error, rs-discard-granularity; others have no effect here.
    """

    number: int
    size_bytes: int
    minor: int
    backing: str | None = None
    meta: str = META_INTERNAL
    nbd_socket: str | None = None
    options: dict[str, str] = {}


DIGESTS: Final = ("sha256", "sha1", "md5", "sha512", "sha384", "crc32c")
"""Algorithms with which the data process compares blocks, the fastest first, by DRBD's names."""


class ResourceSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole desired configuration of one resource on this node.

    `uuid` is the owner's identity of the resource: another uuid under the same name is refused, so that a
    deleted and re-made resource cannot meet its predecessor's data. `node_id`, `address`, `port` are this
    node's own. `options` carries DRBD's option names (protocol, quorum, on-no-quorum, verify-alg,
    cram-hmac-alg, allow-two-primaries, after-sb-0pri, ...). PLAIN resources need name, uuid and volumes only.
    """

    name: str
    uuid: str
    kind: Kind = Kind.REPLICATED
    volumes: tuple[VolumeSpec, ...]
    node_id: int = 0
    node_name: str = ""
    address: str = ""
    port: int = 0
    peers: tuple[PeerSpec, ...] = ()
    options: dict[str, str] = {}
    shared_secret: str = ""

    def redacted(self) -> "ResourceSpec":
        """The same configuration without the secret, fit for views and logs."""
        return msgspec.structs.replace(self, shared_secret="")

    def __repr__(self) -> str:
        return f"ResourceSpec(name={self.name!r}, uuid={self.uuid!r}, kind={self.kind.value!r})"


class _Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"):
    id: int = 0


class Version(_Request, frozen=True, tag="version"):
    """Result: {"version", "capabilities": [...], "pid", "state_dir"}."""


class Configure(_Request, frozen=True, tag="configure"):
    """Make one resource as `resource` says; creates, changes or leaves as is. Needs metadata to exist."""

    resource: ResourceSpec


class Remove(_Request, frozen=True, tag="remove"):
    """Stop a resource and forget it. The backing storage is left untouched. Unknown names: not changed."""

    name: str
    force: bool = False


class CreateMd(_Request, frozen=True, tag="create-md"):
    """Write fresh DRBD metadata on a backing that is not in use.

    `version` is v09, or v08 for a disk that an 8.4 kernel shall be able to take over as it is: that has one
    bitmap slot. `max_peers` is the number of bitmap slots (1..31). With `initial_uuid` (16 hex digits) every
    replica made with the same value starts UpToDate and needs no first resync: only right when all backings
    read alike (all zeroes). Existing valid metadata: not changed, unless `force`.
    """

    backing: str
    meta: str = META_INTERNAL
    max_peers: int = 7
    node_id: int = -1
    size_bytes: int = 0
    initial_uuid: str | None = None
    force: bool = False
    version: str = V09


class Status(_Request, frozen=True, tag="status"):
    """Result: a list in the shape of `drbdsetup status --json`; `name` "" means all."""

    name: str = ""


class Show(_Request, frozen=True, tag="show"):
    """Result: the list of configured ResourceSpecs, secrets blanked."""

    name: str = ""


class WatchEvents(_Request, frozen=True, tag="events2"):
    """Turn this connection into an event stream: the present state as `exists` events, then changes.

    Each event is an Event record on a line of its own.
    """

    name: str = ""


class Primary(_Request, frozen=True, tag="primary"):
    """Promote. `force` makes the local data UpToDate whatever it was (first use of a new resource)."""

    name: str
    force: bool = False


class Secondary(_Request, frozen=True, tag="secondary"):
    name: str
    force: bool = False


class Verify(_Request, frozen=True, tag="verify"):
    """Start an online verify against one connected peer (`peer` node id), or all when None."""

    name: str
    volume: int = 0
    peer: int | None = None


class Resize(_Request, frozen=True, tag="resize"):
    """Adopt a grown backing; `size_bytes` 0 = as large as all nodes allow."""

    name: str
    volume: int = 0
    size_bytes: int = 0
    assume_clean: bool = False


class Connect(_Request, frozen=True, tag="connect"):
    name: str
    peer: int | None = None
    discard_my_data: bool = False


class Disconnect(_Request, frozen=True, tag="disconnect"):
    name: str
    peer: int | None = None
    force: bool = False


class Attach(_Request, frozen=True, tag="attach"):
    name: str
    volume: int = 0


class Detach(_Request, frozen=True, tag="detach"):
    name: str
    volume: int = 0
    force: bool = False


class Outdate(_Request, frozen=True, tag="outdate"):
    name: str


class Invalidate(_Request, frozen=True, tag="invalidate"):
    """Declare the local data of one volume bad and fetch it all again from a peer."""

    name: str
    volume: int = 0


class NewCurrentUuid(_Request, frozen=True, tag="new-current-uuid"):
    """Start a new data generation; `clear_bitmap` on just-created volumes skips the first resync."""

    name: str
    volume: int = 0
    clear_bitmap: bool = False


class SuspendIo(_Request, frozen=True, tag="suspend-io"):
    """Hold new requests and wait for running ones: the backing is then still (for a snapshot).

    With a `token` it is a freeze: it ends by itself after `deadline_ms` (1 to 120000), whoever is alive.
    Asked again with the same token it says how that freeze does, and never begins a second one. Result:
    {"held": it stands still now, "left_ms", "changes": how often the data here was changed so far,
    "instance": of this process}; both of the latter equal before and after: nothing changed in between.
    """

    name: str
    token: str = ""
    deadline_ms: int = 0


class ResumeIo(_Request, frozen=True, tag="resume-io"):
    """Let held requests go. With a `token`: only that freeze; the result is as of SuspendIo, just before."""

    name: str
    token: str = ""


class ReleaseDevice(_Request, frozen=True, tag="release-device"):
    """Close what the block device of a volume has open, unless it was used since `ops` was read (-1: look).

    Only for a device that nobody uses. Changed: it was closed now. Result: {"open", "ops"} as it is then.
    """

    name: str
    volume: int
    ops: int = -1


class Shutdown(_Request, frozen=True, tag="shutdown"):
    """Stop the whole data process cleanly, as SIGTERM does."""


Request = (
    Version
    | Configure
    | Remove
    | CreateMd
    | Status
    | Show
    | WatchEvents
    | Primary
    | Secondary
    | Verify
    | Resize
    | Connect
    | Disconnect
    | Attach
    | Detach
    | Outdate
    | Invalidate
    | NewCurrentUuid
    | SuspendIo
    | ResumeIo
    | ReleaseDevice
    | Shutdown
)


class ErrorCode(StrEnum):
    """Families, by what the caller should do; the same words as the error families of the REST edge."""

    INVALID = "invalid"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    BUSY = "busy"
    EXHAUSTED = "exhausted"
    UNAVAILABLE = "unavailable"
    DENIED = "denied"
    INTERNAL = "internal"


class EngineError(Struct, frozen=True, kw_only=True):
    """What went wrong (`message` names the object), why (`cause`), and the next step (`correction`)."""

    code: ErrorCode
    message: str
    cause: str = ""
    correction: str = ""


class Reply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to the request of the same `id`: either `error`, or `changed` and perhaps a `result`."""

    id: int
    ok: bool
    changed: bool = False
    result: Any = None
    error: EngineError | None = None


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the event stream, the words of `drbdsetup events2`.

    `action` is exists, create, change or destroy (`exists` with `object` "-" ends the first dump).
    `object` is resource, connection, device, peer-device or path; `fields` has events2's keys and values.
    `time` is ISO 8601 UTC with microseconds.
    """

    time: str
    action: str
    object: str
    fields: dict[str, str] = {}


_REQUESTS: Final[msgspec.json.Decoder[Request]] = msgspec.json.Decoder(Request)
_REPLIES: Final = msgspec.json.Decoder(Reply)
_SPECS: Final = msgspec.json.Decoder(ResourceSpec)
_Record = TypeVar("_Record")


def _decoded(decoder: msgspec.json.Decoder[_Record], raw: bytes) -> _Record:
    """What is no UTF-8 or too deep is as unreadable as what is no JSON."""
    try:
        return decoder.decode(raw)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def decode_request(line: bytes) -> Request:
    """One line to a request; raises msgspec.ValidationError or msgspec.DecodeError with the reason."""
    return _decoded(_REQUESTS, line)


def decode_reply(line: bytes) -> Reply:
    """One line to a reply; raises msgspec.DecodeError."""
    return _decoded(_REPLIES, line)


def encode_line(record: Request | Reply | Event) -> bytes:
    """A record as one line, newline included."""
    return msgspec.json.encode(record) + b"\n"


def encode_spec(spec: ResourceSpec) -> bytes:
    """The stored form of a desired configuration."""
    return msgspec.json.format(msgspec.json.encode(spec), indent=1) + b"\n"


def decode_spec(raw: bytes) -> ResourceSpec:
    """The inverse of encode_spec; raises msgspec.DecodeError on anything else."""
    return _decoded(_SPECS, raw)
