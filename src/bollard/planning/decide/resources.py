"""Resources on nodes: create one or many, change, delete. Each function is one command."""

from typing import assert_never

import msgspec

from bollard.domain import props
from bollard.domain.answers import Decision, Entry, Operation, Severity
from bollard.domain.commands import (
    CreateResources,
    DeleteResource,
    ModifyResource,
    ModifyVolume,
    NewResource,
)
from bollard.domain.errors import Conflict, InUse, Invalid, NotFound, Subject, Unsupported
from bollard.domain.ids import DISKLESS_POOL, key_of, node_name, resource_name
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.nodes import Node, NodePhase, StoragePool
from bollard.domain.props import Scope
from bollard.domain.resources import (
    DefinitionPhase,
    DiskKind,
    Resource,
    ResourceDefinition,
    ResourcePhase,
)
from bollard.planning import entries, fabrics, replicas, shared, sizes
from bollard.planning.decide import properties
from bollard.planning.decide.definitions import parsed_stack
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.procedures import toggle_disk
from bollard.planning.world import World

__all__ = ["check_node", "decide", "disk_kind", "first_replicas", "no_volumes", "refuse_last_copy"]

Commands = CreateResources | ModifyResource | DeleteResource | ModifyVolume


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about resources. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case CreateResources():
            return _create(command, draft)
        case ModifyResource():
            return _modify(command, draft)
        case DeleteResource():
            return _delete(command, draft)
        case ModifyVolume():
            return _modify_volume(command, draft)
        case _:
            assert_never(command)


def disk_kind(flags: tuple[str, ...], *, client: bool) -> DiskKind:
    """What these flags ask for. Raises Invalid for an unknown one, Unsupported for other transports."""
    kind = DiskKind.DISKFUL
    for flag in flags:
        match flag.upper():
            case "DISKLESS" | "DRBD_DISKLESS":
                kind = DiskKind.DISKLESS
            case "TIE_BREAKER":
                kind = DiskKind.TIE_BREAKER
            case "INACTIVE":
                pass  # says nothing of the disk
            case fabrics.INITIATOR_FLAG:
                return DiskKind.NVME_INITIATOR
            case "EBS_INITIATOR":
                raise Unsupported(
                    Subject.LAYER_KIND, flag, f"{flag} belongs to a layer that no node supports yet"
                )
            case _:
                raise Invalid(
                    Subject.REQUEST,
                    flag[:48],
                    f"'{flag[:48]}' is not a flag of a resource",
                    correction="Known: DISKLESS, DRBD_DISKLESS, NVME_INITIATOR, TIE_BREAKER, INACTIVE.",
                )
    return DiskKind.CLIENT if client else kind


def check_phase(definition: ResourceDefinition) -> None:
    """Whether the definition takes resources now. Raises Conflict."""
    if definition.phase is not DefinitionPhase.NORMAL:
        raise Conflict(
            Subject.RESOURCE_DEFINITION,
            definition.name,
            f"'{definition.name}' takes no new resources now",
            cause=f"It is {definition.phase}.",
        )


def check_node(draft: Draft, definition: ResourceDefinition, node: Node) -> None:
    """Whether the node may get a resource of this definition. Raises Conflict or Unsupported."""
    if not node.holds_storage:
        raise Conflict(
            Subject.NODE_TYPE,
            node.name,
            f"The node '{node.name}' cannot have resources",
            cause=f"It is registered as {node.type}.",
        )
    if node.phase is not NodePhase.NORMAL:
        raise Conflict(
            Subject.NODE,
            node.name,
            f"The node '{node.name}' takes no new resources",
            cause=f"It is {node.phase}.",
            correction="Restore the node, or choose another one.",
        )
    check_phase(definition)
    fabrics.check_stack(definition, replicas.stack_of(definition))
    seen = draft.world.observed.node(node.name)
    known = seen.capabilities if seen.online else None
    if known is None:
        return
    missing = [layer for layer in replicas.stack_of(definition) if layer not in known.layers]
    if missing:
        reasons = [reason for layer in missing for reason in known.unsupported_layers.get(layer, [])]
        raise Unsupported(
            Subject.LAYER_KIND,
            node.name,
            f"The node '{node.name}' does not support the layer {', '.join(missing)}",
            cause="; ".join(reasons) or "Its satellite has no driver for it.",
        )


def first_replicas(draft: Draft, definition: ResourceDefinition) -> tuple[ResourceDefinition, bool]:
    """The definition to place, its data generation renewed if its disks are the first (again)."""
    if not replicas.has_first_replicas_to_make(draft, definition):
        return definition, False
    return replicas.renew_generation(draft, definition), True


