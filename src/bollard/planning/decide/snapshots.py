"""Snapshots: create one or several at one instant, change, delete, roll back."""

from typing import assert_never

import msgspec

from bollard.domain.answers import Decision, Entry, Operation
from bollard.domain.commands import CreateSnapshots, DeleteSnapshot, ModifySnapshot, NewSnapshot, RollBack
from bollard.domain.errors import (
    Busy,
    Conflict,
    Exists,
    InUse,
    Invalid,
    NotFound,
    Subject,
    Unavailable,
    Unsupported,
)
from bollard.domain.ids import NodeName, key_of, snapshot_name
from bollard.domain.nodes import Props
from bollard.domain.procedures import Verb
from bollard.domain.props import Scope
from bollard.domain.resources import Resource, ResourceDefinition, ResourcePhase
from bollard.domain.snapshots import SnapshotDefinition, SnapshotOnNode, SnapshotPhase, SnapshotVolume
from bollard.planning import entries, replicas, restoring
from bollard.planning.decide import properties
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.procedures import rollback
from bollard.planning.procedures import snapshot as taking
from bollard.planning.world import World

__all__ = ["decide", "find", "new", "refuse_running", "remove"]

Commands = CreateSnapshots | ModifySnapshot | DeleteSnapshot | RollBack
SEQUENCE = "SequenceNumber"
NODE_IDS = "BackupShipping/BackupNodeIdsToReset"
_STRATEGIES = frozenset({"", "ROLLBACK", "CLONE", "DYNAMIC"})
_BUSY = {
    Verb.SNAPSHOT: "A snapshot of it is being taken.",
    Verb.ROLLBACK: "It is being rolled back.",
    Verb.RESIZE: "It is being resized.",
    Verb.CLONE: "It is being made as a clone.",
}


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


def find(draft: Draft, definition: ResourceDefinition, name: str) -> SnapshotDefinition:
    """The snapshot of that name. Raises NotFound."""
    found = draft.get(SnapshotDefinition, "snapshot", key_of(definition.name, name))
    if found is None or found.hidden:
        raise NotFound(
            Subject.SNAPSHOT_DEFINITION,
            name,
            f"'{definition.name}' has no snapshot '{name}'",
            cause="It was never taken, or it was deleted.",
        )
    return found


def refuse_running(draft: Draft, definition: ResourceDefinition, verbs: tuple[Verb, ...]) -> None:
    """Raises Busy while one of these is under way for the definition."""
    for verb in verbs:
        if draft.cluster.procedures.get(key_of(verb, definition.name, "")) is not None:
            raise Busy(
                Subject.SNAPSHOT if verb is Verb.ROLLBACK else Subject.RESOURCE,
                definition.name,
                f"'{definition.name}' is busy",
                cause=_BUSY[verb],
                correction="Try again when that is done.",
            )


def new(draft: Draft, wanted: NewSnapshot, *, hidden: bool = False) -> SnapshotDefinition:
    """A snapshot in the draft, still to be taken. Raises a DomainError when it cannot be."""
    definition = draft.find_definition(wanted.definition)
    name = snapshot_name(wanted.name)
    if draft.get(SnapshotDefinition, "snapshot", key_of(definition.name, name)) is not None:
        raise Exists(
            Subject.SNAPSHOT_DEFINITION,
            name,
            f"'{definition.name}' has a snapshot '{name}' already",
            cause="Names are compared without regard to case.",
            correction="Choose another name, or delete that one first.",
        )
    refuse_running(draft, definition, (Verb.SNAPSHOT, Verb.ROLLBACK, Verb.RESIZE, Verb.CLONE))
    chosen = _chosen(draft, definition, wanted.nodes)
    apart = taking.divided(draft, definition.name, [resource.node for resource in chosen])
    if apart:
        raise Conflict(
            Subject.SNAPSHOT,
            definition.name,
            f"No snapshot can be taken of '{definition.name}'",
            cause=f"Its data on the node '{apart}' is not complete, or the node is out of touch with others.",
            correction="Wait until it is up to date, or name the nodes that shall keep the snapshot.",
        )
    for resource in chosen:
        _refuse_unfit(draft, resource)
    _refuse_unreachable_user(draft, definition)
    draw, now_ms = draft.world.draw, draft.world.now_ms
    made = SnapshotDefinition(
        definition=definition.name,
        name=name,
        uuid=draw.uuid(),
        nodes=tuple(
            SnapshotOnNode(
                node=resource.node,
                uuid=draw.uuid(),
                volumes=tuple(
                    SnapshotVolume(one.number, draw.uuid(), one.uuid, one.pool) for one in resource.volumes
                ),
                resource_props=resource.props,
                create_timestamp_ms=now_ms,
                drbd_node_id=resource.drbd_node_id,
            )
            for resource in chosen
        ),
        volumes=definition.volumes,
        props=properties.initial(wanted.props, Scope.RESOURCE_DEFINITION) | _own_props(draft, definition),
        definition_props=definition.props,
        group=definition.group,
        layer_stack=chosen[0].layer_stack,
        peer_slots=chosen[0].peer_slots or definition.peer_slots,
        create_timestamp_ms=now_ms,
        automatic=wanted.automatic,
        hidden=hidden,
    )
    draft.put(made)
    return made


