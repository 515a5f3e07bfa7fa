"""The store over any SQL database: one writer thread, and one transaction for all commits of a moment.

The dialect (sqlite, postgres) brings the connection, the claim and the backup; the statements are here.
"""

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import msgspec

from bollard.controller.store.base import (
    REPORTS_MAX,
    ErrorReport,
    Loaded,
    Quarantined,
    overtaken,
)
from bollard.controller.store.database import Database
from bollard.controller.store.documents import as_row, sort_out
from bollard.controller.store.migrations import migrate
from bollard.domain.cluster import Change, Put
from bollard.domain.errors import Subject, Unavailable

_T = TypeVar("_T")
_Statement = tuple[str, tuple[str, ...]]

_PUT = (
    "INSERT INTO record (kind, key, body) VALUES (?, ?, ?) "
    "ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body"
)
_DROP = "DELETE FROM record WHERE kind = ? AND key = ?"
_ADVANCE = "UPDATE state SET revision = ? WHERE revision = ? RETURNING revision"
_SET_ASIDE = (
    "INSERT INTO quarantine (kind, key, body, reason) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body, reason = excluded.reason"
)
_TRIM = (
    "DELETE FROM error_report WHERE id NOT IN "
    "(SELECT id FROM error_report ORDER BY at_ms DESC, id DESC LIMIT ?)"
)


class _Commit:
    """A mutation that waits for its transaction."""

    def __init__(self, changes: Sequence[Change], expected: int) -> None:
        self.statements = [_statement(change) for change in changes]
        self.expected = expected
        self.future: Future[int] = Future()
        self.future.set_running_or_notify_cancel()


