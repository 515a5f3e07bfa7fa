"""Records as documents: a row of kind, key and JSON body, and back, with what cannot be read sorted out."""

from collections.abc import Iterable

import msgspec

from bollard.controller.store.base import ErrorReport, Quarantined
from bollard.domain.cluster import KINDS, Record, kind_of

Row = tuple[str, str, str]
"""Kind, key, body."""

_ENCODER = msgspec.json.Encoder()
_DECODERS = {kind: msgspec.json.Decoder(record_type) for kind, record_type in KINDS.items()}


def as_row(record: Record) -> Row:
    """The row of a record."""
    return kind_of(record), record.key, _ENCODER.encode(record).decode()


def sort_out(rows: Iterable[tuple[str, str, str | bytes]]) -> tuple[list[Record], list[Quarantined]]:
    """The records of rows, and the rows that are none, each with the reason."""
    good: list[Record] = []
    bad: list[Quarantined] = []
    for kind, key, body in rows:
        decoder = _DECODERS.get(kind)
        if decoder is None:
            bad.append(_unfit(kind, key, body, "this release knows no such kind of record"))
            continue
        try:
            record: Record = decoder.decode(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            bad.append(_unfit(kind, key, body, str(error)))
            continue
        if record.key == key:
            good.append(record)
        else:
            bad.append(_unfit(kind, key, body, f"it calls itself '{record.key}'"))
    return good, bad


def _unfit(kind: str, key: str, body: str | bytes, reason: str) -> Quarantined:
    text = body if isinstance(body, str) else body.decode(errors="backslashreplace")
    return Quarantined(kind, key, text, reason)


def pick(
    reports: Iterable[ErrorReport],
    since_ms: int | None,
    to_ms: int | None,
    report_id: str | None,
    limit: int,
) -> tuple[ErrorReport, ...]:
    """The error reports that were asked for, newest first."""
    found = [
        report
        for report in reports
        if (since_ms is None or report.at_ms >= since_ms)
        and (to_ms is None or report.at_ms <= to_ms)
        and (report_id is None or report.id == report_id)
    ]
    found.sort(key=lambda report: (report.at_ms, report.id), reverse=True)
    return tuple(found[: max(limit, 0)])


def without_text(report: ErrorReport) -> ErrorReport:
    """The report without its text."""
    return msgspec.structs.replace(report, text="")
