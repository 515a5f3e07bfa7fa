"""From decision to durable: what readers see, a store that fails, another writer, records without parents."""

import asyncio
from pathlib import Path

import pytest

from bollard.controller.store.memory import MemoryDatabase, MemoryStore
from bollard.controller.store.sqlite import sqlite_store
from bollard.domain import commands
from bollard.domain.errors import Conflict, Exists, Subject, Unavailable
from unit.controller.fakes import until
from unit.controller.ground import BrittleStore, play, running


def test_readers_see_only_what_is_durable() -> None:
    async def scene() -> None:
        store = BrittleStore(MemoryDatabase())
        async with running(store) as ground:
            store.held = asyncio.Event()
            first_call = asyncio.create_task(ground.submit(commands.CreateNode(name="n1")))
            await asyncio.sleep(0.01)
            # Decisions see what is under way; readers do not.
            with pytest.raises(Exists):
                await ground.submit(commands.CreateNode(name="n1"))
            assert not ground.service.cluster.nodes
            store.held.set()
            await first_call
            assert set(ground.service.cluster.nodes) == {"N1"}

    play(scene)


def test_a_store_that_fails_is_an_error_of_all_calls_under_way_and_then_over() -> None:
    async def scene() -> None:
        store = BrittleStore(MemoryDatabase())
        async with running(store) as ground:
            store.held = asyncio.Event()
            calls = [
                asyncio.create_task(ground.submit(commands.CreateNode(name=f"n{it}"))) for it in range(4)
            ]
            await asyncio.sleep(0.01)
            store.error = Unavailable(Subject.DATABASE, "db", "The disk is full", correction="Free space.")
            store.held.set()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(it, Unavailable) for it in results), results
            assert "The disk is full" in {it.cause for it in results if isinstance(it, Unavailable)}
            store.error = store.held = None
            await ground.submit(commands.CreateNode(name="n9"))
            assert set(ground.service.cluster.nodes) == {"N9"}
            assert not ground.service.lost.done()

    play(scene)


def test_a_commit_of_unknown_outcome_is_found_out() -> None:
    async def scene() -> None:
        store = BrittleStore(MemoryDatabase())
        async with running(store) as ground:
            store.error, store.keeps = Unavailable(Subject.DATABASE, "db", "the connection was cut"), True
            with pytest.raises(Unavailable):
                await ground.submit(commands.CreateNode(name="n1"))
            store.error = None
            with pytest.raises(Exists):
                await ground.submit(commands.CreateNode(name="n1"))

    play(scene)


def test_another_writer_ends_this_controller() -> None:
    async def scene() -> None:
        store = BrittleStore(MemoryDatabase())
        async with running(store) as ground:
            store._database.revision += 1
            with pytest.raises(Unavailable, match="not stored"):
                await ground.submit(commands.CreateNode(name="n1"))
            assert isinstance(await ground.service.lost, Conflict)

    play(scene)


def test_a_cancelled_caller_leaves_the_cluster_whole() -> None:
    async def scene() -> None:
        store = BrittleStore(MemoryDatabase())
        async with running(store) as ground:
            store.held = asyncio.Event()
            call = asyncio.create_task(ground.submit(commands.CreateNode(name="n1")))
            await asyncio.sleep(0.01)
            call.cancel()
            store.held.set()
            await asyncio.gather(call, return_exceptions=True)
            await until(lambda: "N1" in ground.service.cluster.nodes)
            await ground.submit(commands.CreateNode(name="n2"))

    play(scene)


def test_many_clients_at_once_on_a_real_database(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(sqlite_store(tmp_path / "c.db")) as ground:
            names = [f"n{number}" for number in range(200)]
            answers = await asyncio.gather(*(ground.submit(commands.CreateNode(name=it)) for it in names))
            start = answers[0].revision
            assert [it.revision for it in answers] == list(range(start, start + 200))
        async with running(sqlite_store(tmp_path / "c.db")) as ground:
            assert len(ground.service.cluster.nodes) == 200
            assert ground.service.cluster.revision == answers[-1].revision

    play(scene)


def test_the_first_records_are_made_once(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(sqlite_store(tmp_path / "c.db")) as ground:
            settings = ground.service.cluster.settings
            assert settings is not None
        async with running(sqlite_store(tmp_path / "c.db")) as ground:
            assert ground.service.cluster.settings == settings
            assert ground.service.cluster.revision == 1

    play(scene)


def test_what_lost_its_parent_is_set_aside_or_stood_in_for() -> None:
    async def scene() -> None:
        database = MemoryDatabase()
        async with running(MemoryStore(database)) as ground:
            await ground.submit(commands.CreateNode(name="n1"))
            await ground.submit(commands.CreateDefinition(name="r1", group="lost"))
        async with running(MemoryStore(database)) as ground:
            assert "LOST" in ground.service.cluster.groups
            given = (commands.NewResource(node="n1"),)
            await ground.submit(commands.CreateResources(definition="r1", resources=given), 0)
        database.documents["definition", "R1"] = "{"
        async with running(MemoryStore(database)) as ground:
            assert not ground.service.cluster.definitions
            assert not ground.service.cluster.resources
            reasons = {it.kind: it.reason for it in await ground.store.quarantined()}
            assert set(reasons) == {"definition", "resource"}
            assert "'r1' is not there" in reasons["resource"]
            await ground.reports.drain()
            assert {report.message.split(":")[0] for report in await ground.store.reports()} == {
                "record definition R1 is in quarantine",
                "record resource R1/N1 is in quarantine",
            }

    play(scene)


def test_a_database_that_stays_away_is_said_in_time() -> None:
    async def scene() -> None:
        store = BrittleStore(MemoryDatabase())
        async with running(store) as ground:
            store.error = store.load_error = Unavailable(Subject.DATABASE, "db", "the server is gone")
            with pytest.raises(Unavailable, match="not stored"):
                await ground.submit(commands.CreateNode(name="n1"))
            with pytest.raises(Unavailable, match="cannot be used at the moment"):
                await ground.submit(commands.CreateNode(name="n1"), 0.05)
            store.error = store.load_error = None
            await ground.submit(commands.CreateNode(name="n1"))

    play(scene)
