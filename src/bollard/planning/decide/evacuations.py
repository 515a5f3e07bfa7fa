"""Nodes: move everything away, give a node up, take it back. Each function is one command."""

from typing import assert_never

import msgspec

from bollard.domain.answers import Decision, Operation
from bollard.domain.commands import EvacuateNode, EvictNode, RestoreNode
from bollard.domain.errors import Conflict, InUse, Invalid, Subject
from bollard.domain.ids import NodeName, key_of
from bollard.domain.nodes import NodePhase
from bollard.domain.procedures import Verb
from bollard.planning import entries, replicas
from bollard.planning.decide.outcome import outcome
from bollard.planning.decide.resources import refuse_last_copy
from bollard.planning.draft import Draft
from bollard.planning.procedures import evacuate
from bollard.planning.world import World

__all__ = ["decide"]

Commands = EvacuateNode | EvictNode | RestoreNode


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about evacuation. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case EvacuateNode():
            return _evacuate(command, draft)
        case EvictNode():
            return _evict(command, draft)
        case RestoreNode():
            return _restore(command, draft)
        case _:
            assert_never(command)


def _evacuate(command: EvacuateNode, draft: Draft) -> Decision:
    node = draft.find_node(command.node)
    if command.targets and command.not_targets:
        raise Invalid(
            Subject.REQUEST,
            node.name,
            "Targets and nodes that are no targets exclude each other",
            correction="Give one of the two lists.",
        )
    targets = _names(draft, command.targets)
    not_targets = _names(draft, command.not_targets)
    if node.phase is NodePhase.EVACUATING:
        return Decision()
    if node.phase is not NodePhase.NORMAL:
        raise Conflict(
            Subject.REQUEST,
            node.name,
            f"The node '{node.name}' cannot be evacuated",
            cause=f"It is {node.phase}.",
        )
    refs = entries.refs_of(node=node.name, uuid=node.uuid)
    said = [
        entries.modified(Subject.NODE, f"The node '{node.name}' is being evacuated", refs),
        *(
            entries.warning(
                Operation.MODIFY,
                Subject.NODE,
                f"'{resource.definition}' stays on '{node.name}': it is not replicated",
                refs,
                code="NOT_EVACUATING",
                correction="Copy its data elsewhere, then delete it.",
            )
            for resource in draft.cluster.resources_on(node.name)
            if not replicas.replicated(draft.find_definition(resource.definition))
        ),
    ]
    evacuate.start(draft, node, targets=targets, not_targets=not_targets)
    return outcome(draft, said)


def _evict(command: EvictNode, draft: Draft) -> Decision:
    node = draft.find_node(command.node)
    refs = entries.refs_of(node=node.name, uuid=node.uuid)
    if draft.world.observed.node(node.name).online:
        raise InUse(
            Subject.REQUEST,
            node.name,
            f"The node '{node.name}' is not evicted: it is connected",
            cause="Only a node that is away is given up.",
            correction="Evacuate it instead; its replicas are then moved while it works.",
        )
    if node.phase is NodePhase.EVICTED:
        return Decision()
    if node.phase is NodePhase.DELETING:
        raise Conflict(
            Subject.REQUEST, node.name, f"The node '{node.name}' is being deleted", cause="It leaves anyway."
        )
    evacuate.evict(draft, node)
    return outcome(draft, [entries.modified(Subject.NODE, f"The node '{node.name}' is evicted", refs)])


def _names(draft: Draft, given: tuple[str, ...]) -> tuple[NodeName, ...]:
    return tuple(draft.find_node(name).name for name in given)


def _restore(command: RestoreNode, draft: Draft) -> Decision:
    node = draft.find_node(command.node)
    if node.phase not in {NodePhase.EVACUATING, NodePhase.EVICTED}:
        raise Conflict(
            Subject.REQUEST,
            node.name,
            f"The node '{node.name}' has nothing to be restored from",
            cause="It is neither being evacuated nor was it evicted.",
        )
    draft.put(msgspec.structs.replace(node, phase=NodePhase.NORMAL, eviction_timestamp_ms=None))
    for procedure in draft.cluster.procedures.values():
        if procedure.verb is Verb.EVACUATE and key_of(procedure.node or "") == node.key:
            draft.drop(procedure)
    refs = entries.refs_of(node=node.name, uuid=node.uuid)
    said = entries.modified(Subject.NODE, f"The node '{node.name}' may hold replicas again", refs)
    if command.delete_resources:
        for resource in draft.cluster.resources_on(node.name):
            refuse_last_copy(draft, resource, "be deleted")
            replicas.bury(draft, resource)
    return outcome(draft, [msgspec.structs.replace(said, code="CREATED")])
