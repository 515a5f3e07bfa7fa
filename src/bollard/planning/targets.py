"""From the wish to one node's target: what it should hold, and no more. Pure."""

from collections.abc import Iterable
from itertools import combinations
from typing import assert_never

import msgspec

from bollard.domain import props
from bollard.domain.access import AuthToken
from bollard.domain.cluster import Change, Cluster, Put, Record
from bollard.domain.encryption import MasterKey
from bollard.domain.files import ExternalFile, paths_of, prop_of
from bollard.domain.ids import Key, Uuid, key_of
from bollard.domain.layers import LayerKind, ProviderKind, ReplicationKind
from bollard.domain.nodes import Node, Props, StoragePool, StoragePoolDefinition
from bollard.domain.ports import LockedVault, Vault
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.resources import (
    Connection,
    ControllerSettings,
    DiskKind,
    KeyValueStore,
    Resource,
    ResourceDefinition,
    ResourceGroup,
    ResourcePhase,
    Tombstone,
    VolumeDefinition,
    VolumeOnNode,
)
from bollard.domain.snapshots import SnapshotDefinition
from bollard.domain.targets import (
    SnapshotStage,
    Target,
    TargetFile,
    TargetLayer,
    TargetMetadata,
    TargetPeer,
    TargetPool,
    TargetReplication,
    TargetResource,
    TargetSnapshot,
    TargetVolume,
)
from bollard.planning import effective, fabrics, locks, sizes
from bollard.planning.layers import drbd
from bollard.planning.layers.stack import DEVICE_LAYERS, levels

__all__ = ["held_back", "target_for", "target_pools", "target_resource", "touched"]

_OPTIONS = ("Resource", "Net", "Disk", "PeerDevice", "Handlers")
_PEER_OPTIONS = ("Net", "PeerDevice")
_TWO_PRIMARIES = "Net/allow-two-primaries"
_STOR_DRIVER = "StorDriver/"
_HOW_TO_MAKE = ("Lvcreate", "Zfscreate", "ZfsSnapshot", "Zfs/", "WaitTimeoutAfterCreate")
_NAMESPACES = {
    LayerKind.LUKS: ("Luks/", "StorDriver/Luks"),
    LayerKind.CACHE: ("Cache/",),
    LayerKind.WRITECACHE: ("Writecache/",),
    LayerKind.BCACHE: ("BCache/",),
    LayerKind.NVME: ("NVMe/",),
}


_LOCKED = LockedVault()


def target_for(node: str, cluster: Cluster, vault: Vault = _LOCKED) -> Target:
    """Everything for one node at the cluster's revision, but what is held back. The node exists."""
    name = cluster.nodes[key_of(node)].name
    settings = cluster.settings
    return Target(
        node=name,
        cluster_uuid=settings.cluster_uuid if settings is not None else Uuid(""),
        revision=cluster.revision,
        pools=target_pools(node, cluster),
        resources=tuple(
            target_resource(cluster, resource, vault)
            for resource in cluster.resources_on(node)
            if not held_back(cluster, resource, vault)
        ),
        tombstones=tuple(cluster.tombstones_on(node)),
        locked=not vault.unlocked and any(locks.encrypted(each) for each in cluster.resources_on(node)),
    )


def target_pools(node: str, cluster: Cluster) -> tuple[TargetPool, ...]:
    """The node's pools, those without a disk left out."""
    return tuple(
        TargetPool(pool.name, pool.uuid, pool.provider, pool.props)
        for pool in cluster.pools_on(node)
        if pool.provider is not ProviderKind.DISKLESS
    )


def held_back(cluster: Cluster, resource: Resource, vault: Vault) -> str:
    """Why the node is not told of this resource now, so that it leaves it as it is; empty: it is told."""
    return locks.held_back(cluster.definitions[key_of(resource.definition)], resource, vault)


def target_resource(cluster: Cluster, resource: Resource, vault: Vault = _LOCKED) -> TargetResource:
    """One resource on its node, with its peers as they are now. It is not held back."""
    definition = cluster.definitions[key_of(resource.definition)]
    stack = resource.layer_stack
    frozen = _frozen_sizes(cluster, definition)
    volumes = tuple(
        _target_volume(cluster, definition, resource, on_node, volume=volume, frozen=frozen, vault=vault)
        for on_node in resource.volumes
        if (volume := definition.volume(on_node.number)) is not None
    )
    with_drbd = LayerKind.DRBD in stack
    return TargetResource(
        name=definition.name,
        uuid=resource.uuid,
        disk=resource.disk,
        active=resource.phase is not ResourcePhase.INACTIVE,
        layer_stack=stack,
        volumes=volumes,
        replication=_replication(cluster, definition, resource) if with_drbd else None,
        snapshot=_snapshot(cluster, resource),
        props=resource.props,
        attach=_attach(cluster, definition, resource),
        files=_files(cluster, definition),
        remote=fabrics.remote_of(cluster, definition, resource),
    )


