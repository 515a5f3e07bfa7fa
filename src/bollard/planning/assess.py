"""What follows from the reports and from time: automatics, procedures' phases, finished removals."""

from typing import assert_never

import msgspec

from bollard.domain import props
from bollard.domain.answers import Decision, Entry
from bollard.domain.ids import Key, key_of
from bollard.domain.nodes import NodePhase
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.resources import DiskKind, Resource, ResourceDefinition, ResourcePhase, Tombstone
from bollard.planning import automatics, leaving, replicas
from bollard.planning.draft import Draft
from bollard.planning.procedures import (
    clone,
    evacuate,
    first_copy,
    migrate_disk,
    resize,
    rollback,
    snapshot,
    toggle_disk,
)
from bollard.planning.upkeep import (
    auto_diskful,
    auto_evict,
    auto_snapshot,
    balance,
    block_size,
    granularity,
    implementation,
    resync_after,
    verify_algorithm,
)
from bollard.planning.world import World

__all__ = ["assess"]


def assess(
    world: World,
    definitions: tuple[str, ...] | None = None,
    *,
    survey: bool = False,
    balanced: bool = False,
) -> Decision:
    """What should change now, for these definitions or for all (None). Empty when nothing should.

    `survey`: also what concerns the cluster as a whole. `balanced`: also whether replicas are missing or
    too many.

    Finishes tombstones that their node reports removed, lets procedures take their next phase, keeps
    tie-breakers and quorum right. Never waits for a node that is offline.
    """
    draft = Draft(world)
    keys = list(world.cluster.definitions) if definitions is None else [key_of(one) for one in definitions]
    _finish_tombstones(draft, None if definitions is None else set(keys))
    said: list[Entry] = []
    for key in keys:
        definition = draft.definition(key)
        if definition is not None:
            _note_up_to_date(draft, definition)
            _note_verified(draft, key)
            first_copy.begin_if_due(draft, draft.definition(key) or definition)
    if survey:
        auto_evict.settle(draft)
        resync_after.settle(draft)
    for procedure in list(world.cluster.procedures.values()):
        if definitions is None or procedure.definition is None or key_of(procedure.definition) in keys:
            said += _advance(draft, procedure)
    _finish_nodes(draft)
    for key in keys:
        _keep_up(draft, key, balanced=balanced)
    said += automatics.settle(draft, _unsettled(draft, keys))
    return Decision(changes=draft.changes(), entries=tuple(said))


def _keep_up(draft: Draft, key: Key, *, balanced: bool) -> None:
    """The reconcilers of one definition, each on what the one before has left."""
    for settle in (*_UPKEEP, balance.settle) if balanced else _UPKEEP:
        definition = draft.definition(key)
        if definition is not None:
            settle(draft, definition)


_UPKEEP = (
    auto_diskful.settle,
    verify_algorithm.settle,
    block_size.settle,
    granularity.settle,
    implementation.settle,
    auto_snapshot.settle,
)


def _finish_tombstones(draft: Draft, keys: set[Key] | None) -> None:
    for seen_key, seen in draft.world.observed.nodes.items():
        if not seen.removed:
            continue
        for stone in draft.cluster.tombstones_on(seen_key):
            if stone.resource_uuid in seen.removed and (keys is None or key_of(stone.definition) in keys):
                draft.drop(stone)


def _note_up_to_date(draft: Draft, definition: ResourceDefinition) -> None:
    """First disks that were complete once are disks like any other from then on."""
    resources = draft.resources_of(definition.name)
    known = all(volume.initialized for volume in definition.volumes)
    if known and not any(
        volume.day0 or volume.restore for resource in resources for volume in resource.volumes
    ):
        return
    by: dict[int, Resource] = {}
    for resource in resources:
        complete = _complete(draft, resource)
        by = dict.fromkeys(complete, resource) | by
        volumes = tuple(
            msgspec.structs.replace(volume, day0=False, restore=None) if volume.number in complete else volume
            for volume in resource.volumes
        )
        # What is put counts as touched, and this is asked on every tick.
        if volumes != resource.volumes:
            draft.put(msgspec.structs.replace(resource, volumes=volumes))
    if any(volume.number in by and not volume.initialized for volume in definition.volumes):
        draft.put(_initialized(definition, by))


