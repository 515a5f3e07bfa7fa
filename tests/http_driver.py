"""Asks the REST application over a real connection: what `rest_driver` asks, with an HTTP server between."""

import asyncio
import contextlib
from typing import Any

import msgspec
from starlette.types import ASGIApp

from bollard.controller.serving import Serving, bind
from rest_driver import Reply


class HttpDriver:
    """A served application and one connection to it that stays open as long as the server keeps it."""

    def __init__(self, app: ASGIApp | None) -> None:
        self.port = 0
        self._app = app
        self._serving = Serving()
        self.begun = asyncio.Event()
        """Set when an answer has begun to come, which of a stream may take long to end."""
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @classmethod
    def to(cls, port: int) -> "HttpDriver":
        """One more client of what is served already."""
        client = cls(None)
        client.port = port
        return client

    async def start(self) -> None:
        """Serve on a free port of this machine."""
        assert self._app is not None
        sock = bind("127.0.0.1", 0)
        self.port = sock.getsockname()[1]
        await self._serving.start(self._app, sock)

    async def stop(self) -> None:
        """Close the connection and end the server."""
        await self.hang_up()
        await self._serving.stop()

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send a request and read all of its answer."""
        content = raw if raw is not None else b"" if body is None else msgspec.json.encode(body)
        given = {"host": f"127.0.0.1:{self.port}", **(headers or {})}
        if content or method in {"POST", "PUT", "PATCH"}:
            given["content-length"] = str(len(content))
        if content and "content-type" not in given:
            given["content-type"] = "application/json"
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        reader, writer = await self._connection()
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        status, answered = _parsed(await reader.readuntil(b"\r\n\r\n"))
        self.begun.set()
        found = b"" if method == "HEAD" or status in {204, 304} else await _body(reader, answered)
        if answered.get("connection", "").lower() == "close":
            await self.hang_up()
        return Reply(status, answered, found)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            await self.hang_up()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        return self._reader, self._writer

    async def hang_up(self) -> None:
        """Close the connection; the next call makes a new one."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split(" ")[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readuntil(b"\r\n")
    return b"".join(parts)
