"""Disks of resources: toggle, migrate, switch between diskless kinds, activate. Each is one command."""

from typing import assert_never

import msgspec

from bollard.domain.answers import Decision, Entry, Operation, Severity
from bollard.domain.commands import ActivateResource, DeactivateResource, ToggleDisk
from bollard.domain.errors import InUse, Invalid, NotFound, Subject
from bollard.domain.ids import DISKLESS_POOL
from bollard.domain.nodes import StoragePool
from bollard.domain.resources import (
    DiskKind,
    Resource,
    ResourceDefinition,
    ResourcePhase,
)
from bollard.planning import entries, replicas, shared
from bollard.planning.decide.outcome import outcome
from bollard.planning.decide.resources import check_node, refuse_last_copy, refuse_mixing
from bollard.planning.draft import Draft
from bollard.planning.procedures import migrate_disk, toggle_disk
from bollard.planning.world import World

__all__ = ["decide", "switch_diskless"]

Commands = ToggleDisk | ActivateResource | DeactivateResource


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about the disk of a resource. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case ToggleDisk():
            return _toggle(command, draft)
        case ActivateResource():
            return _activate(command, draft)
        case DeactivateResource():
            return _deactivate(command, draft)
        case _:
            assert_never(command)


def _toggle(command: ToggleDisk, draft: Draft) -> Decision:
    resource = draft.find_resource(command.definition, command.node)
    definition = draft.find_definition(command.definition)
    source = _source(command, draft, resource)
    if not replicas.replicated(definition):
        raise Invalid(
            Subject.LAYER_STACK,
            definition.name,
            f"'{definition.name}' has no disk to toggle",
            cause="It is not replicated: without its disk there is no data.",
        )
    if command.pool is not None:
        _find_pool(draft, resource, command.pool)
    if command.to_diskful:
        return _to_diskful(command, draft, definition, resource, source=source)
    return _to_diskless(draft, resource, DiskKind.CLIENT if command.client else DiskKind.DISKLESS)


def _source(command: ToggleDisk, draft: Draft, resource: Resource) -> Resource | None:
    if command.migrate_from is None:
        return None
    source = draft.find_resource(command.definition, command.migrate_from)
    if source.key != resource.key and not source.diskful:
        raise Invalid(
            Subject.RESOURCE_STATE,
            source.node,
            f"'{resource.definition}' has no disk on '{source.node}' that could be moved",
            cause=f"It is {source.disk} there.",
        )
    return source if source.key != resource.key else None


def _find_pool(draft: Draft, resource: Resource, name: str) -> StoragePool:
    pool = draft.pool(resource.node, name)
    if pool is None:
        raise NotFound(
            Subject.POOL_CONFIGURATION,
            name,
            f"There is no storage pool '{name}' on the node '{resource.node}'",
            cause="The disk was to be made there.",
            correction="Name a pool of that node.",
        )
    return pool


def _noop(resource: Resource, message: str) -> Entry:
    return Entry(
        severity=Severity.INFO,
        operation=Operation.MODIFY,
        subject=Subject.RESOURCE,
        message=message,
        code="NOOP",
        refs=_refs(resource),
    )


def _refs(resource: Resource) -> dict[str, str]:
    return entries.refs_of(definition=resource.definition, node=resource.node)


def _to_diskful(
    command: ToggleDisk,
    draft: Draft,
    definition: ResourceDefinition,
    resource: Resource,
    *,
    source: Resource | None,
) -> Decision:
    if resource.diskful and source is None:
        message = f"'{resource.definition}' has a disk on '{resource.node}' already"
        return Decision(entries=(_noop(resource, message),))
    if not resource.diskful:
        check_node(draft, definition, draft.node(resource.node))
        own = {key: value for key, value in resource.props.items() if value != DISKLESS_POOL}
        if command.pool is not None:
            own = own | {"StorPoolName": _find_pool(draft, resource, command.pool).name}
        pools = replicas.pools_for(draft, definition, draft.node(resource.node), own)
        refuse_mixing(draft, definition, pools)
        resource = toggle_disk.start_adding(draft, resource, pools)
    if source is not None:
        migrate_disk.start(draft, resource, source.node)
    message = f"'{resource.definition}' gets a disk on '{resource.node}'"
    if source is not None:
        message += f"; the one on '{source.node}' goes when it is filled"
    return outcome(draft, [entries.modified(Subject.RESOURCE, message, _refs(resource))])