class _Call:
    """Any other work of the thread."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()


class SqlStore:
    """The Store over a Database."""

    def __init__(self, database: Database, reports_max: int = REPORTS_MAX) -> None:
        self._database = database
        self._reports_max = reports_max
        self._jobs: queue.SimpleQueue[_Commit | _Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.backup_path: str | None = None
        """Where the copy from before the migration is, when there was one."""

    async def open(self) -> None:
        """See Store."""
        assert self._thread is None, "opened twice"
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()
        try:
            await self._call(self._open)
        except BaseException:
            await self.close()
            raise

    async def load(self) -> Loaded:
        """See Store."""
        return await self._call(self._load)

    async def commit(self, changes: Sequence[Change], expected_revision: int) -> int:
        """See Store."""
        job = _Commit(changes, expected_revision)
        self._put(job)
        return await asyncio.wrap_future(job.future)

    async def quarantine(self, items: Iterable[Quarantined]) -> None:
        """See Store."""
        kept = tuple(items)
        await self._call(lambda: self._write(lambda: self._set_aside(kept)))

    async def quarantined(self) -> tuple[Quarantined, ...]:
        """See Store."""
        return await self._call(self._quarantined)

    async def add_report(self, report: ErrorReport) -> None:
        """See Store."""
        head = msgspec.json.encode(msgspec.structs.replace(report, text="")).decode()
        row = (report.id, report.at_ms, head, report.text.replace("\0", "\\x00"))

        def insert() -> None:
            self._database.execute("DELETE FROM error_report WHERE id = ?", (report.id,))
            self._database.execute(
                "INSERT INTO error_report (id, at_ms, head, body) VALUES (?, ?, ?, ?)", row
            )
            self._database.execute(_TRIM, (self._reports_max,))

        await self._call(lambda: self._write(insert))

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
        wanted = (("at_ms >= ?", since_ms), ("at_ms <= ?", to_ms), ("id = ?", report_id))
        asked = [(clause, value) for clause, value in wanted if value is not None]
        where = " AND ".join(clause for clause, _ in asked) or "1 = 1"
        body = "body" if with_text else "''"
        statement = (
            f"SELECT head, {body} FROM error_report WHERE {where} "  # noqa: S608  # only words of ours
            "ORDER BY at_ms DESC, id DESC LIMIT ?"
        )
        values = (*(value for _, value in asked), max(limit, 0))
        rows = await self._call(lambda: self._guard(lambda: self._database.rows(statement, values)))
        return tuple(
            msgspec.structs.replace(msgspec.json.decode(head, type=ErrorReport), text=text)
            for head, text in rows
        )

    async def delete_reports(self, ids: Sequence[str]) -> int:
        """See Store."""

        def delete() -> int:
            gone = [
                self._database.rows("DELETE FROM error_report WHERE id = ? RETURNING id", (it,)) for it in ids
            ]
            return sum(len(rows) for rows in gone)

        return await self._call(lambda: self._write(delete))

    async def close(self) -> None:
        """See Store."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    async def _call(self, work: Callable[[], _T]) -> _T:
        job = _Call(work)
        self._put(job)
        result: _T = await asyncio.wrap_future(job.future)
        return result

    def _put(self, job: _Commit | _Call) -> None:
        if self._thread is None:
            raise Unavailable(Subject.DATABASE, self._database.name, "The database is closed")
        self._jobs.put(job)

    # What follows runs in the writer thread.

    def _run(self) -> None:
        going = True
        while going:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            going = None not in jobs
            for is_commit, group in itertools.groupby(jobs, lambda job: isinstance(job, _Commit)):
                if is_commit:
                    self._commit_all([job for job in group if isinstance(job, _Commit)])
                else:
                    for job in group:
                        if isinstance(job, _Call):
                            _settle(job)
        self._database.close()

    def _commit_all(self, batch: list[_Commit]) -> None:
        """One transaction for all that fit one after the other; each of the others is refused alone."""
        outcomes: dict[_Commit, int | Exception] = {}

        def write() -> None:
            start = revision = self._revision()
            statements: list[_Statement] = []
            for job in batch:
                if job.expected == revision:
                    revision += 1
                    statements += job.statements
                    outcomes[job] = revision
                else:
                    outcomes[job] = overtaken(job.expected, revision)
            if revision == start:
                return
            for text, group in itertools.groupby(statements, lambda it: it[0]):
                self._database.execute_many(text, [values for _, values in group])
            if not self._database.rows(_ADVANCE, (revision, start)):
                raise overtaken(start, self._revision())

        try:
            self._write(write)
        except Exception as error:  # noqa: BLE001  # the thread's outermost frame: raised in each caller
            outcomes = dict.fromkeys(batch, error)
        for job, outcome in outcomes.items():
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)

    def _open(self) -> None:
        self._guard(self._database.open)
        self.backup_path = self._guard(lambda: migrate(self._database))
        # A database that cannot be written is found now, not at the first request.
        self._write(lambda: self._database.execute("UPDATE state SET revision = revision"))

    def _load(self) -> Loaded:
        statement = "SELECT kind, key, body FROM record ORDER BY kind, key"
        records, bad = sort_out(self._guard(lambda: self._database.rows(statement)))
        if bad:
            self._write(lambda: self._set_aside(bad))
        return Loaded(tuple(records), self._quarantined(), self._guard(self._revision), tuple(bad))

    def _set_aside(self, items: Sequence[Quarantined]) -> None:
        rows = [(item.kind, item.key, item.body.replace("\0", "\\x00"), item.reason) for item in items]
        self._database.execute_many(_SET_ASIDE, rows)
        self._database.execute_many(_DROP, [row[:2] for row in rows])

    def _quarantined(self) -> tuple[Quarantined, ...]:
        statement = "SELECT kind, key, body, reason FROM quarantine ORDER BY kind, key"
        rows = self._guard(lambda: self._database.rows(statement))
        return tuple(Quarantined(*row) for row in rows)

    def _revision(self) -> int:
        return int(self._database.rows("SELECT revision FROM state")[0][0])

    def _write(self, work: Callable[[], _T]) -> _T:
        """Do it in a transaction of its own."""

        def whole() -> _T:
            self._database.begin()
            result = work()
            self._database.commit()
            return result

        return self._guard(whole)

    def _guard(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except self._database.errors as error:
            self._abandon()
            raise self._database.unavailable(error) from error
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        try:
            self._database.rollback()
        except self._database.errors:
            # The connection is gone, and the transaction with it.
            return


def _statement(change: Change) -> _Statement:
    if isinstance(change, Put):
        return _PUT, as_row(change.record)
    return _DROP, (change.kind, change.key)


def _settle(job: _Call) -> None:
    """Do one job of the thread: its outermost frame, so nothing may escape."""
    try:
        result = job.work()
    except Exception as error:  # noqa: BLE001  # raised again where the job came from
        job.future.set_exception(error)
    else:
        job.future.set_result(result)
