"""SQLite: write-ahead log, synchronous FULL, one connection, a lock file beside the database as the claim."""

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bollard.controller.store.base import REPORTS_MAX
from bollard.controller.store.sql import SqlStore
from bollard.domain.errors import InUse, Subject, Unavailable

_BUSY_TIMEOUT_S: Final = 5.0
_CORRECTIONS: Final = {
    "SQLITE_FULL": "Free space on the file system of the database.",
    "SQLITE_READONLY": "Make the state directory writable, or name another one with --state-dir.",
    "SQLITE_CANTOPEN": "Make sure that the directory exists and that this user may write to it.",
    "SQLITE_IOERR": "Look at the kernel log for errors of the disk, and at the free space.",
    "SQLITE_NOTADB": "Restore the database from a backup, or name another one.",
    "SQLITE_CORRUPT": "Restore the database from a backup.",
}


def sqlite_store(path: Path, reports_max: int = REPORTS_MAX) -> SqlStore:
    """A store in this file; it is made when it is not there. The directory must exist."""
    return SqlStore(SqliteDatabase(path), reports_max)


class SqliteDatabase:
    """The dialect of SQLite; see Database."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.errors: tuple[type[Exception], ...] = (sqlite3.Error, OSError)
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("the database is not open")
        return self._connection

    def open(self) -> None:
        """Claim by a lock file, connect, set the durability."""
        self._claim()
        # Made here so that the file, its log and its index are for the owner only: it holds secrets.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, cached_statements=64
        )
        self._connection = connection
        connection.text_factory = _text
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError(f"the journal mode is '{mode}', not 'wal'")
        connection.execute("PRAGMA synchronous = FULL")

    def _claim(self) -> None:
        path = self._path.with_name(self._path.name + ".lock")
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise InUse(
                Subject.DATABASE,
                self.name,
                f"Another controller has the database {self.name} open",
                cause=f"The lock file {path} is held by a running process.",
                details="Two controllers on one database would undo each other's work.",
                correction="Stop the other controller, or give this one another --state-dir.",
            ) from None
        self._lock = lock

    def execute(self, statement: str, values: Sequence[object] = ()) -> None:
        """See Database."""
        self._db.execute(statement, tuple(values))

    def execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """See Database."""
        self._db.executemany(statement, rows)

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """See Database."""
        return self._db.execute(statement, tuple(values)).fetchall()

    def begin(self) -> None:
        """See Database."""
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """See Database."""
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        """See Database."""
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def tables(self) -> set[str]:
        """See Database."""
        return {name for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def backup(self, label: str) -> str:
        """A whole copy beside the database, synchronised to the disk."""
        number = 0
        while True:
            suffix = f".{label}.backup" if number == 0 else f".{label}.{number}.backup"
            path = self._path.with_name(self._path.name + suffix)
            try:
                target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                break
            except FileExistsError:
                number += 1
        try:
            self.execute("VACUUM INTO ?", (str(path),))
            os.fsync(target)
        finally:
            os.close(target)
        directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return str(path)

    def unavailable(self, error: Exception) -> Unavailable:
        """See Database."""
        code = str(getattr(error, "sqlite_errorname", ""))
        family = "_".join(code.split("_")[:2])
        return Unavailable(
            Subject.DATABASE,
            self.name,
            f"The database {self.name} cannot be used: {error}",
            cause=f"{code or type(error).__name__}: {error}",
            details="Nothing was changed by this call.",
            correction=_CORRECTIONS.get(family, "Look at the file, its directory and the disk."),
        )

    def close(self) -> None:
        """See Database."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _text(raw: bytes) -> str:
    """Text as stored; what is not UTF-8 stays readable for the quarantine instead of ending the load."""
    return raw.decode(errors="backslashreplace")
