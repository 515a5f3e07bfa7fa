"""What a decision sees: the wish, the reports, the time, and a source of fresh ids. Nothing here acts."""

from dataclasses import dataclass, field

from bollard.domain.cluster import Cluster
from bollard.domain.observed import Observed
from bollard.domain.ports import Draw, LockedVault, Vault

__all__ = ["World"]


@dataclass(frozen=True, slots=True)
class World:
    """The arguments of every decision. Decisions read it and change nothing in it."""

    cluster: Cluster
    observed: Observed
    now_ms: int
    """Milliseconds since the epoch."""
    draw: Draw
    vault: Vault = field(default_factory=LockedVault)
    """For the passphrases of encrypted volumes."""
