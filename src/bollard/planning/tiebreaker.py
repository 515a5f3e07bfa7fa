"""The diskless resource that the cluster adds so that two replicas can lose one node and keep quorum."""

from bollard.domain import props
from bollard.domain.answers import Entry, Operation
from bollard.domain.errors import Exhausted, Subject
from bollard.domain.ids import NodeName
from bollard.domain.resources import DiskKind, Resource, ResourceDefinition, SelectFilter
from bollard.planning import effective, entries, implementation, placement, quorum, replicas
from bollard.planning.draft import Draft

__all__ = ["settle"]


def settle(draft: Draft, definition: ResourceDefinition, *, freed: tuple[NodeName, ...] = ()) -> list[Entry]:
    """Add a tie-breaker where one is needed and take away one that is not.

    `freed` are nodes that lose their resource by the same decision: they are preferred, for their peers
    know them already.
    """
    if not replicas.replicated(definition):
        return []
    resources = draft.resources_of(definition.name)
    present = [one for one in resources if one.disk is DiskKind.TIE_BREAKER]
    refs = entries.refs_of(definition=definition.name)
    if not _needed(draft, definition, resources):
        if any(_used(draft, one) for one in present):
            return []  # its user would lose what the other copies have not got yet
        for one in present:
            replicas.bury(draft, one)
        message = f"The tie-breaker of '{definition.name}' is not needed any more and is being removed"
        return [
            entries.info(Operation.DELETE, Subject.RESOURCE, message, refs, code="TIE_BREAKER_DELETING")
            for _ in present
        ]
    if present:
        return []
    return _add(draft, definition, resources, freed)


def _used(draft: Draft, resource: Resource) -> bool:
    """Whether somebody has it open, by the last report of its node."""
    seen = replicas.online_seen(draft.world, resource)
    return seen is not None and seen.in_use


def _needed(draft: Draft, definition: ResourceDefinition, resources: list[Resource]) -> bool:
    maps = (definition.props, draft.group_of(definition).props, draft.controller_props())
    if implementation.is_drbd84(resources):
        return False
    if not props.AUTO_TIEBREAKER.truth(*maps):
        return False
    if quorum.set_by_user(draft, definition) and props.QUORUM.found(*maps) != quorum.MAJORITY:
        return False
    disks, _ = quorum.counts(resources)
    voting = any(one.disk is DiskKind.DISKLESS for one in resources)
    return disks >= 2 and disks % 2 == 0 and not voting


def _add(
    draft: Draft, definition: ResourceDefinition, resources: list[Resource], freed: tuple[NodeName, ...]
) -> list[Entry]:
    refs = entries.refs_of(definition=definition.name)
    wanted = draft.group_of(definition).select_filter
    rules = SelectFilter(
        replicas_on_same=wanted.replicas_on_same,
        replicas_on_different=wanted.replicas_on_different,
        x_replicas_on_different=dict.fromkeys(wanted.x_replicas_on_different or {}, 1) or None,
        storage_pools_diskless=wanted.storage_pools_diskless,
    )
    attempts = [(rules, False)]
    if rules != SelectFilter():
        attempts.append((SelectFilter(), True))
    if freed:
        attempts.insert(0, (SelectFilter(node_names=tuple(freed)), False))
    for attempt, relaxed in attempts:
        node = _choose(draft, definition, resources, attempt)
        if node is None or not _put(draft, definition, node):
            continue
        taken_over = node in freed
        message = f"'{node}' was chosen as the tie-breaker of '{definition.name}'"
        code = "TIE_BREAKER_TAKEOVER" if taken_over else "TIE_BREAKER_CREATED"
        found = [entries.info(Operation.CREATE, Subject.RESOURCE, message, refs, code=code)]
        if relaxed:
            found.append(
                entries.warning(
                    Operation.CREATE,
                    Subject.RESOURCE,
                    f"The rules of the group were set aside for the tie-breaker of '{definition.name}'",
                    refs,
                    code="TIE_BREAKER_RULE_RELAXED",
                )
            )
        return found
    return [
        entries.warning(
            Operation.CREATE,
            Subject.RESOURCE,
            f"There is no node for a tie-breaker of '{definition.name}'",
            refs,
            code="NOT_ENOUGH_NODES_FOR_TIE_BREAKER",
            cause="Every node that is online has a resource of it already or may not be used.",
            correction="Add a node: without a third vote the loss of one node costs quorum.",
        )
    ]


def _put(draft: Draft, definition: ResourceDefinition, node: NodeName) -> bool:
    """Whether there was a port and a node id for it: what nobody asked for must not fail a command."""
    try:
        replicas.add(
            draft, definition, draft.node(node), disk=DiskKind.TIE_BREAKER, pools={}, made_by="tie-breaker"
        )
    except Exhausted:
        return False
    return True


def _choose(
    draft: Draft, definition: ResourceDefinition, resources: list[Resource], rules: SelectFilter
) -> NodeName | None:
    request = placement.Request(
        name=definition.name,
        count=1,
        filter=rules,
        layers=(replicas.stack_of(definition)[0],),
        on=tuple(one.node for one in resources if one.diskful),
        excluded=(
            *(one.node for one in resources if not one.diskful),
            *(node.name for node in draft.nodes_leaving()),
        ),
        diskless=True,
        maps=effective.definition_maps(draft.cluster, definition),
        explain=False,
    )
    try:
        return placement.place(request, draft.world).chosen[0].node
    except Exhausted:
        return None
