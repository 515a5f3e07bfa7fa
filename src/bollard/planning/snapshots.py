"""Snapshots in a draft: one found, one made to be taken, one removed. Who wants it is not its business."""

from bollard.domain.commands import NewSnapshot
from bollard.domain.errors import (
    Busy,
    Conflict,
    Exists,
    NotFound,
    Subject,
    Unavailable,
    Unsupported,
)
from bollard.domain.ids import NodeName, key_of, snapshot_name
from bollard.domain.nodes import Props
from bollard.domain.procedures import Verb
from bollard.domain.props import Scope, checked
from bollard.domain.resources import Resource, ResourceDefinition, ResourcePhase
from bollard.domain.snapshots import SnapshotDefinition, SnapshotOnNode, SnapshotVolume
from bollard.planning import replicas, restoring
from bollard.planning.draft import Draft
from bollard.planning.procedures import snapshot as taking

__all__ = ["find", "new", "refuse_running", "remove"]

SEQUENCE = "SequenceNumber"
NODE_IDS = "BackupShipping/BackupNodeIdsToReset"
_BUSY = {
    Verb.SNAPSHOT: "A snapshot of it is being taken.",
    Verb.ROLLBACK: "It is being rolled back.",
    Verb.RESIZE: "It is being resized.",
    Verb.CLONE: "It is being made as a clone.",
}


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
    given = {key: checked(key, value, Scope.RESOURCE_DEFINITION) for key, value in wanted.props.items()}
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
        props=given | _own_props(draft, definition),
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


def remove(draft: Draft, found: SnapshotDefinition) -> None:
    """Forget a snapshot that nothing is being made of or taken for; its nodes drop what they keep."""
    restoring.give_up_waiting(draft, found.uuid)
    draft.drop(found)
    taking.bury(draft, found, list(found.nodes))
