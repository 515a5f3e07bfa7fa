"""One end of a link: frames that break off or lie, and parts that end together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from bollard.runtime.channel import SocketChannel, until_one_ends
from bollard.wire.link import LinkError, Pong, encode


@contextlib.asynccontextmanager
async def saying(data: bytes) -> AsyncIterator[SocketChannel]:
    """A channel whose other side sends these bytes and closes."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    channel = SocketChannel(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield channel
    finally:
        channel.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encode(Pong(number=1))[:-1], "middle of a message"),
        (b"\x00\x00", "middle of a message"),
        (b"\xff\xff\xff\xff", "longer than allowed"),
        ((65537).to_bytes(4, "big") + b"x" * 100, "longer than allowed"),
        (b"\x00\x00\x00\x01\xc1", "cannot be read"),
        (b"GET / HTTP/1.1\r\n\r\n", "longer than allowed"),
    ],
)
def test_a_stream_that_breaks_the_protocol(data: bytes, words: str) -> None:
    async def scene() -> None:
        async with saying(data) as channel:
            with pytest.raises(LinkError, match=words):
                await channel.receive()

    asyncio.run(scene())


def test_a_stream_that_ends_cleanly() -> None:
    async def scene() -> None:
        async with saying(encode(Pong(number=1))) as channel:
            assert await channel.receive() == Pong(number=1)
            assert await channel.receive() is None

    asyncio.run(scene())


@pytest.mark.parametrize("error", [None, LinkError("broken")])
def test_the_parts_of_a_link_end_together(error: LinkError | None) -> None:
    ended: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("endless")

    async def first() -> None:
        ended.append("first")
        if error is not None:
            raise error

    async def scene() -> None:
        with pytest.raises(LinkError) if error else contextlib.nullcontext():
            await until_one_ends(endless(), first())

    asyncio.run(scene())
    assert ended == ["first", "endless"]
