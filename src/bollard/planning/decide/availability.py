"""A resource that can be used on a certain node, and no more. Each function is one command."""

from typing import assert_never

import msgspec

from bollard.domain.answers import Decision, Entry, Operation, Severity
from bollard.domain.commands import DeleteResource, MakeAvailable, NewResource, UnmakeAvailable
from bollard.domain.errors import InUse, NotFound, Subject
from bollard.domain.nodes import StoragePool
from bollard.domain.props import STOR_POOL_NAME
from bollard.domain.resources import (
    DiskKind,
    Resource,
    ResourceDefinition,
    ResourcePhase,
    SelectFilter,
)
from bollard.planning import effective, entries, fabrics, placement, replicas, shared
from bollard.planning.decide import definitions, resources
from bollard.planning.decide.outcome import outcome
from bollard.planning.decide.placing import with_stack
from bollard.planning.draft import Draft
from bollard.planning.procedures import toggle_disk
from bollard.planning.world import World

__all__ = ["decide"]

Commands = MakeAvailable | UnmakeAvailable


def decide(command: Commands, world: World) -> Decision:
    """Decide whether and how a node can use a resource. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case MakeAvailable():
            return _make_available(command, draft)
        case UnmakeAvailable():
            return _unmake_available(command, draft)
        case _:
            assert_never(command)


def _make_available(command: MakeAvailable, draft: Draft) -> Decision:
    definition = draft.find_definition(command.definition)
    resources.check_phase(definition)
    node = draft.find_node(command.node)
    if command.layer_stack:
        stack, _ = definitions.parsed_stack(command.layer_stack)
        definition = with_stack(draft, definition, stack)
    present = draft.resource(definition.name, node.name)
    refs = entries.refs_of(definition=definition.name, node=node.name)
    if present is not None:
        said = _make_present_usable(command, draft, definition, present)
        return outcome(draft, [said], ready=True)
    resources.check_node(draft, definition, node)
    has_disks = not replicas.has_first_replicas_to_make(draft, definition)
    if has_disks and not command.diskful and fabrics.is_fabric(replicas.stack_of(definition)):
        replicas.add(draft, definition, node, disk=DiskKind.NVME_INITIATOR, pools={})
    elif command.diskful or not has_disks or not replicas.replicated(definition):
        if has_disks and not replicas.replicated(definition):
            raise NotFound(
                Subject.RESOURCE,
                definition.name,
                f"'{definition.name}' cannot be made available on '{node.name}'",
                cause="It is not replicated, and its data is on another node.",
            )
        _add_disk_here(draft, definition, node.name, command)
    else:
        given = NewResource(node=node.name, client=True, tcp_ports=command.tcp_ports)
        replicas.add(draft, definition, node, disk=DiskKind.CLIENT, pools={}, ports=given.tcp_ports)
    message = f"'{definition.name}' is made available on '{node.name}'"
    return outcome(draft, [entries.created(Subject.RESOURCE, message, refs)], ready=True)


def _make_present_usable(
    command: MakeAvailable, draft: Draft, definition: ResourceDefinition, present: Resource
) -> Entry:
    refs = entries.refs_of(definition=definition.name, node=present.node)
    if command.diskful and not present.diskful:
        node = draft.node(present.node)
        own = {key: value for key, value in present.props.items() if key != STOR_POOL_NAME.key}
        pools = replicas.pools_for(draft, definition, node, own)
        resources.refuse_mixing(draft, definition, pools)
        toggle_disk.start_adding(draft, present, pools, made_by="make-available")
        message = f"'{definition.name}' gets a disk on '{present.node}'"
        return entries.modified(Subject.RESOURCE, message, refs)
    if present.disk is DiskKind.TIE_BREAKER:
        draft.put(msgspec.structs.replace(present, disk=DiskKind.DISKLESS, made_by="user"))
    elif present.phase is ResourcePhase.INACTIVE:
        _let_go_elsewhere(draft, present)
        draft.put(msgspec.structs.replace(present, phase=ResourcePhase.NORMAL))
    return Entry(
        severity=Severity.SUCCESS,
        operation=Operation.NONE,
        subject=Subject.RESOURCE,
        message=f"'{definition.name}' is available on '{present.node}'",
        refs=refs,
    )


def _let_go_elsewhere(draft: Draft, resource: Resource) -> None:
    """Deactivate the twin on the same shared storage. Raises InUse while that is used."""
    twin = shared.active_twin(draft, resource)
    if twin is None:
        return
    seen = draft.world.observed.resource(twin.definition, twin.node)
    if seen is None or seen.in_use or not draft.world.observed.node(twin.node).online:
        raise InUse(
            Subject.RESOURCE,
            resource.definition,
            f"'{resource.definition}' cannot move from '{twin.node}' to '{resource.node}'",
            cause="It is on shared storage, and in use there, or nobody knows.",
            correction="Stop its user first, or bring the node online.",
        )
    draft.put(msgspec.structs.replace(twin, phase=ResourcePhase.INACTIVE))


def _unmake_available(command: UnmakeAvailable, draft: Draft) -> Decision:
    """What has no disk goes again; a replica stays, for it is what the data is safe with."""
    resource = draft.resource(command.definition, command.node)
    refs = entries.refs_of(definition=command.definition, node=command.node)
    if resource is None:
        message = f"'{command.definition}' is not on '{command.node}'"
        return Decision(entries=(entries.not_there(Subject.RESOURCE, message, refs),))
    if resource.diskful or resource.disk is DiskKind.TIE_BREAKER:
        message = f"'{resource.definition}' stays on '{resource.node}': it is a {resource.disk} resource"
        said = entries.info(Operation.MODIFY, Subject.RESOURCE, message, refs, code="NOOP")
        return Decision(entries=(said,))
    return resources.decide(
        DeleteResource(definition=resource.definition, node=resource.node, keep_tiebreaker=True), draft.world
    )


def _add_disk_here(draft: Draft, definition: ResourceDefinition, node: str, command: MakeAvailable) -> None:
    """A replica on this very node: placed there if the group's rules let it, by the node's pools if not."""
    definition, fresh = resources.first_replicas(draft, definition)
    host = draft.node(node)
    pools = _pools_here(draft, definition, node)
    resources.refuse_mixing(draft, definition, pools)
    replicas.add(
        draft,
        definition,
        host,
        disk=DiskKind.DISKFUL,
        pools=pools,
        day0=resources.may_start_equal(draft, definition, pools, fresh=fresh, first=True),
        ports=command.tcp_ports,
    )


def _pools_here(draft: Draft, definition: ResourceDefinition, node: str) -> dict[int, StoragePool]:
    wanted = draft.group_of(definition).select_filter
    request = placement.Request(
        name=definition.name,
        count=1,
        size_kib=replicas.gross_total(draft, definition),
        filter=SelectFilter(
            node_names=(node,), storage_pools=wanted.storage_pools, providers=wanted.providers
        ),
        layers=replicas.stack_of(definition),
        maps=effective.definition_maps(draft.cluster, definition),
    )
    chosen = placement.place(request, draft.world).chosen[0]
    pool = draft.pool(chosen.node, chosen.pool)
    assert pool is not None, chosen
    return dict.fromkeys([volume.number for volume in definition.volumes] or [0], pool)
