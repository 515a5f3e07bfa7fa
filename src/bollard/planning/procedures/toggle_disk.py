"""Giving a diskless resource a disk, or taking its disk away, while its users go on.

Phases: `adding` (a new disk is being filled from the peers) ends when it is up to date; `removing` (the
engine has let go of the disk, the backing is being destroyed) ends when the node has no disk any more.
Invariant: a disk that holds the only complete copy is never removed. Either may be asked for while the
other runs: the disk that was being added is buried, or a new one is made.
"""

import msgspec

from bollard.domain import props
from bollard.domain.answers import Entry
from bollard.domain.ids import key_of
from bollard.domain.nodes import StoragePool
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.resources import DiskKind, Resource, ResourcePhase
from bollard.planning import replicas
from bollard.planning.draft import Draft

__all__ = ["ADDING", "NEXT", "REMOVING", "advance", "start_adding", "start_removing"]

ADDING = "adding"
REMOVING = "removing"
NEXT: dict[str, str | None] = {ADDING: None, REMOVING: None}
"""The table of phases; None ends the procedure."""
_SAID = {"autoplacer": "auto-placer"}
"""How clients know the makers of disks."""


def start_adding(
    draft: Draft, resource: Resource, pools: dict[int, StoragePool], *, made_by: str = "user"
) -> Resource:
    """Give the resource a disk of its own, to be synchronised; returns it as it will be."""
    assert not resource.diskful, resource.key
    changed = replicas.set_disk(
        draft, resource, DiskKind.DISKFUL, pools=pools, phase=ResourcePhase.DISK_ADDING
    )
    changed = msgspec.structs.replace(
        changed, made_by=made_by, props=changed.props | {props.DISKFUL_BY.key: _SAID.get(made_by, made_by)}
    )
    draft.put(changed)
    _put(draft, changed, ADDING, "The new disk is being filled from the other nodes.")
    return changed


def start_removing(draft: Draft, resource: Resource, into: DiskKind) -> Resource:
    """Take the disk away; returns the resource as it will be."""
    assert resource.diskful, resource.key
    assert into is not DiskKind.DISKFUL, into
    changed = replicas.set_disk(draft, resource, into, phase=ResourcePhase.DISK_REMOVING)
    rest = {key: value for key, value in changed.props.items() if key != props.DISKFUL_BY.key}
    changed = msgspec.structs.replace(changed, props=rest)
    draft.put(changed)
    _put(draft, changed, REMOVING, "The engine lets go of the disk, then the disk is removed.")
    return changed


def _put(draft: Draft, resource: Resource, phase: str, message: str) -> None:
    draft.put(
        Procedure(
            verb=Verb.TOGGLE_DISK,
            uuid=draft.world.draw.uuid(),
            phase=phase,
            definition=resource.definition,
            node=resource.node,
            started_ms=draft.world.now_ms,
            revision=draft.cluster.revision + 1,
            message=message,
        )
    )


def advance(draft: Draft, procedure: Procedure) -> list[Entry]:
    """End the procedure when the node reports that its phase is done."""
    assert procedure.definition is not None
    assert procedure.node is not None
    resource = draft.resource(procedure.definition, procedure.node)
    expected = ResourcePhase.DISK_ADDING if procedure.phase == ADDING else ResourcePhase.DISK_REMOVING
    if resource is None or resource.phase is not expected:
        draft.drop(procedure)
        return []
    seen = replicas.online_seen(draft.world, resource)
    if seen is None or seen.revision < procedure.revision:
        return []
    if procedure.phase == ADDING:
        done = replicas.reports_complete(draft.world, resource)
    else:
        done = seen.settled and not _still_to_bury(draft, resource)
    if done:
        draft.drop(procedure)
        draft.put(msgspec.structs.replace(resource, phase=ResourcePhase.NORMAL))
    return []


def _still_to_bury(draft: Draft, resource: Resource) -> bool:
    removed = draft.world.observed.node(resource.node).removed
    return any(
        key_of(stone.definition) == key_of(resource.definition) and stone.resource_uuid not in removed
        for stone in draft.cluster.tombstones_on(resource.node)
    )
