"""Looks up what a path names, for reading. Changes are decided elsewhere and find their objects there."""

from bollard.domain import ids
from bollard.domain.cluster import Cluster
from bollard.domain.errors import NotFound, Subject
from bollard.domain.ids import key_of
from bollard.domain.nodes import NetInterface, Node, StoragePool, StoragePoolDefinition
from bollard.domain.resources import (
    Resource,
    ResourceDefinition,
    ResourceGroup,
    VolumeDefinition,
    VolumeGroup,
    VolumeOnNode,
)


def node(cluster: Cluster, name: str) -> Node:
    """The node. Raises Invalid, NotFound."""
    found = cluster.nodes.get(key_of(ids.node_name(name)))
    if found is None:
        raise NotFound(
            Subject.NODE,
            name,
            f"There is no node '{name}'",
            correction="List the nodes to see how they are called.",
        )
    return found


def net_interface(cluster: Cluster, node_name: str, name: str) -> tuple[Node, NetInterface]:
    """The node and its interface. Raises Invalid, NotFound."""
    owner = node(cluster, node_name)
    for net_if in owner.net_interfaces:
        if key_of(net_if.name) == key_of(name):
            return owner, net_if
    raise NotFound(Subject.NET_IF, name, f"Node '{owner.name}' has no network interface '{name}'")


def pool_definition(cluster: Cluster, name: str) -> StoragePoolDefinition:
    """The storage pool definition. Raises NotFound."""
    found = cluster.pool_definitions.get(key_of(name))
    if found is None:
        raise NotFound(Subject.POOL_DEFINITION, name, f"There is no storage pool definition '{name}'")
    return found


def pool(cluster: Cluster, node_name: str, name: str) -> StoragePool:
    """The storage pool on a node. Raises Invalid, NotFound."""
    owner = node(cluster, node_name)
    found = cluster.pool(owner.name, name)
    if found is None:
        raise NotFound(Subject.POOL, name, f"Node '{owner.name}' has no storage pool '{name}'")
    return found


def group(cluster: Cluster, name: str) -> ResourceGroup:
    """The resource group. Raises NotFound."""
    found = cluster.groups.get(key_of(name))
    if found is None:
        raise NotFound(Subject.GROUP, name, f"There is no resource group '{name}'")
    return found


def volume_group(cluster: Cluster, group_name: str, number: int) -> VolumeGroup:
    """The volume group. Raises NotFound."""
    for found in group(cluster, group_name).volume_groups:
        if found.number == number:
            return found
    raise NotFound(
        Subject.VOLUME_GROUP, str(number), f"Resource group '{group_name}' has no volume group {number}"
    )


def definition(cluster: Cluster, name: str) -> ResourceDefinition:
    """The resource definition. Raises NotFound."""
    found = cluster.definitions.get(key_of(name))
    if found is None:
        raise NotFound(Subject.RESOURCE_DEFINITION, name, f"There is no resource definition '{name}'")
    return found


def volume_definition(
    cluster: Cluster, name: str, number: int
) -> tuple[ResourceDefinition, VolumeDefinition]:
    """The resource definition and its volume definition. Raises NotFound."""
    owner = definition(cluster, name)
    found = owner.volume(number)
    if found is None:
        raise NotFound(
            Subject.VOLUME_DEFINITION,
            str(number),
            f"Resource definition '{owner.name}' has no volume definition {number}",
        )
    return owner, found


def resource(cluster: Cluster, definition_name: str, node_name: str) -> Resource:
    """The resource on a node. Raises Invalid, NotFound for whatever of it is missing."""
    owner = definition(cluster, definition_name)
    place = node(cluster, node_name)
    found = cluster.resource(owner.name, place.name)
    if found is None:
        raise NotFound(Subject.RESOURCE, owner.name, f"Resource '{owner.name}' is not on node '{place.name}'")
    return found


def volume(cluster: Cluster, definition_name: str, node_name: str, number: int) -> VolumeOnNode:
    """The volume on a node. Raises Invalid, NotFound for whatever of it is missing."""
    place = resource(cluster, definition_name, node_name)
    for found in place.volumes:
        if found.number == number:
            return found
    raise NotFound(
        Subject.VOLUME,
        str(number),
        f"Resource '{place.definition}' on node '{place.node}' has no volume {number}",
    )
