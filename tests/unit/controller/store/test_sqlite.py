"""What only the SQLite store can show: durability through a kill, full disks, file modes, any history."""

import asyncio
import itertools
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bollard.controller.store.sql import SqlStore
from bollard.controller.store.sqlite import SqliteDatabase, sqlite_store
from bollard.domain.cluster import Change, Drop, Put, Record, drop
from bollard.domain.errors import Unavailable
from bollard.domain.ids import GroupName, Key, NodeName, Uuid
from bollard.domain.nodes import Node
from bollard.domain.resources import KeyValueStore, ResourceGroup

_numbers = itertools.count()


def node(name: str, **props: str) -> Node:
    return Node(NodeName(name), Uuid("u-" + name), props=props)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def late() -> None:
        store = sqlite_store(tmp_path / "c.db")
        await store.open()
        await store.close()
        await store.close()
        with pytest.raises(Unavailable, match="closed"):
            await store.commit([], 0)

    asyncio.run(late())


_names = st.sampled_from(["n1", "n2", "n3", "n4"])
_changes = st.lists(
    st.one_of(
        st.builds(lambda name, value: Put(node(name, x=value)), _names, st.text(max_size=5)),
        st.builds(lambda name: drop(node(name)), _names),
        st.builds(lambda name, value: Put(KeyValueStore(name, {value: value})), _names, st.text(max_size=5)),
        st.builds(lambda name: Put(ResourceGroup(GroupName(name), Uuid("g"))), _names),
    ),
    max_size=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(_changes, max_size=6))
def test_any_history_reads_back_as_a_dictionary_would(tmp_path: Path, history: list[list[Change]]) -> None:
    """SQLite against the dumb twin."""
    path = tmp_path / f"{next(_numbers)}.db"
    expected: dict[tuple[str, Key], Record] = {}
    for changes in history:
        for change in changes:
            match change:
                case Put(record):
                    expected[str(record.__struct_config__.tag), record.key] = record
                case Drop(kind, key):
                    expected.pop((kind, key), None)

    async def run() -> None:
        store = sqlite_store(path)
        await store.open()
        await asyncio.gather(*(store.commit(changes, number) for number, changes in enumerate(history)))
        await store.close()
        store = sqlite_store(path)
        await store.open()
        loaded = await store.load()
        await store.close()
        assert {(str(it.__struct_config__.tag), it.key): it for it in loaded.records} == expected
        assert loaded.revision == len(history)

    asyncio.run(run())


_WRITER = """
import asyncio, sys
from pathlib import Path
from bollard.controller.store.sqlite import sqlite_store
from bollard.domain.cluster import Put
from bollard.domain.nodes import Node

async def main():
    store = sqlite_store(Path(sys.argv[1]))
    await store.open()
    revision = (await store.load()).revision
    async def one(number):
        pair = [Put(Node(f"n{number}a", "u")), Put(Node(f"n{number}b", "u"))]
        reached = await store.commit(pair, number)
        print(reached, flush=True)
    while True:
        await asyncio.gather(*(one(revision + step) for step in range(16)))
        revision += 16

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    for round_number in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        acknowledged = 0
        for line in writer.stdout:
            acknowledged = int(line)
            if acknowledged % 160 >= 37 + 16 * round_number:
                break
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        whole = [int(word) for word in rest.split("\n")[:-1]]
        acknowledged = max([acknowledged, *whole])

        async def check() -> tuple[int, set[str]]:
            store = sqlite_store(path)
            await store.open()
            loaded = await store.load()
            await store.close()
            assert loaded.quarantined == ()
            return loaded.revision, {str(record.key) for record in loaded.records}

        revision, keys = asyncio.run(check())
        assert revision >= acknowledged > 0
        # Each commit is there as a whole, and none beyond the revision.
        assert keys == {f"N{number}{half}" for number in range(revision) for half in "AB"}


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be used") as caught:
        asyncio.run(sqlite_store(tmp_path / "no" / "c.db").open())
    assert str(tmp_path) in caught.value.message


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    path.write_bytes(b"this is no database, and long enough to be looked at " * 40)
    with pytest.raises(Unavailable, match="not a database") as caught:
        asyncio.run(sqlite_store(path).open())
    assert "backup" in caught.value.correction


def test_a_full_disk_is_said_and_nothing_is_kept(tmp_path: Path) -> None:
    async def fill() -> None:
        database = SqliteDatabase(tmp_path / "c.db")
        store = SqlStore(database)
        await store.open()
        await store.commit([Put(node("n1"))], 0)
        await store._call(lambda: database.execute("PRAGMA max_page_count = 20"))  # what a full disk answers
        with pytest.raises(Unavailable, match="full") as caught:
            await store.commit([Put(node("n2", big="x" * 200_000))], 1)
        assert "Free space" in caught.value.correction
        loaded = await store.load()
        assert (loaded.records, loaded.revision) == ((node("n1"),), 1)
        assert await store.commit([Put(node("n2"))], 1) == 2
        await store.close()

    asyncio.run(fill())


def file_modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def test_the_database_is_for_its_owner_only(tmp_path: Path) -> None:
    async def use() -> None:
        store = sqlite_store(tmp_path / "c.db")
        await store.open()
        await store.commit([Put(node("n1"))], 0)
        modes = await asyncio.to_thread(file_modes, tmp_path)
        await store.close()
        assert set(modes.values()) == {0o600}, modes

    asyncio.run(use())


def test_a_commit_is_synchronised_to_the_disk(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "c.db")
    database.open()
    full = 2
    assert database.rows("PRAGMA synchronous") == [(full,)]
    assert database.rows("PRAGMA journal_mode") == [("wal",)]
    database.close()