def _attach(cluster: Cluster, definition: ResourceDefinition, resource: Resource) -> str:
    wish = props.ATTACH.text(*effective.replication_maps(cluster, definition, resource))
    return "" if wish == "auto" else wish


def _snapshot(cluster: Cluster, resource: Resource) -> TargetSnapshot | None:
    """The snapshot that is being taken of the resource: every node stands still, some keep something."""
    running = cluster.procedures.get(key_of(Verb.SNAPSHOT, resource.definition, ""))
    if running is None or resource.phase is ResourcePhase.INACTIVE:
        return None
    found = cluster.snapshots.get(key_of(resource.definition, running.arguments["snapshot"]))
    if found is None:
        return None
    here = found.on(resource.node)
    there = {volume.uuid for volume in resource.volumes}
    return TargetSnapshot(
        uuid=found.uuid,
        name=found.name,
        stage=SnapshotStage(running.phase),
        deadline_ms=int(running.arguments["deadline_ms"]),
        numbers=tuple(one.number for one in here.volumes if one.volume_uuid in there) if here else (),
    )


def _files(cluster: Cluster, definition: ResourceDefinition) -> tuple[TargetFile, ...]:
    """The external files that are attached to a definition and exist."""
    found = (cluster.files.get(Key(path)) for path in paths_of(definition.props))
    return tuple(TargetFile(it.path, it.content, it.alt_suffixes) for it in found if it is not None)


def _frozen_sizes(cluster: Cluster, definition: ResourceDefinition) -> dict[int, int]:
    """Net sizes that the engines keep until every reachable backing has grown."""
    running = cluster.procedures.get(key_of(Verb.RESIZE, definition.name, ""))
    if running is None or running.phase != "backing":
        return {}
    return {int(number): int(size) for number, size in running.arguments.items()}


def _target_volume(
    cluster: Cluster,
    definition: ResourceDefinition,
    resource: Resource,
    on_node: VolumeOnNode,
    *,
    volume: VolumeDefinition,
    frozen: dict[int, int],
    vault: Vault,
) -> TargetVolume:
    slots = resource.peer_slots or drbd.PEER_SLOTS_DEFAULT
    stack = resource.layer_stack
    pool = cluster.pool(resource.node, on_node.pool)
    provider = pool.provider if pool is not None else ProviderKind.FILE_THIN
    options = layer_options(cluster, definition, resource, volume)
    gross = None
    metadata = _metadata(on_node, volume, slots) if resource.diskful else None
    external = metadata is not None
    if resource.diskful:
        gross = sizes.gross_of(
            volume, stack, peer_slots=slots, provider=provider, options=options, external=external
        )
    net = sizes.net_of(volume, stack, peer_slots=slots, options=options, external=external)
    held_kib = frozen.get(volume.number)
    layers: tuple[TargetLayer, ...] = ()
    if resource.diskful:
        layers = _layers(on_node, stack, options, net_kib=net, peer_slots=slots)
        layers = locks.with_secrets(layers, volume, vault)
        if fabrics.is_fabric(stack):
            fabric = fabrics.fabric_of(cluster, definition, resource, volume)
            layers = (*layers[:-1], msgspec.structs.replace(layers[-1], fabric=fabric))
    maps = effective.volume_maps(cluster, definition, resource, volume)
    return TargetVolume(
        number=volume.number,
        uuid=on_node.uuid,
        size_kib=net
        if held_kib is None
        else sizes.net_of(
            volume, stack, peer_slots=slots, size_kib=held_kib, options=options, external=external
        ),
        pool=on_node.pool,
        gross_kib=gross,
        minor=volume.minor,
        current_gi=volume.current_gi if on_node.day0 and resource.diskful else None,
        restore=on_node.restore if resource.diskful else None,
        layers=layers,
        block=resource.diskful and sizes.block_device(provider),
        zeroed=not resource.diskful or _zeroed(cluster, definition, volume.number),
        filesystem=_filesystem(cluster, definition, resource, volume),
        storage=_storage(cluster, definition, resource, volume) if resource.diskful else {},
        metadata=metadata,
        props=props.drbd_options(maps[0], maps[2], maps[3], sections=("Disk",)),
    )