def _own_props(draft: Draft, definition: ResourceDefinition) -> Props:
    numbers = [int(one.props.get(SEQUENCE, "0")) for one in draft.snapshots_of(definition.name)]
    ids = [
        one.drbd_node_id
        for one in replicas.diskful(draft.resources_of(definition.name))
        if one.drbd_node_id is not None
    ]
    own = {SEQUENCE: str(max(numbers, default=0) + 1)}
    return own | ({NODE_IDS: ",".join(str(number) for number in sorted(ids))} if ids else {})


def _chosen(draft: Draft, definition: ResourceDefinition, names: tuple[str, ...]) -> list[Resource]:
    """The replicas that keep something: those on the nodes named, or all with a disk that can be reached."""
    if names:
        return [_named(draft, definition, draft.find_node(name).name) for name in dict.fromkeys(names)]
    online = draft.world.observed.node
    found = [
        resource
        for resource in replicas.diskful(draft.resources_of(definition.name))
        if online(resource.node).online and resource.phase is not ResourcePhase.INACTIVE
    ]
    if not found:
        raise Unavailable(
            Subject.SNAPSHOT,
            definition.name,
            f"No snapshot can be taken of '{definition.name}'",
            cause="No node with a disk of it can be reached.",
            correction="Place it on a node, or bring one of its nodes online.",
        )
    return found


def _named(draft: Draft, definition: ResourceDefinition, node: NodeName) -> Resource:
    resource = draft.resource(definition.name, node)
    if resource is None or not resource.diskful:
        raise Unsupported(
            Subject.SNAPSHOT,
            node,
            f"No snapshot can be taken of '{definition.name}' on the node '{node}'",
            cause="It has no disk there.",
            correction="Name nodes with a disk, or none: all with a disk are taken then.",
        )
    if not draft.world.observed.node(node).online or resource.phase is ResourcePhase.INACTIVE:
        raise Unavailable(
            Subject.SNAPSHOT,
            node,
            f"No snapshot can be taken of '{definition.name}' on the node '{node}'",
            cause="The node is not connected, or the resource is not active there.",
            correction="Bring the node online and activate the resource, or leave it out.",
        )
    return resource


def _refuse_unfit(draft: Draft, resource: Resource) -> None:
    for volume in resource.volumes:
        seen = draft.world.observed.pool(resource.node, volume.pool)
        if seen is not None and not seen.supports_snapshots:
            raise Unsupported(
                Subject.SNAPSHOT,
                volume.pool,
                f"No snapshot can be taken of '{resource.definition}' on the node '{resource.node}'",
                cause=f"The storage pool '{volume.pool}' cannot keep snapshots.",
                correction="Use a pool that can, or leave this node out.",
            )


def _refuse_unreachable_user(draft: Draft, definition: ResourceDefinition) -> None:
    """Who cannot be told to stand still must not be writing."""
    for resource in draft.resources_of(definition.name):
        seen = replicas.online_seen(draft.world, resource)
        for peer in seen.peers if seen is not None else ():
            if peer.role == "Primary" and not draft.world.observed.node(peer.node).online:
                raise Conflict(
                    Subject.SNAPSHOT,
                    definition.name,
                    f"No snapshot can be taken of '{definition.name}'",
                    cause=f"It is in use on the node '{peer.node}', which cannot be told to stand still.",
                    correction="Bring the satellite of that node online.",
                )


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
        one = new(draft, wanted)
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
    found = find(draft, definition, command.snapshot)
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
        refuse_running(draft, definition, (Verb.ROLLBACK,))
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
        remove(draft, found)
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


def remove(draft: Draft, found: SnapshotDefinition) -> None:
    """Forget a snapshot that nothing is being made of or taken for; its nodes drop what they keep."""
    restoring.give_up_waiting(draft, found.uuid)
    draft.drop(found)
    taking.bury(draft, found, list(found.nodes))


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
    found = find(draft, definition, command.snapshot)
    if command.zfs_strategy.upper() not in _STRATEGIES:
        raise Invalid(
            Subject.REQUEST,
            command.zfs_strategy[:48],
            f"'{command.zfs_strategy[:48]}' is no way to roll back",
            correction="Known: rollback, clone, dynamic.",
        )
    _refuse_unready(draft, definition, found)
    refuse_running(draft, definition, (Verb.ROLLBACK, Verb.SNAPSHOT, Verb.RESIZE, Verb.CLONE))
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
