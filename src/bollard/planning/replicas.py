"""A resource on one node: how it is made, changed and taken away in a draft. No rules about whether."""

import msgspec

from bollard.domain import props
from bollard.domain.errors import Exhausted, Invalid, NotFound, Subject
from bollard.domain.ids import DISKLESS_POOL, key_of
from bollard.domain.layers import DEFAULT_STACK, LayerKind, ProviderKind, ReplicationKind
from bollard.domain.nodes import Node, Props, StoragePool
from bollard.domain.resources import (
    Companion,
    DiskKind,
    Resource,
    ResourceDefinition,
    ResourcePhase,
    Tombstone,
    VolumeDefinition,
    VolumeOnNode,
)
from bollard.domain.seen import SeenResource
from bollard.planning import allocate, effective, implementation, sizes
from bollard.planning.companions import companions_of
from bollard.planning.draft import Draft
from bollard.planning.layers import drbd
from bollard.planning.world import World

__all__ = [
    "add",
    "add_volumes",
    "bury",
    "bury_volumes",
    "check_peer_slots",
    "complete_volumes",
    "diskful",
    "gross_total",
    "has_first_replicas_to_make",
    "may_be_last_copy",
    "online_seen",
    "pools_for",
    "providers_of",
    "replicated",
    "reports_complete",
    "set_disk",
    "stack_of",
    "up_to_date",
]


def stack_of(definition: ResourceDefinition) -> tuple[LayerKind, ...]:
    """The layers of a definition, or the default."""
    return definition.layer_stack or DEFAULT_STACK


def replicated(definition: ResourceDefinition) -> bool:
    """Whether its resources are replicated."""
    return LayerKind.DRBD in stack_of(definition)


def diskful(resources: list[Resource]) -> list[Resource]:
    """Those with a disk."""
    return [resource for resource in resources if resource.diskful]


def online_seen(world: World, resource: Resource) -> SeenResource | None:
    """What its node says of this very resource, if the node is online."""
    if not world.observed.node(resource.node).online:
        return None
    seen = world.observed.resource(resource.definition, resource.node)
    return seen if seen is not None and seen.uuid == resource.uuid else None


def up_to_date(world: World, resource: Resource) -> bool:
    """Whether every volume of it is known, from a node that is online, to hold all data.

    A disk that is being added is not, whatever was reported: the report may be of the one before it.
    """
    return resource.phase is not ResourcePhase.DISK_ADDING and reports_complete(world, resource)


def reports_complete(world: World, resource: Resource) -> bool:
    """Whether the last report of a node that is online calls every volume complete."""
    seen = online_seen(world, resource)
    if seen is None or not resource.diskful:
        return False
    states = {volume.number: volume.disk_state for volume in seen.volumes}
    return all(states.get(volume.number) in {"UpToDate", "Created"} for volume in resource.volumes)


def may_be_last_copy(world: World, resource: Resource) -> bool:
    """Whether it may hold a volume's data that no other replica that can be reached holds.

    What is not known is taken for the worse: a node that is away may have the data, unless its disk was
    never filled. False for the only disk of a definition: who takes that away means the data too.
    """
    others = [one for one in world.cluster.resources_of(resource.definition) if one.key != resource.key]
    definition = world.cluster.definitions.get(key_of(resource.definition))
    if definition is None or not resource.diskful or not diskful(others):
        return False
    if resource.phase is ResourcePhase.DISK_ADDING:
        return False
    elsewhere = {number for one in others for number in complete_volumes(world, one)}
    seen = world.observed.resource(resource.definition, resource.node)
    states = (
        {volume.number: volume.disk_state for volume in seen.volumes}
        if seen is not None and seen.uuid == resource.uuid
        else {}
    )
    mine = {volume.number for volume in resource.volumes} - elsewhere
    return any(
        states.get(volume.number, _UNKNOWN_STATE) not in _INCOMPLETE
        for volume in definition.volumes
        if volume.number in mine and (volume.initialized or states.get(volume.number) == "UpToDate")
    )


_UNKNOWN_STATE = "DUnknown"
_INCOMPLETE = frozenset({"Inconsistent", "Diskless", "Failed"})
"""Disk states that rule out that the disk has all data."""


def complete_volumes(world: World, resource: Resource) -> set[int]:
    """Numbers of the volumes that a node that is online holds completely."""
    seen = online_seen(world, resource)
    if seen is None or not resource.diskful or resource.phase is ResourcePhase.DISK_ADDING:
        return set()
    return {volume.number for volume in seen.volumes if volume.disk_state == "UpToDate"}


