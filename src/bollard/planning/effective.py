"""Where a value comes from: the order of property maps for each consumer, nearest first. Pure lookups."""

from bollard.domain import props
from bollard.domain.cluster import Cluster
from bollard.domain.ids import DEFAULT_POOL, Key, NodeName, key_of
from bollard.domain.layers import LayerKind
from bollard.domain.nodes import Node, Props, StoragePool
from bollard.domain.resources import Connection, Resource, ResourceDefinition, VolumeDefinition
from bollard.domain.targets import TargetPath

__all__ = [
    "address_of",
    "connection_maps",
    "definition_maps",
    "group_props",
    "layer_maps",
    "metadata_pool",
    "paths_between",
    "pool_maps",
    "replication_maps",
    "stor_pool_name",
    "storage_maps",
    "volume_definition_maps",
    "volume_maps",
]

_NONE: Props = {}
_PATH_PARTS = 3
"""`Paths/NAME/NODE`."""


def group_props(cluster: Cluster, definition: ResourceDefinition) -> Props:
    """The properties of the definition's group."""
    group = cluster.groups.get(key_of(definition.group))
    return group.props if group is not None else _NONE


def _volume_group_props(cluster: Cluster, definition: ResourceDefinition, number: int) -> Props:
    """The properties of the volume group of that number."""
    group = cluster.groups.get(key_of(definition.group))
    for volume in group.volume_groups if group is not None else ():
        if volume.number == number:
            return volume.props
    return _NONE


def definition_maps(cluster: Cluster, definition: ResourceDefinition) -> tuple[Props, ...]:
    """Tie-breaker, quorum, schedules: definition > group > controller."""
    return (definition.props, group_props(cluster, definition), cluster.props())


def volume_definition_maps(
    cluster: Cluster, definition: ResourceDefinition, volume: VolumeDefinition
) -> tuple[Props, ...]:
    """What is decided for a volume on all nodes alike: VD > RD > VG > RG > controller."""
    return (
        volume.props,
        definition.props,
        _volume_group_props(cluster, definition, volume.number),
        group_props(cluster, definition),
        cluster.props(),
    )


def replication_maps(
    cluster: Cluster, definition: ResourceDefinition, resource: Resource
) -> tuple[Props, ...]:
    """DRBD options of a resource on a node: resource > definition > group > node > controller."""
    node = cluster.nodes.get(key_of(resource.node))
    return (
        resource.props,
        definition.props,
        group_props(cluster, definition),
        node.props if node is not None else _NONE,
        cluster.props(),
    )


def volume_maps(
    cluster: Cluster, definition: ResourceDefinition, resource: Resource, volume: VolumeDefinition
) -> tuple[Props, ...]:
    """DRBD options of one volume: V > R > VD > VG > RD > RG > node > controller."""
    mine = next((vol.props for vol in resource.volumes if vol.number == volume.number), _NONE)
    rest = replication_maps(cluster, definition, resource)
    return (
        mine,
        rest[0],
        volume.props,
        _volume_group_props(cluster, definition, volume.number),
        *rest[1:],
    )


def storage_maps(
    cluster: Cluster, definition: ResourceDefinition, resource: Resource, volume: VolumeDefinition
) -> tuple[Props, ...]:
    """How storage and LUKS are made: V > R > pool > node > VD > RD > VG > RG > controller."""
    own, of_resource, of_volume, of_template, of_definition, of_group, of_node, of_all = volume_maps(
        cluster, definition, resource, volume
    )
    pool = next((one.pool for one in resource.volumes if one.number == volume.number), "")
    found = cluster.pool(resource.node, pool)
    of_pool = found.props if found is not None else _NONE
    near = (own, of_resource, of_pool, of_node)
    return (*near, of_volume, of_definition, of_template, of_group, of_all)


def layer_maps(
    cluster: Cluster,
    definition: ResourceDefinition,
    resource: Resource,
    volume: VolumeDefinition,
    *,
    kind: LayerKind,
) -> tuple[Props, ...]:
    """Options of a device layer; WRITECACHE: V > VD > RD > VG > RG > node > controller.

    CACHE, BCACHE: VD > VG > R > RD > RG > node > controller. NVME: RD > RG > controller. LUKS: as storage.
    """
    own, of_resource, of_volume, of_template, of_definition, of_group, of_node, of_all = volume_maps(
        cluster, definition, resource, volume
    )
    match kind:
        case LayerKind.WRITECACHE:
            return (own, of_volume, of_definition, of_template, of_group, of_node, of_all)
        case LayerKind.CACHE | LayerKind.BCACHE:
            return (of_volume, of_template, of_resource, of_definition, of_group, of_node, of_all)
        case LayerKind.NVME:
            return (of_definition, of_group, of_all)
        case _:
            return storage_maps(cluster, definition, resource, volume)


