"""Nodes: register, change, delete, declare lost. Each function is one command."""

from typing import assert_never

import msgspec

from bollard.domain import props
from bollard.domain.answers import Decision, Operation, Wait
from bollard.domain.commands import CreateNode, DeleteNode, LoseNode, ModifyNode
from bollard.domain.errors import Conflict, Exists, InUse, Invalid, Subject
from bollard.domain.ids import DISKLESS_POOL, NetIfName, NodeName, key_of, node_name
from bollard.domain.layers import ProviderKind
from bollard.domain.nodes import (
    STORAGE_NODE_TYPES,
    NetInterface,
    Node,
    NodePhase,
    NodeType,
    StoragePool,
)
from bollard.domain.props import Scope
from bollard.domain.resources import Resource
from bollard.planning import entries, leaving, replicas
from bollard.planning.decide import net_interfaces, properties
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.world import World

__all__ = ["decide"]

Commands = CreateNode | ModifyNode | DeleteNode | LoseNode


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about nodes. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case CreateNode():
            return _create(command, draft)
        case ModifyNode():
            return _modify(command, draft)
        case DeleteNode():
            return _delete(command, draft)
        case LoseNode():
            return _lose(command, draft)
        case _:
            assert_never(command)


def node_type(text: str) -> NodeType:
    """A node type in any case. Raises Invalid."""
    try:
        kind = NodeType(text.upper())
    except ValueError:
        kind = None
    if kind is None or kind in {NodeType.REMOTE_SPDK, NodeType.EBS_TARGET}:
        raise Invalid(
            Subject.NODE_TYPE,
            text,
            f"'{text[:48]}' is not a node type that can be registered",
            correction="Use SATELLITE, COMBINED, CONTROLLER or AUXILIARY.",
        )
    return kind


def _create(command: CreateNode, draft: Draft) -> Decision:
    name = node_name(command.name)
    kind = node_type(command.type)
    if draft.cluster.nodes.get(key_of(name)) is not None:
        raise Exists(
            Subject.NODE,
            name,
            f"The node '{name}' is registered already",
            cause="Names of nodes are compared without regard to case.",
            correction="Choose another name, or change the existing node.",
        )
    made: list[NetInterface] = []
    for given in command.net_interfaces:
        made.append(net_interfaces.new(given, made, draft, name))
    if not made:
        raise Invalid(
            Subject.NODE,
            name,
            f"The node '{name}' has no network interface",
            cause="A node is reached over a network interface.",
            correction="Give at least one, with an address.",
        )
    active = _active(command, made, name, kind)
    node = Node(
        name=name,
        uuid=draft.world.draw.uuid(),
        type=kind,
        net_interfaces=tuple(made),
        active_net_if=active,
        props=properties.initial(command.props, Scope.NODE),
    )
    properties.require_net_if(node, node.props)
    if active is not None:
        node = msgspec.structs.replace(node, props=node.props | {props.CURRENT_LINK.key: active})
    draft.put(node)
    _give_diskless_pool(draft, node)
    refs = entries.refs_of(node=name, uuid=node.uuid)
    said = [entries.created(Subject.NODE, f"The node '{name}' was registered", refs)]
    if command.props:
        said.insert(0, entries.created(Subject.NODE, "Properties set", entries.refs_of(node=name)))
    waits = (Wait(node=name),) if node.link() is not None and node.holds_storage else ()
    return outcome(draft, said, waits=waits)


def _active(command: CreateNode, made: list[NetInterface], name: str, kind: NodeType) -> NetIfName | None:
    linked = [net_if for net_if in made if net_if.satellite_port is not None]
    flagged = {given.name.upper() for given in command.net_interfaces if given.is_active}
    chosen = next((net_if for net_if in linked if net_if.name.upper() in flagged), None)
    if chosen is None and linked:
        chosen = linked[0]
    if chosen is None and kind in STORAGE_NODE_TYPES:
        raise Invalid(
            Subject.SATELLITE_CONNECTION,
            name,
            f"The node '{name}' has no interface for the connection to its satellite",
            cause="No interface was given with a satellite port and an encryption type.",
            correction="Give an interface a satellite port (3366 plain, 3367 with TLS) and its type.",
        )
    return chosen.name if chosen is not None else None


def _give_diskless_pool(draft: Draft, node: Node) -> None:
    if node.holds_storage and draft.pool(node.name, DISKLESS_POOL) is None:
        draft.put(
            StoragePool(
                node=node.name,
                name=DISKLESS_POOL,
                uuid=draft.world.draw.uuid(),
                provider=ProviderKind.DISKLESS,
            )
        )


