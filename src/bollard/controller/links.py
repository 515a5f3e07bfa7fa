"""The links to the satellites as the service sees them; who keeps them is chosen by the composition root."""

from collections.abc import Sequence
from typing import Protocol

from bollard.controller.wish import Touched
from bollard.domain.cluster import Change


class Links(Protocol):
    """The links to the satellites, as the service sees them."""

    def committed(self, changes: Sequence[Change], touched: Touched) -> None:
        """The durable cluster has changed; these targets are new."""

    def resend(self) -> None:
        """The durable cluster was read again: every target may be new."""

    def reconnect(self, node: str) -> None:
        """Cut the link to a node and make it anew, at once."""

    async def ask(self, node: str, topic: str, arguments: dict[str, str]) -> str:
        """A node's answer to a query, JSON. Raises Unavailable or Unsupported."""
