"""`bollard key-value-store`: free properties for clients."""

import argparse

from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.client.rest import path_of

_INSTANCE = arg("instance")


def _list(context: Context, options: argparse.Namespace) -> int:
    found = context.fetch("/v1/key-value-store")
    if not context.raw(found):
        context.show.table(("Name",), [(item["name"],) for item in found], pastable=options.pastable)
    return Exit.OK


def _show(context: Context, options: argparse.Namespace) -> int:
    found = context.fetch(path_of("key-value-store", options.instance))
    if not context.raw(found):
        rows = [row for item in found for row in sorted(item.get("props", {}).items())]
        context.show.table(("Key", "Value"), rows, pastable=options.pastable)
    return Exit.OK


def _modify(context: Context, options: argparse.Namespace) -> int:
    if options.value is None:
        body: dict[str, object] = {"delete_props": [options.key]}
    else:
        body = {"override_props": {options.key: options.value}}
    return context.do("PUT", path_of("key-value-store", options.instance), body)


NOUN = Noun(
    ("key-value-store", "kv"),
    "free properties for clients",
    (
        Verb(("list", "l"), "show stores", _list, (PASTABLE,)),
        Verb(("show", "s"), "show one store", _show, (_INSTANCE, PASTABLE)),
        Verb(
            ("modify", "m"),
            "set a key; without a value: delete it",
            _modify,
            (_INSTANCE, arg("key"), arg("value", nargs="?")),
        ),
    ),
)
