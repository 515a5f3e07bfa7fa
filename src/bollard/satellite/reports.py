"""The satellite's last error reports, in memory: what went wrong inside it, for `Query` to fetch."""

import logging
from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

__all__ = ["ErrorReport", "ErrorReports"]

KEPT: Final = 64


class ErrorReport(msgspec.Struct, frozen=True):
    """One failure."""

    id: str
    time_ms: int
    message: str
    text: str


class ErrorReports(logging.Handler):
    """Collects the exceptions that are logged; hung on the root logger."""

    def __init__(self, instance: str) -> None:
        super().__init__(logging.ERROR)
        self._instance = instance
        self._count = 0
        self._kept: deque[ErrorReport] = deque(maxlen=KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is None:
            return
        self._count += 1
        text = logging.Formatter("%(name)s: %(message)s").format(record)
        self._kept.append(
            ErrorReport(
                f"{self._instance}-{self._count:06d}", int(record.created * 1000), record.getMessage(), text
            )
        )

    def find(self, ident: str = "", since_ms: int = 0, limit: int = KEPT) -> list[ErrorReport]:
        """The newest first; all, or that of one id."""
        found = [one for one in self._kept if one.time_ms >= since_ms and ident in {"", one.id}]
        return found[::-1][:limit]

    def delete(self, idents: Iterable[str]) -> int:
        """Drop reports; returns how many there were."""
        gone = set(idents)
        kept = [one for one in self._kept if one.id not in gone]
        count = len(self._kept) - len(kept)
        self._kept = deque(kept, maxlen=KEPT)
        return count
