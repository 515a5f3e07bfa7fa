"""From the wish to one node's target: what it should hold, and no more. Pure."""

from collections.abc import Iterable

from bollard.domain.cluster import Change, Cluster
from bollard.domain.ids import Key
from bollard.domain.resources import Resource
from bollard.domain.targets import Target, TargetPool, TargetResource

__all__ = ["target_for", "target_pools", "target_resource", "touched"]


def target_for(node: str, cluster: Cluster) -> Target:
    """Everything for one node at the cluster's revision. The node exists."""
    raise NotImplementedError


def target_pools(node: str, cluster: Cluster) -> tuple[TargetPool, ...]:
    """The node's pools, those without a disk left out."""
    raise NotImplementedError


def target_resource(cluster: Cluster, resource: Resource) -> TargetResource:
    """One resource on its node, with its peers as they are now."""
    raise NotImplementedError


def touched(changes: Iterable[Change], cluster: Cluster) -> set[tuple[Key, Key | None]]:
    """Which (node key, definition key) have a new target after these changes; definition None: its pools.

    Call it with the cluster as it was before the changes and again with the cluster after them, and join:
    what a dropped record touched is only known before, what a new one touches only after.
    A change that touches a node as a whole (its address, its properties) names each resource on it.
    """
    raise NotImplementedError
