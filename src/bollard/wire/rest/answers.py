"""ApiCallRc, the entry of which every answer to a change is a list, made from entries and errors.

It knows how numbers are put together from severity, operation, object and code; which code an error has
is decided by the table of the REST edge.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from bollard.domain.answers import Entry, Explained, Operation, Severity
from bollard.domain.errors import DomainError, Subject
from bollard.wire.rest import codes
from bollard.wire.rest.codes import Act, Mask, Noun


class ApiCallRc(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of an answer, as clients see it."""

    ret_code: int
    message: str
    cause: str = ""
    details: str = ""
    correction: str = ""
    error_report_ids: tuple[str, ...] = ()
    obj_refs: dict[str, str] = {}
    created_at: str = ""
    explanation: tuple[Explained, ...] = ()
    """Ours: why each node and pool was chosen or not; only where something was placed."""


class About(msgspec.Struct, frozen=True):
    """What a request is about: the bits and references that its entries carry."""

    act: Act = Act.NONE
    noun: Noun = Noun.NONE
    refs: dict[str, str] = {}
    keep_act: bool = False
    """Whether every entry has the operation of the request, whatever it says itself (resource groups)."""
    bare: bool = False
    """Whether no entry has an operation or object."""


NOUNS: dict[Subject, Noun] = {
    Subject.NODE: Noun.NODE,
    Subject.NET_IF: Noun.NET_IF,
    Subject.POOL: Noun.STOR_POOL,
    Subject.POOL_DEFINITION: Noun.STOR_POOL_DFN,
    Subject.GROUP: Noun.RSC_GRP,
    Subject.VOLUME_GROUP: Noun.VLM_GRP,
    Subject.RESOURCE_DEFINITION: Noun.RSC_DFN,
    Subject.VOLUME_DEFINITION: Noun.VLM_DFN,
    Subject.VOLUME: Noun.VLM,
    Subject.RESOURCE: Noun.RSC,
    Subject.SNAPSHOT: Noun.SNAPSHOT,
    Subject.SNAPSHOT_DEFINITION: Noun.SNAPSHOT,
    Subject.NODE_CONNECTION: Noun.NODE_CONN,
    Subject.RESOURCE_CONNECTION: Noun.RSC_CONN,
    Subject.KEY_VALUE_STORE: Noun.CTRL_CONF,
    Subject.EXTERNAL_FILE: Noun.EXT_FILES,
    Subject.REMOTE: Noun.REMOTE,
    Subject.SCHEDULE: Noun.SCHEDULE,
    Subject.CONTROLLER: Noun.CTRL_CONF,
}
_ACTS = {
    Operation.CREATE: Act.CREATE,
    Operation.MODIFY: Act.MODIFY,
    Operation.DELETE: Act.DELETE,
    Operation.NONE: Act.NONE,
}
_DONE = {
    Operation.CREATE: "CREATED",
    Operation.MODIFY: "MODIFIED",
    Operation.DELETE: "DELETED",
    Operation.NONE: "",
}
_SEVERITIES = {
    Severity.SUCCESS: Mask.SUCCESS,
    Severity.INFO: Mask.INFO,
    Severity.WARNING: Mask.WARN,
    Severity.ERROR: Mask.ERROR,
}


_ERROR_NOUNS = {Subject.VOLUME_SIZE: Noun.VLM_DFN}
"""Errors that are about another object than the request."""
_BARE = frozenset({"STORAGE_KIND_ADDED", "NOT_FOUND_CRYPT_KEY"})
"""Codes that stand alone, without operation and object."""


def of_entry(entry: Entry, about: About, now_ms: int) -> ApiCallRc:
    """An entry of a decision as clients see it. Raises KeyError for a code that there is not."""
    severity = _SEVERITIES[entry.severity]
    code = entry.code
    if not code and severity is Mask.SUCCESS:
        code = _DONE[entry.operation]
    act = about.act if about.keep_act or entry.operation is Operation.NONE else _ACTS[entry.operation]
    noun = NOUNS.get(entry.subject, about.noun)
    if about.bare or code in _BARE:
        act, noun = Act.NONE, Noun.NONE
    elif severity in {Mask.INFO, Mask.WARN}:
        act, noun = about.act, about.noun
    return ApiCallRc(
        ret_code=codes.ret_code(severity, code, act, noun),
        message=entry.message,
        cause=entry.cause,
        details=entry.details,
        correction=entry.correction,
        error_report_ids=entry.error_report_ids,
        obj_refs={**about.refs, **entry.refs},
        created_at=iso(now_ms),
    )


def of_error(
    error: DomainError, code: str, about: About, now_ms: int, report_ids: Sequence[str] = ()
) -> ApiCallRc:
    """An error with the code that the edge's table has for it."""
    noun = _ERROR_NOUNS.get(error.subject, about.noun) if about.act else about.noun
    return ApiCallRc(
        ret_code=codes.ret_code(Mask.ERROR, code, about.act, noun),
        message=error.message,
        cause=error.cause,
        details=error.details,
        correction=error.correction,
        error_report_ids=tuple(report_ids),
        obj_refs=about.refs,
        created_at=iso(now_ms),
    )


def parse_error(message: str, now_ms: int, *, details: str = "") -> ApiCallRc:
    """The entry for a request body that is not what the endpoint takes."""
    return ApiCallRc(
        ret_code=codes.PARSE_ERROR,
        message=message,
        details=details,
        correction="Send the members that the API's documentation names, with their types.",
        created_at=iso(now_ms),
    )


def iso(now_ms: int) -> str:
    """A time of the API: ISO 8601 in UTC."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat()
