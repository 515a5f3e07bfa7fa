"""The client of the control socket: matching, refusals, loss of the process, events."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bollard.satellite.host.base import HostError
from bollard.satellite.host.engine import EngineClient
from bollard.wire import engine as wire

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(path: Path, serve: Serve, body: Callable[[EngineClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_unix_server(closing, str(path))
        client = EngineClient(str(path), timeout_s=2.0)
        try:
            await body(client)
        finally:
            await client.close()
            server.close()

    asyncio.run(main())


async def _requests(reader: asyncio.StreamReader, count: int) -> list[wire.Request]:
    return [wire.decode_request(await reader.readline()) for _ in range(count)]


def test_replies_find_their_askers_in_any_order(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for request in reversed(await _requests(reader, 3)):
            assert isinstance(request, wire.Status)
            writer.write(wire.encode_line(wire.Reply(id=request.id, ok=True, result=request.name)))
        await writer.drain()

    async def body(client: EngineClient) -> None:
        replies = await asyncio.gather(*(client.ask(wire.Status(name=name)) for name in "abc"))
        assert [reply.result for reply in replies] == ["a", "b", "c"]

    run(tmp_path / "s", serve, body)


def test_a_refusal_keeps_its_words_and_code(tmp_path: Path) -> None:
    error = wire.EngineError(
        code=wire.ErrorCode.BUSY, message="in use", cause="2 clients", correction="close"
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (request,) = await _requests(reader, 1)
        writer.write(wire.encode_line(wire.Reply(id=request.id, ok=False, error=error)))
        await reader.read()

    async def body(client: EngineClient) -> None:
        with pytest.raises(HostError) as caught:
            await client.ask(wire.Remove(name="a"))
        problem = caught.value.problem()
        assert (problem.code, problem.message, problem.cause, problem.correction) == (
            "engine-busy",
            "in use",
            "2 clients",
            "close",
        )

    run(tmp_path / "s", serve, body)


@pytest.mark.parametrize("last_words", [b"", b"garbage\n", b'{"id":1'])
def test_a_process_that_goes_away_is_said_to_all_who_wait(tmp_path: Path, last_words: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _requests(reader, 2)
        writer.write(last_words)
        await writer.drain()

    async def body(client: EngineClient) -> None:
        ends = await asyncio.gather(
            *(client.ask(wire.Status(name=name)) for name in "ab"), return_exceptions=True
        )
        assert [getattr(end, "code", None) for end in ends] == ["engine-away", "engine-away"]

    run(tmp_path / "s", serve, body)


def test_nobody_there_and_no_answer(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def body(client: EngineClient) -> None:
        with pytest.raises(HostError) as caught:
            await client.ask(wire.Version())
        assert caught.value.code == "engine-away"
        lonely = EngineClient(str(tmp_path / "nowhere"))
        assert await lonely.alive() is None
        with pytest.raises(HostError):
            async for _ in lonely.events():
                pass

    run(tmp_path / "s", serve, body)


def test_events_until_the_process_ends(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (request,) = await _requests(reader, 1)
        assert isinstance(request, wire.WatchEvents)
        writer.write(wire.encode_line(wire.Reply(id=request.id, ok=True)))
        for action in ("exists", "change"):
            writer.write(wire.encode_line(wire.Event(time="", action=action, object="resource")))
        await writer.drain()

    async def body(client: EngineClient) -> None:
        seen: list[str] = []

        async def follow() -> None:
            async for event in client.events():
                seen.append(event.action)  # noqa: PERF401  # ends by raising

        with pytest.raises(HostError) as caught:
            await follow()
        assert seen == ["exists", "change"]
        assert caught.value.code == "engine-away"

    run(tmp_path / "s", serve, body)
