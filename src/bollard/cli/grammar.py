"""Nouns, verbs and arguments as data; the parser, the help and the completion are made from them."""

import argparse
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from bollard.cli.context import Context

Run = Callable[["Context", argparse.Namespace], int]


class Arg(msgspec.Struct, frozen=True):
    """One argument: its names and what argparse is told of it. `names_of` says what completes it."""

    names: tuple[str, ...]
    options: dict[str, Any]
    names_of: str = ""


class Verb(msgspec.Struct, frozen=True):
    """One command: long name first, then its aliases."""

    names: tuple[str, ...]
    help: str
    run: Run
    args: tuple[Arg, ...] = ()
    in_transaction: bool = False
    """Whether it has a place among creates that are put off."""


class Noun(msgspec.Struct, frozen=True):
    """A group of commands, possibly with groups in it."""

    names: tuple[str, ...]
    help: str
    verbs: tuple["Verb | Noun", ...] = ()


def arg(*names: str, names_of: str = "", **options: Any) -> Arg:
    """Shorthand for a table's row."""
    return Arg(names, options, names_of)


PASTABLE = arg("-p", "--pastable", action="store_true", help="plain ASCII table")


class _Parser(argparse.ArgumentParser):
    """argparse without abbreviated options: an alias is only what the table lists."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)


def build_parser(
    nouns: Sequence[Noun | Verb], prog: str, description: str, words: Container[str] | None = None
) -> argparse.ArgumentParser:
    """The parser for these commands; the chosen verb's `run` is in the namespace.

    With `words`, the command line that is to be parsed, what it does not name is left without its arguments:
    there are thousands.
    """
    parser = _Parser(prog=prog, description=description)
    _add(parser, nouns, words)
    return parser


def _add(
    parser: argparse.ArgumentParser,
    items: Sequence[Noun | Verb],
    words: Container[str] | None,
    above: str = "",
) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", dest="command")
    commands.required = True
    for item in items:
        name, *aliases = item.names
        short = f"{item.help} (alias {', '.join(aliases)})" if aliases else item.help
        child = commands.add_parser(name, aliases=aliases, help=short, description=item.help)
        if words is not None and not any(one in words for one in item.names):
            continue
        if isinstance(item, Noun):
            _add(child, item.verbs, words, name)
        else:
            for row in item.args:
                child.add_argument(*row.names, **row.options)
            section = f"{above}.list" if name == "list" else ""
            child.set_defaults(run=item.run, in_transaction=item.in_transaction, section=section)
