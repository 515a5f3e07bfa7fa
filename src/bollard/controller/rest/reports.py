"""Routes of error reports: what went wrong inside, for people."""

import asyncio
import logging
import re
from collections.abc import Iterable

import msgspec
from starlette.responses import Response

from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.controller.store.base import ErrorReport
from bollard.domain.answers import Entry, Operation, Severity
from bollard.domain.errors import DomainError, Subject
from bollard.domain.ids import key_of
from bollard.wire.rest import answers
from bollard.wire.rest.keyvalues import ErrorReportDelete, ErrorReportView

_ALL = "/v1/error-reports"
_ONE = "/v1/error-reports/{reportid}"
_LIMIT = 1000
_ANSWER_S = 3.0
_log = logging.getLogger(__name__)
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
    """Error reports of the controller and of all nodes that are online, newest first."""
    wanted_limit = call.number("limit")
    limit = wanted_limit if wanted_limit is not None and wanted_limit > 0 else _LIMIT
    wanted, since_ms, to_ms = call.keys("node"), call.number("since"), call.number("to")
    with_text = call.flag("withContent")
    own = await call.api.store.reports(since_ms=since_ms, to_ms=to_ms, with_text=with_text, limit=limit)
    theirs = await of_nodes(call, {"since_ms": str(since_ms or 0), "limit": str(limit)})
    found = [
        each if with_text else msgspec.structs.replace(each, text="")
        for each in (*own, *theirs)
        if (wanted is None or key_of(each.node) in wanted) and (to_ms is None or each.at_ms <= to_ms)
    ]
    found.sort(key=lambda each: -each.at_ms)
    return call.json([view_of(each) for each in found[:limit]])


async def show_report(call: Call) -> Response:
    """One error report, as a list of one; none for an id that there is not."""
    with_text = call.flag("withContent", default=True)
    found = await call.api.store.reports(report_id=_id(call), with_text=with_text)
    return call.json([view_of(each) for each in found or await of_nodes(call, {"id": _id(call)})])


class _OfNode(msgspec.Struct, frozen=True):
    """An error report as a satellite tells it."""

    id: str
    time_ms: int
    message: str
    text: str


async def of_nodes(call: Call, arguments: dict[str, str]) -> list[ErrorReport]:
    """What the nodes that are online have; a node that does not answer in time has none."""
    return [
        each
        for found in await asyncio.gather(*(_of_node(call, name, arguments) for name in _online(call)))
        for each in found
    ]


async def _of_node(call: Call, name: str, arguments: dict[str, str]) -> list[ErrorReport]:
    try:
        async with asyncio.timeout(_ANSWER_S):
            answer = await call.api.service.ask(name, "error-reports", arguments)
        found = msgspec.json.decode(answer, type=list[_OfNode])
    except (DomainError, TimeoutError, msgspec.MsgspecError) as error:
        _log.warning("no error reports from %s: %s", name, error)
        return []
    return [
        ErrorReport(
            id=each.id,
            at_ms=each.time_ms,
            node=name,
            module="SATELLITE",
            message=each.message,
            text=each.text,
        )
        for each in found
    ]


async def delete_report(call: Call) -> Response:
    """Drop one error report, wherever it is."""
    report_id = _id(call)
    count = await call.api.store.delete_reports([report_id])
    if count:
        return _dropped(call, count)
    for node in _online(call):
        if await _delete_there(call, node, [report_id]):
            call.refer(Node=node)
            return _dropped(call, 1)
    return _dropped(call, 0)


async def delete_reports(call: Call) -> Response:
    """Drop error reports by what they are; without any condition none is dropped."""
    body: ErrorReportDelete = await call.body()
    if body == ErrorReportDelete():
        return _dropped(call, 0)
    nodes = {key_of(name) for name in body.nodes or ()}

    def named(found: Iterable[ErrorReport]) -> list[str]:
        return [
            each.id
            for each in found
            if (not nodes or key_of(each.node) in nodes)
            and (body.since is None or each.at_ms >= body.since)
            and (body.to is None or each.at_ms <= body.to)
            and (body.exception is None or each.exception == body.exception)
            and (body.version is None or each.version == body.version)
            and (not body.ids or each.id in body.ids)
        ]

    ids = named(await call.api.store.reports(since_ms=body.since, to_ms=body.to))
    count = await call.api.store.delete_reports(ids) if ids else 0
    by_node: dict[str, list[ErrorReport]] = {}
    for each in await of_nodes(call, {"since_ms": str(body.since or 0)}):
        by_node.setdefault(each.node, []).append(each)
    for node, found in by_node.items():
        wanted = named(found)
        count += await _delete_there(call, node, wanted) if wanted else 0
    return _dropped(call, count)


def _online(call: Call) -> list[str]:
    service = call.api.service
    return [node.name for key, node in service.cluster.nodes.items() if service.observed.node(key).online]


async def _delete_there(call: Call, node: str, ids: list[str]) -> int:
    """How many of these a node had; none if it does not answer."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            answer = await call.api.service.ask(node, "delete-error-reports", {"ids": ",".join(ids)})
        return msgspec.json.decode(answer, type=_Count).count
    except (DomainError, TimeoutError, msgspec.MsgspecError) as error:
        _log.warning("no error reports deleted on %s: %s", node, error)
        return 0


class _Count(msgspec.Struct, frozen=True):
    """How many a satellite has deleted."""

    count: int


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
    ),
    Route(method="GET", path=_ONE, handler=show_report, answer=list[ErrorReportView], query=("withContent",)),
    Route(method="DELETE", path=_ONE, handler=delete_report),
)
