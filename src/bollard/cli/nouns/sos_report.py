"""`bollard sos-report`: all that support needs, in one file, without secrets."""

import argparse
from pathlib import Path

from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import Arg, Noun, Verb, arg
from bollard.cli.times import WHEN, ms_of

_PATH = "/v1/sos-report"
_ARGS: tuple[Arg, ...] = (
    arg("-s", "--since", help=WHEN + " (default: 7 days)"),
    arg("-n", "--nodes", nargs="+", names_of="nodes"),
    arg("-r", "--resources", nargs="+", names_of="resource-definitions"),
    arg("-e", "--exclude-nodes", nargs="+", names_of="nodes"),
    arg("--no-controller", action="store_true"),
)


def _query(options: argparse.Namespace) -> dict[str, object]:
    return {
        "since": ms_of(options.since),
        "nodes": options.nodes,
        "rscs": options.resources,
        "exclude": options.exclude_nodes,
        "include-ctrl": not options.no_controller,
    }


def _create(context: Context, options: argparse.Namespace) -> int:
    return context.do("GET", _PATH, query=_query(options))


def _download(context: Context, options: argparse.Namespace) -> int:
    path, query = _PATH + "/download", _query(options)
    if context.options.curl:
        context.show.line(context.client.curl("GET", path, query=query))
        return Exit.OK
    reply, name, content = context.client.download(path, query)
    if not reply.ok:
        return context.answer(reply)
    where = Path(options.path) if options.path else Path(name)
    where = where / name if where.is_dir() else where
    try:
        where.touch(mode=0o600)
        where.write_bytes(content)
    except OSError as error:
        raise Stop(Exit.UNKNOWN, f"Error: {where} cannot be written: {error.strerror}") from error
    if not context.raw({"path": str(where)}):
        context.show.line(str(where))
    return Exit.OK


NOUN = Noun(
    ("sos-report", "sos"),
    "all that support needs, in one file",
    (
        Verb(("create", "c"), "make it on the controller's machine", _create, _ARGS),
        Verb(
            ("download", "dl"),
            "make it and keep it here",
            _download,
            (*_ARGS, arg("path", nargs="?", help="file or folder (default: the working directory)")),
        ),
    ),
)