def gross_total(draft: Draft, definition: ResourceDefinition) -> int:
    """What all volumes of a new replica take from a pool."""
    slots = sizes.peer_slots_of(draft.cluster, definition)
    stack = stack_of(definition)
    return sum(sizes.gross_of(volume, stack, peer_slots=slots) for volume in definition.volumes)


def providers_of(draft: Draft, resources: list[Resource]) -> tuple[ProviderKind, ...]:
    """The kinds of storage under these resources' disks."""
    found = {
        pool.provider
        for resource in resources
        if resource.diskful
        for volume in resource.volumes
        if (pool := draft.pool(resource.node, volume.pool)) is not None
    }
    return tuple(sorted(found))


def has_first_replicas_to_make(draft: Draft, definition: ResourceDefinition) -> bool:
    """Whether no replica with a disk is there: those made now are the first, and equal."""
    return not any(resource.diskful for resource in draft.resources_of(definition.name))


def renew_generation(draft: Draft, definition: ResourceDefinition) -> ResourceDefinition:
    """A definition whose data starts anew: first replicas must not be taken for kin of earlier ones."""
    if not any(volume.initialized for volume in definition.volumes):
        return definition
    volumes = tuple(
        msgspec.structs.replace(
            volume, current_gi=draft.world.draw.hex16() if volume.current_gi else None, initialized=False
        )
        for volume in definition.volumes
    )
    fresh = msgspec.structs.replace(definition, volumes=volumes)
    draft.put(fresh)
    return fresh


def pools_for(draft: Draft, definition: ResourceDefinition, node: Node, own: Props) -> dict[int, StoragePool]:
    """The pool of each volume on a node, by the order of StorPoolName. Raises NotFound, Exhausted.

    Also checks that the node can serve the provider and that the space is there, when both are known.
    """
    neighbours = [
        volume.pool
        for resource in draft.resources_of(definition.name)
        if resource.diskful
        for volume in resource.volumes
        if draft.pool(node.name, volume.pool) is not None
    ]
    found: dict[int, StoragePool] = {}
    numbers = [volume.number for volume in definition.volumes] or [0]
    for number in numbers:
        name = effective.stor_pool_name(
            draft.cluster,
            definition,
            node,
            number=number,
            own=own,
            neighbour=neighbours[0] if neighbours else None,
        )
        pool = draft.pool(node.name, name)
        if pool is None:
            raise _no_pool(draft, node, name)
        found[number] = pool
    _check_space(draft, definition, node, found)
    return found


def _no_pool(draft: Draft, node: Node, name: str) -> NotFound:
    known = draft.cluster.pool_definitions.get(key_of(name)) is not None
    default = key_of(name) == "DFLTSTORPOOL"
    return NotFound(
        _missing_pool_subject(known=known, default=default),
        name,
        f"There is no storage pool '{name}' on the node '{node.name}'",
        cause="No pool was named, so the default one was looked for."
        if default
        else f"'{name}' was named by {props.STOR_POOL_NAME.key}.",
        correction=f"Set {props.STOR_POOL_NAME.key} to one of: "
        + (
            ", ".join(
                pool.name
                for pool in draft.cluster.pools_on(node.name)
                if pool.provider is not ProviderKind.DISKLESS
            )
            or "(the node has no pool)"
        )
        + ".",
    )


def _missing_pool_subject(*, known: bool, default: bool) -> Subject:
    if default:
        return Subject.POOL_CONFIGURATION
    return Subject.POOL if known else Subject.POOL_DEFINITION


def _check_space(
    draft: Draft, definition: ResourceDefinition, node: Node, pools: dict[int, StoragePool]
) -> None:
    slots, stack = sizes.peer_slots_of(draft.cluster, definition), stack_of(definition)
    wanted: dict[str, int] = {}
    for volume in definition.volumes:
        pool = pools[volume.number]
        if pool.provider is ProviderKind.DISKLESS:
            continue
        gross = sizes.gross_of(volume, stack, peer_slots=slots, provider=pool.provider)
        wanted[pool.name] = wanted.get(pool.name, 0) + gross
    if not draft.world.observed.node(node.name).online:
        return
    for name, size_kib in wanted.items():
        pool = next(pool for pool in pools.values() if pool.name == name)
        seen = draft.world.observed.pool(node.name, name)
        if seen is None or seen.uuid != pool.uuid:
            continue
        space = sizes.space_in(draft.world, pool)
        if space.problem or space.usable_kib < size_kib:
            raise Exhausted(
                Subject.FREE_SPACE,
                name,
                f"The storage pool '{name}' on '{node.name}' cannot take {size_kib} KiB for "
                f"'{definition.name}'",
                cause=space.problem or f"{space.usable_kib} KiB of {space.total_kib} KiB are left.",
                correction="Choose another pool or node, or free space.",
            )


