"""What the handlers work with: service, store, clock, guard, and facts about this program."""

from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from bollard.controller.rest.blocks import Blocks, Wholes
from bollard.controller.rest.fragments import Fragments
from bollard.controller.rest.routing import Route
from bollard.controller.service import Service
from bollard.controller.store.base import Store
from bollard.domain.cluster import Cluster
from bollard.domain.errors import DomainError
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


class Guard(Protocol):
    """Who may do what. Asked before each handler."""

    async def admit(self, headers: dict[str, str], peer: str, scope: str) -> DomainError | None:
        """None to let the request pass, or the refusal."""


class OpenGuard:
    """Lets everyone pass; for a controller that listens on loopback only."""

    async def admit(self, headers: dict[str, str], peer: str, scope: str) -> DomainError | None:  # noqa: ARG002
        """Always None."""
        return None


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
        return f"{self.info.started_ms:x}-{service.cluster.revision:x}-{service.observed.changes:x}"
