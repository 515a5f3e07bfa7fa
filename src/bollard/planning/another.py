"""One more replica of a definition somewhere, for whoever finds that one is missing. Never raises."""

import msgspec

from bollard.domain.errors import DomainError
from bollard.domain.ids import NodeName
from bollard.domain.resources import DiskKind, ResourceDefinition, ResourcePhase, SelectFilter
from bollard.planning import effective, placement, replicas
from bollard.planning.draft import Draft
from bollard.planning.procedures import toggle_disk

__all__ = ["place_another"]


def place_another(
    draft: Draft,
    definition: ResourceDefinition,
    *,
    targets: tuple[NodeName, ...] = (),
    excluded: tuple[NodeName, ...] = (),
    keep_rules: bool = True,
    made_by: str = "autoplacer",
) -> NodeName | None:
    """The node that gets a replica, by the rules of the group, or None when there is no place now.

    A tie-breaker that is there gets a disk; what a person made diskless does not, unless it is named in
    `targets`. Without `keep_rules` only the group's pools and providers bind, not its rules over nodes.
    """
    present = draft.resources_of(definition.name)
    wanted = draft.group_of(definition).select_filter
    if not keep_rules:
        wanted = SelectFilter(storage_pools=wanted.storage_pools, providers=wanted.providers)
    if targets:
        wanted = msgspec.structs.replace(wanted, node_names=tuple(targets))
    users = (one.node for one in present if not one.diskful and one.made_by != "tie-breaker")
    going = (one.node for one in present if one.phase is ResourcePhase.DISK_REMOVING)
    request = placement.Request(
        name=definition.name,
        count=1,
        size_kib=replicas.gross_total(draft, definition),
        filter=wanted,
        layers=replicas.stack_of(definition),
        on=tuple(one.node for one in replicas.diskful(present)),
        excluded=(*(node for node in users if node not in targets), *going, *excluded),
        providers=replicas.providers_of(draft, present),
        maps=effective.definition_maps(draft.cluster, definition),
        explain=False,
    )
    try:
        chosen = placement.place(request, draft.world).chosen[0]
        _put(draft, definition, chosen, made_by)
    except DomainError:
        return None  # what was asked for by nobody fails nothing: the next tick tries again
    return chosen.node


def _put(draft: Draft, definition: ResourceDefinition, chosen: placement.Chosen, made_by: str) -> None:
    pool = draft.pool(chosen.node, chosen.pool)
    assert pool is not None, chosen
    pools = dict.fromkeys([volume.number for volume in definition.volumes] or [0], pool)
    present = draft.resource(definition.name, chosen.node)
    if present is not None:
        toggle_disk.start_adding(draft, present, pools, made_by=made_by)
        return
    replicas.add(
        draft, definition, draft.node(chosen.node), disk=DiskKind.DISKFUL, pools=pools, made_by=made_by
    )