def add(
    draft: Draft,
    definition: ResourceDefinition,
    node: Node,
    *,
    disk: DiskKind,
    pools: dict[int, StoragePool],
    day0: bool = False,
    own: Props | None = None,
    node_id: int | None = None,
    ports: tuple[int, ...] = (),
    made_by: str = "user",
) -> Resource:
    """Put a new resource into the draft. Raises Exhausted or Invalid when a number cannot be had.

    `pools` are those of the disks, by volume number; it is ignored without a disk. `day0`: its disks may
    start in the definition's first data generation.
    """
    draw, stack = draft.world.draw, stack_of(definition)
    with_drbd = LayerKind.DRBD in stack
    others = draft.resources_of(definition.name)
    resource = Resource(
        definition=definition.name,
        node=node.name,
        uuid=draw.uuid(),
        disk=disk,
        props=_own_props(own or {}, disk, pools),
        layer_stack=stack,
        drbd_node_id=_node_id(definition, others, node_id) if with_drbd else None,
        tcp_ports=_ports(draft, node, ports) if with_drbd else (),
        peer_slots=sizes.peer_slots_of(draft.cluster, definition) if with_drbd else None,
        create_timestamp_ms=draft.world.now_ms,
        implementation=implementation.choose(draft, definition, node.name, disk, pools.values())
        if with_drbd
        else ReplicationKind.USER,
        made_by=made_by,
    )
    resource = _with_volumes(draft, resource, definition.volumes, pools, day0=day0)
    if with_drbd and disk is DiskKind.DISKFUL:
        check_peer_slots(definition, [*others, resource])
    draft.put(resource)
    return resource


def _own_props(own: Props, disk: DiskKind, pools: dict[int, StoragePool]) -> Props:
    names = [pool.name for pool in pools.values()] if disk is DiskKind.DISKFUL else [DISKLESS_POOL]
    return own | {props.STOR_POOL_NAME.key: names[0]} if names else own


def _node_id(definition: ResourceDefinition, others: list[Resource], wanted: int | None) -> int:
    taken = [other.drbd_node_id for other in others]
    if wanted is not None and not 0 <= wanted <= allocate.NODE_ID_MAX:
        raise Invalid(
            Subject.NODE_ID,
            str(wanted),
            f"{wanted} is not a DRBD node id",
            cause=f"A node id is a number from 0 to {allocate.NODE_ID_MAX}.",
        )
    if wanted is not None and wanted not in taken:
        return wanted
    # A wanted id that is taken is a hint that came too late, as it is in LINSTOR: the lowest free one serves.
    return allocate.free_node_id(taken, definition.name)


def _ports(draft: Draft, node: Node, wanted: tuple[int, ...]) -> tuple[int, ...]:
    return allocate.checked_ports(draft, node, wanted) if wanted else (allocate.free_port(draft, node),)


def check_peer_slots(definition: ResourceDefinition, resources: list[Resource], *, more: int = 0) -> None:
    """Raises Exhausted when the metadata of one of these has no room for all the others, and `more`."""
    disks = diskful(resources)
    count = len(disks) + more
    for resource in disks:
        slots = resource.peer_slots or drbd.PEER_SLOTS_DEFAULT
        if count - 1 > slots:
            raise Exhausted(
                Subject.PEER_SLOTS,
                definition.name,
                f"'{definition.name}' cannot have {count} replicas",
                cause=f"Its metadata on '{resource.node}' has room for {slots} peers with a disk.",
                correction="Create the resource definition with more peer slots.",
            )


def _with_volumes(
    draft: Draft,
    resource: Resource,
    volumes: tuple[VolumeDefinition, ...],
    pools: dict[int, StoragePool],
    *,
    day0: bool,
) -> Resource:
    made = tuple(
        VolumeOnNode(
            number=volume.number,
            uuid=draft.world.draw.uuid(),
            pool=pools[volume.number].name if resource.diskful else DISKLESS_POOL,
            day0=day0 and resource.diskful,
            companions=_companions(draft, resource, volume, pools[volume.number].name)
            if resource.diskful
            else (),
        )
        for volume in volumes
    )
    ordered = tuple(sorted((*resource.volumes, *made), key=lambda volume: volume.number))
    return msgspec.structs.replace(resource, volumes=ordered)


