"""`bollard file`: files of other programs that the cluster keeps and nodes write."""

import argparse
import base64
import sys
from pathlib import Path

from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.client.rest import path_of

_NAME = arg("file_name", help="absolute path")
_RESOURCE = arg("resource_name", names_of="resource-definitions")


def _list(context: Context, options: argparse.Namespace) -> int:
    found = context.fetch("/v1/files")
    if not context.raw(found):
        context.show.table(("Path",), [(item["path"],) for item in found], pastable=options.pastable)
    return Exit.OK


def _show(context: Context, options: argparse.Namespace) -> int:
    found = context.fetch(path_of("files", options.file_name))
    if not context.raw(found):
        text = base64.b64decode(found.get("content", "")).decode("utf-8", "replace")
        context.show.line(text.removesuffix("\n"))
    return Exit.OK


def _modify(context: Context, options: argparse.Namespace) -> int:
    try:
        content = Path(options.source).read_bytes() if options.source else sys.stdin.buffer.read()
    except OSError as error:
        raise Stop(Exit.USAGE, f"Error: {options.source} cannot be read: {error.strerror}") from error
    body: dict[str, object] = {
        "path": options.file_name,
        "content": base64.b64encode(content).decode(),
    }
    if options.alt_suffix:
        body["alt_suffixes"] = options.alt_suffix
    return context.do("PUT", path_of("files", options.file_name), body)


def _delete(context: Context, options: argparse.Namespace) -> int:
    return context.do("DELETE", path_of("files", options.file_name))


def _deploy(context: Context, options: argparse.Namespace) -> int:
    return context.do("POST", _attached(options))


def _undeploy(context: Context, options: argparse.Namespace) -> int:
    return context.do("DELETE", _attached(options))


def _attached(options: argparse.Namespace) -> str:
    return path_of("resource-definitions", options.resource_name, "files", options.file_name)


NOUN = Noun(
    ("file", "f"),
    "files that nodes write for other programs",
    (
        Verb(("list", "l"), "show files", _list, (PASTABLE,)),
        Verb(("show", "s"), "print a file", _show, (_NAME,)),
        Verb(
            ("modify", "m"),
            "make or replace a file with what comes on the standard input",
            _modify,
            (
                _NAME,
                arg("--from", dest="source", metavar="FILE", help="instead of the standard input"),
                arg("--alt-suffix", action="append", help="a variant that is written where it is there"),
            ),
        ),
        Verb(("delete", "d"), "remove a file, from nodes too", _delete, (_NAME,)),
        Verb(("deploy", "dep"), "let the nodes of a resource have it", _deploy, (_NAME, _RESOURCE)),
        Verb(("undeploy", "und"), "let them have it no more", _undeploy, (_NAME, _RESOURCE)),
    ),
)
