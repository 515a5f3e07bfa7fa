"""Routes of error reports: what went wrong inside, for people."""

import re

from starlette.responses import Response

from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route, Scope
from bollard.controller.store.base import ErrorReport
from bollard.domain.answers import Entry, Operation, Severity
from bollard.domain.errors import Subject
from bollard.domain.ids import key_of
from bollard.wire.rest import answers
from bollard.wire.rest.keyvalues import ErrorReportDelete, ErrorReportView

_ALL = "/v1/error-reports"
_ONE = "/v1/error-reports/{reportid}"
_LIMIT = 1000
_FILE = re.compile(r"(?:ErrorReport-)?(.*?)(?:\.log)?")


def view_of(report: ErrorReport) -> ErrorReportView:
    """An error report as clients see it."""
    return ErrorReportView(
        error_time=report.at_ms,
        node_name=report.node,
        filename=f"ErrorReport-{report.id}.log",
        text=report.text,
        module=report.module,
        version=report.version,
        peer=report.peer,
        exception=report.exception,
        exception_message=report.message,
        origin_file=report.origin_file,
        origin_method=report.origin_method,
        origin_line=report.origin_line or None,
    )


async def list_reports(call: Call) -> Response:
    """Error reports, newest first."""
    limit = call.number("limit")
    wanted = call.keys("node")
    found = await call.api.store.reports(
        since_ms=call.number("since"),
        to_ms=call.number("to"),
        with_text=call.flag("withContent"),
        limit=limit if limit is not None and limit > 0 else _LIMIT,
    )
    return call.json([view_of(each) for each in found if wanted is None or key_of(each.node) in wanted])


async def show_report(call: Call) -> Response:
    """One error report, as a list of one; none for an id that there is not."""
    found = await call.api.store.reports(
        report_id=_id(call), with_text=call.flag("withContent", default=True)
    )
    return call.json([view_of(each) for each in found])


async def delete_report(call: Call) -> Response:
    """Drop one error report."""
    return _dropped(call, await call.api.store.delete_reports([_id(call)]))


async def delete_reports(call: Call) -> Response:
    """Drop error reports by what they are; without any condition none is dropped."""
    body: ErrorReportDelete = await call.body()
    if body == ErrorReportDelete():
        return _dropped(call, 0)
    nodes = {key_of(name) for name in body.nodes or ()}
    found = await call.api.store.reports(since_ms=body.since, to_ms=body.to)
    ids = [
        each.id
        for each in found
        if (not nodes or key_of(each.node) in nodes)
        and (body.exception is None or each.exception == body.exception)
        and (body.version is None or each.version == body.version)
        and (not body.ids or each.id in body.ids)
    ]
    return _dropped(call, await call.api.store.delete_reports(ids) if ids else 0)


def _id(call: Call) -> str:
    match = _FILE.fullmatch(call.names["reportid"])
    return match.group(1) if match else call.names["reportid"]


def _dropped(call: Call, count: int) -> Response:
    entry = Entry(
        severity=Severity.SUCCESS if count else Severity.INFO,
        operation=Operation.NONE,
        subject=Subject.ERROR_REPORT,
        message=f"{count} error reports deleted" if count else "No error report to delete",
        code="DELETED" if count else "NOOP",
    )
    return call.entries([answers.of_entry(entry, call.about, call.now_ms)])


ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        handler=list_reports,
        answer=list[ErrorReportView],
        query=("node", "since", "to", "withContent", "limit", "offset"),
    ),
    Route(
        method="PATCH",
        path=_ALL,
        handler=delete_reports,
        body=ErrorReportDelete,
        optional_body=True,
        scope=Scope.ADMIN,
    ),
    Route(method="GET", path=_ONE, handler=show_report, answer=list[ErrorReportView], query=("withContent",)),
    Route(method="DELETE", path=_ONE, handler=delete_report, scope=Scope.ADMIN),
)
