"""`bollard error-reports`: what went wrong inside, with all that is known of it."""

import argparse
from datetime import UTC, datetime

from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.client.rest import path_of


def _list(context: Context, options: argparse.Namespace) -> int:
    reports = context.fetch("/v1/error-reports", {"node": options.nodes})
    if context.raw(reports):
        return Exit.OK
    rows = [
        (
            report.get("filename", "").removeprefix("ErrorReport-").removesuffix(".log"),
            datetime.fromtimestamp(report["error_time"] / 1000, UTC)
            .astimezone()
            .strftime("%Y-%m-%d %H:%M:%S"),
            f"{report.get('module', '')[:1]}|{report.get('node_name', '')}",
            f"{report.get('exception', '')}: {report.get('exception_message', '')}",
        )
        for report in reports
    ]
    context.show.table(("Id", "Datetime", "Node", "Exception"), rows, pastable=options.pastable)
    return Exit.OK


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
    return context.do("PATCH", "/v1/error-reports", body)


NOUN = Noun(
    ("error-reports", "err"),
    "what went wrong inside",
    (
        Verb(
            ("list", "l"),
            "show reports",
            _list,
            (PASTABLE, arg("-n", "--nodes", nargs="+", names_of="nodes")),
        ),
        Verb(("show", "s"), "show whole reports", _show, (arg("report_id", nargs="+"),)),
        Verb(("delete", "d"), "delete reports", _delete, (arg("--nodes", nargs="+"), arg("id", nargs="*"))),
    ),
)
