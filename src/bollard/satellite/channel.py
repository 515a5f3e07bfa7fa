"""Links as sockets: frames over a TCP or TLS stream, and the server that accepts them."""

import asyncio
import contextlib
import ssl
from typing import Final

from bollard.wire.link import (
    CONTROLLER_IDENTITY,
    FRAME_BYTES_MAX,
    AnyMessage,
    FrameReader,
    LinkError,
    decode,
    encode,
)

__all__ = ["SocketChannel", "distrust"]

_CHUNK: Final = 256 << 10


class SocketChannel:
    """`wire.link.Channel` over a stream. Small frames only, until the first message was read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()

    async def send(self, message: AnyMessage) -> None:
        self._writer.write(encode(message))
        await self._writer.drain()

    async def receive(self) -> AnyMessage | None:
        while True:
            payload = self._frames.next()
            if payload is not None:
                message = decode(payload)
                self._frames.limit = FRAME_BYTES_MAX
                if message is not None:
                    return message
                continue
            data = await self._reader.read(_CHUNK)
            if not data:
                if self._frames.pending_bytes:
                    raise LinkError("the stream ended in the middle of a message")
                return None
            self._frames.feed(data)

    def close(self) -> None:
        self._writer.close()

    async def closed(self) -> None:
        """Wait until the stream is gone."""
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def distrust(writer: asyncio.StreamWriter) -> str:
    """Why the other side of a TLS stream is no controller; empty: it is one, or the stream is plain."""
    stream: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    if stream is None:
        return ""
    names = (stream.getpeercert() or {}).get("subjectAltName", ())
    if ("URI", CONTROLLER_IDENTITY) in names:
        return ""
    return f"the certificate of the other side does not name a controller ({CONTROLLER_IDENTITY})"
