"""What the handlers work with: service, store, clock, guard, and facts about this program."""

from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from bollard.controller.audit import Audit, NoAudit
from bollard.controller.rest.blocks import Blocks, Wholes
from bollard.controller.rest.fragments import Fragments
from bollard.controller.rest.routing import Route
from bollard.controller.service import Service
from bollard.controller.store.base import Store
from bollard.domain.access import Scope
from bollard.domain.cluster import Cluster
from bollard.domain.errors import Denied, Subject
from bollard.domain.ports import Clock
from bollard.domain.resources import Resource


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about this program, for its version, configuration and metrics."""

    version: str
    node: str
    """The host name, for metrics."""
    started_ms: int
    listen_address: str = "127.0.0.1"
    port: int = 3370
    https_port: int | None = None
    config_dir: str = ""
    database: str = ""
    """Kind and place of the database, without a password."""
    git_hash: str = ""
    build_time: str = ""
    body_bytes_max: int = 8 * 1024 * 1024
    state_dir: str = ""
    """Where reports for support may be kept; empty: in a temporary folder."""


class Visitor(msgspec.Struct, frozen=True):
    """Who asks, as far as the connection and the headers say."""

    headers: dict[str, str]
    """Names in lower case."""
    peer: str
    certificate: bytes | None = None
    """The client's certificate, DER, verified by TLS."""


class Identity(msgspec.Struct, frozen=True):
    """Who it is, and what that one may do."""

    name: str
    scope: Scope


class SignIn(Denied):
    """Who asks must say who it is."""


class Narrow(Denied):
    """The caller is known, by the name of the error, and may not do this."""


class TooMany(Denied):
    """The caller comes too often."""

    def __init__(self, subject: Subject, name: str, message: str, *, wait_s: float, **more: str) -> None:
        super().__init__(subject, name, message, **more)
        self.wait_s = wait_s


class Guard(Protocol):
    """Who may do what. Asked before each handler."""

    async def admit(self, visitor: Visitor, needs: Scope) -> Identity:
        """Who it is that may do what needs this scope. Raises Denied: SignIn or TooMany where that is it."""

    async def stays(self, visitor: Visitor, needs: Scope) -> bool:
        """Whether one that was admitted still would be; asking is no call of its own."""


class OpenGuard:
    """Lets everyone pass; for a controller that listens on loopback only."""

    async def admit(self, visitor: Visitor, needs: Scope) -> Identity:  # noqa: ARG002
        """Always an administrator."""
        return Identity("open", Scope.ADMIN)

    async def stays(self, visitor: Visitor, needs: Scope) -> bool:  # noqa: ARG002
        """Always."""
        return True


class Https(Protocol):
    """The listener under TLS."""

    @property
    def port(self) -> int | None:
        """Where it listens; None: there is none."""

    async def enable(self) -> int:
        """Listen from now on; returns the port. Raises Unavailable."""


@dataclass
class Api:
    """Everything that a handler may use."""

    service: Service
    store: Store
    clock: Clock
    info: Info
    guard: Guard = field(default_factory=OpenGuard)
    fragments: Fragments = field(default_factory=Fragments)
    blocks: Blocks = field(default_factory=Blocks)
    wholes: Wholes = field(default_factory=Wholes)
    routes: tuple[Route, ...] = ()
    """All that is served, for the document that describes it."""
    audit: Audit = field(default_factory=NoAudit)
    https: Https | None = None
    scrapes: int = 0
    """How often metrics were asked for."""
    _ordered: tuple[Cluster, int, list[Resource]] | None = None

    def ordered(self) -> list[Resource]:
        """All resources by definition and node."""
        cluster = self.service.cluster
        if self._ordered is None or self._ordered[0] is not cluster or self._ordered[1] != cluster.revision:
            found = [cluster.resources[key] for key in sorted(cluster.resources)]
            self._ordered = (cluster, cluster.revision, found)
        return self._ordered[2]

    @property
    def version(self) -> str:
        """Of all that views show: another one after every change, and after every start."""
        service = self.service
        open_or_not = "u" if service.vault.unlocked else "l"
        return (
            f"{self.info.started_ms:x}{open_or_not}{service.cluster.revision:x}-{service.observed.changes:x}"
        )
