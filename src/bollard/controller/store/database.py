"""What a SQL dialect brings to the store: a blocking connection with its claim, transactions and backup.

Only the store's writer thread calls it.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from bollard.domain.errors import Unavailable


class Database(Protocol):
    """A dialect's connection. Every call may block and may raise one of `errors`."""

    name: str
    """For messages: the file or the server, without secrets."""
    errors: tuple[type[Exception], ...]
    """What the driver raises."""

    def open(self) -> None:
        """Connect and claim. Raises InUse or Unavailable."""

    def execute(self, statement: str, values: Sequence[object] = ()) -> None:
        """One statement; `?` marks a value."""

    def execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """One statement for each row."""

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    def begin(self) -> None:
        """Start a transaction that will write."""

    def commit(self) -> None:
        """Make the transaction durable."""

    def rollback(self) -> None:
        """Undo the transaction; without one, nothing happens."""

    def tables(self) -> set[str]:
        """The names of our tables that exist."""

    def backup(self, label: str) -> str:
        """Keep a copy of everything outside of the database; returns where it is."""

    def unavailable(self, error: Exception) -> Unavailable:
        """A driver's error in words."""

    def close(self) -> None:
        """Release connection and claim; repeatable."""
