"""Client of the data process's control socket: one connection for requests, one for events.

It holds no state of resources and never retries: the loop decides what to do about a failure.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from bollard.domain.errors import Subject
from bollard.satellite.host.base import HostError
from bollard.wire.engine import (
    MAX_LINE_BYTES,
    Event,
    Reply,
    Request,
    Version,
    WatchEvents,
    decode_reply,
    encode_line,
)

__all__ = ["EngineClient"]

_TIMEOUT_S: Final = 60.0
_EVENTS: Final = msgspec.json.Decoder(Event)


class EngineClient:
    """`host.base.Engine` over the Unix socket at `path`. Requests of several tasks share the connection."""

    def __init__(self, path: str, timeout_s: float = _TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()

    async def ask(self, request: Request) -> Reply:
        writer = await self._connected()
        number = next(self._ids)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            writer.write(encode_line(msgspec.structs.replace(request, id=number)))
            async with asyncio.timeout(self._timeout_s):
                await writer.drain()
                reply = await future
        except TimeoutError:
            raise _away(f"no answer to '{_verb(request)}' within {self._timeout_s:g} s") from None
        except OSError as error:
            raise _away(str(error)) from error
        finally:
            self._waiting.pop(number, None)
        if reply.ok:
            return reply
        if reply.error is None:
            raise HostError(f"The data process refused '{_verb(request)}'", code="engine-internal")
        raise HostError(
            reply.error.message,
            code=f"engine-{reply.error.code.value}",
            cause=reply.error.cause,
            correction=reply.error.correction,
            subject=Subject.RESOURCE,
        )

    async def events(self) -> AsyncIterator[Event]:
        reader, writer = await self._open()
        try:
            writer.write(encode_line(WatchEvents(id=0)))
            await writer.drain()
            while line := await reader.readline():
                if b'"action"' not in line:
                    # The reply to the request itself shares the stream with the events.
                    continue
                yield _EVENTS.decode(line)
        except (OSError, ValueError) as error:
            raise _away(str(error)) from error
        finally:
            await _close(writer)
        raise _away("it closed the event stream")

    async def alive(self) -> Reply | None:
        """What the process says of itself; None when nobody answers there."""
        try:
            return await self.ask(Version())
        except HostError:
            return None

    async def close(self) -> None:
        """Let go of the connection; the process goes on."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        if self._writer is not None:
            await _close(self._writer)
            self._writer = None

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._opening:
            if self._writer is None or self._reading is None or self._reading.done():
                reader, self._writer = await self._open()
                self._reading = asyncio.create_task(self._read(reader, self._writer))
            return self._writer

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_unix_connection(self._path, limit=MAX_LINE_BYTES)
        except OSError as error:
            raise _away(str(error)) from error

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reason = "it closed the connection"
        try:
            while line := await reader.readline():
                reply = decode_reply(line)
                future = self._waiting.get(reply.id)
                if future is not None and not future.done():
                    future.set_result(reply)
        except (OSError, ValueError) as error:
            reason = str(error)
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(_away(reason))
            await _close(writer)


def _verb(request: Request) -> str:
    return str(request.__struct_config__.tag)


def _away(cause: str) -> HostError:
    return HostError(
        "The data process does not answer",
        code="engine-away",
        cause=cause,
        correction="Look at its log; the satellite starts it again by itself.",
        subject=Subject.RESOURCE,
    )


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
