"""Tokens for the API: make, change, revoke, and the rule that nobody locks himself out. Sees hashes only."""

import ipaddress
from datetime import UTC, datetime
from typing import assert_never

import msgspec

from bollard.domain import props
from bollard.domain.access import GIVEN_SCOPES, AuthToken, Scope
from bollard.domain.answers import Decision, Entry, Operation, Severity
from bollard.domain.cluster import Cluster
from bollard.domain.commands import CreateToken, ModifyToken, RevokeToken
from bollard.domain.errors import Conflict, Invalid, NotFound, Subject
from bollard.domain.ids import Key
from bollard.planning import entries
from bollard.planning.draft import Draft
from bollard.planning.world import World

__all__ = ["decide", "demanded", "require_admin"]

Commands = CreateToken | ModifyToken | RevokeToken
_DESCRIPTION_MAX = 256


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about tokens. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case CreateToken():
            return _create(command, draft)
        case ModifyToken():
            return _modify(command, draft)
        case RevokeToken():
            return _revoke(command, draft)
        case _:
            assert_never(command)


def demanded(cluster: Cluster) -> bool:
    """Whether every caller must bring a token."""
    return props.TOKEN_AUTH.truth(cluster.props())


def require_admin(cluster: Cluster, now_ms: int, instead: AuthToken | None = None) -> None:
    """Raises Conflict when nobody could administer a cluster that demands tokens.

    `instead` stands for the stored token of its number.
    """
    tokens = cluster.tokens | ({instead.key: instead} if instead is not None else {})
    if any(it.node is None and it.scope is Scope.ADMIN and it.usable(now_ms) for it in tokens.values()):
        return
    raise Conflict(
        Subject.CONTROLLER,
        "token",
        "Nobody could administer this cluster any more",
        cause="Tokens are demanded, and no usable one would have the scope 'admin'.",
        details="Nothing was changed.",
        correction="Create another token with the scope 'admin' first.",
    )


def _create(command: CreateToken, draft: Draft) -> Decision:
    settings = draft.cluster.settings
    assert settings is not None, "a cluster has settings from its first start on"
    if command.enable and demanded(draft.cluster):
        said = entries.warning(
            Operation.NONE,
            Subject.COMMAND,
            "Tokens are demanded already; nothing was changed",
            {},
            code="NO_EFFECT",
            correction="Create more tokens with POST /v1/controller/auth/token.",
        )
        return Decision(entries=(said,))
    number = 1 + max((token.number for token in draft.cluster.tokens.values()), default=0)
    made = AuthToken(
        number=number,
        digest=command.digest,
        description=_description(command.description),
        scope=_scope(command.scope),
        created_ms=draft.world.now_ms,
        expires_ms=_expiry(command.expires_at),
        ip_filter=_address(command.ip_filter),
        node=command.node,
    )
    draft.put(made)
    if command.enable:
        require_admin(draft.cluster, draft.world.now_ms, made)
        own = settings.props | {props.TOKEN_AUTH.key: "true"}
        draft.put(msgspec.structs.replace(settings, props=own))
    done = Entry(
        Severity.SUCCESS,
        Operation.NONE,
        Subject.COMMAND,
        f"Token {number} was created" + ("; from now on every call needs a token" if command.enable else ""),
        code="CREATED",
        details="The token is shown this once: keep it where only its user can read it.",
    )
    return Decision(changes=draft.changes(), entries=(done,))


def _modify(command: ModifyToken, draft: Draft) -> Decision:
    found = draft.get(AuthToken, "token", Key(str(command.number)))
    if found is None:
        raise _no_token(command.number)
    if found.deleted_ms is not None:
        raise Conflict(
            Subject.REQUEST,
            str(command.number),
            f"Token {command.number} is revoked",
            cause="A revoked token cannot be changed or used again.",
            correction="Create a new token.",
        )
    changed = msgspec.structs.replace(
        found,
        description=found.description if command.description is None else _description(command.description),
        ip_filter=found.ip_filter if command.ip_filter is None else _address(command.ip_filter),
        active=found.active if command.active is None else command.active,
        scope=found.scope if command.scope is None else _scope(command.scope),
    )
    if demanded(draft.cluster):
        require_admin(draft.cluster, draft.world.now_ms, changed)
    draft.put(changed)
    done = _done(f"Token {found.number} was changed", "MODIFIED")
    return Decision(changes=draft.changes(), entries=(done,))


def _revoke(command: RevokeToken, draft: Draft) -> Decision:
    found = draft.get(AuthToken, "token", Key(str(command.number)))
    if found is None or found.deleted_ms is not None:
        said = entries.not_there(Subject.COMMAND, f"There is no token {command.number} to revoke", {})
        return Decision(entries=(said,))
    revoked = msgspec.structs.replace(found, active=False, deleted_ms=draft.world.now_ms)
    if demanded(draft.cluster):
        require_admin(draft.cluster, draft.world.now_ms, revoked)
    draft.put(revoked)
    done = _done(f"Token {found.number} was revoked", "DELETED")
    return Decision(changes=draft.changes(), entries=(done,))


def _done(message: str, code: str) -> Entry:
    return Entry(Severity.SUCCESS, Operation.NONE, Subject.COMMAND, message, code=code)


def _no_token(number: int) -> NotFound:
    return NotFound(
        Subject.COMMAND,
        str(number),
        f"There is no token {number}",
        cause="No token was ever created with this number.",
        correction="Look at GET /v1/controller/auth/token.",
    )


def _description(text: str) -> str:
    if not text.strip() or len(text) > _DESCRIPTION_MAX:
        raise Invalid(
            Subject.CONTROLLER,
            text[:32],
            "A token needs a description",
            cause=f"It has 1 to {_DESCRIPTION_MAX} characters and says who uses the token.",
        )
    return text.strip()


def _scope(text: str) -> Scope:
    for scope in GIVEN_SCOPES:
        if text.lower() == scope:
            return scope
    raise Invalid(
        Subject.CONTROLLER,
        text[:32],
        f"'{text[:32]}' is not a scope of a token",
        correction="Use one of " + ", ".join(GIVEN_SCOPES) + ".",
    )


def _expiry(text: str | None) -> int | None:
    """Milliseconds since the epoch; a time without an offset is UTC, a date is its first moment."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            Subject.CONTROLLER,
            text[:32],
            f"'{text[:32]}' is not a date",
            correction="Give a date such as 2030-12-31.",
        ) from None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)


def _address(text: str | None) -> str | None:
    if not text:
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Invalid(
            Subject.CONTROLLER,
            text[:48],
            f"'{text[:48]}' is not an IP address",
            cause="A token is bound to one address, not to a network or a name.",
        ) from None
