"""Who may use the API: this machine until tokens are demanded, then whoever brings a token or a certificate.

It closes on doubt: what it cannot check is refused. Everyone may join and ask for health.
"""

import hashlib
import ipaddress
from collections.abc import Callable
from typing import Final, Protocol

from bollard.controller.rest.api import Guard, Identity, Narrow, SignIn, TooMany, Visitor
from bollard.controller.rest.limits import Buckets
from bollard.domain.access import AuthToken, Scope
from bollard.domain.cluster import Cluster
from bollard.domain.errors import Denied, Subject
from bollard.domain.ids import key_of
from bollard.domain.ports import Clock
from bollard.planning.decide.tokens import demanded

FAILURES_PER_S: Final = 5.0
FAILURES_BURST: Final = 30
_BEARER_MAX: Final = 512
ANYONE: Final = Identity("anyone", Scope.OPEN)


class Certificates(Protocol):
    """Who a client certificate is for."""

    def client(self, certificate: bytes, now_ms: int) -> tuple[str, Scope] | None:
        """Name and scope of a certificate (DER, verified by TLS); None: it is no client's, or revoked."""


class LocalGuard:
    """Admits callers of this machine; from elsewhere only to routes that are open to everyone."""

    async def admit(self, visitor: Visitor, needs: Scope) -> Identity:
        """See Guard."""
        if needs is Scope.OPEN:
            return ANYONE
        if _is_here(visitor.peer):
            return Identity("local", Scope.ADMIN)
        raise Denied(
            Subject.COMMAND,
            visitor.peer,
            "This controller takes commands from its own machine only",
            cause=f"The request comes from {visitor.peer} and brings no token.",
            correction="Run the command there, bring a token (bollard controller auth create), or, where the "
            "network itself keeps strangers out, start the controller with --open-api.",
        )

    async def stays(self, visitor: Visitor, needs: Scope) -> bool:
        """See Guard."""
        return needs is Scope.OPEN or _is_here(visitor.peer)


class KeyGuard:
    """Admits those with a key for what the route needs; those without one are left to another guard.

    That one is not asked any more once tokens are demanded.
    """

    def __init__(
        self,
        without_key: Guard,
        cluster: Callable[[], Cluster],
        clock: Clock,
        *,
        calls: Buckets | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._without_key = without_key
        self._cluster = cluster
        self._clock = clock
        self._calls = calls
        self._failures = Buckets(FAILURES_PER_S, FAILURES_BURST)
        self._certificates = certificates

    async def admit(self, visitor: Visitor, needs: Scope) -> Identity:
        """See Guard."""
        if needs is Scope.OPEN:
            return ANYONE
        found = keyed = self._by_certificate(visitor) or self._by_token(visitor)
        if found is None and demanded(self._cluster()):
            raise self._refusal(visitor)
        if found is None:
            found = await self._without_key.admit(visitor, needs)
        if not found.scope.includes(needs):
            raise Narrow(
                Subject.COMMAND,
                found.name,
                f"'{found.name}' may not do this",
                cause=f"It has the scope '{found.scope}'; '{needs}' is needed.",
                correction="Ask an administrator for a token with that scope.",
            )
        if self._calls is not None and keyed is not None:
            wait_s = self._calls.take(found.name, self._clock.monotonic_s())
            if wait_s:
                raise _too_many(found.name, "It has used up its calls for now.", wait_s)
        return found

    async def stays(self, visitor: Visitor, needs: Scope) -> bool:
        """See Guard."""
        keyed = self._by_certificate(visitor) or self._by_token(visitor)
        if keyed is not None:
            return keyed.scope.includes(needs)
        return not demanded(self._cluster()) and await self._without_key.stays(visitor, needs)

    def _by_certificate(self, visitor: Visitor) -> Identity | None:
        if self._certificates is None or visitor.certificate is None:
            return None
        found = self._certificates.client(visitor.certificate, self._clock.now_ms())
        return None if found is None else Identity(f"certificate:{found[0]}", found[1])

    def _by_token(self, visitor: Visitor) -> Identity | None:
        presented = _bearer(visitor)
        if presented is None:
            return None
        # The hash is looked up in a table: how long that takes says nothing about the token.
        cluster = self._cluster()
        token = cluster.token_of(hashlib.sha256(presented.encode()).hexdigest())
        if token is None or not token.usable(self._clock.now_ms()) or not _from_there(token, visitor.peer):
            return None
        if token.node is not None and key_of(token.node) not in cluster.nodes:
            return None
        return Identity(f"token:{token.number}", token.scope)

    def _refusal(self, visitor: Visitor) -> Denied:
        now_s = self._clock.monotonic_s()
        presented = _bearer(visitor)
        if presented is not None:
            wait_s = self._failures.take(visitor.peer, now_s)
            if wait_s:
                return _too_many(visitor.peer, "Too many wrong tokens came from there.", wait_s)
        return SignIn(
            Subject.COMMAND,
            visitor.peer,
            "This controller answers only those who bring a token",
            cause="The token is wrong, expired, revoked, or not for this address."
            if presented is not None
            else "The request has no header 'Authorization: Bearer TOKEN'.",
            correction="Give a token that works, with LS_CLIENT_AUTH_TOKEN or --auth-token-file.",
        )


def _bearer(visitor: Visitor) -> str | None:
    scheme, _, value = visitor.headers.get("authorization", "").partition(" ")
    value = value.strip()
    return value if scheme.lower() == "bearer" and 0 < len(value) <= _BEARER_MAX else None


def _from_there(token: AuthToken, peer: str) -> bool:
    if token.ip_filter is None:
        return True
    address = _address(peer)
    return address is not None and address == _address(token.ip_filter)


def _too_many(name: str, cause: str, wait_s: float) -> TooMany:
    return TooMany(
        Subject.COMMAND,
        name,
        "Too many calls",
        cause=cause,
        details="Nothing was done.",
        correction=f"Try again in {max(1, round(wait_s))} s.",
        wait_s=wait_s,
    )


def _is_here(peer: str) -> bool:
    address = _address(peer)
    return address is not None and address.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
