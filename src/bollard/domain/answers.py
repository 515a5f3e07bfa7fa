"""What a command did, in words for people and codes for programs: the entries of an ApiCallRc list.

The codes here are words; the REST edge turns them into LINSTOR's numbers in one table.
"""

from enum import StrEnum

import msgspec

from bollard.domain.cluster import Change
from bollard.domain.errors import Subject


class Severity(StrEnum):
    """How an entry is meant."""

    SUCCESS = "success"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Operation(StrEnum):
    """What was done to the object."""

    CREATE = "create"
    MODIFY = "modify"
    DELETE = "delete"
    NONE = "none"


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of an answer."""

    severity: Severity
    operation: Operation
    subject: Subject
    message: str
    code: str = ""
    """A LINSTOR code name without its prefix, e.g. NOT_CONNECTED; empty: created, modified or deleted."""
    cause: str = ""
    details: str = ""
    correction: str = ""
    refs: dict[str, str] = {}
    error_report_ids: tuple[str, ...] = ()


class Wait(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a command waits for after its commit: nodes that are online then, up to a deadline."""

    node: str
    resource: str | None = None
    """Wait until this resource is settled there at the new revision (or gone)."""
    ready: bool = False
    """Also wait until every volume is usable (UpToDate, Diskless or Created)."""
    pool: str | None = None
    """Wait until this pool was looked at; a problem with it is an error of the command."""


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome of a pure decision: what to store, what to say, whom to wait for."""

    changes: tuple[Change, ...] = ()
    entries: tuple[Entry, ...] = ()
    waits: tuple[Wait, ...] = ()
    undo_if_failed: tuple[Change, ...] = ()
    """Changes that take the command back when a waited-for node reports a problem (pool creation)."""
    explanation: tuple["Explained", ...] = ()


class Explained(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a node and pool was chosen or not: for people, in the API as an addition."""

    node: str
    pool: str
    chosen: bool
    score: float | None = None
    reasons: tuple[str, ...] = ()