def _create(command: CreateResources, draft: Draft) -> Decision:
    definition = draft.find_definition(command.definition)
    if not command.resources:
        raise Invalid(Subject.REQUEST, definition.name, "No resource was given", cause="The list is empty.")
    definition = _with_stack(draft, definition, command.resources)
    for given in command.resources:
        draft.find_node(given.node)
    definition, fresh = first_replicas(draft, definition)
    said: list[Entry] = []
    disks = 0
    for given in command.resources:
        node = draft.find_node(given.node)
        refs = entries.refs_of(definition=definition.name)
        present = draft.resource(definition.name, node.name)
        if present is not None and present.disk is not DiskKind.TIE_BREAKER:
            said.append(_already_there(definition, node, refs))
            continue
        check_node(draft, definition, node)
        made = _one(draft, definition, node, given, present, fresh=fresh, first=disks == 0)
        disks += made.diskful
        asleep = "INACTIVE" in {flag.upper() for flag in given.flags}
        if asleep or shared.active_twin(draft, made) is not None:
            draft.put(msgspec.structs.replace(made, phase=ResourcePhase.INACTIVE))
        uuid = refs | {"UUID": made.uuid}
        message = f"The resource '{definition.name}' was created on '{node.name}'"
        said.append(entries.created(Subject.RESOURCE, message, uuid))
        if made.diskful:
            said += _volume_entries(definition, node)
    if not definition.volumes:
        said.append(no_volumes(definition))
    return outcome(draft, said, ready=True)


def _with_stack(
    draft: Draft, definition: ResourceDefinition, given: tuple[NewResource, ...]
) -> ResourceDefinition:
    """The first resources may say what layers the definition has."""
    named = {one.layer_stack for one in given if one.layer_stack}
    if not named:
        return definition
    stacks = {parsed_stack(names)[0] for names in named}
    present = draft.cluster.resources_of(definition.name)
    current = replicas.stack_of(definition)
    if len(stacks) > 1 or (present and stacks != {current}):
        raise Invalid(
            Subject.LAYER_STACK,
            definition.name,
            f"All resources of '{definition.name}' have the same layers",
            cause="They are " + ", ".join(current) + ".",
        )
    if stacks == {current}:
        return definition
    changed = msgspec.structs.replace(definition, layer_stack=next(iter(stacks)))
    draft.put(changed)
    return changed


def _already_there(definition: ResourceDefinition, node: Node, refs: dict[str, str]) -> Entry:
    return Entry(
        severity=Severity.INFO,
        operation=Operation.CREATE,
        subject=Subject.RESOURCE,
        message=f"The resource '{definition.name}' is on '{node.name}' already",
        code="RSC_ALREADY_EXISTS",
        cause="It was created before; nothing was changed.",
        refs=refs,
    )


def no_volumes(definition: ResourceDefinition) -> Entry:
    """There is a resource, and nothing in it yet."""
    return entries.warning(
        Operation.CREATE,
        Subject.RESOURCE,
        f"'{definition.name}' has no volumes yet",
        entries.refs_of(definition=definition.name),
        code="NOT_FOUND",
        correction="Create a volume definition; its volumes are made where the resource is.",
    )


def _volume_entries(definition: ResourceDefinition, node: Node) -> list[Entry]:
    return [
        entries.created(
            Subject.VOLUME,
            f"Volume {volume.number} of '{definition.name}' is being made on '{node.name}'",
            entries.refs_of(definition=definition.name, node=node.name, volume=volume.number),
        )
        for volume in definition.volumes
    ]


