"""Cloning a resource definition: a snapshot for itself, and resources that are made from it.

Phases: `snapshot` (a hidden snapshot of the source is being taken), `restoring` (the clone's disks are being
made from it on all nodes that keep it), then done: the hidden snapshot is buried, and the clone stands alone.
Invariant: the snapshot goes only when no node that can be reached still needs it. A node that is away is
filled by its peers when it returns. Cancelled by deleting the clone's definition.
"""

import msgspec

from bollard.domain import props
from bollard.domain.answers import Entry, Operation
from bollard.domain.errors import DomainError, Subject
from bollard.domain.ids import key_of
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.resources import DefinitionPhase, Resource, ResourceDefinition
from bollard.domain.snapshots import SnapshotDefinition, SnapshotPhase
from bollard.planning import entries, replicas, restoring
from bollard.planning.draft import Draft
from bollard.planning.procedures import snapshot as taking
from bollard.planning.upkeep import balance

__all__ = ["NEXT", "RESTORING", "SNAPSHOT", "abandon", "advance", "start"]

SNAPSHOT = "snapshot"
RESTORING = "restoring"
NEXT: dict[str, str | None] = {SNAPSHOT: RESTORING, RESTORING: None}
"""The table of phases; None ends the procedure."""
_SOURCE, _NAME = "source", "snapshot"


def start(draft: Draft, clone: ResourceDefinition, snapshot: SnapshotDefinition) -> None:
    """Begin; the hidden snapshot of the source is in the draft and being taken."""
    draft.put(
        Procedure(
            verb=Verb.CLONE,
            uuid=draft.world.draw.uuid(),
            phase=SNAPSHOT,
            definition=clone.name,
            arguments={_SOURCE: snapshot.definition, _NAME: snapshot.name},
            started_ms=draft.world.now_ms,
            revision=draft.cluster.revision + 1,
            message=f"A snapshot of '{snapshot.definition}' is being taken.",
        )
    )


def advance(draft: Draft, procedure: Procedure) -> list[Entry]:
    """Make the disks when the snapshot is there; end when the disks are there."""
    assert procedure.definition is not None
    clone = draft.definition(procedure.definition)
    snapshot = _snapshot_of(draft, procedure)
    if clone is None:
        abandon(draft, procedure)
        return []
    if procedure.phase == SNAPSHOT:
        if snapshot is None or snapshot.phase not in {SnapshotPhase.TAKING, SnapshotPhase.SUCCESSFUL}:
            _fail(draft, clone, procedure)
            return [_failed(clone, snapshot.message if snapshot is not None else "Its snapshot is gone.")]
        if snapshot.phase is SnapshotPhase.SUCCESSFUL:
            return _restore(draft, clone, procedure, snapshot)
        return []
    resources = replicas.diskful(draft.resources_of(clone.name))
    if not resources:
        _fail(draft, clone, procedure)
        return [_failed(clone, "Its resources were deleted before they were made.")]
    complete = {number for one in resources for number in _complete(draft, one)}
    if {volume.number for volume in clone.volumes} <= complete and all(
        _through(draft, one, procedure) for one in resources
    ):
        _finish(draft, clone, procedure)
    return []


def abandon(draft: Draft, procedure: Procedure) -> None:
    """Nobody wants the clone any more: its snapshot goes too."""
    draft.drop(procedure)
    snapshot = _snapshot_of(draft, procedure)
    if snapshot is not None:
        running = taking.running(draft, snapshot.definition)
        if running is not None and snapshot.phase is SnapshotPhase.TAKING:
            taking.give_up(draft, running)
        taking.bury(draft, snapshot, snapshot.nodes)
        draft.drop(snapshot)


def _snapshot_of(draft: Draft, procedure: Procedure) -> SnapshotDefinition | None:
    key = key_of(procedure.arguments[_SOURCE], procedure.arguments[_NAME])
    return draft.get(SnapshotDefinition, "snapshot", key)


def _restore(
    draft: Draft, clone: ResourceDefinition, procedure: Procedure, snapshot: SnapshotDefinition
) -> list[Entry]:
    if draft.resources_of(clone.name):
        _fail(draft, clone, procedure)
        return [_failed(clone, "It has got resources of another origin.")]
    try:
        for part in snapshot.nodes:
            if draft.get_node(part.node) is not None:
                restoring.add(draft, clone, snapshot, part)
    except DomainError as error:
        for resource in draft.resources_of(clone.name):
            draft.drop(resource)
        _fail(draft, clone, procedure)
        return [_failed(clone, error.message)]
    draft.put(
        msgspec.structs.replace(
            procedure,
            phase=RESTORING,
            revision=draft.cluster.revision + 1,
            message="The disks of the clone are being made from the snapshot.",
        )
    )
    return []


def _failed(clone: ResourceDefinition, why: str) -> Entry:
    message = f"The clone '{clone.name}' failed"
    refs = entries.refs_of(definition=clone.name)
    return entries.warning(
        Operation.CREATE, Subject.RESOURCE_DEFINITION, message, refs, code="STORAGE_ERROR", cause=why
    )


def _complete(draft: Draft, resource: Resource) -> set[int]:
    seen = replicas.online_seen(draft.world, resource)
    if seen is None:
        return set()
    return {volume.number for volume in seen.volumes if volume.disk_state in restoring.WHOLE}


def _through(draft: Draft, resource: Resource, procedure: Procedure) -> bool:
    """Whether its node needs the snapshot no more; one without peers is waited for as long as it takes."""
    seen = replicas.online_seen(draft.world, resource)
    has_peers = resource.tcp_ports and len(replicas.diskful(draft.resources_of(resource.definition))) > 1
    if seen is None:
        return bool(has_peers) and not draft.world.observed.node(resource.node).online
    if seen.revision < procedure.revision:
        return False
    return seen.settled or (bool(has_peers) and seen.problem is not None)


def _finish(draft: Draft, clone: ResourceDefinition, procedure: Procedure) -> None:
    snapshot = _snapshot_of(draft, procedure)
    if snapshot is not None:
        restoring.give_up_waiting(draft, snapshot.uuid)
    abandon(draft, procedure)
    done = msgspec.structs.replace(clone, phase=DefinitionPhase.NORMAL)
    draft.put(done)
    balance.add_spare(draft, done, props.BALANCE_AFTER_CLONE)


def _fail(draft: Draft, clone: ResourceDefinition, procedure: Procedure) -> None:
    """The clone stays, marked as failed, for a person to look at and delete."""
    abandon(draft, procedure)
    draft.put(msgspec.structs.replace(clone, phase=DefinitionPhase.FAILED))
