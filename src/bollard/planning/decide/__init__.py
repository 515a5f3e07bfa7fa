"""Command x World -> Decision, or a DomainError and nothing has happened. One file per noun."""

from bollard.domain.answers import Decision
from bollard.domain.commands import Command
from bollard.domain.errors import Subject, Unsupported
from bollard.planning.world import World

__all__ = ["decide"]


def decide(command: Command, world: World) -> Decision:
    """Decide one command against the world as it is. Pure: the caller stores what comes out, or does not.

    Raises a DomainError when the command is refused, Unsupported when it belongs to a capability that is
    not there.
    """
    raise Unsupported(
        Subject.COMMAND,
        type(command).__name__,
        f"{type(command).__name__} is not supported yet",
        correction=f"The command belongs to a capability this version does not have; now: {world.now_ms}.",
    )
