"""The API with nodes that answer at once: latency, requests a second, spawns beside many volumes, memory.

A controller of this process over SQLite, asked over HTTP; so the CPU time is that of both ends of the line,
and the rate is what one processor would do. Wall times are beside it.
"""

import asyncio
import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from _instant_nodes import InstantNodes, records
from rich.console import Console
from rich.table import Table

from bollard.controller.reconcilers.ticker import Ticker
from bollard.controller.reports import Reports
from bollard.controller.rest.api import Info, OpenGuard
from bollard.controller.rest.app import build
from bollard.controller.rest.guard import KeyGuard
from bollard.controller.rest.warming import Warmer
from bollard.controller.service import Service
from bollard.controller.store.sqlite import sqlite_store
from bollard.domain.cluster import Put
from bollard.domain.commands import Tick
from bollard.runtime.clock import RealClock, RealDraw
from http_driver import HttpDriver

SMALL = 400
"""Calls of a small kind."""
SPAWNS = 200


class Town:
    """What is measured."""

    def __init__(self, driver: HttpDriver, service: Service, warmer: Warmer, token: str) -> None:
        self.driver, self.service, self.warmer, self.token = driver, service, warmer, token
        self.number = 0

    async def ask(self, method: str, path: str, body: Any = None, **more: str) -> bytes:
        """The body of an answer that is not an error."""
        if self.token:
            more["authorization"] = f"Bearer {self.token}"
        reply = await self.driver.ask(method, path, body, headers=more)
        assert reply.status < 300, (method, path, reply.status, reply.content[:300])
        return reply.content

    def name(self) -> str:
        """A new one."""
        self.number += 1
        return f"new{self.number:06d}"

    async def spawn(self, group: str) -> None:
        """One volume from a group."""
        body = {"resource_definition_name": self.name(), "volume_sizes": [1 << 20]}
        await self.ask("POST", f"/v1/resource-groups/{group}/spawn", body)

    async def step_by_step(self, group: str, place_count: int) -> None:
        """One volume as most clients make it: define it, give it a size, place it."""
        name = self.name()
        await self.ask(
            "POST",
            "/v1/resource-definitions",
            {"resource_definition": {"name": name, "resource_group_name": group}},
        )
        path = f"/v1/resource-definitions/{name}"
        await self.ask("POST", f"{path}/volume-definitions", {"volume_definition": {"size_kib": 1 << 20}})
        wanted = {"select_filter": {"place_count": place_count}}
        await self.ask(
            "POST", f"{path}/autoplace", wanted | ({"layer_list": ["STORAGE"]} if group == "plain" else {})
        )


@asynccontextmanager
async def town(volumes: int, replicas: int = 1, *, token: bool = False) -> AsyncIterator[Town]:
    """A controller with so many volumes whose nodes have reported."""
    with tempfile.TemporaryDirectory() as folder:
        store, clock, nodes = sqlite_store(Path(folder) / "c.db"), RealClock(), InstantNodes()
        await store.open()
        await store.commit([Put(record) for record in records(volumes, replicas=replicas)], 0)
        reports = Reports(store, clock, node="bench", version="1")
        service = Service(store, nodes, clock=clock, draw=RealDraw(), reports=reports)
        await service.start()
        await nodes.begin(service)
        await service.submit(Tick())
        info = Info(version="1", node="bench", started_ms=clock.now_ms())
        guard = KeyGuard(OpenGuard(), lambda: service.cluster, clock)
        app = build(service, store=store, clock=clock, info=info, guard=guard)
        driver = HttpDriver(app)
        await driver.start()
        made = Town(driver, service, Warmer(app.api), "")
        if token:
            answer = await made.ask("POST", "/v1/controller/auth/initialize-token-auth", {"no_https": True})
            made.token = json.loads(answer)[0]["obj_refs"]["token"]
        ticker = asyncio.create_task(Ticker(service, clock).run())
        gc.collect()
        gc.freeze()
        yield made
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)
        await driver.stop()
        await service.stop()
        await store.close()