def _companions(
    draft: Draft, resource: Resource, volume: VolumeDefinition | None, pool: str
) -> tuple[Companion, ...]:
    definition = draft.definition(resource.definition)
    if definition is None or volume is None:
        return ()
    return companions_of(draft, definition, resource, volume, pool=pool)


def add_volumes(
    draft: Draft,
    resource: Resource,
    volumes: tuple[VolumeDefinition, ...],
    pools: dict[int, StoragePool],
    *,
    day0: bool,
) -> Resource:
    """Give a resource its part of new volumes."""
    changed = _with_volumes(draft, resource, volumes, pools, day0=day0)
    draft.put(changed)
    return changed


def set_disk(
    draft: Draft,
    resource: Resource,
    disk: DiskKind,
    *,
    pools: dict[int, StoragePool] | None = None,
    phase: ResourcePhase = ResourcePhase.NORMAL,
) -> Resource:
    """Change what a resource has on its node. Disks that go are buried, new ones must be synchronised.

    Only where no disk is left to synchronise from, the new one is a first replica, with data of its own.
    Raises Exhausted when the metadata of its peers has no room for another disk.
    """
    definition = draft.definition(resource.definition)
    first = False
    if disk is DiskKind.DISKFUL and not resource.diskful and definition is not None:
        check_peer_slots(definition, draft.resources_of(definition.name), more=1)
        first = has_first_replicas_to_make(draft, definition)
        if first:
            renew_generation(draft, definition)
    keeps_disk = resource.diskful and disk is DiskKind.DISKFUL
    if resource.diskful and not keeps_disk:
        bury_volumes(draft, resource, resource.volumes)
    changed = msgspec.structs.replace(resource, disk=disk, phase=phase)
    if resource.diskful is not changed.diskful:
        if changed.diskful and definition is not None and resource.peer_slots is not None:
            # New metadata has room for as many peers as the definition asks for by now.
            slots = sizes.peer_slots_of(draft.cluster, definition)
            changed = msgspec.structs.replace(changed, peer_slots=slots)
        chosen = pools or {}
        volumes = tuple(
            VolumeOnNode(
                number=volume.number,
                uuid=draft.world.draw.uuid(),
                pool=chosen[volume.number].name if changed.diskful else DISKLESS_POOL,
                props=volume.props,
                day0=first,
                companions=_companions(
                    draft, changed, definition.volume(volume.number), chosen[volume.number].name
                )
                if changed.diskful and definition is not None
                else (),
            )
            for volume in resource.volumes
        )
        named = [one.name for one in chosen.values()] if changed.diskful else []
        pool = named[0] if named else DISKLESS_POOL
        changed = msgspec.structs.replace(
            changed, volumes=volumes, props=resource.props | {props.STOR_POOL_NAME.key: pool}
        )
    draft.put(changed)
    return changed


def bury(draft: Draft, resource: Resource) -> None:
    """Take a resource out of the wish; its node is told by a tombstone what to remove."""
    draft.put(
        Tombstone(
            node=resource.node,
            definition=resource.definition,
            resource_uuid=resource.uuid,
            volumes=tuple(volume for volume in resource.volumes if resource.diskful),
            create_timestamp_ms=draft.world.now_ms,
            tcp_ports=resource.tcp_ports,
            minors=_minors(draft, resource, resource.volumes),
        )
    )
    draft.drop(resource)


def _minors(draft: Draft, resource: Resource, volumes: tuple[VolumeOnNode, ...]) -> tuple[int, ...]:
    """Minors that a node may serve these volumes under until it has removed them."""
    # The definition may have gone from the draft already, or have lost the volume: it was in the cluster.
    known = [
        draft.cluster.definitions.get(key_of(resource.definition)),
        draft.definition(resource.definition),
    ]
    numbers = {volume.number for volume in volumes}
    found = {
        volume.minor
        for definition in known
        if definition is not None
        for volume in definition.volumes
        if volume.number in numbers and volume.minor is not None
    }
    return tuple(sorted(found)) if LayerKind.DRBD in resource.layer_stack else ()


def bury_volumes(
    draft: Draft, resource: Resource, volumes: tuple[VolumeOnNode, ...], *, with_minors: bool = False
) -> None:
    """Have a node remove the backings of these volumes of a resource that lives on.

    `with_minors`: the volumes go from the definition too, not only their disks from this node.
    """
    if resource.diskful and volumes:
        draft.put(
            Tombstone(
                node=resource.node,
                definition=resource.definition,
                resource_uuid=draft.world.draw.uuid(),
                volumes=volumes,
                create_timestamp_ms=draft.world.now_ms,
                minors=_minors(draft, resource, volumes) if with_minors else (),
            )
        )