def _metadata(on_node: VolumeOnNode, volume: VolumeDefinition, slots: int) -> TargetMetadata | None:
    """It grows with the volume, and is never smaller than it was made."""
    found = on_node.metadata
    if found is None:
        return None
    size_kib = max(found.size_kib, drbd.external_kib(volume.size_kib, slots))
    return TargetMetadata(found.pool, found.uuid, size_kib)


def layer_options(
    cluster: Cluster, definition: ResourceDefinition, resource: Resource, volume: VolumeDefinition
) -> dict[LayerKind, Props]:
    """Effective options of each device layer of a volume on a node, keys without their namespace.

    Of LUKS: `FormatOptions`, `OpenOptions` and `AllowDiscards`.
    """
    found: dict[LayerKind, Props] = {}
    for kind in resource.layer_stack:
        if kind not in DEVICE_LAYERS:
            continue
        maps = effective.layer_maps(cluster, definition, resource, volume, kind=kind)
        options: Props = {}
        for prefix in _NAMESPACES[kind]:
            options |= props.under(*maps, prefix=prefix)
        found[kind] = options
    return found


def _layers(
    on_node: VolumeOnNode,
    stack: tuple[LayerKind, ...],
    options: dict[LayerKind, Props],
    *,
    net_kib: int,
    peer_slots: int,
) -> tuple[TargetLayer, ...]:
    companions = {companion.kind: companion for companion in on_node.companions}
    found = []
    external = on_node.metadata is not None
    for level in levels(net_kib, stack, peer_slots=peer_slots, options=options, external=external):
        if level.kind not in DEVICE_LAYERS:
            continue
        beside = companions.get(level.kind)
        found.append(
            TargetLayer(
                kind=level.kind,
                size_kib=level.size_kib,
                pool=beside.pool if beside is not None else "",
                companion_uuid=beside.uuid if beside is not None else None,
                companion_kib=beside.size_kib if beside is not None else 0,
                options=options[level.kind],
            )
        )
    return tuple(reversed(found))


def _zeroed(cluster: Cluster, definition: ResourceDefinition, number: int) -> bool:
    """Whether new storage of a volume reads as zeroes wherever it has a disk."""
    pools = (
        cluster.pool(resource.node, on_node.pool)
        for resource in cluster.resources_of(definition.name)
        for on_node in resource.volumes
        if resource.diskful and on_node.number == number
    )
    return all(pool is None or sizes.zero_filled(pool.provider) for pool in pools)


def _filesystem(
    cluster: Cluster, definition: ResourceDefinition, resource: Resource, volume: VolumeDefinition
) -> Props:
    """R > VD > VG > RD > RG; only of a volume whose block device is used as it is."""
    if not resource.diskful or LayerKind.DRBD in resource.layer_stack:
        return {}
    _, of_resource, of_volume, of_template, of_definition, of_group, *_ = effective.volume_maps(
        cluster, definition, resource, volume
    )
    found = props.under(of_resource, of_volume, of_template, of_definition, of_group, prefix="FileSystem/")
    return found if found.get("Type") else {}


def _storage(
    cluster: Cluster, definition: ResourceDefinition, resource: Resource, volume: VolumeDefinition
) -> Props:
    maps = effective.storage_maps(cluster, definition, resource, volume)
    found = props.under(*maps, prefix=_STOR_DRIVER)
    return {key: value for key, value in found.items() if key.startswith(_HOW_TO_MAKE)}


def _replication(
    cluster: Cluster, definition: ResourceDefinition, resource: Resource
) -> TargetReplication | None:
    address = _address(cluster, definition, resource)
    assert resource.drbd_node_id is not None, resource.key
    assert resource.tcp_ports, resource.key
    options = props.drbd_options(
        *effective.replication_maps(cluster, definition, resource), sections=_OPTIONS
    )
    chosen = definition.props.get(props.AUTO_VERIFY.key)
    if chosen is not None:
        options = {props.VERIFY_ALG.key.removeprefix(props.DRBD_OPTIONS): chosen} | options
    if _two_primaries(cluster, definition):
        options = options | {_TWO_PRIMARIES: "yes"}
    peers = [
        _peer(cluster, definition, resource, other)
        for other in cluster.resources_of(definition.name)
        if other.key != resource.key and LayerKind.DRBD in other.layer_stack
    ]
    return TargetReplication(
        node_id=resource.drbd_node_id,
        address=address,
        port=resource.tcp_ports[0],
        secret=definition.drbd_secret,
        peers=tuple(sorted(peers, key=lambda peer: peer.node_id)),
        peer_slots=resource.peer_slots or drbd.PEER_SLOTS_DEFAULT,
        verify_request=0
        if definition.verify_finished >= definition.verify_request
        else definition.verify_request,
        options=options,
        implementation=resource.implementation,
    )


