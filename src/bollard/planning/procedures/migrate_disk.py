"""Moving a disk from one node to another: the new one is filled first, the old one goes when it may.

Phases: `filling` (the target's disk is being synchronised), `leaving` (the source is not in use and can go),
then done. Invariant: the source keeps its disk until the target holds all data.
"""

import msgspec

from bollard.domain.answers import Entry
from bollard.domain.ids import NodeName
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.resources import Resource
from bollard.planning import replicas
from bollard.planning.draft import Draft

__all__ = ["FILLING", "LEAVING", "NEXT", "SOURCE", "advance", "start"]

FILLING = "filling"
LEAVING = "leaving"
NEXT: dict[str, str | None] = {FILLING: LEAVING, LEAVING: None}
"""The table of phases; None ends the procedure."""
SOURCE = "source"
"""The argument that names the node the disk leaves."""


def start(draft: Draft, target: Resource, source: NodeName) -> None:
    """Remember that the source's resource goes once the target is complete."""
    draft.put(
        Procedure(
            verb=Verb.MIGRATE_DISK,
            uuid=draft.world.draw.uuid(),
            phase=FILLING,
            definition=target.definition,
            node=target.node,
            arguments={SOURCE: source},
            started_ms=draft.world.now_ms,
            revision=draft.cluster.revision + 1,
            message=f"The disk is filled; then the one on '{source}' is removed.",
        )
    )


def advance(draft: Draft, procedure: Procedure) -> list[Entry]:
    """Take the next phase when the target is complete, and when the source is not in use."""
    assert procedure.definition is not None
    assert procedure.node is not None
    target = draft.resource(procedure.definition, procedure.node)
    source = draft.resource(procedure.definition, procedure.arguments[SOURCE])
    if target is None or not target.diskful or source is None:
        draft.drop(procedure)
        return []
    if not replicas.up_to_date(draft.world, target):
        return []
    if procedure.phase == FILLING:
        draft.put(
            msgspec.structs.replace(
                procedure,
                phase=NEXT[FILLING] or LEAVING,
                revision=draft.cluster.revision + 1,
                message=f"The one on '{source.node}' is removed when it is not in use.",
            )
        )
    seen = replicas.online_seen(draft.world, source)
    if seen is not None and seen.in_use:
        return []
    replicas.bury(draft, source)
    draft.drop(procedure)
    return []
