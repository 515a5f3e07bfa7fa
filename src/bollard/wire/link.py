"""Messages between controller and satellite, and their frames: 4-byte big-endian length, then MessagePack.

Pure: records and codecs, no I/O. The controller dials; it sends what a node should hold, never "do X".
Unknown fields are ignored; a message of an unknown type decodes to None, so that neighbours in version talk.
Secrets travel inside `TargetReplication.secret` only; nothing here may be logged as a whole.
"""

from typing import Final, Protocol

import msgspec

from bollard.domain.seen import Capabilities, Observation
from bollard.domain.targets import Target, TargetDelta

PORT_PLAIN: Final = 3366
PORT_TLS: Final = 3367
FRAME_BYTES_MAX: Final = 64 << 20
"""The largest payload of a frame; a longer one is refused before any of it is kept."""
GREETING_BYTES_MAX: Final = 64 << 10
"""The largest payload before both sides have said who they are."""
PING_INTERVAL_S: Final = 1.0
SILENCE_MAX_S: Final = 5.0
"""A side that hears nothing for this long closes the link."""
CONTROLLER_IDENTITY: Final = "bollard:controller"
"""URI in the subject alternative names of a controller's certificate; a satellite demands it under TLS."""

_HEADER_BYTES: Final = 4


class LinkError(Exception):
    """The other side broke the protocol; the sentence is for the log. The link is closed."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type"):
    """The root of all messages."""


class Hello(Message, frozen=True, tag="hello"):
    """First, from the controller: who I am and whom I mean to reach."""

    cluster_uuid: str
    version: str
    node: str
    """The name under which the controller knows the satellite."""
    features: tuple[str, ...] = ()


class Welcome(Message, frozen=True, tag="welcome"):
    """The satellite's answer to Hello."""

    node: str
    capabilities: Capabilities
    """`capabilities.features` says what it speaks on the link."""
    instance: str = ""
    """Differs after each start of the satellite."""


class Refused(Message, frozen=True, tag="refused"):
    """The satellite's other answer to Hello; it closes the link after it.

    Codes: `wrong-node` (it has another name), `other-cluster` (it belongs to another cluster),
    `version` (a needed feature is missing), `not-trusted`, `busy` (another controller is connected).
    """

    code: str
    message: str


class TargetFull(Message, frozen=True, tag="target-full"):
    """From the controller: everything the node should hold."""

    target: Target


class TargetPart(Message, frozen=True, tag="target-delta"):
    """From the controller: what changed since `delta.base`. Only with the feature `target-delta`."""

    delta: TargetDelta


class NeedFull(Message, frozen=True, tag="need-full"):
    """From the satellite: a delta did not fit to what it has; it wants the whole target."""

    revision: int = 0
    """What it has."""


class Report(Message, frozen=True, tag="report"):
    """From the satellite: what it observed. The first one after Welcome is complete."""

    observation: Observation


class Ping(Message, frozen=True, tag="ping"):
    """From either side, every `PING_INTERVAL_S`; answered by a Pong of the same number."""

    number: int = 0


class Pong(Message, frozen=True, tag="pong"):
    """The answer to a Ping."""

    number: int = 0


class Query(Message, frozen=True, tag="query"):
    """From the controller: a question that changes nothing but what is logged. Only with feature `query`.

    Topics: `error-reports` (arguments: id, since_ms, limit), `log-level` (level), `space` (pool).
    """

    number: int
    topic: str
    arguments: dict[str, str] = {}


class QueryReply(Message, frozen=True, tag="query-reply"):
    """The satellite's answer to the Query of the same number; `body` is JSON."""

    number: int
    body: str = ""
    error: str = ""
    """Not empty: why there is no body."""


class Bye(Message, frozen=True, tag="bye"):
    """From either side: it closes the link now, for this reason."""

    code: str
    message: str = ""


AnyMessage = (
    Hello
    | Welcome
    | Refused
    | TargetFull
    | TargetPart
    | NeedFull
    | Report
    | Ping
    | Pong
    | Query
    | QueryReply
    | Bye
)


class Channel(Protocol):
    """A link that is open. The real one is a socket; the simulator's may lose, delay and cut."""

    async def send(self, message: AnyMessage) -> None:
        """Send one message; waits while the other side is slow. Raises LinkError or OSError when cut."""

    async def receive(self) -> AnyMessage | None:
        """The next message; None when the other side has closed. Raises LinkError or OSError."""

    def close(self) -> None:
        """Close without waiting; repeatable."""


class _Head(msgspec.Struct):
    type: str


_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)
_HEAD_DECODER = msgspec.msgpack.Decoder(_Head)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_TYPES: Final = frozenset(str(message.__struct_config__.tag) for message in AnyMessage.__args__)


def encode(message: AnyMessage) -> bytes:
    """The whole frame of a message. Raises LinkError when it would be longer than a frame may be."""
    payload = _ENCODER.encode(message)
    if len(payload) > FRAME_BYTES_MAX:
        raise LinkError(
            f"a message of {len(payload)} bytes is longer than a frame may be ({FRAME_BYTES_MAX})"
        )
    return len(payload).to_bytes(_HEADER_BYTES, "big") + payload


def decode(payload: bytes | bytearray | memoryview) -> AnyMessage | None:
    """The message of a payload; None for a type this release does not know. Raises LinkError."""
    try:
        return _DECODER.decode(payload)
    except _UNREADABLE as error:
        try:
            head = _HEAD_DECODER.decode(payload)
        except _UNREADABLE:
            raise LinkError(f"a message cannot be read: {error}") from error
        if head.type not in _TYPES:
            return None
        raise LinkError(f"a message of type '{head.type}' cannot be read: {error}") from error


class FrameReader:
    """Cuts a byte stream into payloads; keeps at most one frame of `limit` bytes."""

    def __init__(self, limit: int = GREETING_BYTES_MAX) -> None:
        self.limit = limit
        """Raise it to FRAME_BYTES_MAX once both sides are known."""
        self._buffer = bytearray()

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that is not complete: not 0 at the end of a stream means it was truncated."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the stream. Raises LinkError when a frame announces more than the limit."""
        self._buffer += data
        self._check()

    def next(self) -> bytes | None:
        """The next whole payload, or None until more is fed. Raises LinkError like `feed`."""
        self._check()
        if len(self._buffer) < _HEADER_BYTES:
            return None
        end = _HEADER_BYTES + int.from_bytes(self._buffer[:_HEADER_BYTES], "big")
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_HEADER_BYTES:end])
        del self._buffer[:end]
        return payload

    def _check(self) -> None:
        if len(self._buffer) >= _HEADER_BYTES:
            length = int.from_bytes(self._buffer[:_HEADER_BYTES], "big")
            if length > self.limit:
                raise LinkError(f"a frame of {length} bytes is longer than allowed ({self.limit})")
