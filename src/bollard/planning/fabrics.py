"""NVMe between nodes: who offers the volumes of a resource, where, and to whom. Pure.

One node has the disk and offers its volumes; all others use them there, without a disk.
"""

from bollard.domain import props
from bollard.domain.cluster import Cluster
from bollard.domain.errors import Conflict, Exists, InUse, Invalid, Subject, Unsupported
from bollard.domain.ids import Uuid, key_of
from bollard.domain.layers import LayerKind
from bollard.domain.resources import DiskKind, Resource, ResourceDefinition, ResourcePhase, VolumeDefinition
from bollard.domain.targets import TargetFabric
from bollard.planning import effective

__all__ = [
    "INITIATOR_FLAG",
    "check_second_target",
    "check_stack",
    "check_target_there",
    "fabric_of",
    "host_of",
    "is_fabric",
    "refuse_disk_flag",
    "refuse_used_target",
    "remote_of",
    "subsystem_of",
    "target_of",
]

INITIATOR_FLAG = "NVME_INITIATOR"
_PORT_DEFAULT = "4420"
_TRANSPORT_DEFAULT = "tcp"
"""LINSTOR's is rdma, which few networks have."""
_NOT_THERE = frozenset({ResourcePhase.INACTIVE, ResourcePhase.DISK_REMOVING})


def is_fabric(stack: tuple[LayerKind, ...]) -> bool:
    """Whether nodes without a disk use another node's volumes by NVMe."""
    return bool(stack) and stack[0] is LayerKind.NVME


def subsystem_of(definition: ResourceDefinition) -> str:
    """The NQN of what the node with the disk offers, as LINSTOR names it."""
    return f"LS-NVMe_{definition.name}"


def host_of(uuid: Uuid) -> str:
    """The NQN of a user: one for each life of a resource on a node, so that none is taken for another."""
    return f"nqn.2014-08.org.nvmexpress:uuid:{uuid}"


def check_stack(definition: ResourceDefinition, stack: tuple[LayerKind, ...]) -> None:
    """Raises Unsupported for stacks that have a layer above NVMe."""
    if LayerKind.NVME not in stack or is_fabric(stack):
        return
    raise Unsupported(
        Subject.LAYER_STACK,
        definition.name,
        f"The layer stack {', '.join(stack)} is not driven yet",
        cause=f"{stack[0]} would have to stand on another node's volume.",
        correction="Put NVME on top, or replicate with DRBD instead.",
    )


def target_of(cluster: Cluster, definition: ResourceDefinition) -> Resource | None:
    """The resource whose disk the others use, if there is one that offers it."""
    for resource in cluster.resources_of(definition.name):
        if resource.diskful and resource.phase not in _NOT_THERE:
            return resource
    return None


def check_second_target(definition: ResourceDefinition, others: list[Resource]) -> None:
    """Raises Exists when another node offers the volumes already: there is one disk, not a replica each."""
    there = [one.node for one in others if one.diskful]
    if there:
        raise Exists(
            Subject.NVME_TARGET,
            definition.name,
            f"'{definition.name}' has its disk on '{there[0]}'",
            cause="Volumes that are used by NVMe are on one node alone; they are not replicated.",
            correction=f"Create it with the flag {INITIATOR_FLAG} on other nodes.",
        )


def check_target_there(definition: ResourceDefinition, others: list[Resource]) -> None:
    """Raises Conflict when no node has a disk that could be used."""
    if not any(one.diskful for one in others):
        raise Conflict(
            Subject.NVME_TARGET,
            definition.name,
            f"No node has a disk of '{definition.name}' that could be used by NVMe",
            correction="Create it with a disk on one node first.",
        )


def refuse_used_target(resource: Resource, others: list[Resource], what: str) -> None:
    """Raises InUse when a disk would go that other nodes use."""
    users = [one.node for one in others if one.disk is DiskKind.NVME_INITIATOR]
    if is_fabric(resource.layer_stack) and resource.diskful and users:
        raise InUse(
            Subject.NVME_TARGET,
            resource.definition,
            f"'{resource.definition}' on '{resource.node}' cannot {what}",
            cause="These nodes use its disk by NVMe: " + ", ".join(users),
            correction="Delete it there first.",
        )


def refuse_disk_flag(definition: ResourceDefinition, flag: str) -> Invalid:
    """The error for a node without a disk where nothing could be used."""
    return Invalid(
        Subject.LAYER_STACK,
        definition.name,
        f"'{definition.name}' cannot have resources with the flag {flag}",
        cause="Its highest layer is not NVME.",
    )


def fabric_of(
    cluster: Cluster, definition: ResourceDefinition, resource: Resource, volume: VolumeDefinition
) -> TargetFabric:
    """How the node with the disk offers one volume."""
    hosts = tuple(
        sorted(
            host_of(other.uuid)
            for other in cluster.resources_of(definition.name)
            if other.disk is DiskKind.NVME_INITIATOR and other.phase is not ResourcePhase.INACTIVE
        )
    )
    mine = tuple((one.number, one.uuid) for one in resource.volumes if one.number == volume.number)
    return _fabric(cluster, definition, resource, hosts, mine)


def remote_of(cluster: Cluster, definition: ResourceDefinition, resource: Resource) -> TargetFabric | None:
    """Where a node without a disk finds the volumes; None when it has one, or nobody offers them."""
    if resource.disk is not DiskKind.NVME_INITIATOR:
        return None
    target = target_of(cluster, definition)
    if target is None:
        return TargetFabric(subsystem_of(definition), "", "", 0, (host_of(resource.uuid),))
    marks = tuple((one.number, one.uuid) for one in target.volumes)
    return _fabric(cluster, definition, target, (host_of(resource.uuid),), marks)


def _fabric(
    cluster: Cluster,
    definition: ResourceDefinition,
    target: Resource,
    hosts: tuple[str, ...],
    volumes: tuple[tuple[int, Uuid], ...],
) -> TargetFabric:
    maps = effective.definition_maps(cluster, definition)
    return TargetFabric(
        subsystem=subsystem_of(definition),
        transport=props.NVME_TRANSPORT.found(*maps) or _TRANSPORT_DEFAULT,
        address=_address(cluster, definition, target),
        port=int(props.NVME_PORT.found(*maps) or _PORT_DEFAULT),
        hosts=hosts,
        volumes=volumes,
    )


def _address(cluster: Cluster, definition: ResourceDefinition, target: Resource) -> str:
    """NVMe/PrefNic: pools of the volumes > resource > node > controller; else as for replication."""
    node = cluster.nodes[key_of(target.node)]
    pools = [cluster.pool(target.node, volume.pool) for volume in target.volumes]
    own = props.NVME_PREF_NIC.found(
        *(volume.props for volume in target.volumes),
        *(pool.props for pool in pools if pool is not None),
        target.props,
        node.props,
        cluster.props(),
    )
    if own is not None:
        return node.data_address(own) or ""
    return effective.address_of(cluster, definition, target, node) or ""
