"""Beginning anew the data of a volume of which no copy was ever complete, and none can become so by itself.

It is so when the first replica went before its disk was made. Phase `asking`: every disk must be said to be
Inconsistent by a node that no longer has the one that went as a peer; then one of them is made afresh, in a
new first generation. Invariant: never for a volume that was once complete, nor while a disk that may hold its
data is on a node that is offline, or is still to be removed.
"""

import msgspec

from bollard.domain.answers import Entry
from bollard.domain.ids import key_of
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.resources import Resource, ResourceDefinition, ResourcePhase
from bollard.planning import replicas
from bollard.planning.draft import Draft

__all__ = ["ASKING", "NEXT", "advance", "begin_if_due"]

ASKING = "asking"
NEXT: dict[str, str | None] = {ASKING: None}
"""The table of phases; None ends the procedure, also when a copy turns up."""


def begin_if_due(draft: Draft, definition: ResourceDefinition) -> None:
    """Ask the nodes again when none of what they said last is, or becomes, a complete copy."""
    running = draft.get(Procedure, "procedure", key_of(Verb.FIRST_COPY, definition.name, ""))
    if running is not None or not _orphans(draft, definition, since=0):
        return
    draft.put(
        Procedure(
            verb=Verb.FIRST_COPY,
            uuid=draft.world.draw.uuid(),
            phase=ASKING,
            definition=definition.name,
            started_ms=draft.world.now_ms,
            revision=draft.cluster.revision + 1,
            message="No disk was ever complete: one begins anew when every node has said so again.",
        )
    )


def advance(draft: Draft, procedure: Procedure) -> list[Entry]:
    """Make one disk afresh if all nodes say the same of a target that is new enough; wait for them else."""
    assert procedure.definition is not None
    definition = draft.definition(procedure.definition)
    if definition is None or not _orphans(draft, definition, since=0):
        draft.drop(procedure)
        return []
    numbers = _orphans(draft, definition, since=procedure.revision)
    if numbers:
        _renew(draft, definition, numbers)
        draft.drop(procedure)
    return []


def _orphans(draft: Draft, definition: ResourceDefinition, *, since: int) -> set[int]:
    """Volumes that are Inconsistent wherever they are, by reports of this revision or a later one."""
    numbers = {volume.number for volume in definition.volumes if not volume.initialized and volume.current_gi}
    if not numbers or not replicas.replicated(definition):
        return set()
    disks = replicas.diskful(draft.resources_of(definition.name))
    if all(one.phase is ResourcePhase.INACTIVE for one in disks):
        return set()
    for resource in disks:
        numbers -= {volume.number for volume in resource.volumes if volume.day0}
        seen = replicas.online_seen(draft.world, resource)
        if seen is None or seen.revision < since or seen.in_use:
            return set()
        numbers &= {volume.number for volume in seen.volumes if volume.disk_state == "Inconsistent"}
    return numbers - _being_removed(draft, definition) if numbers else numbers


def _being_removed(draft: Draft, definition: ResourceDefinition) -> set[int]:
    return {
        volume.number
        for stone in draft.cluster.tombstones.values()
        if key_of(stone.definition) == definition.key
        for volume in stone.volumes
    }


def _renew(draft: Draft, definition: ResourceDefinition, numbers: set[int]) -> None:
    draw = draft.world.draw
    volumes = tuple(
        msgspec.structs.replace(volume, current_gi=draw.hex16()) if volume.number in numbers else volume
        for volume in definition.volumes
    )
    draft.put(msgspec.structs.replace(definition, volumes=volumes))
    resource = _first(draft, definition)
    replicas.bury_volumes(draft, resource, tuple(one for one in resource.volumes if one.number in numbers))
    fresh = tuple(
        msgspec.structs.replace(one, uuid=draw.uuid(), day0=True) if one.number in numbers else one
        for one in resource.volumes
    )
    draft.put(msgspec.structs.replace(resource, volumes=fresh))


def _first(draft: Draft, definition: ResourceDefinition) -> Resource:
    disks = replicas.diskful(draft.resources_of(definition.name))
    return next(one for one in disks if one.phase is not ResourcePhase.INACTIVE)
