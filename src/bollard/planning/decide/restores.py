"""Restoring snapshots to other resource definitions, and cloning them. Each function is one command."""

from typing import assert_never

import msgspec

from bollard.domain import props
from bollard.domain.answers import Decision, Entry, Operation
from bollard.domain.commands import (
    CloneDefinition,
    CreateDefinition,
    NewSnapshot,
    RestoreResources,
    RestoreVolumeDefinitions,
)
from bollard.domain.errors import Conflict, Exists, Invalid, NotFound, Subject
from bollard.domain.ids import key_of, resource_name
from bollard.domain.procedures import Verb
from bollard.domain.props import Scope
from bollard.domain.resources import DefinitionPhase, ResourceDefinition, VolumeDefinition
from bollard.domain.snapshots import SnapshotDefinition, SnapshotOnNode, SnapshotPhase
from bollard.planning import entries, replicas, restoring, snapshots
from bollard.planning.decide import definitions, properties
from bollard.planning.decide.outcome import outcome
from bollard.planning.decide.volume_definitions import new_volume
from bollard.planning.draft import Draft
from bollard.planning.procedures import clone as cloning
from bollard.planning.procedures import snapshot as taking
from bollard.planning.upkeep import balance
from bollard.planning.world import World

__all__ = ["CLONED_FROM", "decide"]

Commands = RestoreVolumeDefinitions | RestoreResources | CloneDefinition
CLONED_FROM = "cloned-from"
_NOT_COPIED = frozenset({props.CURRENT_GI.key, props.INITIAL_UP_TO_DATE_ON.key})
_OF_QUORUM = frozenset({props.QUORUM.key, props.QUORUM_SET_BY.key})


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about restores and clones. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case RestoreVolumeDefinitions():
            return _restore_volumes(command, draft)
        case RestoreResources():
            return _restore_resources(command, draft)
        case CloneDefinition():
            return _clone(command, draft)
        case _:
            assert_never(command)


def _successful(draft: Draft, source: ResourceDefinition, name: str) -> SnapshotDefinition:
    found = snapshots.find(draft, source, name)
    if found.phase is not SnapshotPhase.SUCCESSFUL:
        raise Conflict(
            Subject.SNAPSHOT,
            name,
            f"The snapshot '{found.name}' of '{source.name}' cannot be restored",
            cause=found.message or "It is still being taken.",
            correction="Use another snapshot.",
        )
    return found


def _to_restore(
    command: RestoreVolumeDefinitions | RestoreResources, draft: Draft
) -> tuple[ResourceDefinition, SnapshotDefinition]:
    """Where to, and the snapshot. Raises a DomainError when one of them cannot take part."""
    source = draft.find_definition(command.definition)
    to = draft.find_definition(resource_name(command.to))
    found = _successful(draft, source, command.snapshot)
    snapshots.refuse_running(draft, to, (Verb.CLONE, Verb.ROLLBACK))
    return to, found


def _refuse_resources(draft: Draft, to: ResourceDefinition) -> None:
    if draft.cluster.resources_of(to.name):
        raise Exists(
            Subject.RESOURCE,
            to.name,
            f"The resource definition '{to.name}' has resources already",
            correction="Restore to a definition without resources.",
        )


def _restore_volumes(command: RestoreVolumeDefinitions, draft: Draft) -> Decision:
    to, found = _to_restore(command, draft)
    taken = [volume.number for volume in found.volumes if to.volume(volume.number) is not None]
    if taken:
        raise Exists(
            Subject.VOLUME_DEFINITION,
            f"{to.name}/{taken[0]}",
            f"The resource definition '{to.name}' has a volume {taken[0]} already",
            cause="The volumes of the snapshot are added to those that are there.",
            correction="Restore to a definition without volumes.",
        )
    _refuse_resources(draft, to)
    changed = _with_volumes(draft, to, found.volumes)
    message = f"The volumes of the snapshot '{found.name}' were copied to '{to.name}'"
    refs = entries.refs_of(definition=to.name, uuid=changed.uuid)
    return Decision(changes=draft.changes(), entries=(entries.created(Subject.SNAPSHOT, message, refs),))


def _with_volumes(
    draft: Draft, to: ResourceDefinition, volumes: tuple[VolumeDefinition, ...]
) -> ResourceDefinition:
    for was in volumes:
        own = {key: value for key, value in was.props.items() if key not in _NOT_COPIED}
        volume = new_volume(
            draft, to, number=was.number, size_kib=was.size_kib, own=own, gross_size=was.gross_size
        )
        volume = msgspec.structs.replace(
            volume,
            encrypted=was.encrypted,
            sealed_passphrase=was.sealed_passphrase,
            sealed_before=was.sealed_before,
        )
        whole = tuple(sorted((*to.volumes, volume), key=lambda one: one.number))
        to = msgspec.structs.replace(to, volumes=whole)
        draft.put(to)
    return to


def _restore_resources(command: RestoreResources, draft: Draft) -> Decision:
    to, found = _to_restore(command, draft)
    _refuse_resources(draft, to)
    _check_volumes(to, found)
    said: list[Entry] = []
    refs = entries.refs_of(definition=to.name)
    if not to.volumes:
        said.append(
            entries.warning(
                Operation.CREATE,
                Subject.RESOURCE,
                f"'{to.name}' has no volumes, so nothing of the snapshot is in it",
                refs,
                code="NOT_FOUND",
                correction="Restore the snapshot's volume definitions first.",
            )
        )
    if not to.layer_stack:
        to = msgspec.structs.replace(to, layer_stack=found.layer_stack)
    to = restoring.with_new_generation(draft, to, to.volumes)
    for part in _parts(draft, found, command.nodes):
        made = restoring.add(draft, to, found, part)
        message = f"'{to.name}' is made from the snapshot '{found.name}' on the node '{made.node}'"
        said.append(entries.created(Subject.RESOURCE, message, refs))
    balance.add_spare(draft, to, props.BALANCE_AFTER_RESTORE)
    if command.pool_rename:
        said.append(
            entries.warning(
                Operation.CREATE,
                Subject.RESOURCE,
                "The renaming of storage pools has no effect",
                refs,
                code="STORPOOL_RENAME_NOT_ALLOWED",
                cause="A snapshot is restored in the pool that keeps it.",
            )
        )
    return outcome(draft, said, ready=True)


