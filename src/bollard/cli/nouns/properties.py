"""The property commands that every noun has, and the tables that show properties."""

import argparse
from collections.abc import Callable

from bollard.cli.context import Context
from bollard.cli.grammar import PASTABLE, Arg, Verb, arg
from bollard.cli.listing import FROM_FILE, items_of
from bollard.client.rest import Query

PathOf = Callable[[argparse.Namespace], str]
ReadFrom = Callable[[argparse.Namespace], tuple[str, Query]]


def property_verbs(
    path_of: PathOf, names: tuple[Arg, ...], *, method: str = "PUT", read_from: ReadFrom | None = None
) -> tuple[Verb, ...]:
    """`list-properties` and `set-property` for the object whose names these arguments are.

    `read_from`: path and query of a list that has it as its only item, where it cannot be read alone.
    """

    def list_properties(context: Context, options: argparse.Namespace) -> int:
        path, query = (path_of(options), None) if read_from is None else read_from(options)
        data = items_of(context, options, path, query)
        if read_from is not None:
            data = data[0] if data else {}
        props = data.get("props", {}) if method == "PUT" and isinstance(data, dict) else data
        if not context.raw(props):
            rows = [(key, str(value)) for key, value in sorted((props or {}).items())]
            context.show.table(("Key", "Value"), rows, pastable=options.pastable)
        return 0

    def set_property(context: Context, options: argparse.Namespace) -> int:
        key = f"Aux/{options.key}" if options.aux else options.key
        if options.value is None:
            body: dict[str, object] = {"delete_props": [key]}
        else:
            body = {"override_props": {key: options.value}}
        return context.do(method, path_of(options), body)

    return (
        Verb(("list-properties", "lp"), "show properties", list_properties, (PASTABLE, FROM_FILE, *names)),
        Verb(
            ("set-property", "sp"),
            "set a property; without a value: delete it",
            set_property,
            (
                *names,
                arg("--aux", action="store_true", help="put Aux/ before the key"),
                arg("key"),
                arg("value", nargs="?"),
            ),
        ),
    )


def props_filter(options: argparse.Namespace) -> list[str] | None:
    """The `--props` filter as the API takes it."""
    return list(options.props) if getattr(options, "props", None) else None
