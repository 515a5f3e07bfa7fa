"""Entries of answers in the forms that decisions use: what was done to which object, and for whom to see."""

from bollard.domain.answers import Entry, Operation, Severity
from bollard.domain.errors import Subject

__all__ = ["created", "deleted", "info", "modified", "not_there", "prop_entries", "refs_of", "warning"]

_REF_NAMES = {
    "node": "Node",
    "definition": "RscDfn",
    "group": "RscGrp",
    "volume": "VlmNr",
    "volume_group": "VlmGrp",
    "pool": "StorPoolDfn",
    "net_if": "NetIf",
    "uuid": "UUID",
    "first": "FirstNode",
    "second": "SecondNode",
    "minor": "VlmMinor",
}


def refs_of(**names: object) -> dict[str, str]:
    """Object references with the API's keys; what is None is left out."""
    return {_REF_NAMES[name]: str(value) for name, value in names.items() if value is not None}


def created(subject: Subject, message: str, refs: dict[str, str], details: str = "") -> Entry:
    """Something was created."""
    return Entry(Severity.SUCCESS, Operation.CREATE, subject, message, refs=refs, details=details)


def modified(subject: Subject, message: str, refs: dict[str, str], details: str = "") -> Entry:
    """Something was changed."""
    return Entry(Severity.SUCCESS, Operation.MODIFY, subject, message, refs=refs, details=details)


def deleted(subject: Subject, message: str, refs: dict[str, str], details: str = "") -> Entry:
    """Something was deleted."""
    return Entry(Severity.SUCCESS, Operation.DELETE, subject, message, refs=refs, details=details)


def info(
    operation: Operation, subject: Subject, message: str, refs: dict[str, str], *, code: str = ""
) -> Entry:
    """Something worth knowing."""
    return Entry(Severity.INFO, operation, subject, message, code=code, refs=refs)


def warning(
    operation: Operation,
    subject: Subject,
    message: str,
    refs: dict[str, str],
    *,
    code: str,
    cause: str = "",
    correction: str = "",
) -> Entry:
    """Something that the caller may not have wanted."""
    return Entry(
        Severity.WARNING,
        operation,
        subject,
        message,
        code=code,
        refs=refs,
        cause=cause,
        correction=correction,
    )


def not_there(subject: Subject, message: str, refs: dict[str, str]) -> Entry:
    """What was to be deleted does not exist: a warning, not an error."""
    return warning(
        Operation.DELETE,
        subject,
        message,
        refs,
        code="NOT_FOUND",
        cause="It does not exist, so there is nothing to delete.",
    )


def prop_entries(
    subject: Subject, refs: dict[str, str], *, override: dict[str, str], delete: tuple[str, ...]
) -> list[Entry]:
    """Properties that were set, and those that were deleted, as the API words them: created and deleted."""
    found = []
    if override:
        names = ", ".join(sorted(override))
        found.append(created(subject, f"Properties set: {names}", refs))
    if delete:
        found.append(deleted(subject, f"Properties deleted: {', '.join(sorted(delete))}", refs))
    return found