def _to_diskless(draft: Draft, resource: Resource, into: DiskKind) -> Decision:
    if not resource.diskful:
        if resource.disk is into or into is DiskKind.DISKLESS:
            message = f"'{resource.definition}' has no disk on '{resource.node}' already"
            return Decision(entries=(_noop(resource, message),))
        return switch_diskless(draft, resource, into)
    refuse_last_copy(draft, resource, "lose its disk")
    others = [one for one in draft.cluster.resources_of(resource.definition) if one.key != resource.key]
    if not replicas.diskful(others):
        raise Invalid(
            Subject.REPLICA_COUNT,
            resource.definition,
            f"'{resource.definition}' on '{resource.node}' cannot lose its disk",
            cause="It is the only disk, and the data would be gone.",
            correction="Place another replica first.",
        )
    changed = toggle_disk.start_removing(draft, resource, into)
    message = f"'{changed.definition}' loses its disk on '{changed.node}'"
    return outcome(draft, [entries.modified(Subject.RESOURCE, message, _refs(changed))])


def switch_diskless(draft: Draft, resource: Resource, into: DiskKind) -> Decision:
    """From one diskless kind to another; what a person asks for the cluster does not take away again."""
    made_by = "tie-breaker" if into is DiskKind.TIE_BREAKER else "user"
    changed = msgspec.structs.replace(resource, disk=into, made_by=made_by)
    draft.put(changed)
    message = f"'{changed.definition}' on '{changed.node}' is now {changed.disk}"
    return outcome(draft, [entries.modified(Subject.RESOURCE, message, _refs(changed))])


def _deactivate(command: DeactivateResource, draft: Draft) -> Decision:
    resource = draft.find_resource(command.definition, command.node)
    if resource.phase is ResourcePhase.INACTIVE:
        message = f"'{resource.definition}' on '{resource.node}' is inactive already"
        return Decision(entries=(_noop(resource, message),))
    seen = replicas.online_seen(draft.world, resource)
    if seen is not None and seen.in_use:
        raise InUse(
            Subject.RESOURCE,
            resource.definition,
            f"The resource '{resource.definition}' is in use on '{resource.node}'",
            cause="It is mounted or opened there.",
            correction="Stop its user first.",
        )
    draft.put(msgspec.structs.replace(resource, phase=ResourcePhase.INACTIVE))
    message = f"'{resource.definition}' on '{resource.node}' is deactivated; its data stays"
    return outcome(draft, [entries.modified(Subject.RESOURCE, message, _refs(resource))])


def _activate(command: ActivateResource, draft: Draft) -> Decision:
    resource = draft.find_resource(command.definition, command.node)
    if resource.phase is not ResourcePhase.INACTIVE:
        message = f"'{resource.definition}' on '{resource.node}' is active already"
        return Decision(entries=(_noop(resource, message),))
    _refuse_shared_twin(draft, resource)
    draft.put(msgspec.structs.replace(resource, phase=ResourcePhase.NORMAL))
    message = f"'{resource.definition}' on '{resource.node}' is activated"
    return outcome(draft, [entries.modified(Subject.RESOURCE, message, _refs(resource))], ready=True)


def _refuse_shared_twin(draft: Draft, resource: Resource) -> None:
    other = shared.active_twin(draft, resource)
    if other is not None:
        raise InUse(
            Subject.RESOURCE,
            resource.definition,
            f"'{resource.definition}' cannot be active on '{resource.node}' too",
            cause=f"It is active on '{other.node}', on the same shared storage.",
            correction=f"Deactivate it on '{other.node}' first.",
        )
