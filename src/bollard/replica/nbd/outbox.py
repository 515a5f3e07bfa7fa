"""Replies on their way to one NBD client: gathered in order, sent together, as much as the socket takes."""

from struct import Struct
from typing import Final

from bollard.replica.disk import Buffer
from bollard.replica.nbd import transmission
from bollard.replica.nbd.stream import IOV_MAX, Stream
from bollard.replica.output import drop_sent
from bollard.wire import nbd as wire

__all__ = ["Outbox"]

_pack_simple: Final = wire.SIMPLE_REPLY.pack
_SIMPLE_MAGIC: Final = wire.SIMPLE_REPLY_MAGIC
# A simple reply up to its cookie.
_SUCCESS: Final = _pack_simple(_SIMPLE_MAGIC, 0, 0)[:8]
# A structured reply's head and the offset of its only chunk of data.
_pack_structured: Final = Struct(">IHHQIQ").pack
_STRUCTURED_MAGIC: Final = wire.STRUCTURED_MAGIC


class Outbox:
    """`structured` once the client has asked for structured replies; `waiting_bytes` are not sent yet."""

    __slots__ = ("buffers", "structured", "waiting_bytes")

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.waiting_bytes = 0
        self.structured = False

    def put(self, data: Buffer) -> None:
        self.buffers.append(data)
        self.waiting_bytes += len(data)

    def error(self, cookie: int, error: int) -> None:
        """A refusal; `error` is one of the protocol's numbers, not 0."""
        self.put(transmission.error_reply(cookie, error, structured=self.structured))

    def failed(self, cookie: int, code: int) -> None:
        """A request ended with an errno."""
        self.error(cookie, transmission.nbd_error(code))

    def done(self, cookie: int) -> None:
        """A request without data in its answer has succeeded."""
        self.put(_pack_simple(_SIMPLE_MAGIC, 0, cookie))

    def all_done(self, cookies: list[bytes]) -> None:
        """The same for several, at least one."""
        self.put(_SUCCESS + _SUCCESS.join(cookies))

    def read(self, cookie: int, offset: int, data: Buffer) -> None:
        """The answer to a read."""
        length = len(data)
        if self.structured:
            head = _pack_structured(_STRUCTURED_MAGIC, 1, 1, cookie, 8 + length, offset)
        else:
            head = _pack_simple(_SIMPLE_MAGIC, 0, cookie)
        self.buffers.append(head)
        self.buffers.append(data)
        self.waiting_bytes += len(head) + length

    def send(self, stream: Stream) -> None:
        """Sends as much as the stream takes now; raises OSError."""
        buffers = self.buffers
        while buffers:
            count = len(buffers)
            sent = stream.send(buffers)
            if sent < 0:
                break
            self.waiting_bytes -= sent
            drop_sent(buffers, sent)
            if stream.fills and count <= IOV_MAX:
                break
