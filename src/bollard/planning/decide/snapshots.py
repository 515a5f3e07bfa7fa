"""Snapshots: create one or several at one instant, change, delete, roll back."""

from typing import assert_never

import msgspec

from bollard.domain.answers import Decision, Entry, Operation
from bollard.domain.commands import CreateSnapshots, DeleteSnapshot, ModifySnapshot, RollBack
from bollard.domain.errors import (
    Conflict,
    InUse,
    Invalid,
    Subject,
    Unavailable,
)
from bollard.domain.ids import key_of
from bollard.domain.procedures import Verb
from bollard.domain.props import Scope
from bollard.domain.resources import ResourceDefinition
from bollard.domain.snapshots import SnapshotDefinition, SnapshotOnNode, SnapshotPhase
from bollard.planning import entries, replicas, snapshots
from bollard.planning.decide import properties
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.procedures import rollback
from bollard.planning.procedures import snapshot as taking
from bollard.planning.world import World

__all__ = ["decide"]

Commands = CreateSnapshots | ModifySnapshot | DeleteSnapshot | RollBack
_STRATEGIES = frozenset({"", "ROLLBACK", "CLONE", "DYNAMIC"})


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about snapshots. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case CreateSnapshots():
            return _create(command, draft)
        case ModifySnapshot():
            return _modify(command, draft)
        case DeleteSnapshot():
            return _delete(command, draft)
        case RollBack():
            return _roll_back(command, draft)
        case _:
            assert_never(command)


def _create(command: CreateSnapshots, draft: Draft) -> Decision:
    made: list[SnapshotDefinition] = []
    said: list[Entry] = []
    for wanted in command.snapshots:
        if any(key_of(wanted.definition) == key_of(one.definition) for one in made):
            raise Invalid(
                Subject.SNAPSHOT,
                wanted.name,
                f"'{wanted.definition}' is named twice",
                cause="One snapshot of a resource is taken at one instant.",
            )
        one = snapshots.new(draft, wanted)
        made.append(one)
        refs = _refs(one.definition, one.name) | {"UUID": one.uuid}
        message = f"The snapshot '{one.name}' of '{one.definition}' is being taken"
        said.append(entries.created(Subject.SNAPSHOT, message, refs))
    taking.start(draft, made)
    return Decision(changes=draft.changes(), entries=tuple(said))


def _refs(definition: str, snapshot: str) -> dict[str, str]:
    return entries.refs_of(definition=definition) | {"Snapshot": snapshot}


def _modify(command: ModifySnapshot, draft: Draft) -> Decision:
    definition = draft.find_definition(command.definition)
    found = snapshots.find(draft, definition, command.snapshot)
    refs = _refs(definition.name, found.name)
    after, said = properties.apply(
        found.props, command.props, Scope.RESOURCE_DEFINITION, subject=Subject.SNAPSHOT, refs=refs
    )
    draft.put(msgspec.structs.replace(found, props=after))
    return Decision(changes=draft.changes(), entries=tuple(said))


def _delete(command: DeleteSnapshot, draft: Draft) -> Decision:
    definition = draft.find_definition(command.definition)
    refs = _refs(definition.name, command.snapshot)
    found = draft.get(SnapshotDefinition, "snapshot", key_of(definition.name, command.snapshot))
    if found is None or found.hidden:
        missing = f"'{definition.name}' has no snapshot '{command.snapshot}'"
        return Decision(entries=(entries.not_there(Subject.SNAPSHOT, missing, refs),))
    rolling = rollback.running(draft, definition.name)
    if rolling is not None and key_of(rolling.arguments["snapshot"]) == key_of(found.name):
        snapshots.refuse_running(draft, definition, (Verb.ROLLBACK,))
    named = {key_of(name) for name in command.nodes}
    going = [part for part in found.nodes if not named or key_of(part.node) in named]
    staying = tuple(part for part in found.nodes if part not in going)
    said = [
        entries.not_there(Subject.SNAPSHOT, f"The node '{name}' keeps nothing of '{found.name}'", refs)
        for name in command.nodes
        if found.on(name) is None
    ]
    running = taking.running(draft, definition.name)
    if running is not None and key_of(running.arguments["snapshot"]) == found.key.rpartition("/")[2]:
        taking.give_up(draft, running)
        staying = ()
        going = list(found.nodes)
    if not staying:
        snapshots.remove(draft, found)
    else:
        draft.put(msgspec.structs.replace(found, nodes=staying))
        taking.bury(draft, found, going)
    if command.with_empty_definition and not staying and _is_empty(draft, definition):
        draft.drop(definition)
        message = f"The resource definition '{definition.name}', of which nothing is left, is deleted"
        said.append(
            entries.deleted(Subject.RESOURCE_DEFINITION, message, entries.refs_of(definition=definition.name))
        )
    said += _offline(draft, going, refs)
    whole = f"The snapshot '{found.name}' of '{definition.name}' is deleted"
    part = f"The snapshot '{found.name}' of '{definition.name}' is deleted from {len(going)} nodes"
    more = refs | ({} if staying else {"UUID": found.uuid})
    said.append(entries.deleted(Subject.SNAPSHOT, part if staying else whole, more))
    return outcome(draft, said)


