"""Who may do what: scopes in order, and the records of tokens. Knows no hash function and no clock."""

from enum import StrEnum

import msgspec

from bollard.domain.ids import Key


class Scope(StrEnum):
    """Who may use a route; each includes the ones before it."""

    OPEN = "open"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: "Scope") -> bool:
        """Whether who has this scope may do what needs the other."""
        return _ORDER.index(self) >= _ORDER.index(other)


_ORDER = tuple(Scope)
GIVEN_SCOPES = (Scope.VIEWER, Scope.OPERATOR, Scope.ADMIN)
"""What a token or a certificate can be given."""


class AuthToken(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="token"):
    """A token for the API: only its hash is kept. It is never removed: its number stays its own."""

    number: int
    digest: str
    """SHA-256 of the token, 64 hex digits. A token has 190 random bits: nothing slower is needed."""
    description: str
    scope: Scope = Scope.ADMIN
    created_ms: int = 0
    expires_ms: int | None = None
    ip_filter: str | None = None
    """The one address it may come from, as `ipaddress` writes it; None: any."""
    active: bool = True
    deleted_ms: int | None = None
    node: str | None = None
    """The node that it was made for; None: for a person or a program."""

    @property
    def key(self) -> Key:
        """The store key."""
        return Key(str(self.number))

    def usable(self, now_ms: int) -> bool:
        """Whether it opens anything at this time."""
        alive = self.active and self.deleted_ms is None
        return alive and (self.expires_ms is None or now_ms < self.expires_ms)
