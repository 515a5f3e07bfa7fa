"""PostgreSQL by DSN: the same tables; a session-wide advisory lock is the claim, renewed on reconnect."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bollard.controller.store.base import REPORTS_MAX
from bollard.controller.store.sql import SqlStore
from bollard.domain.errors import InUse, Subject, Unavailable

_CLAIM: Final = 0x626F6C6C617264
"""The key of the advisory lock: the word `bollard`."""
_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "bollard-controller",
}


def postgres_store(dsn: str, backup_dir: Path, reports_max: int = REPORTS_MAX) -> SqlStore:
    """A store in the database of this DSN; backups before migrations go to the directory."""
    return SqlStore(PostgresDatabase(dsn, backup_dir), reports_max)


class PostgresDatabase:
    """The dialect of PostgreSQL; see Database."""

    def __init__(self, dsn: str, backup_dir: Path) -> None:
        self.name = _shown(dsn)
        self.errors: tuple[type[Exception], ...] = (psycopg.Error, OSError)
        self._dsn = dsn
        self._backup_dir = backup_dir
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def open(self) -> None:
        """Connect and claim."""
        options = {**_DEFAULTS, **conninfo_to_dict(self._dsn)}
        connection = psycopg.connect(**options, autocommit=True)
        try:
            # The server takes a moment to notice that a controller before this one has gone.
            connection.execute("SET lock_timeout = '2s'")
            connection.execute("SELECT pg_advisory_lock(%s)", (_CLAIM,))
            connection.execute("SET lock_timeout = 0")
        except psycopg.errors.LockNotAvailable:
            connection.close()
            raise InUse(
                Subject.DATABASE,
                self.name,
                f"Another controller has the database {self.name} open",
                cause="A session of that database holds the controller's advisory lock.",
                details="Two controllers on one database would undo each other's work.",
                correction="Stop the other controller, or give this one another database.",
            ) from None
        connection.execute("SET synchronous_commit = on")
        self._connection = connection

    @property
    def _db(self) -> psycopg.Connection[tuple[Any, ...]]:
        """The connection; a new one, with a new claim, when the old one is gone."""
        if self._connection is not None and self._connection.closed:
            self._connection = None
        if self._connection is None:
            self.open()
        assert self._connection is not None
        return self._connection

    def execute(self, statement: str, values: Sequence[object] = ()) -> None:
        """See Database."""
        self._db.execute(_marked(statement), tuple(values))

    def execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """See Database."""
        with self._db.cursor() as cursor:
            cursor.executemany(_marked(statement), rows)

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """See Database."""
        return self._db.execute(_marked(statement), tuple(values)).fetchall()

    def begin(self) -> None:
        """See Database."""
        self._db.execute("BEGIN")

    def commit(self) -> None:
        """See Database."""
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        """See Database."""
        if self._connection is not None and not self._connection.closed:
            self._connection.rollback()

    def tables(self) -> set[str]:
        """See Database."""
        return {
            name
            for (name,) in self.rows("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        }

    def backup(self, label: str) -> str:
        """Every row of every table as a JSON line, in a file of its own, synchronised to the disk."""
        number = 0
        while True:
            name = f"postgres.{label}.backup" if number == 0 else f"postgres.{label}.{number}.backup"
            path = self._backup_dir / name
            try:
                target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                break
            except FileExistsError:
                number += 1
        with os.fdopen(target, "w", encoding="utf-8") as file:
            for table in sorted(self.tables()):
                quoted = sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))
                for row in self._db.execute(quoted):
                    file.write(json.dumps([table, *row]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return str(path)

    def unavailable(self, error: Exception) -> Unavailable:
        """See Database."""
        first = str(error).strip().partition("\n")[0]
        return Unavailable(
            Subject.DATABASE,
            self.name,
            f"The database {self.name} cannot be used: {first}",
            cause=f"{type(error).__name__}: {first}",
            details="Whether the last transaction was kept is found out by reading the database again.",
            correction="Make sure that the server runs, has space and lets this user in.",
        )

    def close(self) -> None:
        """See Database."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _marked(statement: str) -> Any:
    return statement.replace("?", "%s")


def _shown(dsn: str) -> str:
    """Server and database of a DSN, without user and password."""
    parts = conninfo_to_dict(dsn)
    host = parts.get("host") or parts.get("hostaddr") or "local"
    return f"{parts.get('dbname') or 'postgres'} on {host}"
