"""`bollard resource create-transactional`: at the prompt, several creates that are sent as one."""

import argparse

from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import Noun, Verb, arg
from bollard.cli.session import Session
from bollard.client.rest import path_of

__all__ = ["NOUN", "refuse_others"]


def refuse_others(session: Session | None, options: argparse.Namespace) -> None:
    """Raises Stop for a command that has no place in an open transaction."""
    if session is not None and session.collecting and not getattr(options, "in_transaction", False):
        raise Stop(
            Exit.ILLEGAL_STATE,
            "A transaction is open: create resources, then 'resource create-transactional commit' or abort.",
        )


def _session(context: Context, *, collecting: bool) -> Session:
    session = context.session
    if session is None:
        raise Stop(Exit.ILLEGAL_STATE, "Transactions are for the prompt: start bollard without a command.")
    if session.collecting is not collecting:
        state = "open already" if session.collecting else "not open"
        raise Stop(Exit.ILLEGAL_STATE, f"A transaction is {state}.")
    return session


def _begin(context: Context, options: argparse.Namespace) -> int:
    _session(context, collecting=False).begin(ends_on_error=options.terminate_on_error)
    return Exit.OK


def _abort(context: Context, _options: argparse.Namespace) -> int:
    _session(context, collecting=True).end()
    return Exit.OK


def _commit(context: Context, _options: argparse.Namespace) -> int:
    pending = _session(context, collecting=True).end()
    codes = [
        context.do("POST", path_of("resource-definitions", name, "resources"), bodies)
        for name, bodies in pending.items()
    ]
    return max(codes, default=Exit.OK)


NOUN = Noun(
    ("create-transactional", "ct"),
    "create several resources in one go, at the prompt",
    (
        Verb(
            ("begin", "b"),
            "put off the creates that follow",
            _begin,
            (arg("--terminate-on-error", action="store_true", help="abort when a command fails"),),
            in_transaction=True,
        ),
        Verb(("abort", "a"), "forget what was put off", _abort, in_transaction=True),
        Verb(
            ("commit", "c"),
            "create all that was put off",
            _commit,
            (arg("--async", action="store_true"),),
            in_transaction=True,
        ),
    ),
)
