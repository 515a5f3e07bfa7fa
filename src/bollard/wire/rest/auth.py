"""Tokens as clients see them: never the token itself, but in the answer to its making."""

import msgspec

from bollard.domain.access import AuthToken
from bollard.domain.commands import CreateToken, ModifyToken
from bollard.wire.rest.answers import iso
from bollard.wire.rest.bodies import Body


class TokenView(msgspec.Struct, frozen=True):
    """A token."""

    id: int
    created_at: str
    is_active: bool
    description: str
    is_user_token: bool
    scope: str
    """Ours: viewer, operator or admin."""
    deleted_at: str | msgspec.UnsetType = msgspec.UNSET
    expires_at: str | msgspec.UnsetType = msgspec.UNSET
    ip_filter: str | msgspec.UnsetType = msgspec.UNSET


class TokenList(msgspec.Struct, frozen=True, omit_defaults=True):
    """All tokens, revoked ones too."""

    count: int
    list: tuple[TokenView, ...] = ()


class TokenCreate(Body, frozen=True, kw_only=True):
    """The body that makes a token."""

    description: str | None = None
    expires_at: str | None = None
    ip_filter: str | None = None
    scope: str | None = None
    """Ours; admin if it is left out, which is what LINSTOR's tokens are."""

    def command(self, digest: str) -> CreateToken:
        """The command for a token with this hash."""
        return CreateToken(
            digest=digest,
            description=self.description or "",
            scope=self.scope or "admin",
            expires_at=self.expires_at,
            ip_filter=self.ip_filter,
        )


class TokenModify(Body, frozen=True, kw_only=True):
    """The body that changes a token."""

    description: str | None = None
    ip_filter: str | None = None
    is_active: bool | None = None
    scope: str | None = None

    def command(self, number: int) -> ModifyToken:
        """The command for this token."""
        return ModifyToken(
            number=number,
            description=self.description,
            ip_filter=self.ip_filter,
            active=self.is_active,
            scope=self.scope,
        )


class TokenAuthInit(Body, frozen=True, kw_only=True):
    """The body with which tokens are demanded from then on."""

    only_satellites: bool | None = None
    description: str | None = None
    no_https: bool | None = None


def token_view(token: AuthToken) -> TokenView:
    """A token as clients see it."""
    unset = msgspec.UNSET
    return TokenView(
        id=token.number,
        created_at=iso(token.created_ms),
        is_active=token.active,
        description=token.description,
        is_user_token=token.node is None,
        scope=token.scope,
        deleted_at=unset if token.deleted_ms is None else iso(token.deleted_ms),
        expires_at=unset if token.expires_ms is None else iso(token.expires_ms).replace("+00:00", "Z"),
        ip_filter=token.ip_filter or unset,
    )
