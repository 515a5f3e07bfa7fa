"""The verbs that set DRBD's options by name: each option is a property, `--unset-NAME` deletes it."""

import argparse
from collections.abc import Callable

from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import Arg, Verb, arg
from bollard.cli.sizes import parse_units
from bollard.domain.catalogue import drbd
from bollard.domain.catalogue.kinds import Kind, Property

__all__ = ["ALL", "OF_CONNECTIONS", "OF_VOLUMES", "options_verb"]

PathOf = Callable[[argparse.Namespace], str]
ALL = ("Disk", "Handlers", "Net", "PeerDevice", "Resource")
OF_CONNECTIONS = ("Net", "PeerDevice")
OF_VOLUMES = ("Disk",)
_ALSO_OF_VOLUMES = "DrbdOptions/PeerDevice/bitmap"
_UNIT_BYTES = {
    "block-size": 1, "discard-granularity": 1, "max-bio-size": 1, "rs-discard-granularity": 1,
    "rcvbuf-size": 1, "sndbuf-size": 1, "rdma-ctrl-rcvbuf-size": 1, "rdma-ctrl-sndbuf-size": 1,
    "c-fill-target": 512, "congestion-fill": 512, "peer-ack-window": 512,
    "c-max-rate": 1024, "c-min-rate": 1024, "resync-rate": 1024,
}  # fmt: skip
"""Options that take a size with a unit, and how many bytes one is in DRBD's own count."""


def _rows(sections: tuple[str, ...]) -> list[tuple[str, Property]]:
    """Option names and the properties they stand for, by name."""
    found = []
    for row in drbd.ROWS:
        _, section, name = row.key.split("/")
        if section in sections or (sections == OF_VOLUMES and row.key == _ALSO_OF_VOLUMES):
            found.append((_option(section, name), row))
    return sorted(found, key=lambda pair: pair[0])


def _option(section: str, name: str) -> str:
    if section == "Handlers":
        return f"handler-{name}"
    # `--timeout` is a global option already.
    return "drbd-timeout" if name == "timeout" else name


def _args(rows: list[tuple[str, Property]]) -> tuple[Arg, ...]:
    found = []
    for name, row in rows:
        choices: tuple[str, ...] | None = None
        if row.kind is Kind.SYMBOL:
            choices = tuple(row.values.split())
        elif row.kind is Kind.YES_NO:
            choices = ("yes", "no")
        kind = _value_of(name) if row.kind is Kind.RANGE else str
        text = f"{row.values.replace(' ', ' to ')}" if row.kind is Kind.RANGE else None
        shown = None if choices else name.upper().replace("-", "_")
        found.append(arg(f"--{name}", dest=row.key, choices=choices, type=kind, metavar=shown, help=text))
        found.append(
            arg(
                f"--unset-{name}",
                dest="unset_options",
                action="append_const",
                const=row.key,
                help=argparse.SUPPRESS,
            )
        )
    return tuple(found)


def _value_of(name: str) -> Callable[[str], str]:
    unit_bytes = _UNIT_BYTES.get(name)
    return str if unit_bytes is None else lambda text: str(parse_units(text, unit_bytes))


def options_verb(
    names: tuple[str, ...],
    path_of: PathOf,
    args: tuple[Arg, ...],
    sections: tuple[str, ...],
    *,
    method: str = "PUT",
) -> Verb:
    """The verb for the object whose names these arguments are."""
    rows = _rows(sections)

    def run(context: Context, options: argparse.Namespace) -> int:
        given = vars(options)
        override = {row.key: given[row.key] for _, row in rows if given.get(row.key) is not None}
        unset = options.unset_options or []
        if not override and not unset:
            raise Stop(Exit.USAGE, "Give at least one option, or --unset-OPTION.")
        body = {"override_props": override, "delete_props": unset}
        return context.do(method, path_of(options), body)

    return Verb(names, "set options of DRBD", run, (*args, *_args(rows)))
