"""Error reports: what goes wrong inside gets an id, a place in the store and a line in the log.

A report names places in the code, never values of the cluster: those may be secret.
"""

import asyncio
import logging
import traceback
import zlib
from typing import Final

from bollard.controller.store.base import ErrorReport, Quarantined, Store
from bollard.domain.errors import DomainError, Subject, Unavailable
from bollard.domain.ports import Clock

_FRAMES_MAX: Final = 40
_log = logging.getLogger(__name__)


class Reports:
    """Makes error reports and keeps them. `file` may be called from anywhere in the loop."""

    def __init__(self, store: Store, clock: Clock, *, node: str, version: str) -> None:
        self._store = store
        self._clock = clock
        self._node = node
        self._version = version
        self._prefix = f"{clock.now_ms() // 1000 & 0xFFFFFFFF:08X}-{zlib.crc32(node.encode()) & 0xFFFFF:05X}"
        self._count = 0
        self._under_way: set[asyncio.Task[None]] = set()

    def file(self, error: BaseException, context: str) -> str:
        """Report an unexpected error; returns the id. `context` says what was being done."""
        report = self.make(error, context)
        _log.error("error report %s: %s: %s", report.id, context, report.exception, exc_info=error)
        task = asyncio.get_running_loop().create_task(self._keep(report))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return report.id

    def file_quarantined(self, item: Quarantined) -> None:
        """Report a stored record that could not be used."""
        message = f"The stored record {item.kind} {item.key} cannot be used"
        error = Unavailable(Subject.DATABASE, item.key, message, cause=item.reason)
        self.file(error, f"record {item.kind} {item.key} is in quarantine: {item.reason}")

    def make(self, error: BaseException, context: str) -> ErrorReport:
        """The report of an error, not yet kept."""
        now_ms = self._clock.now_ms()
        report_id = f"{self._prefix}-{self._count:06d}"
        self._count += 1
        place = traceback.extract_tb(error.__traceback__)
        last = place[-1] if place else None
        return ErrorReport(
            id=report_id,
            at_ms=now_ms,
            node=self._node,
            version=self._version,
            exception=type(error).__name__,
            message=context,
            origin_file=_short(last.filename) if last else "",
            origin_method=last.name if last else "",
            origin_line=(last.lineno or 0) if last else 0,
            text=self._text(report_id, now_ms, context, error),
        )

    async def drain(self) -> None:
        """Wait until all reports are kept."""
        await asyncio.gather(*self._under_way)

    async def _keep(self, report: ErrorReport) -> None:
        try:
            await self._store.add_report(report)
        except DomainError as failure:
            _log.error("error report %s is not kept: %s", report.id, failure.message)

    def _text(self, report_id: str, now_ms: int, context: str, error: BaseException) -> str:
        """A header and each error of the chain of causes, newest first."""
        rule = "=" * 60
        lines = [
            f"ERROR REPORT {report_id}",
            "",
            rule,
            "Application:  Bollard",
            "Module:       Controller",
            f"Version:      {self._version}",
            f"Error time:   {now_ms} ms since the epoch",
            f"Node:         {self._node}",
            rule,
            "",
            f"While:        {context}",
        ]
        link: BaseException | None = error
        heading = "Reported error"
        while link is not None:
            lines += ["", f"{heading}:", f"  Class:    {type(link).__name__}"]
            if isinstance(link, DomainError):
                lines += [f"  Message:  {link.message}", f"  Cause:    {link.cause}"]
            lines.append("  Call backtrace:")
            frames = traceback.extract_tb(link.__traceback__)[-_FRAMES_MAX:]
            lines += [f"    {_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
            link = link.__cause__ or link.__context__
            heading = "Caused by"
        lines += ["", "END OF ERROR REPORT.", ""]
        return "\n".join(lines)


def _short(filename: str) -> str:
    """The file inside the package, without where that is installed."""
    _, mark, inside = filename.rpartition("/bollard/")
    return f"bollard/{inside}" if mark else filename.rpartition("/")[2]
