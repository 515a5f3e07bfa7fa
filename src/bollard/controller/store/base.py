"""The store as the service sees it: records by kind and key, one revision, quarantine and error reports.

An adapter decides nothing: it keeps what it is told, all of a commit or none of it.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from bollard.domain.cluster import Change, Record
from bollard.domain.errors import Conflict, Subject


class Quarantined(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stored record that could not be used; kept as it was."""

    kind: str
    key: str
    body: str
    reason: str


class Loaded(msgspec.Struct, frozen=True):
    """All that is stored, as of one revision."""

    records: tuple[Record, ...]
    quarantined: tuple[Quarantined, ...]
    """Everything in quarantine, of this load and of earlier ones."""
    revision: int
    set_aside: tuple[Quarantined, ...] = ()
    """What this load has put into quarantine."""


class ErrorReport(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that went wrong inside, for people."""

    id: str
    """IIIIIIII-HHHHH-NNNNNN: start of the process, node, counter."""
    at_ms: int
    node: str
    module: str = "CONTROLLER"
    version: str = ""
    peer: str = ""
    exception: str = ""
    message: str = ""
    origin_file: str = ""
    origin_method: str = ""
    origin_line: int = 0
    text: str = ""
    """The whole report; empty in a list without content."""


REPORTS_MAX = 1000
"""The newest error reports that are kept."""


class Store(Protocol):
    """A database of the controller. All calls may raise Unavailable(DATABASE) with the cause."""

    async def open(self) -> None:
        """Claim the database for this process and bring its schema up to date.

        Raises InUse(DATABASE) when another controller holds it, Unsupported(DATABASE) when its schema is
        newer than this release, Unavailable(DATABASE) when it cannot be reached or written.
        """

    async def load(self) -> Loaded:
        """Everything; what does not decode is moved to quarantine first."""

    async def commit(self, changes: Sequence[Change], expected_revision: int) -> int:
        """Make all changes durable, or none, and return the new revision (one more than expected).

        Calls that are under way at the same time share one transaction, in the order of the calls.
        Raises Conflict(DATABASE) when the stored revision is another one: someone else has written.
        """

    async def quarantine(self, items: Iterable[Quarantined]) -> None:
        """Move these records (by kind and key) out of the way, for a reason the reader of them found."""

    async def quarantined(self) -> tuple[Quarantined, ...]:
        """All that is in quarantine."""

    async def add_report(self, report: ErrorReport) -> None:
        """Keep an error report; the oldest beyond REPORTS_MAX are dropped."""

    async def reports(
        self,
        *,
        since_ms: int | None = None,
        to_ms: int | None = None,
        report_id: str | None = None,
        with_text: bool = False,
        limit: int = REPORTS_MAX,
    ) -> tuple[ErrorReport, ...]:
        """Kept error reports, newest first."""

    async def delete_reports(self, ids: Sequence[str]) -> int:
        """Drop error reports by id; returns how many there were."""

    async def close(self) -> None:
        """Finish what is under way, release the claim; repeatable."""


def overtaken(expected: int, found: int) -> Conflict:
    """The error of a commit whose revision is not the stored one."""
    return Conflict(
        Subject.DATABASE,
        "database",
        f"The database is at revision {found}, not {expected}",
        cause="Another controller has written to it.",
        details="Nothing was changed by this call.",
        correction="Make sure that only one controller runs on this database.",
    )
