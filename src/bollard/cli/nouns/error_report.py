"""`bollard error-reports`: what went wrong inside, with all that is known of it."""

import argparse
from datetime import UTC, datetime
from typing import Any

from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.cli.times import WHEN, ms_of
from bollard.client.rest import path_of


def _list(context: Context, options: argparse.Namespace) -> int:
    query = {
        "node": options.nodes,
        "since": ms_of(options.since),
        "to": ms_of(options.to),
        "withContent": True if options.full else None,
    }
    reports = context.fetch("/v1/error-reports", query)
    if options.report_id:
        wanted = {name.removeprefix("ErrorReport-").removesuffix(".log") for name in options.report_id}
        reports = [report for report in reports if _id_of(report) in wanted]
    if context.raw(reports):
        return Exit.OK
    rows = [
        (
            _id_of(report),
            datetime.fromtimestamp(report["error_time"] / 1000, UTC)
            .astimezone()
            .strftime("%Y-%m-%d %H:%M:%S"),
            f"{report.get('module', '')[:1]}|{report.get('node_name', '')}",
            f"{report.get('exception', '')}: {report.get('exception_message', '')}",
            *((_origin(report), report.get("version", "")) if options.full else ()),
        )
        for report in reports
    ]
    more = ("Location", "Version") if options.full else ()
    context.show.table(("Id", "Datetime", "Node", "Exception", *more), rows, pastable=options.pastable)
    return Exit.OK


def _id_of(report: dict[str, Any]) -> str:
    name: str = report.get("filename", "")
    return name.removeprefix("ErrorReport-").removesuffix(".log")


def _origin(report: dict[str, Any]) -> str:
    place = ":".join(str(report[key]) for key in ("origin_file", "origin_line") if report.get(key))
    method = report.get("origin_method", "")
    return f"{method} ({place})" if method and place else method or place


def _show(context: Context, options: argparse.Namespace) -> int:
    for report_id in options.report_id:
        found = context.fetch(path_of("error-reports", report_id))
        if not context.raw(found):
            for report in found:
                context.show.line(report.get("text", ""))
    return Exit.OK


def _delete(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, object] = {"ids": options.id}
    if options.nodes:
        body["nodes"] = options.nodes
    for name in ("since", "to"):
        if (moment := ms_of(getattr(options, name))) is not None:
            body[name] = moment
    if options.exception is not None:
        body["exception"] = options.exception
    return context.do("PATCH", "/v1/error-reports", body)


NOUN = Noun(
    ("error-reports", "err"),
    "what went wrong inside",
    (
        Verb(
            ("list", "l"),
            "show reports",
            _list,
            (
                PASTABLE,
                arg("-n", "--nodes", nargs="+", names_of="nodes"),
                arg("-s", "--since", metavar="TIME", help=WHEN),
                arg("-t", "--to", metavar="TIME", help=WHEN),
                arg("-f", "--full", action="store_true", help="with place and version"),
                arg("--report-id", nargs="+"),
            ),
        ),
        Verb(("show", "s"), "show whole reports", _show, (arg("report_id", nargs="+"),)),
        Verb(
            ("delete", "d"),
            "delete reports",
            _delete,
            (
                arg("--nodes", nargs="+"),
                arg("--since", metavar="TIME", help=WHEN),
                arg("--to", metavar="TIME", help=WHEN),
                arg("--exception"),
                arg("id", nargs="*"),
            ),
        ),
    ),
)
