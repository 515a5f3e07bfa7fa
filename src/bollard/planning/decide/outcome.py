"""From a draft to the decision: automatics follow, changes are collected, and who is to be waited for."""

from collections.abc import Iterable

from bollard.domain.answers import Decision, Entry, Explained, Wait
from bollard.domain.cluster import Change
from bollard.planning import automatics, passphrases
from bollard.planning.draft import Draft

__all__ = ["outcome"]


def outcome(
    draft: Draft,
    entries: Iterable[Entry],
    *,
    ready: bool = False,
    waits: Iterable[Wait] = (),
    undo: tuple[Change, ...] = (),
    explanation: tuple[Explained, ...] = (),
) -> Decision:
    """The decision that the draft amounts to.

    `ready`: the caller is told only when the resources can be used. `waits` come before the derived ones.
    """
    passphrases.ensure(draft, draft.touched_definitions())
    said = [*entries, *automatics.settle(draft, draft.touched_definitions())]
    derived = [
        Wait(node=node, resource=definition, ready=ready and still_there)
        for definition, node, still_there in draft.touched_resources()
    ]
    return Decision(
        changes=draft.changes(),
        entries=tuple(said),
        waits=(*waits, *derived),
        undo_if_failed=undo,
        explanation=explanation,
    )
