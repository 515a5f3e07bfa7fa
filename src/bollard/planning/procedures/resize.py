"""Growing a replicated volume: all backings that can be reached first, then the engines.

Phases: `backing` (targets name the new gross sizes, the old net ones) then `engine` (both new), then done.
Invariant: no engine is told of a size that a reachable backing does not have yet. A node that is offline is
not waited for: when it returns, its backing grows before its engine connects with the new size.
"""

import msgspec

from bollard.domain.answers import Entry
from bollard.domain.ids import key_of
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.resources import (
    Resource,
    ResourceDefinition,
    ResourcePhase,
    VolumeDefinition,
    VolumePhase,
)
from bollard.planning import replicas
from bollard.planning.draft import Draft

__all__ = ["BACKING", "ENGINE", "NEXT", "advance", "forget_volume", "start"]

BACKING = "backing"
ENGINE = "engine"
NEXT: dict[str, str | None] = {BACKING: ENGINE, ENGINE: None}
"""The table of phases; None ends the procedure. It cannot be cancelled: volumes do not shrink."""


def start(draft: Draft, definition: ResourceDefinition, before: VolumeDefinition) -> None:
    """Begin, or begin again with this volume too; `before` has the old size."""
    key = key_of(Verb.RESIZE, definition.name, "")
    running = draft.get(Procedure, "procedure", key)
    sizes: dict[str, str] = dict(running.arguments) if running is not None else {}
    sizes.setdefault(str(before.number), str(before.size_kib))
    draft.put(
        Procedure(
            verb=Verb.RESIZE,
            uuid=running.uuid if running is not None else draft.world.draw.uuid(),
            phase=BACKING,
            definition=definition.name,
            arguments=sizes,
            started_ms=draft.world.now_ms,
            revision=draft.cluster.revision + 1,
            message="Backing storage grows on every node that is online.",
        )
    )


def forget_volume(draft: Draft, definition: ResourceDefinition, number: int) -> None:
    """The volume is gone: nothing more is to be done for it."""
    running = draft.get(Procedure, "procedure", key_of(Verb.RESIZE, definition.name, ""))
    if running is None or str(number) not in running.arguments:
        return
    rest = {volume: size for volume, size in running.arguments.items() if volume != str(number)}
    if rest:
        draft.put(msgspec.structs.replace(running, arguments=rest))
    else:
        draft.drop(running)


def advance(draft: Draft, procedure: Procedure) -> list[Entry]:
    """Take the next phase if every node that is online has done this one."""
    assert procedure.definition is not None
    definition = draft.definition(procedure.definition)
    if definition is None:
        draft.drop(procedure)
        return []
    resources = draft.resources_of(definition.name)
    if not all(_done(draft, procedure, resource) for resource in resources):
        return []
    following = NEXT[procedure.phase]
    if following is not None:
        draft.put(
            msgspec.structs.replace(
                procedure,
                phase=following,
                revision=draft.cluster.revision + 1,
                message="The replication engines take over the new size.",
            )
        )
        return []
    draft.drop(procedure)
    volumes = tuple(
        msgspec.structs.replace(volume, phase=VolumePhase.NORMAL)
        if str(volume.number) in procedure.arguments
        else volume
        for volume in definition.volumes
    )
    draft.put(msgspec.structs.replace(definition, volumes=volumes))
    return []


def _done(draft: Draft, procedure: Procedure, resource: Resource) -> bool:
    """Whether the node of a resource is through with the phase, or cannot be asked."""
    node = draft.world.observed.node(resource.node)
    if not node.online:
        return True
    seen = replicas.online_seen(draft.world, resource)
    if seen is None:
        return False
    if not seen.settled or seen.revision < procedure.revision:
        return False
    if procedure.phase == BACKING or not resource.diskful or resource.phase is ResourcePhase.INACTIVE:
        return True
    definition = draft.definition(resource.definition)
    assert definition is not None
    sizes = {volume.number: volume.size_kib for volume in seen.volumes}
    return all(
        sizes.get(volume.number, 0) >= volume.size_kib or volume.gross_size
        for volume in definition.volumes
        if str(volume.number) in procedure.arguments
    )
