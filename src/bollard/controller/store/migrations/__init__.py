"""Brings a database's schema up to date by numbered steps, with a backup before the first pending one.

A step is a module `NNNN_name` with one function `apply(database)`; it runs in a transaction of its own.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Final

from bollard.controller.store.database import Database
from bollard.domain.errors import Subject, Unsupported

Migration = tuple[str, Callable[[Database], None]]

_NAMES: Final = ("0001_initial",)


def all_migrations() -> tuple[Migration, ...]:
    """The steps of this release, in order."""
    return tuple((name, importlib.import_module(f"{__name__}.{name}").apply) for name in _NAMES)


def migrate(database: Database, migrations: Sequence[Migration] | None = None) -> str | None:
    """Apply what is pending; returns where the backup is, None when none was needed.

    Raises Unsupported(DATABASE) when the schema is newer than this release; nothing is touched then.
    """
    steps = all_migrations() if migrations is None else tuple(migrations)
    fresh = "schema_version" not in database.tables()
    found = 0 if fresh else int(database.rows("SELECT number FROM schema_version")[0][0])
    if found > len(steps):
        raise Unsupported(
            Subject.DATABASE,
            database.name,
            f"The database {database.name} has schema {found}; this release knows schemas up to {len(steps)}",
            cause="A newer release has used this database.",
            details="Nothing was changed.",
            correction="Start that release, or restore the backup that it made before its migration.",
        )
    if found == len(steps):
        return None
    backup = None if found == 0 else database.backup(f"schema-{found:04d}")
    for number, (_, apply) in enumerate(steps, start=1):
        if number <= found:
            continue
        database.begin()
        apply(database)
        if number == 1:
            database.execute("INSERT INTO schema_version (number) VALUES (?)", (number,))
        else:
            database.execute("UPDATE schema_version SET number = ?", (number,))
        database.commit()
    return backup
