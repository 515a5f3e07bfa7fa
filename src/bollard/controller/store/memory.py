"""A store that lives as long as its process: for the simulator, tests and a look around.

It keeps encoded documents like its siblings, so that what does not survive encoding is found here too.
"""

from collections.abc import Iterable, Sequence

from bollard.controller.store.base import (
    REPORTS_MAX,
    ErrorReport,
    Loaded,
    Quarantined,
    overtaken,
)
from bollard.controller.store.documents import as_row, pick, sort_out, without_text
from bollard.domain.cluster import Change, Put
from bollard.domain.errors import InUse, Subject


class MemoryDatabase:
    """What several stores of one process can open in turn, as they would a file."""

    def __init__(self) -> None:
        self.revision = 0
        self.documents: dict[tuple[str, str], str] = {}
        self.quarantined: dict[tuple[str, str], Quarantined] = {}
        self.reports: dict[str, ErrorReport] = {}
        self.claimed = False


class MemoryStore:
    """The Store over a MemoryDatabase."""

    def __init__(self, database: MemoryDatabase | None = None, reports_max: int = REPORTS_MAX) -> None:
        self._database = database if database is not None else MemoryDatabase()
        self._reports_max = reports_max
        self._open = False

    async def open(self) -> None:
        """See Store."""
        if self._database.claimed:
            raise InUse(
                Subject.DATABASE,
                "memory",
                "Another controller has this database open",
                correction="Stop the other controller first.",
            )
        self._database.claimed = True
        self._open = True

    async def load(self) -> Loaded:
        """See Store."""
        records, bad = sort_out((*key, body) for key, body in self._database.documents.items())
        await self.quarantine(bad)
        return Loaded(tuple(records), await self.quarantined(), self._database.revision, tuple(bad))

    async def commit(self, changes: Sequence[Change], expected_revision: int) -> int:
        """See Store."""
        database = self._database
        if database.revision != expected_revision:
            raise overtaken(expected_revision, database.revision)
        rows = [as_row(change.record) if isinstance(change, Put) else change for change in changes]
        for row in rows:
            if isinstance(row, tuple):
                database.documents[row[:2]] = row[2]
            else:
                database.documents.pop((row.kind, row.key), None)
        database.revision += 1
        return database.revision

    async def quarantine(self, items: Iterable[Quarantined]) -> None:
        """See Store."""
        for item in items:
            self._database.documents.pop((item.kind, item.key), None)
            self._database.quarantined[item.kind, item.key] = item

    async def quarantined(self) -> tuple[Quarantined, ...]:
        """See Store."""
        return tuple(item for _, item in sorted(self._database.quarantined.items()))

    async def add_report(self, report: ErrorReport) -> None:
        """See Store."""
        self._database.reports[report.id] = report
        newest = pick(self._database.reports.values(), None, None, None, self._reports_max)
        self._database.reports = {it.id: it for it in newest}

    async def reports(
        self,
        *,
        since_ms: int | None = None,
        to_ms: int | None = None,
        report_id: str | None = None,
        with_text: bool = False,
        limit: int = REPORTS_MAX,
    ) -> tuple[ErrorReport, ...]:
        """See Store."""
        found = pick(self._database.reports.values(), since_ms, to_ms, report_id, limit)
        return found if with_text else tuple(without_text(report) for report in found)

    async def delete_reports(self, ids: Sequence[str]) -> int:
        """See Store."""
        gone = [self._database.reports.pop(report_id, None) for report_id in ids]
        return sum(1 for report in gone if report is not None)

    async def close(self) -> None:
        """See Store."""
        if self._open:
            self._open = False
            self._database.claimed = False
