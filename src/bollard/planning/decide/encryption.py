"""The sealed master key: stored once, then replaced only by the same key under another passphrase."""

from bollard.domain.answers import Decision
from bollard.domain.commands import SetMasterKey
from bollard.domain.errors import Conflict, Exists, Subject
from bollard.planning import entries
from bollard.planning.draft import Draft
from bollard.planning.world import World

__all__ = ["decide"]


def decide(command: SetMasterKey, world: World) -> Decision:
    """Decide about the master key. Raises Exists, or Conflict when another one is there than is replaced."""
    draft = Draft(world)
    found = world.cluster.master_key
    if not command.replace and found is not None:
        raise Exists(
            Subject.PASSPHRASE,
            "master passphrase",
            "There is a master passphrase already",
            cause="It was created before.",
            details="Nothing was changed: a new master key could not open what is encrypted already.",
            correction="Change the passphrase with 'bollard encryption modify-passphrase'.",
        )
    if command.replace and (found is None or found.generation != command.sealed.generation):
        raise Conflict(
            Subject.PASSPHRASE,
            "master passphrase",
            "The master passphrase was changed by someone else just now",
            details="Nothing was changed.",
            correction="Try again.",
        )
    draft.put(command.sealed)
    done = (
        entries.modified(Subject.CONTROLLER, "The master passphrase was changed", {})
        if command.replace
        else entries.created(Subject.CONTROLLER, "The master passphrase was created", {})
    )
    return Decision(changes=draft.changes(), entries=(done,))
