"""`bollard encryption`: the master passphrase, typed or piped in, never an argument of another program."""

import argparse
import getpass
import sys

from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import Noun, Verb, arg

_PATH = "/v1/encryption/passphrase"


def ask(prompt: str, *, twice: bool = False) -> str:
    """A passphrase from the terminal, or a line of the standard input. Raises Stop."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass(f"{prompt}: ")
    if twice and getpass.getpass(f"{prompt} again: ") != first:
        raise Stop(Exit.USAGE, "Error: these are two different passphrases.")
    return first


def _create(context: Context, options: argparse.Namespace) -> int:
    new = options.passphrase if options.passphrase is not None else ask("Passphrase", twice=True)
    return context.do("POST", _PATH, {"new_passphrase": new})


def _enter(context: Context, options: argparse.Namespace) -> int:
    given = options.passphrase if options.passphrase is not None else ask("Passphrase")
    return context.do("PATCH", _PATH, given)


def _modify(context: Context, options: argparse.Namespace) -> int:
    old = options.old_passphrase if options.old_passphrase is not None else ask("Old passphrase")
    new = options.new_passphrase
    new = new if new is not None else ask("New passphrase", twice=True)
    return context.do("PUT", _PATH, {"old_passphrase": old, "new_passphrase": new})


def _status(context: Context, _options: argparse.Namespace) -> int:
    found = context.fetch(_PATH)
    if not context.raw(found):
        context.show.line(found["status"])
    return Exit.OK


_HELP = "better: leave it out and type it; others can read arguments"

NOUN = Noun(
    ("encryption", "e"),
    "the master passphrase of encrypted volumes",
    (
        Verb(("create-passphrase", "cp"), "set it, once", _create, (arg("-p", "--passphrase", help=_HELP),)),
        Verb(
            ("enter-passphrase", "ep"),
            "unlock the controller after a start",
            _enter,
            (arg("-p", "--passphrase", help=_HELP),),
        ),
        Verb(
            ("modify-passphrase", "mp"),
            "change it",
            _modify,
            (arg("--old-passphrase", help=_HELP), arg("--new-passphrase", help=_HELP)),
        ),
        Verb(("status", "s"), "unset, locked or unlocked", _status),
    ),
)
