"""A disk for a node that uses a volume without one for long, and a surplus disk less in return.

`DrbdOptions/auto-diskful` is the time in minutes; nothing happens without it. What it brought may take the
place of another replica where `DrbdOptions/auto-diskful-allow-cleanup` says so. Invariant: a replica is only
taken away while as many complete ones as the group wants stay.
"""

from bollard.domain import props
from bollard.domain.ids import key_of
from bollard.domain.resources import DiskKind, Resource, ResourceDefinition, ResourcePhase
from bollard.planning import another, effective, replicas
from bollard.planning.draft import Draft
from bollard.planning.upkeep import surplus

__all__ = ["MADE_BY", "settle"]

MADE_BY = "auto-diskful"
_MINUTE_MS = 60_000


def settle(draft: Draft, definition: ResourceDefinition) -> None:
    """Begin to give disks where it is time, and take a surplus one away."""
    if not replicas.replicated(definition):
        return
    for resource in draft.resources_of(definition.name):
        if not resource.diskful and _due(draft, definition, resource):
            another.place_another(
                draft, definition, targets=(resource.node,), keep_rules=False, made_by=MADE_BY
            )
    _clean_up(draft, definition)


def _due(draft: Draft, definition: ResourceDefinition, resource: Resource) -> bool:
    seen = replicas.online_seen(draft.world, resource)
    if seen is None or not seen.in_use or resource.phase is not ResourcePhase.NORMAL:
        return False
    since_ms = draft.world.observed.node(resource.node).in_use_since.get(key_of(resource.definition))
    minutes = props.AUTO_DISKFUL.number(
        *effective.replication_maps(draft.cluster, definition, resource), default=0
    )
    if minutes <= 0 or since_ms is None or draft.world.now_ms - since_ms < minutes * _MINUTE_MS:
        return False
    return any(replicas.up_to_date(draft.world, one) for one in draft.resources_of(definition.name))


def _clean_up(draft: Draft, definition: ResourceDefinition) -> None:
    present = surplus.staying(draft, definition)
    brought = [one for one in present if one.made_by == MADE_BY and replicas.up_to_date(draft.world, one)]
    goal = surplus.goal_of(draft, definition)
    if not brought or goal is None or len(present) <= goal:
        return
    newest = max(brought, key=lambda one: (one.create_timestamp_ms, one.key))
    candidates = [
        one
        for one in present
        if one.key != newest.key and (one.made_by == MADE_BY or _may_go(draft, definition, one))
    ]
    chosen = surplus.choose(draft, definition, candidates, goal)
    if chosen is not None:
        assert chosen.disk is DiskKind.DISKFUL, chosen.key
        replicas.bury(draft, chosen)


def _may_go(draft: Draft, definition: ResourceDefinition, resource: Resource) -> bool:
    maps = effective.replication_maps(draft.cluster, definition, resource)
    # Here the node comes before the definition.
    return props.AUTO_DISKFUL_CLEANUP.truth(maps[0], maps[3], maps[1], maps[2], maps[4])
