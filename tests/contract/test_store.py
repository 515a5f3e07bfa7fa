"""The store's contract: one suite over every adapter."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bollard.controller.store.base import ErrorReport, Quarantined, Store
from bollard.controller.store.memory import MemoryDatabase, MemoryStore
from bollard.controller.store.postgres import postgres_store
from bollard.controller.store.sqlite import sqlite_store
from bollard.domain.cluster import Change, Drop, Put, Record, drop
from bollard.domain.errors import Conflict, InUse
from bollard.domain.ids import Key, NodeName, Uuid, key_of
from bollard.domain.nodes import Node
from bollard.domain.resources import ControllerSettings

Maker = Callable[[], Store]


class Place:
    """A database that stores can be opened on, and a way to write to it behind their back."""

    def __init__(self, store: Maker, spoil: Callable[[str, str, str], None]) -> None:
        self.store = store
        self.spoil = spoil
        """Write a row (kind, key, body) into the records of a closed database."""


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "memory":
        database = MemoryDatabase()

        def spoil_memory(kind: str, key: str, body: str) -> None:
            database.documents[kind, key] = body

        return Place(lambda: MemoryStore(database, 5), spoil_memory)
    if request.param == "sqlite":
        path = tmp_path / "c.db"

        def spoil_file(kind: str, key: str, body: str) -> None:
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("REPLACE INTO record VALUES (?, ?, ?)", (kind, key, body))

        return Place(lambda: sqlite_store(path, 5), spoil_file)
    dsn = request.getfixturevalue("postgres_dsn")

    def spoil_server(kind: str, key: str, body: str) -> None:
        import psycopg

        with psycopg.connect(dsn) as connection:
            connection.execute("INSERT INTO record VALUES (%s, %s, %s)", (kind, key, body))

    return Place(lambda: postgres_store(dsn, tmp_path, 5), spoil_server)


def with_store(place: Place, work: Callable[[Store], Awaitable[Any]]) -> Any:
    """Open, work, close; in a loop of its own, as a process would."""

    async def run() -> Any:
        store = place.store()
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def node(name: str, **props: str) -> Node:
    return Node(NodeName(name), Uuid("u-" + name), props=props)


def by_key(records: tuple[Record, ...]) -> dict[Key, Record]:
    return {record.key: record for record in records}


def test_empty_at_first(place: Place) -> None:
    loaded = with_store(place, lambda store: store.load())
    assert (loaded.records, loaded.quarantined, loaded.revision) == ((), (), 0)


def test_a_commit_outlives_the_store(place: Place) -> None:
    settings_record = ControllerSettings(Uuid("c"), {"a/b": "ä\n\u2028'\""})
    changes = [Put(settings_record), Put(node("n1", x="1")), Put(node("n2")), Put(node("n1", x="2"))]
    assert with_store(place, lambda store: store.commit(changes, 0)) == 1
    loaded = with_store(place, lambda store: store.load())
    assert loaded.revision == 1
    assert (
        set(loaded.records)
        if False
        else by_key(loaded.records) == by_key((settings_record, node("n1", x="2"), node("n2")))
    )
    assert with_store(place, lambda store: store.commit([drop(node("n2"))], 1)) == 2
    loaded = with_store(place, lambda store: store.load())
    assert Key("N2") not in by_key(loaded.records)
    assert loaded.revision == 2


def test_changes_apply_in_their_order(place: Place) -> None:
    changes: list[Change] = [
        Put(node("n1")),
        drop(node("n1")),
        Put(node("n2")),
        drop(node("n2")),
        Put(node("n2")),
    ]
    with_store(place, lambda store: store.commit(changes, 0))
    assert list(by_key(with_store(place, lambda store: store.load()).records)) == [Key("N2")]


def test_dropping_what_is_not_there_is_fine(place: Place) -> None:
    assert with_store(place, lambda store: store.commit([Drop("node", key_of("nope"))], 0)) == 1


def test_a_second_writer_is_noticed_and_nothing_is_half_done(place: Place) -> None:
    with_store(place, lambda store: store.commit([Put(node("n1"))], 0))

    async def late(store: Store) -> None:
        with pytest.raises(Conflict, match="revision 1, not 0"):
            await store.commit([Put(node("n1", x="late")), Put(node("n3"))], 0)
        loaded = await store.load()
        assert by_key(loaded.records) == {Key("N1"): node("n1")}
        assert loaded.revision == 1

    with_store(place, late)


def test_concurrent_commits_each_get_their_revision(place: Place) -> None:
    async def many(store: Store) -> None:
        calls = [store.commit([Put(node(f"n{number}"))], number) for number in range(200)]
        assert await asyncio.gather(*calls) == list(range(1, 201))
        assert len((await store.load()).records) == 200

    with_store(place, many)


def test_one_that_does_not_fit_does_not_hurt_its_neighbours(place: Place) -> None:
    async def many(store: Store) -> None:
        results = await asyncio.gather(
            store.commit([Put(node("n1"))], 0),
            store.commit([Put(node("bad"))], 7),
            store.commit([Put(node("n2"))], 1),
            return_exceptions=True,
        )
        assert results[0] == 1
        assert isinstance(results[1], Conflict)
        assert results[2] == 2
        assert set(by_key((await store.load()).records)) == {Key("N1"), Key("N2")}

    with_store(place, many)


def test_a_cancelled_caller_does_not_break_the_row(place: Place) -> None:
    async def cut(store: Store) -> None:
        first = asyncio.create_task(store.commit([Put(node("n1"))], 0))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert await store.commit([Put(node("n2"))], 1) == 2

    with_store(place, cut)


def test_only_one_may_have_it(place: Place) -> None:
    async def twice(_: Store) -> None:
        second = place.store()
        with pytest.raises(InUse, match="Another controller"):
            await second.open()
        await second.close()

    with_store(place, twice)
    with_store(place, lambda store: store.load())


def test_what_does_not_decode_is_set_aside_and_the_rest_is_there(place: Place) -> None:
    with_store(place, lambda store: store.commit([Put(node("n1"))], 0))
    rows = {
        ("node", "BAD1"): '{"kind": "node"',
        ("node", "BAD2"): '{"kind": "node", "name": 7}',
        ("node", "BAD3"): '{"kind": "node", "name": "other", "uuid": "u"}',
        ("ghost", "X"): "{}",
    }
    for (kind, key), body in rows.items():
        place.spoil(kind, key, body)
    loaded = with_store(place, lambda store: store.load())
    assert by_key(loaded.records) == {Key("N1"): node("n1")}
    assert {(it.kind, it.key): it.body for it in loaded.quarantined} == rows
    assert all(it.reason for it in loaded.quarantined)
    assert {(it.kind, it.key) for it in loaded.set_aside} == set(rows)
    again = with_store(place, lambda store: store.load())
    assert again.quarantined == loaded.quarantined
    assert again.set_aside == ()
    assert again.revision == 1
    assert with_store(place, lambda store: store.quarantined()) == loaded.quarantined
    # The name is free for use.
    assert with_store(place, lambda store: store.commit([Put(node("bad1"))], 1)) == 2


def test_a_reader_may_set_a_record_aside(place: Place) -> None:
    item = Quarantined("node", "N1", "{}", "its parent is missing")
    with_store(place, lambda store: store.commit([Put(node("n1"))], 0))
    with_store(place, lambda store: store.quarantine([item]))
    loaded = with_store(place, lambda store: store.load())
    assert loaded.records == ()
    assert loaded.quarantined == (item,)


def report(number: int, at_ms: int) -> ErrorReport:
    return ErrorReport(
        id=f"AAAAAAAA-00000-{number:06d}", at_ms=at_ms, node="c", exception="Oops", text=f"text {number}"
    )


def test_error_reports(place: Place) -> None:
    async def keep(store: Store) -> None:
        for number in range(5):
            await store.add_report(report(number, 1000 + number))
        assert [it.at_ms for it in await store.reports()] == [1004, 1003, 1002, 1001, 1000]
        assert {it.text for it in await store.reports()} == {""}
        assert await store.reports(report_id=report(3, 0).id, with_text=True) == (report(3, 1003),)
        assert [it.at_ms for it in await store.reports(since_ms=1001, to_ms=1003, limit=2)] == [1003, 1002]
        assert await store.reports(report_id="nope") == ()
        assert await store.delete_reports([report(1, 0).id, "nope"]) == 1
        assert len(await store.reports()) == 4

    with_store(place, keep)
    assert len(with_store(place, lambda store: store.reports())) == 4


def test_error_reports_are_bounded(place: Place) -> None:
    async def keep(store: Store) -> None:
        for number in range(8):
            await store.add_report(report(number, 1000 + number))
        assert [it.at_ms for it in await store.reports()] == [1007, 1006, 1005, 1004, 1003]

    with_store(place, keep)
