"""Migrations and lost connections, over the SQL dialects."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bollard.controller.store.postgres import PostgresDatabase, postgres_store
from bollard.controller.store.sql import SqlStore
from bollard.controller.store.sqlite import SqliteDatabase
from bollard.domain.cluster import Put
from bollard.domain.errors import Unavailable, Unsupported
from bollard.domain.ids import NodeName, Uuid
from bollard.domain.nodes import Node


def node(name: str, **props: str) -> Node:
    return Node(NodeName(name), Uuid("u-" + name), props=props)


def bump(database: Any) -> None:
    database.execute("ALTER TABLE state ADD COLUMN more INTEGER")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def dialect(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[], SqliteDatabase | PostgresDatabase]:
    if request.param == "sqlite":
        return lambda: SqliteDatabase(tmp_path / "c.db")
    dsn = request.getfixturevalue("postgres_dsn")
    return lambda: PostgresDatabase(dsn, tmp_path)


def test_a_pending_migration_makes_a_backup_first(
    dialect: Callable[[], SqliteDatabase | PostgresDatabase], tmp_path: Path
) -> None:
    from bollard.controller.store.migrations import all_migrations, migrate

    async def fill() -> None:
        store = SqlStore(dialect())
        await store.open()
        assert store.backup_path is None
        await store.commit([Put(node("n1"))], 0)
        await store.close()

    asyncio.run(fill())
    database = dialect()
    database.open()
    backup = migrate(database, (*all_migrations(), ("0002_more", bump)))
    assert database.rows("SELECT number FROM schema_version") == [(2,)]
    assert database.rows("SELECT more FROM state") == [(None,)]
    assert backup is not None
    assert Path(backup).stat().st_mode & 0o777 == 0o600
    if isinstance(database, SqliteDatabase):
        with contextlib.closing(sqlite3.connect(backup)) as copy:
            assert copy.execute("SELECT number FROM schema_version").fetchall() == [(1,)]
            assert copy.execute("SELECT kind, key FROM record").fetchall() == [("node", "N1")]
    else:
        lines = [msgspec.json.decode(line) for line in Path(backup).read_text().splitlines()]
        assert ["state", 1] in lines
        assert any(line[:3] == ["record", "node", "N1"] for line in lines)
    assert migrate(database, (*all_migrations(), ("0002_more", bump))) is None
    database.close()

    async def older() -> None:
        store = SqlStore(dialect())
        with pytest.raises(Unsupported, match="has schema 2; this release knows schemas up to 1"):
            await store.open()

    asyncio.run(older())


def test_a_migration_that_fails_leaves_the_old_schema(
    dialect: Callable[[], SqliteDatabase | PostgresDatabase],
) -> None:
    from bollard.controller.store.migrations import all_migrations, migrate

    def broken(database: Any) -> None:
        bump(database)
        database.execute("SELECT * FROM nowhere")

    database = dialect()
    database.open()
    migrate(database)
    with pytest.raises(database.errors):
        migrate(database, (*all_migrations(), ("0002_broken", broken)))
    database.rollback()
    assert database.rows("SELECT number FROM schema_version") == [(1,)]
    assert database.rows("SELECT * FROM state") == [(0,)]
    database.close()


@pytest.mark.postgres
def test_a_lost_connection_is_found_and_made_again(postgres_dsn: str, tmp_path: Path) -> None:
    import psycopg

    async def lose() -> None:
        store = postgres_store(postgres_dsn, tmp_path)
        await store.open()
        await store.commit([Put(node("n1"))], 0)
        with psycopg.connect(postgres_dsn, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'bollard-controller' AND datname = current_database()"
            )
        with pytest.raises(Unavailable):
            await store.commit([Put(node("n2"))], 1)
        assert (await store.load()).revision == 1
        assert await store.commit([Put(node("n2"))], 1) == 2
        await store.close()

    asyncio.run(lose())


@pytest.mark.postgres
def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path: Path) -> None:
    store = postgres_store(f"postgresql://user:geheim@/db?host={tmp_path}", tmp_path)
    with pytest.raises(Unavailable) as caught:
        asyncio.run(store.open())
    assert "geheim" not in str(caught.value) + caught.value.cause
    assert str(tmp_path) in caught.value.message
