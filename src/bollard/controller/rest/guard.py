"""Who may use the API: this machine, until there are keys to check; everyone may join and ask for health."""

import ipaddress

from bollard.controller.rest.routing import Scope
from bollard.domain.errors import Denied, DomainError, Subject


class LocalGuard:
    """Admits callers of this machine; from elsewhere only to routes that are open to everyone."""

    async def admit(self, headers: dict[str, str], peer: str, scope: str) -> DomainError | None:  # noqa: ARG002
        """None to let the request pass, or the refusal."""
        if scope == Scope.OPEN or _is_here(peer):
            return None
        return Denied(
            Subject.COMMAND,
            peer,
            "This controller takes commands from its own machine only",
            cause=f"The request comes from {peer}.",
            correction="Run the command there, or, where the network itself keeps strangers out, start the "
            "controller with --open-api.",
        )


def _is_here(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
