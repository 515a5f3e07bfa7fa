"""Moves a definition's replicas to the implementation of DRBD that was pinned: one node after the other.

The data stays where it is: the data process and DRBD 9 read the same metadata. A node is next only when all
others that are online are complete and settled, and nobody uses the resource on it.
"""

import msgspec

from bollard.domain.layers import LayerKind, ReplicationKind
from bollard.domain.resources import Resource, ResourceDefinition
from bollard.planning import implementation, replicas
from bollard.planning.draft import Draft

__all__ = ["settle"]


def settle(draft: Draft, definition: ResourceDefinition) -> None:
    """Switch the next resource, if it is time for one."""
    wish = implementation.pinned(draft, definition)
    if wish is None or wish is ReplicationKind.DRBD84:
        return
    resources = [one for one in draft.resources_of(definition.name) if LayerKind.DRBD in one.layer_stack]
    if implementation.is_drbd84(resources):
        return
    due = [one for one in resources if one.implementation is not wish and _may_move(draft, one, wish)]
    if not due or not all(_steady(draft, one) for one in resources):
        return
    draft.put(msgspec.structs.replace(due[0], implementation=wish))


def _may_move(draft: Draft, resource: Resource, wish: ReplicationKind) -> bool:
    seen = replicas.online_seen(draft.world, resource)
    return (
        seen is not None
        and not seen.in_use
        and implementation.runs_on(draft, resource.node, wish)
        and (wish is not ReplicationKind.DRBD9 or implementation.on_devices(draft, resource))
    )


def _steady(draft: Draft, resource: Resource) -> bool:
    """Whether its node runs it as it is wished and has all its data; True for one that is away."""
    if not draft.world.observed.node(resource.node).online:
        return True
    seen = replicas.online_seen(draft.world, resource)
    if seen is None or not seen.settled or seen.implementation is not resource.implementation:
        return False
    return not resource.diskful or replicas.up_to_date(draft.world, resource)