def _one(
    draft: Draft,
    definition: ResourceDefinition,
    node: Node,
    given: NewResource,
    present: Resource | None,
    *,
    fresh: bool,
    first: bool,
) -> Resource:
    disk = disk_kind(given.flags, client=given.client)
    own = properties.initial(given.props, Scope.RESOURCE)
    named = own.get(props.STOR_POOL_NAME.key)
    if disk is DiskKind.DISKFUL and named is not None and _is_diskless_pool(draft, node, named):
        disk = DiskKind.DISKLESS
    disk = _over_fabric(draft, definition, disk)
    if disk not in {DiskKind.DISKFUL, DiskKind.NVME_INITIATOR} and not replicas.replicated(definition):
        raise Invalid(
            Subject.LAYER_STACK,
            definition.name,
            f"'{definition.name}' cannot be on '{node.name}' without a disk",
            cause="It is not replicated, so there is nothing to read from.",
        )
    if disk is not DiskKind.DISKFUL:
        own = {key: value for key, value in own.items() if key != props.STOR_POOL_NAME.key}
        if present is not None:
            changed = replicas.set_disk(draft, present, disk)
            changed = msgspec.structs.replace(changed, made_by="user", props=changed.props | own)
            draft.put(changed)
            return changed
        return replicas.add(
            draft,
            definition,
            node,
            disk=disk,
            pools={},
            own=own,
            node_id=given.drbd_node_id,
            ports=given.tcp_ports,
            made_by="tie-breaker" if disk is DiskKind.TIE_BREAKER else "user",
        )
    pools = replicas.pools_for(draft, definition, node, own)
    refuse_mixing(draft, definition, pools)
    if present is not None:
        return toggle_disk.start_adding(draft, present, pools)
    return replicas.add(
        draft,
        definition,
        node,
        disk=disk,
        pools=pools,
        day0=may_start_equal(draft, definition, pools, fresh=fresh, first=first),
        own=own,
        node_id=given.drbd_node_id,
        ports=given.tcp_ports,
    )


def _over_fabric(draft: Draft, definition: ResourceDefinition, disk: DiskKind) -> DiskKind:
    """What `disk` means for this definition. Raises Invalid, Conflict or Exists where NVMe forbids it."""
    if not fabrics.is_fabric(replicas.stack_of(definition)):
        if disk is DiskKind.NVME_INITIATOR:
            raise fabrics.refuse_disk_flag(definition, fabrics.INITIATOR_FLAG)
        return disk
    others = draft.resources_of(definition.name)
    if disk is DiskKind.DISKFUL:
        fabrics.check_second_target(definition, others)
        return disk
    fabrics.check_target_there(definition, others)
    return DiskKind.NVME_INITIATOR


def may_start_equal(
    draft: Draft,
    definition: ResourceDefinition,
    pools: dict[int, StoragePool],
    *,
    fresh: bool,
    first: bool,
) -> bool:
    """Whether a new disk may start in the definition's first generation: the first one always may.

    The others of the first set may when all new volumes read as zeroes, so that they are equal from the
    start. A disk that comes later never may: the data has moved on.
    """
    if not fresh:
        return False
    forced = props.FORCE_INITIAL_SYNC.truth(
        definition.props, draft.group_of(definition).props, draft.controller_props()
    )
    zeroed = all(sizes.zero_filled(pool.provider) for pool in pools.values())
    return first or (zeroed and not forced)


def _is_diskless_pool(draft: Draft, node: Node, name: str) -> bool:
    pool = draft.pool(node.name, name)
    return key_of(name) == key_of(DISKLESS_POOL) or (
        pool is not None and pool.provider is ProviderKind.DISKLESS
    )


def refuse_mixing(draft: Draft, definition: ResourceDefinition, pools: dict[int, StoragePool]) -> None:
    """Raises Conflict when kinds of storage would meet in one resource that may not."""
    group = draft.group_of(definition)
    if props.ALLOW_MIXING.truth(definition.props, group.props, draft.controller_props()):
        return
    there = {
        pool.provider
        for resource in draft.resources_of(definition.name)
        for volume in resource.volumes
        if resource.diskful and (pool := draft.pool(resource.node, volume.pool)) is not None
    }
    classes = {sizes.storage_class(provider) for provider in there}
    mine = {sizes.storage_class(pool.provider) for pool in pools.values()}
    if len(classes | mine) > 1 and classes:
        raise Conflict(
            Subject.PROVIDER,
            definition.name,
            f"'{definition.name}' cannot have replicas on such different storage",
            cause="There: " + ", ".join(sorted(classes)) + "; wanted: " + ", ".join(sorted(mine)) + ".",
            correction=f"Choose a like pool, or set {props.ALLOW_MIXING.key} to true.",
        )


def _modify(command: ModifyResource, draft: Draft) -> Decision:
    resource = draft.find_resource(command.definition, command.node)
    refs = entries.refs_of(definition=resource.definition, node=resource.node)
    after, said = properties.apply(
        resource.props, command.props, Scope.RESOURCE, subject=Subject.RESOURCE, refs=refs
    )
    properties.require_net_if(draft.node(resource.node), after)
    changed = _switched(msgspec.structs.replace(resource, props=after), command)
    draft.put(changed)
    message = f"The resource '{resource.definition}' on '{resource.node}' was changed"
    said.append(entries.modified(Subject.RESOURCE, message, refs | {"UUID": resource.uuid}))
    return outcome(draft, said)