def _check_volumes(to: ResourceDefinition, found: SnapshotDefinition) -> None:
    if to.volumes and {one.number for one in to.volumes} != {one.number for one in found.volumes}:
        raise Invalid(
            Subject.VOLUME_COUNT,
            to.name,
            f"'{to.name}' has other volumes than the snapshot '{found.name}'",
            cause="Snapshot: " + (", ".join(str(one.number) for one in found.volumes) or "none"),
            correction="Restore the snapshot's volume definitions to a definition without volumes.",
        )
    for volume in to.volumes:
        was = found.volume(volume.number)
        if was is not None and volume.size_kib < was.size_kib:
            raise Invalid(
                Subject.VOLUME_SIZES,
                to.name,
                f"Volume {volume.number} of '{to.name}' is smaller than in the snapshot '{found.name}'",
                cause=f"It has {volume.size_kib} KiB, there it had {was.size_kib} KiB.",
                correction="Make it as large, or larger.",
            )


def _parts(draft: Draft, found: SnapshotDefinition, names: tuple[str, ...]) -> list[SnapshotOnNode]:
    if not names:
        return [part for part in found.nodes if draft.get_node(part.node) is not None]
    parts = []
    for name in dict.fromkeys(names):
        node = draft.find_node(name)
        part = found.on(node.name)
        if part is None:
            raise NotFound(
                Subject.SNAPSHOT,
                found.name,
                f"The node '{node.name}' keeps nothing of the snapshot '{found.name}'",
                cause="Kept by: " + (", ".join(one.node for one in found.nodes) or "no node"),
                correction="Name nodes that keep it, or none: all that do are taken then.",
            )
        parts.append(part)
    return parts


def _sized(source: ResourceDefinition, sizes_kib: tuple[int, ...]) -> tuple[VolumeDefinition, ...]:
    """The source's volumes, those larger for which a larger size was given. Raises Invalid."""
    if len(sizes_kib) > len(source.volumes):
        raise Invalid(
            Subject.VOLUME_COUNT,
            source.name,
            f"'{source.name}' has {len(source.volumes)} volumes",
            cause=f"{len(sizes_kib)} sizes were given.",
        )
    sizes = [*sizes_kib, *(0 for _ in source.volumes)]
    for volume, size_kib in zip(source.volumes, sizes_kib, strict=False):
        if 0 < size_kib < volume.size_kib:
            raise Invalid(
                Subject.VOLUME_SIZES,
                source.name,
                f"The copy of volume {volume.number} cannot be smaller than the source",
                cause=f"{size_kib} KiB were asked for, the source has {volume.size_kib} KiB.",
            )
    return tuple(
        msgspec.structs.replace(volume, size_kib=max(volume.size_kib, size_kib))
        for volume, size_kib in zip(source.volumes, sizes, strict=False)
    )


def _clone(command: CloneDefinition, draft: Draft) -> Decision:
    source = draft.find_definition(command.source)
    if not command.name and not command.external_name:
        resource_name("")
    if any(volume.encrypted for volume in source.volumes) or command.passphrases:
        wanted = sum(volume.encrypted for volume in source.volumes)
        if command.passphrases and len(command.passphrases) != wanted:
            raise Invalid(
                Subject.PASSPHRASE,
                source.name,
                f"'{source.name}' has {wanted} encrypted volumes",
                cause=f"{len(command.passphrases)} passphrases were given.",
                correction="Give one for each of them, or none.",
            )
    made, said = definitions.new(
        CreateDefinition(
            name=command.name or "",
            external_name=command.external_name,
            group=command.group or source.group,
            layer_stack=command.layer_stack,
            peer_slots=source.peer_slots,
            transport_type=source.transport_type,
        ),
        draft,
    )
    copied = {key: value for key, value in source.props.items() if key not in _OF_QUORUM}
    after, _ = properties.apply(
        copied,
        command.props,
        Scope.RESOURCE_DEFINITION,
        subject=Subject.RESOURCE_DEFINITION,
        refs=entries.refs_of(definition=made.name),
    )
    made = msgspec.structs.replace(
        made,
        props=after | {CLONED_FROM: source.name},
        layer_stack=made.layer_stack if command.layer_stack else replicas.stack_of(source),
        phase=DefinitionPhase.CLONING,
    )
    draft.put(made)
    made = _with_volumes(draft, made, _sized(source, command.sizes_kib))
    hidden = snapshots.new(
        draft, NewSnapshot(definition=source.name, name=f"CF_{draft.world.draw.hex16()}"), hidden=True
    )
    taking.start(draft, [hidden])
    cloning.start(draft, made, hidden)
    refs = entries.refs_of(definition=made.name, uuid=made.uuid)
    message = f"'{source.name}' is being cloned as '{made.name}'"
    said.append(entries.created(Subject.RESOURCE_DEFINITION, message, refs))
    assert key_of(made.name) != key_of(source.name), made.name
    return Decision(changes=draft.changes(), entries=tuple(said))