def metadata_pool(
    cluster: Cluster, definition: ResourceDefinition, resource: Resource, volume: VolumeDefinition
) -> str:
    """The pool for DRBD's metadata; empty: beside the data. V > R > VD > RD > VG > RG > node."""
    own, of_resource, of_volume, of_template, of_definition, of_group, of_node, _ = volume_maps(
        cluster, definition, resource, volume
    )
    maps = (own, of_resource, of_volume, of_definition, of_template, of_group, of_node)
    found = props.STOR_POOL_NAME_META.found(*maps) or ""
    return "" if found == props.INTERNAL_METADATA else found


def connection_maps(
    cluster: Cluster, definition: ResourceDefinition, node_a: str, node_b: str
) -> tuple[Props, ...]:
    """DRBD network options of a pair: resource connection > RD > node connection > RG > controller."""
    probe = Connection(node_a=NodeName(node_a), node_b=NodeName(node_b), definition=definition.name)
    of_all = Connection(node_a=NodeName(node_a), node_b=NodeName(node_b))
    mine = cluster.connections.get(probe.key)
    general = cluster.connections.get(of_all.key)
    return (
        mine.props if mine is not None else _NONE,
        definition.props,
        general.props if general is not None else _NONE,
        group_props(cluster, definition),
        cluster.props(),
    )


def pool_maps(cluster: Cluster, pool: StoragePool) -> tuple[Props, ...]:
    """Oversubscription: pool > pool definition > controller."""
    definition = cluster.pool_definitions.get(key_of(pool.name))
    own = definition.props if definition is not None else _NONE
    return (pool.props, own, cluster.props())


def address_of(
    cluster: Cluster, definition: ResourceDefinition, resource: Resource, node: Node
) -> str | None:
    """The address for replication: PrefNic of pools of volume 0 > R > RD > RG > node > controller."""
    pools = [cluster.pool(resource.node, volume.pool) for volume in resource.volumes[:1]]
    preferred = props.PREF_NIC.found(
        *(pool.props for pool in pools if pool is not None),
        resource.props,
        definition.props,
        group_props(cluster, definition),
        node.props,
        cluster.props(),
    )
    return node.data_address(preferred)


def paths_between(
    cluster: Cluster, definition: ResourceDefinition, node: Node, other: Node
) -> tuple[TargetPath, ...]:
    """The ways between two nodes, by name: those of the resource's connection, else those of the nodes'.

    A path whose network interface is gone, or that names one end only, is left out.
    """
    mine, _, general, *_ = connection_maps(cluster, definition, node.name, other.name)
    for given in (mine, general):
        ends: dict[str, dict[Key, str]] = {}
        for key, net_if in given.items():
            parts = key.split("/")
            if key.startswith(props.PATHS) and len(parts) == _PATH_PARTS:
                ends.setdefault(parts[1], {})[key_of(parts[2])] = net_if
        found = []
        for name, by_node in sorted(ends.items()):
            here = node.address_on(by_node.get(node.key, ""))
            there = other.address_on(by_node.get(other.key, ""))
            if here is not None and there is not None:
                found.append(TargetPath(name, here, there))
        if found:
            return tuple(found)
    return ()


def stor_pool_name(
    cluster: Cluster,
    definition: ResourceDefinition,
    node: Node,
    *,
    number: int,
    own: Props,
    neighbour: str | None = None,
) -> str:
    """The pool of a volume: resource > VD > RD > VG > RG > node > a neighbour's pool > DfltStorPool."""
    volume = definition.volume(number)
    found = props.STOR_POOL_NAME.found(
        own,
        volume.props if volume is not None else _NONE,
        definition.props,
        _volume_group_props(cluster, definition, number),
        group_props(cluster, definition),
        node.props,
    )
    return found or neighbour or DEFAULT_POOL
