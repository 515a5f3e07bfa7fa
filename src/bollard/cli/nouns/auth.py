"""`bollard controller auth` and `bollard token`: who may use the API."""

import argparse
from typing import Any

from rich.text import Text

from bollard.cli import keys
from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.client.rest import path_of

_TOKENS = "/v1/controller/auth/token"
_SCOPES = ("viewer", "operator", "admin")


def _init(context: Context, options: argparse.Namespace) -> int:
    body = {
        "description": options.description,
        "no_https": options.no_https,
        "only_satellites": options.only_satellites,
    }
    path = "/v1/controller/auth/initialize-token-auth"
    return _with_token(context, path, body, save=not options.do_not_save_token)


def _create(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {"description": options.description, "scope": options.scope}
    if options.ip_filter is not None:
        body["ip_filter"] = options.ip_filter
    if options.expires_at is not None:
        body["expires_at"] = options.expires_at
    return _with_token(context, _TOKENS, body, save=options.save_token)


def _with_token(context: Context, path: str, body: dict[str, Any], *, save: bool) -> int:
    """A call whose answer holds a token: shown once, and kept when that is asked for."""
    if context.options.curl:
        return context.do("POST", path, body)
    reply = context.client.post(path, body)
    code = context.answer(reply)
    made = [entry["obj_refs"]["token"] for entry in reply.entries() if "token" in entry.get("obj_refs", {})]
    for token in made:
        if not context.options.machine_readable:
            context.show.line(token)
        if save:
            context.show.error(f"The token is kept in {keys.save(token)}.")
    return code


def _list(context: Context, options: argparse.Namespace) -> int:
    found = context.fetch(_TOKENS)
    if context.raw(found):
        return Exit.OK
    rows = []
    for token in found.get("list", ()):
        if not token["is_user_token"] and not options.all:
            continue
        state = Text("ok", "green")
        if token.get("deleted_at"):
            state = Text("revoked", "red")
        elif not token["is_active"]:
            state = Text("resting", "yellow")
        rows.append(
            (
                str(token["id"]),
                token["description"],
                token.get("scope", "admin"),
                token.get("ip_filter", ""),
                token.get("expires_at", ""),
                token["created_at"],
                state,
            )
        )
    columns = ("Id", "Description", "Scope", "IP", "Expires", "Created", "State")
    context.show.table(columns, rows, pastable=options.pastable)
    return Exit.OK


def _modify(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {}
    if options.description is not None:
        body["description"] = options.description
    if options.ip_filter is not None:
        body["ip_filter"] = options.ip_filter
    if options.active is not None:
        body["is_active"] = options.active == "true"
    if options.scope is not None:
        body["scope"] = options.scope
    return context.do("PUT", path_of("controller", "auth", "token", options.id), body)


def _delete(context: Context, options: argparse.Namespace) -> int:
    return context.do("DELETE", path_of("controller", "auth", "token", options.id))


VERBS: tuple[Verb | Noun, ...] = (
    Verb(
        ("init",),
        "demand tokens from now on; prints the first one and keeps it for this user",
        _init,
        (
            arg("description", nargs="?", default="init-client"),
            arg("--no-https", action="store_true", help="do not serve the API under TLS"),
            arg("--only-satellites", action="store_true", help="only give every node a fresh token"),
            arg("--do-not-save-token", action="store_true"),
        ),
    ),
    Verb(
        ("create", "c"),
        "make a token; it is shown this once",
        _create,
        (
            arg("description", help="who uses it"),
            arg("--scope", choices=_SCOPES, default="operator", help="what it may do (default operator)"),
            arg("--ip-filter", metavar="ADDRESS", help="the one address it works from"),
            arg("--expires-at", metavar="DATE"),
            arg("--save-token", action="store_true", help="keep it for this user"),
        ),
    ),
    Verb(
        ("list", "l"),
        "show tokens, without what they are",
        _list,
        (PASTABLE, arg("--all", action="store_true", help="those of nodes too")),
    ),
    Verb(
        ("modify", "m"),
        "change a token",
        _modify,
        (
            arg("id", type=int),
            arg("--description"),
            arg("--active", choices=("true", "false")),
            arg("--ip-filter", metavar="ADDRESS", help="empty: any address"),
            arg("--scope", choices=_SCOPES),
        ),
    ),
    Verb(("delete", "d", "revoke"), "revoke a token for good", _delete, (arg("id", type=int),)),
)
AUTH = Noun(("auth",), "tokens of the API", VERBS)
TOKEN = Noun(("token",), "tokens of the API", VERBS)