def _note_verified(draft: Draft, key: Key) -> None:
    """A verify that a node reports done is done for ever: no node starts it again."""
    definition = draft.definition(key)
    if definition is None or definition.verify_finished >= definition.verify_request:
        return
    for resource in draft.resources_of(definition.name):
        seen = draft.world.observed.resource(definition.name, resource.node)
        found = seen.verify if seen is not None and seen.uuid == resource.uuid else None
        if found is not None and found.finished and found.request == definition.verify_request:
            done = msgspec.structs.replace(
                definition, verify_finished=found.request, verify_out_of_sync_kib=found.out_of_sync_kib
            )
            draft.put(done)
            return


def _complete(draft: Draft, resource: Resource) -> set[int]:
    """Numbers of the volumes that its node holds completely, or just holds if they are not replicated."""
    seen = replicas.online_seen(draft.world, resource)
    if seen is None or not resource.diskful or resource.phase is ResourcePhase.DISK_ADDING:
        return set()
    return {volume.number for volume in seen.volumes if volume.disk_state in {"UpToDate", "Created"}}


def _initialized(definition: ResourceDefinition, by: dict[int, Resource]) -> ResourceDefinition:
    """With the volumes that are complete on a node marked so, and which node that is."""
    key = props.INITIAL_UP_TO_DATE_ON.key
    volumes = tuple(
        volume
        if volume.initialized or volume.number not in by
        else msgspec.structs.replace(
            volume, initialized=True, props={key: by[volume.number].node.upper()} | volume.props
        )
        for volume in definition.volumes
    )
    return msgspec.structs.replace(definition, volumes=volumes)


def _advance(draft: Draft, procedure: Procedure) -> list[Entry]:
    match procedure.verb:
        case Verb.RESIZE:
            return resize.advance(draft, procedure)
        case Verb.TOGGLE_DISK:
            return toggle_disk.advance(draft, procedure)
        case Verb.MIGRATE_DISK:
            return migrate_disk.advance(draft, procedure)
        case Verb.EVACUATE:
            return evacuate.advance(draft, procedure)
        case Verb.FIRST_COPY:
            return first_copy.advance(draft, procedure)
        case Verb.SNAPSHOT:
            return snapshot.advance(draft, procedure)
        case Verb.ROLLBACK:
            return rollback.advance(draft, procedure)
        case Verb.CLONE:
            return clone.advance(draft, procedure)
        case _:
            assert_never(procedure.verb)


def _finish_nodes(draft: Draft) -> None:
    """A node that was to be deleted goes when nothing is left on it."""
    for node in draft.cluster.nodes.values():
        if node.phase is not NodePhase.DELETING or draft.cluster.resources_on(node.name):
            continue
        left = [
            stone
            for stone in draft.cluster.tombstones_on(node.name)
            if draft.get(Tombstone, "tombstone", stone.key) is not None
        ]
        if not left:
            leaving.forget(draft, node)


def _unsettled(draft: Draft, keys: list[Key]) -> list[Key]:
    """Definitions whose tie-breaker or quorum may be wrong: those that change, and those that lack one."""
    touched = dict.fromkeys(draft.touched_definitions())
    usable = {
        key
        for key, node in draft.cluster.nodes.items()
        if node.holds_storage
        and node.phase is NodePhase.NORMAL
        and draft.world.observed.node(node.name).online
    }
    for key in keys:
        resources = draft.resources_of(key)
        pair = len(resources) == 2 and all(resource.diskful for resource in resources)
        # Without a node to spare there is nothing to look for, and this is asked on every tick.
        if pair and usable - {key_of(resource.node) for resource in resources}:
            touched[key] = None
        # One that was in use when it was not needed any more has stayed.
        if any(one.disk is DiskKind.TIE_BREAKER for one in resources):
            disks = sum(one.diskful for one in resources)
            if disks < 2 or disks % 2:
                touched[key] = None
    return list(touched)
