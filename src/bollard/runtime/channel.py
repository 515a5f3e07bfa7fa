"""One end of a link between controller and satellite: frames over a stream, and the tasks that serve it."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

from bollard.wire.link import FRAME_BYTES_MAX, AnyMessage, FrameReader, LinkError, decode, encode

__all__ = ["SocketChannel", "until_one_ends"]

_READ_BYTES: Final = 256 << 10


class SocketChannel:
    """`wire.link.Channel` over a stream. Small frames only, until the first message was read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()

    async def send(self, message: AnyMessage) -> None:
        """See Channel."""
        self._writer.write(encode(message))
        await self._writer.drain()

    async def receive(self) -> AnyMessage | None:
        """See Channel. Messages of types that this release does not know are skipped."""
        while True:
            payload = self._frames.next()
            if payload is not None:
                message = decode(payload)
                if message is not None:
                    self._frames.limit = FRAME_BYTES_MAX
                    return message
                continue
            data = await self._reader.read(_READ_BYTES)
            if not data:
                if self._frames.pending_bytes:
                    raise LinkError("the stream ended in the middle of a message")
                return None
            self._frames.feed(data)

    def close(self) -> None:
        """See Channel."""
        with contextlib.suppress(RuntimeError):
            self._writer.close()

    async def closed(self) -> None:
        """Wait until the stream is gone."""
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def until_one_ends(*parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts of a link side by side until one ends, then end the others; the first error is raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
            raise end
