"""As many replicas as the group wants, looked at now and then: a missing one is placed, a surplus one goes.

Switched off by `BalanceResourcesEnabled`. Only where all is calm: a complete copy is there, nothing
resyncs, and not more disks are being skipped than `BalanceResourcesSkipDiskLimit`. A surplus replica goes
when it is older than `BalanceResourcesGracePeriod` seconds. Invariant: as many complete ones as wanted stay.
"""

from bollard.domain import props
from bollard.domain.resources import DefinitionPhase, Resource, ResourceDefinition
from bollard.planning import another, effective, replicas
from bollard.planning.draft import Draft
from bollard.planning.upkeep import surplus

__all__ = ["add_spare", "settle"]

_CALM = frozenset({"Established", "Off"})


def settle(draft: Draft, definition: ResourceDefinition) -> None:
    """Place one that is missing, or take away one that is too many."""
    maps = effective.definition_maps(draft.cluster, definition)
    goal = surplus.goal_of(draft, definition)
    if (
        goal is None
        or goal < 1
        or definition.phase is not DefinitionPhase.NORMAL
        or not replicas.replicated(definition)
        or not props.BALANCE_ENABLED.truth(*maps)
        or not _calm(draft, definition)
    ):
        return
    present = surplus.staying(draft, definition)
    if len(present) < goal:
        another.place_another(draft, definition)
    elif len(present) > goal:
        grace_ms = props.BALANCE_GRACE.number(draft.cluster.props()) * 1000
        old = [one for one in present if draft.world.now_ms - one.create_timestamp_ms >= grace_ms]
        chosen = surplus.choose(draft, definition, old, goal)
        if chosen is not None:
            replicas.bury(draft, chosen)


def add_spare(draft: Draft, definition: ResourceDefinition, switch: props.Setting) -> None:
    """After a clone or a restore, one replica more than wanted, if the property says so.

    Data that was copied where its source is gathers on the fullest nodes: the next balancing takes the
    replica on the poorest pool away again.
    """
    goal = surplus.goal_of(draft, definition)
    wanted = switch.truth(*effective.definition_maps(draft.cluster, definition))
    if not wanted or goal is None or not replicas.replicated(definition):
        return
    if len(surplus.staying(draft, definition)) >= goal:
        another.place_another(draft, definition)


def _calm(draft: Draft, definition: ResourceDefinition) -> bool:
    resources = draft.resources_of(definition.name)
    maps = effective.definition_maps(draft.cluster, definition)
    skipped = sum(1 for one in resources if props.SKIP_DISK.truth(one.props))
    if skipped > props.BALANCE_SKIP_LIMIT.number(*maps):
        return False
    if not any(replicas.up_to_date(draft.world, one) for one in resources):
        return False
    return all(_nothing_moves(draft, one) for one in resources)


def _nothing_moves(draft: Draft, resource: Resource) -> bool:
    seen = replicas.online_seen(draft.world, resource)
    return seen is None or all(
        volume.replication_state in _CALM for peer in seen.peers for volume in peer.volumes
    )