def _modify(command: ModifyNode, draft: Draft) -> Decision:
    node = draft.find_node(command.node)
    refs = entries.refs_of(node=node.name, uuid=node.uuid)
    after, said = properties.apply(
        node.props, command.props, Scope.NODE, subject=Subject.NODE, refs=entries.refs_of(node=node.name)
    )
    if props.PREF_NIC.key in command.props.override:
        properties.require_net_if(node, after)
    changed = msgspec.structs.replace(node, props=after)
    if command.type is not None:
        changed = _with_type(draft, changed, node_type(command.type))
    draft.put(changed)
    said.append(entries.modified(Subject.NODE, f"The node '{node.name}' was changed", refs))
    return outcome(
        draft, said, waits=(Wait(node=node.name),) if changed != node and changed.holds_storage else ()
    )


def _with_type(draft: Draft, node: Node, kind: NodeType) -> Node:
    if kind not in STORAGE_NODE_TYPES:
        held = [pool for pool in draft.cluster.pools_on(node.name) if pool.name != DISKLESS_POOL]
        if held or draft.cluster.resources_on(node.name):
            raise Conflict(
                Subject.NODE_TYPE,
                node.name,
                f"The node '{node.name}' cannot become {kind}",
                cause="It has storage pools or resources, and such a node holds none.",
            )
    changed = msgspec.structs.replace(node, type=kind)
    _give_diskless_pool(draft, changed)
    return changed


def _delete(command: DeleteNode, draft: Draft) -> Decision:
    name = node_name(command.node)
    node = draft.cluster.nodes.get(key_of(name))
    refs = entries.refs_of(node=name)
    if node is None:
        return Decision(entries=(entries.not_there(Subject.NODE, f"There is no node '{name}'", refs),))
    if node.phase is NodePhase.EVICTED:
        said = entries.warning(
            Operation.DELETE,
            Subject.NODE,
            f"The node '{name}' was evicted and is not deleted",
            refs,
            code="NODE_EVICTED",
            correction="Declare it lost, or restore it.",
        )
        return Decision(entries=(said,))
    mine = draft.cluster.resources_on(name)
    _refuse_if_needed(draft, node, mine)
    for resource in mine:
        replicas.bury(draft, resource)
    kept = leaving.give_up_snapshots(draft, node)
    left = mine or kept or draft.cluster.tombstones_on(name)
    if left:
        # The node stays until it has removed what is on it; nobody waits for that.
        draft.put(msgspec.structs.replace(node, phase=NodePhase.DELETING))
    else:
        leaving.forget(draft, node)
    said_done = entries.deleted(Subject.NODE, f"The node '{name}' is deleted", refs | {"UUID": node.uuid})
    return outcome(draft, [said_done])


def _refuse_if_needed(draft: Draft, node: Node, mine: list[Resource]) -> None:
    for resource in mine:
        seen = replicas.online_seen(draft.world, resource)
        if seen is not None and seen.in_use:
            raise InUse(
                Subject.NODE,
                node.name,
                f"The node '{node.name}' cannot be deleted: '{resource.definition}' is in use there",
                cause="It is mounted or opened on that node.",
                correction="Stop its user, or move it to another node.",
            )
        others = [one for one in draft.cluster.resources_of(resource.definition) if one != resource]
        disks = replicas.diskful(others)
        if replicas.may_be_last_copy(draft.world, resource):
            raise InUse(
                Subject.NODE,
                node.name,
                f"The node '{node.name}' cannot be deleted: it may have the only complete copy of "
                f"'{resource.definition}'",
                cause="No other replica that can be reached is up to date.",
                correction="Wait until one is, or declare the node lost if its data is gone anyway.",
            )
        if resource.diskful and others and not disks and _has_users(others):
            raise InUse(
                Subject.NODE,
                node.name,
                f"The node '{node.name}' cannot be deleted: it has the last disk of '{resource.definition}'",
                cause="Other nodes use it without a disk of their own.",
                correction="Place another replica first.",
            )


def _has_users(resources: list[Resource]) -> bool:
    return any(resource.made_by != "tie-breaker" for resource in resources)


def _lose(command: LoseNode, draft: Draft) -> Decision:
    name: NodeName = node_name(command.node)
    node = draft.cluster.nodes.get(key_of(name))
    refs = entries.refs_of(node=name)
    if node is None:
        return Decision(entries=(entries.not_there(Subject.NODE, f"There is no node '{name}'", refs),))
    if draft.world.observed.node(name).online:
        raise Exists(
            Subject.NODE_CONNECTION,
            name,
            f"The node '{name}' is not lost: it is connected",
            cause="Only a node that will never come back is declared lost.",
            correction="Delete it, or stop its satellite for good first.",
        )
    for resource in draft.cluster.resources_on(name):
        draft.drop(resource)
    leaving.forget(draft, node)
    said = entries.deleted(
        Subject.NODE, f"The node '{name}' and all that was on it are forgotten", refs | {"UUID": node.uuid}
    )
    return outcome(draft, [said])
