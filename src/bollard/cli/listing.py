"""What all lists have in common: where the data comes from, more columns, groups, and defaults from files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import PASTABLE, Arg, arg
from bollard.cli.show import Cell
from bollard.client.rest import Query

__all__ = ["FROM_FILE", "GROUP_BY", "LIST", "SHOW_PROPS", "SHOW_PROPS_LONG", "items_of", "show_list"]

GROUP_BY = arg("-g", "--groupby", nargs="+", metavar="COLUMN", help="order by these columns, in groups")
SHOW_PROPS = arg("-s", "--show-props", nargs="+", metavar="KEY", help="a column for each of these properties")
SHOW_PROPS_LONG = arg("--show-props", nargs="+", metavar="KEY", help=SHOW_PROPS.options["help"])
FROM_FILE = arg(
    "--from-file", metavar="FILE", help="show what an earlier -m or API call has saved; - is stdin"
)
LIST: tuple[Arg, ...] = (PASTABLE, GROUP_BY, SHOW_PROPS)
"""What every list takes."""


def items_of(context: Context, options: argparse.Namespace, path: str, query: Query | None = None) -> Any:
    """The objects to list, from the controller or from the file that was given. Raises Stop."""
    name = getattr(options, "from_file", None)
    if name is None:
        return context.fetch(path, query)
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        found = msgspec.json.decode(data)
    except (OSError, msgspec.DecodeError) as error:
        raise Stop(Exit.USAGE, f"cannot read '{name}': {error}") from error
    # What -m prints is a list of replies, and each reply is a list.
    nested = isinstance(found, list) and len(found) == 1 and not _is_object(found[0])
    return found[0] if nested else found


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and "name" in value


def show_list(
    context: Context,
    options: argparse.Namespace,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    items: Sequence[dict[str, Any]],
) -> int:
    """The table of a list: `rows` are of `items`, one each. Raises Stop for a column that there is not."""
    assert len(rows) == len(items), (len(rows), len(items))
    more = list(getattr(options, "show_props", None) or ())
    shown: list[list[Cell]] = [
        [*row, *(str(item.get("props", {}).get(key, "")) for key in more)]
        for row, item in zip(rows, items, strict=True)
    ]
    heads = [*columns, *more]
    groups = getattr(options, "groupby", None) or []
    if not groups:
        context.show.table(heads, shown, pastable=options.pastable)
        return Exit.OK
    places = [_place(heads, name) for name in groups]

    def key(row: list[Cell]) -> tuple[str, ...]:
        return tuple(str(row[place]) for place in places)

    shown.sort(key=key)
    ends = {index for index in range(len(shown) - 1) if key(shown[index]) != key(shown[index + 1])}
    context.show.table(heads, shown, pastable=options.pastable, ends=ends)
    return Exit.OK


def _place(columns: Sequence[str], name: str) -> int:
    folded = [_folded(column) for column in columns]
    if _folded(name) not in folded:
        known = ", ".join(column.lower() for column in columns)
        raise Stop(Exit.USAGE, f"There is no column '{name}' to group by; there are: {known}")
    return folded.index(_folded(name))


def _folded(name: str) -> str:
    return name.lower().replace(" ", "")