def _two_primaries(cluster: Cluster, definition: ResourceDefinition) -> bool:
    """Whether a connection allows two Primaries. All data processes of the resource have to know.

    A third node that is asked would object, and nodes that do not agree do not connect. A kernel has its own
    setting for each connection.
    """
    found = [one for one in cluster.resources_of(definition.name) if LayerKind.DRBD in one.layer_stack]
    if any(one.implementation is not ReplicationKind.USER for one in found):
        return False
    key = props.DRBD_OPTIONS + _TWO_PRIMARIES
    return any(
        next((each[key] for each in maps if key in each), "") == "yes"
        for one, other in combinations(found, 2)
        for maps in (effective.connection_maps(cluster, definition, one.node, other.node),)
    )


def _peer(
    cluster: Cluster, definition: ResourceDefinition, resource: Resource, other: Resource
) -> TargetPeer:
    assert other.drbd_node_id is not None, other.key
    maps = effective.connection_maps(cluster, definition, resource.node, other.node)
    return TargetPeer(
        node=other.node,
        node_id=other.drbd_node_id,
        address=_address(cluster, definition, other),
        port=other.tcp_ports[0],
        diskless=not other.diskful,
        tie_breaker=other.disk is DiskKind.TIE_BREAKER,
        votes=other.disk is not DiskKind.CLIENT,
        options=props.drbd_options(maps[0], maps[2], sections=_PEER_OPTIONS),
        paths=effective.paths_between(
            cluster, definition, cluster.nodes[key_of(resource.node)], cluster.nodes[key_of(other.node)]
        ),
    )


def _address(cluster: Cluster, definition: ResourceDefinition, resource: Resource) -> str:
    node = cluster.nodes[key_of(resource.node)]
    return effective.address_of(cluster, definition, resource, node) or ""


def touched(changes: Iterable[Change], cluster: Cluster) -> set[tuple[Key, Key | None]]:
    """Which (node key, definition key) have a new target after these changes; definition None: its pools.

    Call it with the cluster as it was before the changes and again with the cluster after them, and join:
    what a dropped record touched is only known before, what a new one touches only after.
    A change that touches a node as a whole (its address, its properties) names each resource on it.
    """
    found: set[tuple[Key, Key | None]] = set()
    for change in changes:
        if isinstance(change, Put):
            _touch(cluster, change.record, found)
        else:
            record = cluster.find(change.kind, change.key)
            if record is not None:
                _touch(cluster, record, found)
    return found


def _touch(cluster: Cluster, record: Record, found: set[tuple[Key, Key | None]]) -> None:
    match record:
        case Resource():
            found.add((key_of(record.node), key_of(record.definition)))
            _touch_definition(cluster, key_of(record.definition), found)
        case ResourceDefinition():
            _touch_definition(cluster, record.key, found)
        case Tombstone():
            found.add((key_of(record.node), key_of(record.definition)))
        case StoragePool():
            found.add((key_of(record.node), None))
        case Node():
            found.add((record.key, None))
            for resource in cluster.resources_on(record.name):
                _touch_definition(cluster, key_of(resource.definition), found)
        case Procedure():
            if record.definition is not None:
                _touch_definition(cluster, key_of(record.definition), found)
        case SnapshotDefinition():
            _touch_definition(cluster, key_of(record.definition), found)
        case Connection():
            _touch_connection(cluster, record, found)
        case ResourceGroup():
            for definition in cluster.definitions_in(record.name):
                _touch_definition(cluster, definition.key, found)
        case ControllerSettings():
            for key in cluster.definitions:
                _touch_definition(cluster, key, found)
        case ExternalFile():
            name = prop_of(record.path)
            for definition in cluster.definitions.values():
                if name in definition.props:
                    _touch_definition(cluster, definition.key, found)
        case StoragePoolDefinition() | KeyValueStore() | AuthToken() | MasterKey():
            pass  # no target holds anything of them
        case _:
            assert_never(record)


def _touch_definition(cluster: Cluster, key: Key, found: set[tuple[Key, Key | None]]) -> None:
    found.update((key_of(resource.node), key) for resource in cluster.resources_of(key))


def _touch_connection(cluster: Cluster, record: Connection, found: set[tuple[Key, Key | None]]) -> None:
    if record.definition is not None:
        _touch_definition(cluster, key_of(record.definition), found)
        return
    mine = {key_of(resource.definition) for resource in cluster.resources_on(record.node_a)}
    for resource in cluster.resources_on(record.node_b):
        if key_of(resource.definition) in mine:
            _touch_definition(cluster, key_of(resource.definition), found)