def _switched(resource: Resource, command: ModifyResource) -> Resource:
    """Another kind of diskless resource, if one is asked for. Raises Invalid when it has a disk."""
    if command.tie_breaker is None and command.client is None:
        return resource
    if resource.diskful:
        raise Invalid(
            Subject.RESOURCE_STATE,
            resource.definition,
            f"'{resource.definition}' has a disk on '{resource.node}'",
            cause="Only a diskless resource can be a tie-breaker or a client.",
            correction="Toggle its disk first.",
        )
    into = DiskKind.DISKLESS
    if command.tie_breaker:
        into = DiskKind.TIE_BREAKER
    elif command.client:
        into = DiskKind.CLIENT
    made_by = "tie-breaker" if into is DiskKind.TIE_BREAKER else "user"
    return msgspec.structs.replace(resource, disk=into, made_by=made_by)


def _modify_volume(command: ModifyVolume, draft: Draft) -> Decision:
    resource = draft.find_resource(command.definition, command.node)
    volume = next((one for one in resource.volumes if one.number == command.number), None)
    refs = entries.refs_of(definition=resource.definition, node=resource.node, volume=command.number)
    if volume is None:
        raise NotFound(
            Subject.VOLUME,
            f"{resource.definition}/{command.number}",
            f"'{resource.definition}' has no volume {command.number} on '{resource.node}'",
        )
    after, said = properties.apply(
        volume.props, command.props, Scope.VOLUME, subject=Subject.VOLUME, refs=refs
    )
    volumes = tuple(
        msgspec.structs.replace(one, props=after) if one is volume else one for one in resource.volumes
    )
    draft.put(msgspec.structs.replace(resource, volumes=volumes))
    message = f"Volume {volume.number} of '{resource.definition}' on '{resource.node}' was changed"
    said.append(entries.modified(Subject.VOLUME, message, refs))
    return outcome(draft, said)


def refuse_last_copy(draft: Draft, resource: Resource, what: str) -> None:
    """Raises Conflict when the cluster would lose its only complete copy, or users their only disk."""
    others = [one for one in draft.cluster.resources_of(resource.definition) if one.key != resource.key]
    fabrics.refuse_used_target(resource, others, what)
    if not resource.diskful or LayerKind.DRBD not in resource.layer_stack or not others:
        return
    disks = replicas.diskful(others)
    if not disks and any(one.disk is not DiskKind.TIE_BREAKER for one in others):
        raise Conflict(
            Subject.REPLICA_COUNT,
            resource.definition,
            f"'{resource.definition}' on '{resource.node}' cannot {what}",
            cause="It is the last disk, and these nodes use it over the network: "
            + ", ".join(one.node for one in others),
            correction="Place another replica, or delete the diskless resources first.",
        )
    if replicas.may_be_last_copy(draft.world, resource):
        raise Conflict(
            Subject.REPLICA_COUNT,
            resource.definition,
            f"'{resource.definition}' on '{resource.node}' cannot {what}",
            cause="No other replica that can be reached is up to date.",
            correction="Wait until one is, or bring its node online.",
        )


def _delete(command: DeleteResource, draft: Draft) -> Decision:
    name, host = resource_name(command.definition), node_name(command.node)
    refs = entries.refs_of(definition=name, node=host)
    resource = draft.resource(name, host)
    if resource is None:
        said = entries.not_there(Subject.RESOURCE, f"The resource '{name}' is not on '{host}'", refs)
        return Decision(entries=(said,))
    seen = replicas.online_seen(draft.world, resource)
    if seen is not None and seen.in_use:
        raise InUse(
            Subject.RESOURCE,
            f"{name}/{host}",
            f"The resource '{name}' is in use on '{host}'",
            cause="It is mounted or opened there.",
            correction="Stop its user first.",
        )
    refuse_last_copy(draft, resource, "be deleted")
    said_all: list[Entry] = []
    if resource.disk is DiskKind.TIE_BREAKER and not command.keep_tiebreaker:
        definition = draft.definition(name)
        assert definition is not None
        key = props.AUTO_TIEBREAKER.key
        draft.put(msgspec.structs.replace(definition, props=definition.props | {key: "false"}))
        message = f"{key} of '{name}' was set to false: a person took the tie-breaker away"
        said_all.append(entries.info(Operation.CREATE, Subject.RESOURCE, message, refs, code="PROP_SET"))
    replicas.bury(draft, resource)
    message = f"The resource '{name}' on '{host}' is deleted"
    said_all.append(entries.deleted(Subject.RESOURCE, message, refs | {"UUID": resource.uuid}))
    return outcome(draft, said_all)
