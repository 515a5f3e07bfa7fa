"""Emptying a node: each of its resources goes when enough others are complete without it.

One procedure a node, phase `moving`. On every tick each resource there is looked at: without a disk, or with
enough complete copies elsewhere, it is removed; else a new replica is placed elsewhere, once. Invariant:
complete copies never fall below the group's place count, or below what there was if that is less. What is
in use waits. The node stays marked as evacuating until it is restored or deleted. A node that is evicted goes
the same way, but is offline: its replicas count for nothing.
"""

import msgspec

from bollard.domain import props
from bollard.domain.answers import Entry
from bollard.domain.ids import NodeName, key_of
from bollard.domain.nodes import Node, NodePhase
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.resources import Resource, ResourceDefinition
from bollard.planning import another, effective, replicas
from bollard.planning.draft import Draft

__all__ = ["MOVING", "NEXT", "advance", "evict", "start"]

MOVING = "moving"
NEXT: dict[str, str | None] = {MOVING: None}
"""The table of phases; None ends the procedure."""


_TARGETS = "targets"
_NOT_TARGETS = "not-targets"
_COUNT = "count/"
"""With a definition's key: how many disks it had when the node was to be emptied."""


def start(
    draft: Draft,
    node: Node,
    *,
    targets: tuple[NodeName, ...] = (),
    not_targets: tuple[NodeName, ...] = (),
) -> None:
    """Mark the node and begin; new replicas come to `targets` only, or to all nodes but `not_targets`."""
    lists = ((_TARGETS, targets), (_NOT_TARGETS, not_targets))
    counts = {
        _COUNT + key_of(one.definition): str(len(replicas.diskful(draft.resources_of(one.definition))))
        for one in draft.cluster.resources_on(node.name)
    }
    draft.put(msgspec.structs.replace(node, phase=NodePhase.EVACUATING))
    _put(draft, node, {key: ",".join(names) for key, names in lists if names} | counts)


def evict(draft: Draft, node: Node) -> None:
    """Give the node up: the same, but it is not expected back, and no link to it is kept."""
    counts = {
        _COUNT + key_of(one.definition): str(_least(draft, one))
        for one in draft.cluster.resources_on(node.name)
    }
    draft.put(
        msgspec.structs.replace(node, phase=NodePhase.EVICTED, eviction_timestamp_ms=draft.world.now_ms)
    )
    _put(draft, node, counts)


def _least(draft: Draft, resource: Resource) -> int:
    """How many replicas of this definition an eviction must leave: a property, or as many as there were."""
    definition = draft.find_definition(resource.definition)
    had = len(replicas.diskful(draft.resources_of(definition.name)))
    maps = effective.definition_maps(draft.cluster, definition)
    asked = int(props.AUTO_EVICT_MIN_REPLICAS.number(*maps, default=0))
    return min(asked, had) if asked > 0 else had


def _put(draft: Draft, node: Node, arguments: dict[str, str]) -> None:
    draft.put(
        Procedure(
            verb=Verb.EVACUATE,
            uuid=draft.world.draw.uuid(),
            phase=MOVING,
            node=node.name,
            arguments=arguments,
            started_ms=draft.world.now_ms,
            revision=draft.cluster.revision + 1,
            message="Replicas are moved to other nodes.",
        )
    )


def advance(draft: Draft, procedure: Procedure) -> list[Entry]:
    """Remove what may go, place what is missing; end when nothing is left."""
    assert procedure.node is not None
    node = draft.cluster.nodes.get(Node(name=procedure.node, uuid=procedure.uuid).key)
    if node is None or node.phase not in {NodePhase.EVACUATING, NodePhase.EVICTED}:
        draft.drop(procedure)
        return []
    mine = draft.cluster.resources_on(node.name)
    for resource in mine:
        _move(draft, resource, procedure)
    if not mine:
        draft.drop(procedure)
    return []


def _move(draft: Draft, resource: Resource, procedure: Procedure) -> None:
    definition = draft.definition(resource.definition)
    assert definition is not None
    seen = replicas.online_seen(draft.world, resource)
    if seen is not None and seen.in_use:
        return
    if not replicas.replicated(definition):
        return
    others = [one for one in draft.resources_of(definition.name) if one.node != resource.node]
    staying = [one for one in replicas.diskful(others) if not _leaving(draft, one)]
    wanted = _wanted(draft, definition, procedure)
    complete = sum(1 for one in staying if replicas.up_to_date(draft.world, one))
    if not resource.diskful or complete >= wanted:
        replicas.bury(draft, resource)
    elif len(staying) < wanted:
        targets, avoided = _listed(procedure, _TARGETS), _listed(procedure, _NOT_TARGETS)
        another.place_another(
            draft, definition, targets=targets, excluded=(*avoided, *_diskless_by_hand(others))
        )


def _wanted(draft: Draft, definition: ResourceDefinition, procedure: Procedure) -> int:
    """How many replicas must be elsewhere: what the group asks for, but no more than there were."""
    had = int(procedure.arguments.get(_COUNT + definition.key, "1"))
    asked = draft.group_of(definition).select_filter.place_count or had
    return max(1, min(asked, had))


def _leaving(draft: Draft, resource: Resource) -> bool:
    return draft.node(resource.node).phase is not NodePhase.NORMAL


def _diskless_by_hand(others: list[Resource]) -> tuple[NodeName, ...]:
    """Also a target gets no disk where a person wanted none."""
    return tuple(one.node for one in others if not one.diskful and one.made_by != "tie-breaker")


def _listed(procedure: Procedure, key: str) -> tuple[NodeName, ...]:
    text = procedure.arguments.get(key, "")
    return tuple(NodeName(name) for name in text.split(",")) if text else ()
