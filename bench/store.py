"""Durable creates per second by the number of clients: the store alone, and the service over it."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bollard.controller.reports import Reports
from bollard.controller.service import Service
from bollard.controller.sessions.satellites import Satellites
from bollard.controller.sessions.sockets import SocketDialer
from bollard.controller.store.base import Store
from bollard.controller.store.memory import MemoryStore
from bollard.controller.store.sqlite import sqlite_store
from bollard.domain.cluster import Put
from bollard.domain.commands import CreateDefinition, CreateVolumeDefinition
from bollard.domain.ids import GroupName, ResourceName, Uuid
from bollard.domain.resources import ResourceDefinition
from bollard.runtime.clock import RealClock, RealDraw

CLIENTS = (1, 8, 32)
SECONDS = 1.5
ROUNDS = 3

Client = Callable[[int], Awaitable[None]]


async def rate(client: Client, clients: int) -> float:
    """Calls per second of so many clients, each waiting for its answer before the next call."""
    count = 0
    end = time.perf_counter() + SECONDS
    started = time.perf_counter()

    async def loop() -> None:
        nonlocal count
        while time.perf_counter() < end:
            count += 1
            await client(count)

    await asyncio.gather(*(loop() for _ in range(clients)))
    return count / (time.perf_counter() - started)


async def bench_store(store: Store, clients: int) -> float:
    """One record a commit."""
    await store.open()
    revision = (await store.load()).revision

    async def client(number: int) -> None:
        nonlocal revision
        record = ResourceDefinition(
            ResourceName(f"r{number}"), Uuid("0" * 36), GroupName("DfltRscGrp"), props={"Aux/a": "b"}
        )
        expected, revision = revision, revision + 1
        await store.commit([Put(record)], expected)

    try:
        return await rate(client, clients)
    finally:
        await store.close()


async def bench_service(store: Store, clients: int) -> float:
    """A resource definition and its volume definition: two calls, two commits."""
    clock = RealClock()
    await store.open()
    links = Satellites(SocketDialer(None), clock, version="bench")
    reports = Reports(store, clock, node="bench", version="bench")
    service = Service(store, links, clock=clock, draw=RealDraw(), reports=reports)
    await service.start()

    async def client(number: int) -> None:
        name = f"r{number}"
        await service.submit(CreateDefinition(name=name))
        await service.submit(CreateVolumeDefinition(definition=name, size_kib=1 << 20))

    try:
        return 2 * await rate(client, clients)
    finally:
        await service.stop()
        await store.close()


def stores(folder: Path, dsn: str | None) -> dict[str, Callable[[], Store]]:
    """What to measure; PostgreSQL only when a DSN was given."""
    found: dict[str, Callable[[], Store]] = {
        "memory": MemoryStore,
        "sqlite": lambda: sqlite_store(Path(tempfile.mkdtemp(dir=folder)) / "c.db"),
    }
    if dsn is not None:
        from bollard.controller.store.postgres import postgres_store  # noqa: PLC0415  # optional

        found["postgresql"] = lambda: postgres_store(dsn, folder)
    return found


def main() -> None:
    """Print a table; medians of the rounds. Arguments: [FOLDER [DSN]]."""
    where = sys.argv[1] if len(sys.argv) > 1 else None
    dsn = sys.argv[2] if len(sys.argv) > 2 else None
    print(f"durable creates/s, median of {ROUNDS} rounds of {SECONDS:g} s")
    print(f"{'':12}{'':10}" + "".join(f"{f'{clients} clients':>14}" for clients in CLIENTS))
    with tempfile.TemporaryDirectory(dir=where) as folder:
        for name, make in stores(Path(folder), dsn).items():
            for what, bench in (("store", bench_store), ("service", bench_service)):
                if what == "service" and name == "postgresql":
                    continue
                row = []
                for clients in CLIENTS:
                    rounds = sorted(asyncio.run(bench(make(), clients)) for _ in range(ROUNDS))
                    row.append(rounds[ROUNDS // 2])
                print(f"{name:12}{what:10}" + "".join(f"{value:14,.0f}" for value in row))


if __name__ == "__main__":
    main()
