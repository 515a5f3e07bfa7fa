"""Target against what is there: the steps that lead from one to the other, safe to cut after any prefix.

Used by the satellite to act and by the controller to preview. Nothing is removed that no tombstone names.
"""

from collections.abc import Iterable

from bollard.domain.ids import Uuid
from bollard.domain.local import Local
from bollard.domain.resources import Tombstone
from bollard.domain.steps import Step
from bollard.domain.targets import TargetResource

__all__ = ["diff", "fingerprint", "finished"]


def diff(target: TargetResource | None, tombstones: Iterable[Tombstone], local: Local) -> tuple[Step, ...]:
    """The steps for one resource name on this node; none when all is as it should be.

    `tombstones` are those of this name. After any prefix, a new diff leads to the same end. Order: an old
    life's engine, then its backings, go before anything new is made; backings exist and have metadata before
    the engine runs on them; a backing grows before the engine is told; an engine lets go of a backing before
    it is destroyed.
    """
    raise NotImplementedError


def fingerprint(target: TargetResource) -> str:
    """A digest of all that the engine's configuration depends on (secrets included, but not readable)."""
    raise NotImplementedError


def finished(tombstones: Iterable[Tombstone], local: Local) -> tuple[Uuid, ...]:
    """The `resource_uuid` of those tombstones of which nothing is left here: to be reported as removed."""
    raise NotImplementedError