def _is_empty(draft: Draft, definition: ResourceDefinition) -> bool:
    busy = any(
        procedure.definition is not None and key_of(procedure.definition) == definition.key
        for procedure in draft.cluster.procedures.values()
    )
    return not (busy or draft.resources_of(definition.name) or draft.snapshots_of(definition.name))


def _offline(draft: Draft, parts: list[SnapshotOnNode], refs: dict[str, str]) -> list[Entry]:
    return [
        entries.warning(
            Operation.DELETE,
            Subject.SNAPSHOT,
            f"No active connection to satellite '{part.node}'",
            refs,
            code="NOT_CONNECTED",
            cause="The node removes what it keeps when it returns.",
        )
        for part in parts
        if not draft.world.observed.node(part.node).online
    ]


def _roll_back(command: RollBack, draft: Draft) -> Decision:
    definition = draft.find_definition(command.definition)
    found = snapshots.find(draft, definition, command.snapshot)
    if command.zfs_strategy.upper() not in _STRATEGIES:
        raise Invalid(
            Subject.REQUEST,
            command.zfs_strategy[:48],
            f"'{command.zfs_strategy[:48]}' is no way to roll back",
            correction="Known: rollback, clone, dynamic.",
        )
    _refuse_unready(draft, definition, found)
    snapshots.refuse_running(draft, definition, (Verb.ROLLBACK, Verb.SNAPSHOT, Verb.RESIZE, Verb.CLONE))
    rollback.start(draft, definition, found)
    message = f"'{definition.name}' is being rolled back to the snapshot '{found.name}'"
    done = entries.modified(Subject.SNAPSHOT, message, _refs(definition.name, found.name))
    return Decision(changes=draft.changes(), entries=(done,))


def _refuse_unready(draft: Draft, definition: ResourceDefinition, found: SnapshotDefinition) -> None:
    resources = draft.resources_of(definition.name)
    for resource in resources:
        if not draft.world.observed.node(resource.node).online:
            raise Unavailable(
                Subject.SNAPSHOT,
                found.name,
                f"'{definition.name}' cannot be rolled back while the node '{resource.node}' is away",
                cause="Every node of a resource takes part in its rollback.",
                correction="Bring the node online, or delete the resource there first.",
            )
        seen = replicas.online_seen(draft.world, resource)
        if seen is not None and seen.in_use:
            raise InUse(
                Subject.RESOURCE,
                definition.name,
                f"'{definition.name}' is in use on the node '{resource.node}'",
                cause="It is mounted or opened there.",
                correction="Stop its user first.",
            )
    kept = [one for one in replicas.diskful(resources) if found.on(one.node) is not None]
    if found.phase is not SnapshotPhase.SUCCESSFUL or not kept:
        raise Conflict(
            Subject.SNAPSHOT,
            found.name,
            f"'{definition.name}' cannot be rolled back to '{found.name}'",
            cause="No node that has a disk of it keeps the snapshot."
            if found.phase is SnapshotPhase.SUCCESSFUL
            else "The snapshot is not complete.",
            correction="Restore it to another resource, or choose another snapshot.",
        )
