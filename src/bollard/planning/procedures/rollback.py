"""Rolling a resource back: every replica starts a new life from the snapshot, the old one is kept aside.

Phase `restoring`: old engines are buried; new resources with new ports stand in their place, with disks made
from the snapshot in one new data generation, or filled by the others. It ends when every volume is complete
somewhere and no node is still at work: the old disks are buried then, never before. If no node can restore,
they come back. A node that is away is not waited for: its old life has no peers any more, and cannot win.
"""

import msgspec

from bollard.domain.answers import Entry, Operation
from bollard.domain.errors import Subject
from bollard.domain.ids import key_of
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.resources import Resource, ResourceDefinition, VolumeDefinition, VolumeOnNode
from bollard.domain.snapshots import SnapshotDefinition
from bollard.planning import allocate, entries, replicas, restoring
from bollard.planning.draft import Draft

__all__ = ["NEXT", "RESTORING", "abandon", "advance", "running", "start"]

RESTORING = "restoring"
NEXT: dict[str, str | None] = {RESTORING: None}
"""The table of phases; None ends the procedure. It takes itself back when no node can restore."""
_SNAPSHOT, _OLD = "snapshot", "old"


class _Old(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands aside until the new disks are complete."""

    resources: tuple[Resource, ...]
    volumes: tuple[VolumeDefinition, ...]


def running(draft: Draft, definition: str) -> Procedure | None:
    """The rollback of a definition that is under way, if any."""
    return draft.get(Procedure, "procedure", key_of(Verb.ROLLBACK, definition, ""))


def start(draft: Draft, definition: ResourceDefinition, snapshot: SnapshotDefinition) -> None:
    """Begin. Nobody uses the resource, and all its nodes are online. Raises Exhausted for want of ports."""
    old = _Old(tuple(draft.resources_of(definition.name)), definition.volumes)
    volumes = tuple(_reverted(draft, definition, volume) for volume in snapshot.volumes)
    changed = restoring.with_new_generation(draft, definition, volumes)
    for resource in old.resources:
        _set_aside(draft, resource)
        part = snapshot.on(resource.node) if resource.diskful else None
        fresh = _next_life(draft, resource, _volumes(draft, changed, resource))
        if resource.diskful:
            fresh = msgspec.structs.replace(fresh, volumes=restoring.restored(fresh.volumes, snapshot, part))
        draft.put(fresh)
    draft.put(
        Procedure(
            verb=Verb.ROLLBACK,
            uuid=draft.world.draw.uuid(),
            phase=RESTORING,
            definition=definition.name,
            arguments={_SNAPSHOT: snapshot.name, _OLD: msgspec.json.encode(old).decode()},
            started_ms=draft.world.now_ms,
            revision=draft.cluster.revision + 1,
            message=f"The disks are being made from the snapshot '{snapshot.name}'.",
        )
    )


def advance(draft: Draft, procedure: Procedure) -> list[Entry]:
    """End it when the new disks are there, or take it back when none can be made."""
    assert procedure.definition is not None
    definition = draft.definition(procedure.definition)
    if definition is None:
        draft.drop(procedure)
        return []
    resources = replicas.diskful(draft.resources_of(definition.name))
    if not resources:
        abandon(draft, procedure)
        return []
    made_from_it = [one for one in resources if any(volume.restore or volume.day0 for volume in one.volumes)]
    if made_from_it and all(_cannot(draft, procedure, one) for one in made_from_it):
        return _take_back(draft, definition, procedure)
    numbers = {volume.number for volume in definition.volumes}
    complete = {number for one in resources for number in _complete(draft, procedure, one)}
    if numbers <= complete and all(_through(draft, procedure, one) for one in resources):
        _bury_old(draft, procedure)
        draft.drop(procedure)
    return []


def abandon(draft: Draft, procedure: Procedure) -> None:
    """The definition goes: so do the old disks."""
    _bury_old(draft, procedure)
    draft.drop(procedure)


def _old(procedure: Procedure) -> _Old:
    return msgspec.json.decode(procedure.arguments[_OLD], type=_Old)


def _reverted(draft: Draft, definition: ResourceDefinition, was: VolumeDefinition) -> VolumeDefinition:
    """The volume as it was, under the identity and number of minor that it has now, if it is still there."""
    now = definition.volume(was.number)
    if now is not None:
        # Its encryption opens as it did then; that gets the present passphrase when it is there.
        then = [*now.sealed_before, *was.sealed_before, was.sealed_passphrase]
        earlier = tuple(it for it in dict.fromkeys(then) if it and it != now.sealed_passphrase)
        return msgspec.structs.replace(
            now, size_kib=was.size_kib, gross_size=was.gross_size, sealed_before=earlier
        )
    minor = allocate.free_minor(draft) if replicas.replicated(definition) else None
    return msgspec.structs.replace(was, uuid=draft.world.draw.uuid(), minor=minor)


def _set_aside(draft: Draft, resource: Resource) -> None:
    """Its engine goes; its disks stay."""
    replicas.bury(draft, msgspec.structs.replace(resource, volumes=()))


def _next_life(draft: Draft, resource: Resource, volumes: tuple[VolumeOnNode, ...]) -> Resource:
    ports = (allocate.free_port(draft, draft.node(resource.node)),) if resource.tcp_ports else ()
    return msgspec.structs.replace(
        resource,
        uuid=draft.world.draw.uuid(),
        volumes=volumes,
        tcp_ports=ports,
        create_timestamp_ms=draft.world.now_ms,
    )


def _volumes(draft: Draft, definition: ResourceDefinition, resource: Resource) -> tuple[VolumeOnNode, ...]:
    before = {volume.number: volume for volume in resource.volumes}
    pool = resource.volumes[0].pool if resource.volumes else ""
    return tuple(
        VolumeOnNode(
            number=volume.number,
            uuid=draft.world.draw.uuid(),
            pool=before[volume.number].pool if volume.number in before else pool,
            props=before[volume.number].props if volume.number in before else {},
        )
        for volume in definition.volumes
    )


def _complete(draft: Draft, procedure: Procedure, resource: Resource) -> set[int]:
    seen = replicas.online_seen(draft.world, resource)
    if seen is None or seen.revision < procedure.revision:
        return set()
    return {volume.number for volume in seen.volumes if volume.disk_state in restoring.WHOLE}


def _through(draft: Draft, procedure: Procedure, resource: Resource) -> bool:
    """Whether its node has done its part, or cannot, or cannot be asked."""
    if not draft.world.observed.node(resource.node).online:
        return True
    seen = replicas.online_seen(draft.world, resource)
    if seen is None or seen.revision < procedure.revision:
        return False
    return seen.settled or seen.problem is not None


def _cannot(draft: Draft, procedure: Procedure, resource: Resource) -> bool:
    """Whether its node says that it has no disk and cannot make one."""
    seen = replicas.online_seen(draft.world, resource)
    if seen is None or seen.revision < procedure.revision or seen.problem is None:
        return False
    return seen.problem.code in _HOPELESS and not seen.in_use and not _complete(draft, procedure, resource)


_HOPELESS = frozenset({"snapshot-missing", "no-space", "snapshots-not-supported", "volume-missing"})


def _take_back(draft: Draft, definition: ResourceDefinition, procedure: Procedure) -> list[Entry]:
    old = _old(procedure)
    for resource in draft.resources_of(definition.name):
        replicas.bury(draft, resource)
    reverted = msgspec.structs.replace(definition, volumes=old.volumes)
    draft.put(reverted)
    for resource in old.resources:
        if draft.get_node(resource.node) is not None:
            draft.put(_next_life(draft, resource, resource.volumes))
    draft.drop(procedure)
    name = procedure.arguments[_SNAPSHOT]
    message = f"'{definition.name}' could not be rolled back to '{name}' and is as it was before"
    refs = entries.refs_of(definition=definition.name)
    return [
        entries.info(
            Operation.MODIFY, Subject.SNAPSHOT, message, refs, code="ABORTED_FAILED_SNAPSHOT_ROLLBACK"
        )
    ]


def _bury_old(draft: Draft, procedure: Procedure) -> None:
    for resource in _old(procedure).resources:
        if draft.get_node(resource.node) is not None:
            replicas.bury_volumes(draft, resource, resource.volumes)
