"""The unit of work: decide, commit, publish, push, wait. Everyone who wants a change comes through `submit`.

Decisions are made one after the other against the newest cluster; what readers and nodes see is durable.
"""

from collections.abc import AsyncIterator

import msgspec

from bollard.controller.events import Event
from bollard.domain.answers import Entry, Explained
from bollard.domain.cluster import Cluster
from bollard.domain.commands import Command
from bollard.domain.observed import Observed
from bollard.domain.seen import Observation


class Answer(msgspec.Struct, frozen=True):
    """What a command did."""

    entries: tuple[Entry, ...]
    explanation: tuple[Explained, ...] = ()
    revision: int = 0
    """Of the cluster after the command."""


class Service:
    """The owner of the cluster. Lives in one event loop; nothing here blocks it."""

    cluster: Cluster
    """What is durable: read it, never change it."""
    observed: Observed

    async def submit(self, command: Command, deadline_s: float = 15.0) -> Answer:
        """Carry out a command. Raises DomainError when it is refused; nothing has happened then.

        The answer comes when the nodes that are online have followed, or after `deadline_s`.
        """
        raise NotImplementedError

    async def take(self, observation: Observation) -> None:
        """Take over a node's report."""
        raise NotImplementedError

    def subscribe(self) -> AsyncIterator[Event]:
        """All that happens from now on, in order."""
        raise NotImplementedError
