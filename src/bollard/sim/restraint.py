"""What the cluster may never do by itself, checked on each decision that nobody asked for. It only reads."""

from collections.abc import Iterator

from bollard.domain.answers import Decision
from bollard.domain.cluster import Drop, Put
from bollard.domain.ids import Key, key_of
from bollard.domain.nodes import Node, NodePhase
from bollard.domain.resources import Resource
from bollard.planning import replicas
from bollard.planning.world import World

__all__ = ["overreaching"]

AWAY_PERCENT_MAX = 34
"""The stand-down rule of a cluster that nobody has configured."""


def overreaching(world: World, decision: Decision) -> Iterator[str]:
    """Evictions while too many nodes are away, and complete copies that go without enough others."""
    lost: dict[Key, list[Resource]] = {}
    for change in decision.changes:
        match change:
            case Put(record=Node(phase=NodePhase.EVICTED) as node):
                if world.cluster.nodes[node.key].phase is not NodePhase.EVICTED:
                    yield from _too_bold(world, node, decision)
            case Drop(kind="resource", key=key) if key in world.cluster.resources:
                resource = world.cluster.resources[key]
                lost.setdefault(key_of(resource.definition), []).append(resource)
            case _:
                pass
    for definition, gone in lost.items():
        yield from _too_few(world, definition, gone)


def _too_bold(world: World, node: Node, decision: Decision) -> Iterator[str]:
    nodes = [one for one in world.cluster.nodes.values() if one.holds_storage]
    away = sum(1 for one in nodes if not world.observed.node(one.name).online)
    if away * 100 > AWAY_PERCENT_MAX * len(nodes):
        yield f"{node.name} was given up while {away} of {len(nodes)} nodes were away"
    if world.observed.node(node.name).online:
        yield f"{node.name} was given up while it was there"
    mine = {one.key for one in world.cluster.resources_on(node.name)}
    if any(isinstance(change, Drop) and change.key in mine for change in decision.changes):
        yield f"{node.name} lost a replica by being given up"


def _too_few(world: World, definition: Key, gone: list[Resource]) -> Iterator[str]:
    """A complete copy goes only while another one stays; what was surplus, while as many as wanted stay."""
    known = world.cluster.definitions.get(definition)
    complete = {one.key for one in world.cluster.resources_of(definition) if replicas.up_to_date(world, one)}
    going = complete & {one.key for one in gone}
    left = len(complete - going)
    if going and not left:
        yield f"the last complete copy of {definition} was taken away"
    procedures = [
        one
        for one in world.cluster.procedures.values()
        if key_of(one.definition or definition) == definition or one.node is not None
    ]
    group = world.cluster.groups.get(key_of(known.group)) if known is not None else None
    goal = (group.select_filter.place_count or 1) if group is not None else 1
    if going and not procedures and left < goal:
        yield f"a replica of {definition} went as surplus, and {left} of {goal} complete ones are left"
