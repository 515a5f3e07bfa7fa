"""What an implementation of the DRBD layer runs under a resource's name: the same record for all of them."""

import msgspec

from bollard.domain.layers import ReplicationKind
from bollard.domain.seen import Problem
from bollard.satellite.tools.drbd_status import ResourceStatus
from bollard.wire.engine import ResourceSpec

__all__ = ["Running"]


class Running(msgspec.Struct, frozen=True):
    """A resource that is configured on this node."""

    kind: ReplicationKind
    spec: ResourceSpec
    """Without its secret."""
    status: ResourceStatus | None = None
    may_promote: bool = False
    fingerprint: str | None = None
    """Of the target that was applied last; None where the implementation does not remember it."""
    broken: bool = False
    """Part of what was applied is missing and may be had again by applying it again."""
    problem: Problem | None = None
