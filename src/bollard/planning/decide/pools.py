"""Storage pools of nodes: create with a look by the node, change, delete. Each function is one command."""

from typing import assert_never

import msgspec

from bollard.domain import props
from bollard.domain.answers import Decision, Wait
from bollard.domain.cluster import drop
from bollard.domain.commands import CreatePool, DeletePool, ModifyPool
from bollard.domain.errors import Conflict, Exists, InUse, Invalid, NotFound, Subject, Unsupported
from bollard.domain.ids import DISKLESS_POOL, key_of, node_name, pool_name
from bollard.domain.layers import ProviderKind, provider_kind
from bollard.domain.nodes import Node, Props, StoragePool
from bollard.domain.props import Scope
from bollard.domain.resources import Resource, Tombstone
from bollard.planning import entries
from bollard.planning.decide import pool_definitions, properties
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.world import World

__all__ = ["decide"]

Commands = CreatePool | ModifyPool | DeletePool

_BACKING_KEYS = (
    props.STOR_DRIVER_NAME.key,
    props.FILE_DIR.key,
    props.LVM_VG.key,
    props.THIN_POOL.key,
    props.ZPOOL.key,
    props.ZPOOL_THIN.key,
)


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about storage pools. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case CreatePool():
            return _create(command, draft)
        case ModifyPool():
            return _modify(command, draft)
        case DeletePool():
            return _delete(command, draft)
        case _:
            assert_never(command)


def _create(command: CreatePool, draft: Draft) -> Decision:
    node = draft.find_node(command.node)
    name = pool_name(command.name)
    provider = provider_kind(command.provider)
    if draft.pool(node.name, name) is not None:
        raise Exists(
            Subject.POOL,
            name,
            f"The storage pool '{name}' of '{node.name}' exists already",
            cause="Names are compared without regard to case.",
            correction="Choose another name, or delete the pool first.",
        )
    _refuse_provider(draft, node, provider)
    backing = _backing_props(command.props, provider)
    others = {key: value for key, value in command.props.items() if key not in _BACKING_KEYS}
    pool = StoragePool(
        node=node.name,
        name=name,
        uuid=draft.world.draw.uuid(),
        provider=provider,
        props=properties.initial(others | backing, Scope.POOL),
        shared_space=command.shared_space,
        external_locking=command.external_locking,
    )
    _refuse_twin(draft, node, pool)
    properties.require_net_if(node, pool.props)
    pool_definitions.ensure(draft, name)
    draft.put(pool)
    refs = entries.refs_of(pool=name, node=node.name)
    said = []
    if pool.props:
        said.append(entries.created(Subject.POOL, "Properties set", refs))
    said.append(
        entries.created(
            Subject.POOL,
            f"The storage pool '{name}' of '{node.name}' was registered",
            refs | {"UUID": pool.uuid},
        )
    )
    # A pool without a disk is nothing that the node could look at.
    looked_at = pool.provider is not ProviderKind.DISKLESS
    waits = (Wait(node=node.name, pool=name),) if looked_at else ()
    return outcome(draft, said, waits=waits, undo=(drop(pool),))


def _refuse_provider(draft: Draft, node: Node, provider: ProviderKind) -> None:
    if not node.holds_storage:
        raise Conflict(
            Subject.NODE_TYPE,
            node.name,
            f"The node '{node.name}' cannot have storage pools",
            cause=f"It is registered as {node.type}, and such a node holds no storage.",
        )
    seen = draft.world.observed.node(node.name)
    known = seen.capabilities if seen.online else None
    if known is not None and provider is not ProviderKind.DISKLESS and provider not in known.providers:
        reasons = known.unsupported_providers.get(provider, [])
        raise Unsupported(
            Subject.PROVIDER,
            provider,
            f"The node '{node.name}' does not support the provider {provider}",
            cause="; ".join(reasons) or "Its satellite has no driver for it.",
            correction="Supported there: " + (", ".join(known.providers) or "none") + ".",
        )


def _backing_props(given: Props, provider: ProviderKind) -> Props:
    """The one property that names what the pool stands on; older ones are rewritten into it."""
    name = given.get(props.STOR_DRIVER_NAME.key) or given.get(props.FILE_DIR.key)
    if name is None:
        group, thin = given.get(props.LVM_VG.key), given.get(props.THIN_POOL.key)
        name = f"{group}/{thin}" if group and thin else group
    name = name or given.get(props.ZPOOL.key) or given.get(props.ZPOOL_THIN.key)
    if name is None and provider is not ProviderKind.DISKLESS:
        raise Invalid(
            Subject.POOL_CONFIGURATION,
            provider,
            f"A pool of the provider {provider} needs {props.STOR_DRIVER_NAME.key}",
            cause="It names what the pool stands on: a directory, a volume group, a data set.",
        )
    if provider in {ProviderKind.FILE, ProviderKind.FILE_THIN} and name and not _plain_path(name):
        raise Invalid(
            Subject.POOL_CONFIGURATION,
            name[:80],
            f"'{name[:80]}' is not a directory that a pool can stand on",
            cause="It must be an absolute path of letters, digits and '._-/' without '..'.",
        )
    return {props.STOR_DRIVER_NAME.key: name} if name is not None else {}


