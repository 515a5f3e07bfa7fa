"""Which replica goes when there are more than wanted, and whether one may go at all."""

from collections import Counter
from collections.abc import Sequence

from bollard.domain.ids import key_of
from bollard.domain.nodes import NodePhase, Props
from bollard.domain.resources import Resource, ResourceDefinition, ResourcePhase, SelectFilter
from bollard.planning import placement, replicas
from bollard.planning.draft import Draft

__all__ = ["choose", "goal_of", "staying", "violations"]


def goal_of(draft: Draft, definition: ResourceDefinition) -> int | None:
    """How many replicas the definition's group asks for; None when it asks for no number."""
    return draft.group_of(definition).select_filter.place_count


def staying(draft: Draft, definition: ResourceDefinition) -> list[Resource]:
    """Replicas with a disk on nodes that are in use as nodes: neither leaving nor inactive."""
    return [
        one
        for one in replicas.diskful(draft.resources_of(definition.name))
        if draft.node(one.node).phase is NodePhase.NORMAL and one.phase is not ResourcePhase.INACTIVE
    ]


def choose(
    draft: Draft, definition: ResourceDefinition, candidates: Sequence[Resource], goal: int
) -> Resource | None:
    """The one of `candidates` that goes, or None while none may.

    None may while fewer than `goal` of the others are known to be complete. The one whose going mends most
    of the group's rules goes first, then one that is not complete, then the one on the poorest pool.
    """
    present = staying(draft, definition)
    if len(present) <= goal:
        return None
    complete = {one.key for one in present if replicas.up_to_date(draft.world, one)}
    free = [
        one
        for one in candidates
        if len(complete - {one.key}) >= max(goal, 1) and not _needed(draft, definition, one)
    ]
    if not free:
        return None
    wanted = draft.group_of(definition).select_filter
    places = [(one.node, one.volumes[0].pool) for one in free if one.volumes]
    ratings = placement.rated(draft.world, places) if len(places) == len(free) else [0.0] * len(free)

    def order(item: tuple[Resource, float]) -> tuple[int, bool, float, str]:
        resource, rating = item
        left = [_node_props(draft, one) for one in present if one.key != resource.key]
        return (violations(wanted, left), resource.key in complete, rating, resource.key)

    return min(zip(free, ratings, strict=True), key=order)[0]


def _needed(draft: Draft, definition: ResourceDefinition, resource: Resource) -> bool:
    """Whether someone uses it, may use it unseen, or has a snapshot of it."""
    seen = replicas.online_seen(draft.world, resource)
    if seen is None or seen.in_use or resource.phase is not ResourcePhase.NORMAL:
        return True
    here = key_of(resource.node)
    return any(
        here in {key_of(node.node) for node in snapshot.nodes}
        for snapshot in draft.cluster.snapshots_of(definition.name)
    )


def _node_props(draft: Draft, resource: Resource) -> Props:
    return draft.node(resource.node).props


def violations(wanted: SelectFilter, nodes: Sequence[Props]) -> int:
    """How often replicas on nodes with these properties break the rules over nodes."""
    found = 0
    for text in wanted.replicas_on_same or ():
        key, fixed, value = text.partition("=")
        if fixed:
            found += sum(1 for node in nodes if node.get(key) != value)
        else:
            found += max(0, len({node.get(key) for node in nodes}) - 1)
    for text in wanted.replicas_on_different or ():
        key, fixed, value = text.partition("=")
        if fixed:
            found += sum(1 for node in nodes if node.get(key) == value)
        else:
            found += _beyond(Counter(node[key] for node in nodes if key in node), 1)
    for key, most in (wanted.x_replicas_on_different or {}).items():
        found += _beyond(Counter(node.get(key) for node in nodes), most)
    return found


def _beyond(counts: Counter[str] | Counter[str | None], most: int) -> int:
    return sum(max(0, count - most) for count in counts.values())