async def measured(
    table: Table, setting: str, what: str, count: int, work: Callable[[], Awaitable[object]]
) -> None:
    """A row: each of `count` calls after the other."""
    walls = []
    began_cpu = time.process_time()
    for _ in range(count):
        began = time.perf_counter()
        await work()
        walls.append((time.perf_counter() - began) * 1000)
    cpu_ms = (time.process_time() - began_cpu) * 1000 / count
    walls.sort()
    middle, high = walls[len(walls) // 2], walls[int(len(walls) * 0.99)]
    table.add_row(setting, what, f"{cpu_ms:.2f}", f"{1000 / cpu_ms:,.0f}", f"{middle:.2f}", f"{high:.2f}")


async def small_calls(table: Table) -> None:
    """Reads and writes of one object."""
    path, change = "/v1/resource-definitions/old000001", {"override_props": {"Aux/a": "b"}}
    for token in (False, True):
        setting = "with tokens" if token else "open"
        async with town(100, token=token) as made:
            await measured(table, setting, "small read", SMALL, partial(made.ask, "GET", path))
            await measured(table, setting, "small write", SMALL, partial(made.ask, "PUT", path, change))


async def making(table: Table) -> None:
    """Volumes, with few and with many others."""
    for volumes, replicas in ((0, 1), (10_000, 1), (10_000, 3)):
        setting = f"{volumes} volumes" + (f" of {replicas}" if volumes else "")
        async with town(volumes, replicas) as made:
            steps = made.step_by_step
            await measured(table, setting, "a plain volume in three calls", 50, partial(steps, "plain", 1))
            await measured(table, setting, "three replicas in three calls", 50, partial(steps, "three", 3))
            await measured(table, setting, "plain spawn", SPAWNS, partial(made.spawn, "plain"))
            await measured(table, setting, "spawn of three", SPAWNS, partial(made.spawn, "three"))
            if not volumes:
                await measured(
                    table, setting, "1 000 plain spawns by 8 clients", 1, partial(_bulk, made, 1000)
                )
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            table.add_row(setting, f"memory so far {peak:.0f} MiB", "", "", "", "")


async def _bulk(made: Town, count: int) -> None:
    """By some clients at once."""

    async def some(share: int) -> None:
        own = Town(HttpDriver.to(made.driver.port), made.service, made.warmer, made.token)
        for number in range(share):
            body = {"resource_definition_name": f"bulk{id(own) % 99991}-{number}", "volume_sizes": [1 << 20]}
            await own.ask("POST", "/v1/resource-groups/plain/spawn", body)
        await own.driver.hang_up()

    await asyncio.gather(*(some(count // 8) for _ in range(8)))


async def lists(table: Table) -> None:
    """The long view."""
    for count in (100, 1_000, 10_000):
        setting = f"{count} resources"
        async with town(count) as made:
            await measured(table, setting, "view, first, nothing prepared", 1, made.view)
        async with town(count) as made:
            began = time.process_time()
            await made.warmer.encode()
            cpu_ms = (time.process_time() - began) * 1000
            table.add_row(setting, "preparing it in the background", f"{cpu_ms:.2f}", "", "", "")
            await measured(table, setting, "view, first", 1, made.view)
            await measured(table, setting, "view, nothing new", 20, made.view)
            await measured(table, setting, "a change, then the view", 20, made.news)


async def main() -> None:
    """Print the table."""
    table = Table("with", "what", "CPU ms", "a second", "median ms", "p99 ms")
    for column in table.columns[2:]:
        column.justify = "right"
    parts = {"small": small_calls, "making": making, "lists": lists}
    for name in sys.argv[1:] or parts:
        await parts[name](table)
    Console(width=110).print(table)


if __name__ == "__main__":
    asyncio.run(main())
