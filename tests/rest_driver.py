"""Drives the REST application without a network: a fake service behind it and an ASGI client before it."""

import asyncio
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from bollard.controller.events import Events, Reader
from bollard.controller.rest.api import Info
from bollard.controller.rest.app import build
from bollard.controller.service import Answer
from bollard.controller.store.memory import MemoryStore
from bollard.domain.cluster import Cluster, Record
from bollard.domain.commands import Command
from bollard.domain.ids import Uuid
from bollard.domain.observed import Observed
from bollard.domain.ports import LockedVault
from bollard.planning.world import World

NOW_MS = 1_800_000_000_000


class StillClock:
    """A clock that stands."""

    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(0)


class CountingDraw:
    """Ids that count."""

    def __init__(self) -> None:
        self.count = 0

    def uuid(self) -> Uuid:
        self.count += 1
        return Uuid(f"00000000-0000-4000-8000-{self.count:012d}")

    def hex16(self) -> str:
        self.count += 1
        return f"{self.count * 16:016X}"

    def secret(self) -> str:
        self.count += 1
        return f"secret{self.count:014d}"


class FakeService:
    """Holds a cluster to read, and answers every command as told."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.cluster = Cluster(records)
        self.observed = Observed()
        self.clock = StillClock()
        self.vault = LockedVault()
        self.events = Events(self.clock)
        self.commands: list[Command] = []
        self.answer: Answer | Exception = Answer(())
        self.broken_by: list[tuple[Exception, str]] = []

    def world(self) -> World:
        return World(self.cluster, self.observed, NOW_MS, CountingDraw())

    async def submit(self, command: Command, deadline_s: float = 15.0) -> Answer:
        self.commands.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def ask(self, node: str, topic: str, arguments: dict[str, str]) -> str:
        return "[]"

    def subscribe(self) -> Reader:
        return self.events.follow()

    def broken(self, error: Exception, context: str) -> str:
        self.broken_by.append((error, context))
        return "00000000-00000-000000"


class Reply(msgspec.Struct):
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.content)

    @property
    def codes(self) -> list[int]:
        """Of the answer's entries, also of those inside the answer to a clone."""
        entries = self.json
        if isinstance(entries, dict):
            entries = entries["messages"]
        return [entry["ret_code"] for entry in entries]


class Driver:
    """The application with a fake service, and calls to it."""

    def __init__(self, service: Any, store: MemoryStore | None = None, **info: Any) -> None:
        self.service = service
        self.store = store or MemoryStore()
        self.app = build(
            service,
            store=self.store,
            clock=StillClock(),
            info=Info(version="1.2.3", node="host", started_ms=NOW_MS, **info),
        )

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        return asyncio.run(self.ask(method, path, body, raw=raw, headers=headers))

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        content = raw if raw is not None else b"" if body is None else msgspec.json.encode(body)
        given = {"host": "test", **(headers or {})}
        if content and not {"content-type", "no-content-type"} & given.keys():
            given["content-type"] = "application/json"
        raw_path, _, query = path.partition("?")
        parts = [content[at : at + 1000] for at in range(0, len(content), 1000)] or [b""]
        queue = [
            {"type": "http.request", "body": part, "more_body": index + 1 < len(parts)}
            for index, part in enumerate(parts)
        ]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return queue.pop(0) if queue else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(dict(message))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": raw_path,
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(key.lower().encode(), value.encode()) for key, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 3370),
        }
        await self.app(scope, receive, send)
        start = sent[0]
        return Reply(
            start["status"],
            {key.decode(): value.decode() for key, value in start["headers"]},
            b"".join(message.get("body", b"") for message in sent[1:]),
        )


def unpacked(reply: Reply) -> bytes:
    """The body without its compression."""
    assert reply.headers["content-encoding"] == "gzip"
    return zlib.decompress(reply.content, 31)