def _plain_path(path: str) -> bool:
    parts = path.split("/")
    return path.startswith("/") and ".." not in parts and "\0" not in path and "\n" not in path


def _refuse_twin(draft: Draft, node: Node, pool: StoragePool) -> None:
    """Two pools on one directory would count its space twice and could meet in one file."""
    place = pool.props.get(props.STOR_DRIVER_NAME.key)
    if place is None or pool.provider not in {ProviderKind.FILE, ProviderKind.FILE_THIN}:
        return
    for other in draft.cluster.pools_on(node.name):
        there = other.props.get(props.STOR_DRIVER_NAME.key, "").rstrip("/")
        if there == place.rstrip("/"):
            raise Conflict(
                Subject.POOL_CONFIGURATION,
                pool.name,
                f"'{place}' on '{node.name}' belongs to the storage pool '{other.name}' already",
                cause="Two pools in one directory would give the same space away twice.",
                correction="Use a directory of its own.",
            )


def _modify(command: ModifyPool, draft: Draft) -> Decision:
    node = draft.find_node(command.node)
    pool = draft.find_pool(node.name, command.name) if _defined(draft, command.name) else None
    if pool is None:
        raise NotFound(
            Subject.POOL_DEFINITION,
            command.name,
            f"There is no storage pool definition '{command.name}'",
            cause="No node has a pool of this name.",
        )
    refs = entries.refs_of(pool=pool.name, node=node.name)
    after, said = properties.apply(pool.props, command.props, Scope.POOL, subject=Subject.POOL, refs=refs)
    properties.require_net_if(node, after)
    moved = any(pool.props.get(key) != after.get(key) for key in _BACKING_KEYS)
    if moved and draft.cluster.volume_count(pool.key):
        raise InUse(
            Subject.POOL,
            pool.name,
            f"The storage pool '{pool.name}' of '{node.name}' cannot be moved",
            cause=f"{draft.cluster.volume_count(pool.key)} volumes are in it.",
            correction="Create another pool and move the volumes there.",
        )
    if moved:
        if props.STOR_DRIVER_NAME.key not in command.props.override:
            after = {key: value for key, value in after.items() if key not in _superseded(command)}
        after = {key: value for key, value in after.items() if key not in _BACKING_KEYS} | _backing_props(
            after, pool.provider
        )
    draft.put(msgspec.structs.replace(pool, props=after))
    said.append(
        entries.modified(Subject.POOL, f"The storage pool '{pool.name}' of '{node.name}' was changed", refs)
    )
    waits = (Wait(node=node.name, pool=pool.name),) if after != pool.props else ()
    return outcome(draft, said, waits=waits)


def _superseded(command: ModifyPool) -> set[str]:
    """The present key, where one of the older ones was set anew."""
    older = set(_BACKING_KEYS[1:]) & set(command.props.override)
    return {props.STOR_DRIVER_NAME.key} if older else set()


def _defined(draft: Draft, name: str) -> bool:
    return key_of(pool_name(name)) in draft.cluster.pool_definitions or key_of(name) == key_of(DISKLESS_POOL)


def _delete(command: DeletePool, draft: Draft) -> Decision:
    host, name = node_name(command.node), pool_name(command.name)
    pool = draft.pool(host, name)
    refs = entries.refs_of(pool=name, node=host)
    if pool is None:
        said = entries.not_there(Subject.POOL, f"There is no storage pool '{name}' on '{host}'", refs)
        return Decision(entries=(said,))
    if key_of(name) == key_of(DISKLESS_POOL):
        raise Invalid(
            Subject.POOL_NAME,
            name,
            f"The storage pool '{name}' cannot be deleted",
            cause="Every node that holds resources has it.",
        )
    users = _users(draft, pool)
    if users:
        raise InUse(
            Subject.POOL,
            name,
            f"The storage pool '{name}' of '{host}' is in use",
            cause="These have volumes in it: " + ", ".join(users[:20]) + ("..." if len(users) > 20 else ""),
            correction="Delete or move them first.",
        )
    draft.drop(pool)
    done = entries.deleted(
        Subject.POOL, f"The storage pool '{name}' of '{host}' was deleted", refs | {"UUID": pool.uuid}
    )
    return outcome(draft, [done], waits=(Wait(node=host),))


def _users(draft: Draft, pool: StoragePool) -> list[str]:
    """Resources with volumes in the pool, also those that the node has still to remove by its last report."""
    removed = draft.world.observed.node(pool.node).removed
    holders: list[Resource | Tombstone] = [
        *draft.cluster.resources_on(pool.node),
        *(stone for stone in draft.cluster.tombstones_on(pool.node) if stone.resource_uuid not in removed),
    ]
    named = {
        holder.definition
        for holder in holders
        if any(key_of(volume.pool) == key_of(pool.name) for volume in holder.volumes)
    }
    kept = {
        f"{found.definition} (snapshot {found.name})"
        for found in draft.cluster.snapshots.values()
        for part in found.nodes
        if key_of(part.node) == key_of(pool.node)
        and any(key_of(volume.pool) == key_of(pool.name) for volume in part.volumes)
    }
    return sorted(named) + sorted(kept)
