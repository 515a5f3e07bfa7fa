"""What the handlers work with: service, store, clock, guard, and facts about this program."""

from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from bollard.controller.rest.fragments import Fragments
from bollard.controller.rest.routing import Route
from bollard.controller.service import Service
from bollard.controller.store.base import Store
from bollard.domain.errors import DomainError
from bollard.domain.ports import Clock


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
    routes: tuple[Route, ...] = ()
    """All that is served, for the document that describes it."""
    scrapes: int = 0
    """How often metrics were asked for."""
