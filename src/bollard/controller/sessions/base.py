"""What sessions need from outside: a way to dial, and a desk that knows the wish and takes the reports."""

from typing import Protocol

from bollard.domain.cluster import Cluster
from bollard.domain.nodes import NetInterface
from bollard.domain.ports import Vault
from bollard.domain.seen import Capabilities, Observation
from bollard.wire.link import Channel


class DialError(Exception):
    """The node cannot be linked to; `status` is the API's connection status word."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Dialer(Protocol):
    """Opens channels to satellites."""

    async def dial(self, node: str, net_if: NetInterface) -> Channel:
        """A channel to the satellite at this interface; under TLS its certificate names the node.

        Raises DialError: OFFLINE (nobody answers), AUTHENTICATION_ERROR (not trusted, or plain where that
        is not allowed), HOSTNAME_MISMATCH (the certificate names another node).
        """


class Desk(Protocol):
    """The service, as sessions see it."""

    @property
    def cluster(self) -> Cluster:
        """What is durable."""

    @property
    def vault(self) -> Vault:
        """What opens the passphrases of encrypted volumes."""

    async def take(self, observation: Observation) -> None:
        """Take over a report."""

    def node_status(
        self, node: str, status: str, message: str = "", capabilities: Capabilities | None = None
    ) -> None:
        """Take over the state of a link."""

    def broken(self, error: Exception, context: str) -> str:
        """Report an error of our own; returns the id of the report."""
