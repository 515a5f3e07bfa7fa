"""What follows from the reports and from time: automatics, procedures' phases, finished removals."""

from bollard.domain.answers import Decision
from bollard.planning.world import World

__all__ = ["assess"]


def assess(world: World, definitions: tuple[str, ...] | None = None) -> Decision:
    """What should change now, for these definitions or for all (None). Empty when nothing should.

    Finishes tombstones that their node reports removed, lets procedures take their next phase, keeps
    tie-breakers and quorum right. Never waits for a node that is offline.
    """
    raise NotImplementedError
