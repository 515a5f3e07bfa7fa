"""Which nodes and pools new replicas go to: filters, weighted scores, rules over groups of nodes.

Deterministic: the same world and request give the same answer, with a reason for every node and pool.
"""

import re
from collections.abc import Sequence

import msgspec

from bollard.domain import props
from bollard.domain.answers import Explained
from bollard.domain.cluster import Cluster
from bollard.domain.errors import Conflict, Exhausted, Invalid, Subject
from bollard.domain.ids import Key, NodeName, key_of
from bollard.domain.layers import THIN_PROVIDERS, LayerKind, ProviderKind
from bollard.domain.nodes import Node, NodePhase, Props, StoragePool
from bollard.domain.resources import SelectFilter
from bollard.planning import choose, sizes
from bollard.planning.choose import Candidate
from bollard.planning.world import World

__all__ = ["Chosen", "Placement", "Request", "place", "rated"]


class Request(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is wanted."""

    name: str
    """Of the resource, for messages."""
    count: int
    """How many more."""
    size_kib: int = 0
    """Gross, all volumes together."""
    filter: SelectFilter = SelectFilter()
    """Merged with the group's; its counts are not looked at here."""
    layers: tuple[LayerKind, ...] = ()
    on: tuple[NodeName, ...] = ()
    """Nodes whose replicas count for the rules; none of them is chosen again."""
    excluded: tuple[NodeName, ...] = ()
    """Nodes that are not chosen for another reason."""
    providers: tuple[ProviderKind, ...] = ()
    """Of the replicas that are there: their kind of storage binds."""
    diskless: bool = False
    """Choose nodes only; pools do not matter."""
    maps: tuple[Props, ...] = ()
    """Of the definition, its group and the controller."""
    explain: bool = True
    """Whether the reasons are wanted."""


class Chosen(msgspec.Struct, frozen=True):
    """One place."""

    node: NodeName
    pool: str
    provider: ProviderKind


class Placement(msgspec.Struct, frozen=True):
    """The outcome."""

    chosen: tuple[Chosen, ...]
    explanation: tuple[Explained, ...]


class _Refused(msgspec.Struct, frozen=True):
    node: str
    pool: str
    reason: str


def place(request: Request, world: World) -> Placement:
    """Choose `request.count` places. Raises Exhausted (placement) when there are too few.

    Raises Conflict (placement) when the replicas that are there contradict the rules, Invalid for a pattern
    that cannot be read.
    """
    assert request.count >= 0, request.count
    rules = choose.rules_for(request.filter, [_node_props(world.cluster, name) for name in request.on])
    if rules is None:
        raise Conflict(
            Subject.PLACEMENT,
            request.name,
            f"No place for '{request.name}' can be chosen",
            cause="The replicas that are there have different values of a property that all must share: "
            + ", ".join(request.filter.replicas_on_same or ()),
            correction="Move a replica or change replicas-on-same.",
        )
    mixing = request.diskless or props.ALLOW_MIXING.truth(*request.maps)
    refused: list[_Refused] = []
    candidates = _candidates(request, world, refused)
    scores = _scores(world, candidates)
    order = sorted(range(len(candidates)), key=lambda index: (-scores[index], candidates[index].key))
    ranked = [
        Candidate(
            node=(place := candidates[index]).pool.node,
            pool=place.pool.name,
            score=scores[index],
            values=choose.values_of(rules, place.node.props),
            storage="" if mixing else sizes.storage_class(place.pool.provider),
            shared=place.pool.shared_space,
        )
        for index in order
    ]
    fixed = set() if mixing else {sizes.storage_class(provider) for provider in request.providers}
    picked = choose.best(ranked, request.count, rules, fixed)
    if picked is None:
        raise _too_few(request, ranked, refused)
    providers = {place.key: place.pool.provider for place in candidates}
    chosen = tuple(
        Chosen(pick.node, pick.pool, providers[key_of(pick.node, pick.pool)])
        for pick in sorted(picked, key=lambda pick: key_of(pick.node))
    )
    return Placement(chosen, _explain(ranked, picked, refused) if request.explain else ())


def rated(world: World, places: Sequence[tuple[str, str]]) -> list[float]:
    """The score of each (node, pool) among these, as placement would see it; both exist."""
    cluster, found = world.cluster, []
    for node, name in places:
        pool = cluster.pool(node, name)
        assert pool is not None, (node, name)
        found.append(_Place(pool.key, cluster.nodes[key_of(node)], pool, sizes.space_in(world, pool)))
    return _scores(world, found)


class _Place(msgspec.Struct, frozen=True):
    key: Key
    node: Node
    pool: StoragePool
    space: sizes.Space


def _candidates(request: Request, world: World, refused: list[_Refused]) -> list[_Place]:
    """Every pool that passes the filters, by node; what does not is noted in `refused`."""
    cluster, found = world.cluster, []
    names = frozenset(map(key_of, request.filter.node_names or ()))
    taken = {key_of(name): "it already has a replica" for name in request.on}
    taken.update({key_of(name): "it is not to be used" for name in request.excluded})
    avoided = _avoided_nodes(request, cluster)
    diskless = _diskless_names(request)
    by_default = props.AUTOPLACE_TARGET.truth(cluster.props(), default=True)
    for key, node in sorted(cluster.nodes.items()):
        reason = taken.get(key) or _node_refusal(node, key, world, request)
        if not reason and names and key not in names:
            reason = "it is not in the list of nodes"
        if not reason and not (
            props.AUTOPLACE_TARGET.truth(node.props)
            if props.AUTOPLACE_TARGET.key in node.props
            else by_default
        ):
            reason = f"{props.AUTOPLACE_TARGET.key} is false"
        if not reason and key in avoided:
            reason = f"it has the resource '{avoided[key]}'"
        if reason:
            refused.append(_Refused(node.name, "", reason))
        elif request.diskless:
            found += _diskless_pools(diskless, cluster, key, node)
        else:
            found += _pools_with_space(request, world, key, node, refused)
    return found


def _diskless_pools(names: set[str], cluster: Cluster, key: Key, node: Node) -> list[_Place]:
    return [
        _Place(pool_key, node, pool, sizes.UNLIMITED)
        for pool_key, pool in cluster.pool_keys_on(key)
        if pool.provider is ProviderKind.DISKLESS and pool.name.upper() in names
    ]


def _pools_with_space(
    request: Request, world: World, key: Key, node: Node, refused: list[_Refused]
) -> list[_Place]:
    found: list[_Place] = []
    taken = _taken_spaces(request, world.cluster)
    seen = world.observed.nodes[key].pools
    for pool_key, pool in sorted(world.cluster.pool_keys_on(key)):
        if pool.provider is ProviderKind.DISKLESS:
            continue
        report = seen.get(key_of(pool.name))
        space = sizes.space_seen(world.cluster, pool, report, request.filter.overprovision)
        problem = _pool_refusal(request, world.cluster, node, pool, space)
        if not problem and pool.shared_space is not None and key_of(pool.shared_space) in taken:
            problem = f"its shared space '{pool.shared_space}' has a replica already"
        if problem:
            refused.append(_Refused(node.name, pool.name, problem))
        else:
            found.append(_Place(pool_key, node, pool, space))
    return found


def _taken_spaces(request: Request, cluster: Cluster) -> frozenset[Key]:
    """Shared spaces that hold a replica of this resource: a second one would be the same disk."""
    pools = [
        cluster.pool(node, volume.pool)
        for node in request.on
        if (resource := cluster.resource(request.name, node)) is not None and resource.diskful
        for volume in resource.volumes
    ]
    return frozenset(
        key_of(pool.shared_space) for pool in pools if pool is not None and pool.shared_space is not None
    )


def _node_refusal(node: Node, key: Key, world: World, request: Request) -> str:
    if not node.holds_storage:
        return f"a {node.type} node holds no storage"
    if node.phase is not NodePhase.NORMAL:
        return f"it is {node.phase}"
    seen = world.observed.nodes.get(key)
    if seen is None or not seen.online:
        return "it is not online"
    if seen.capabilities is not None:
        missing = [layer for layer in request.layers if layer not in seen.capabilities.layers]
        if missing:
            return "it does not support " + ", ".join(missing)
    return ""


def _pool_refusal(
    request: Request, cluster: Cluster, node: Node, pool: StoragePool, space: sizes.Space
) -> str:
    wanted = request.filter
    if wanted.storage_pools and key_of(pool.name) not in {key_of(name) for name in wanted.storage_pools}:
        return "it is not in the list of pools"
    if wanted.providers and pool.provider not in {name.upper() for name in wanted.providers}:
        return f"its provider {pool.provider} is not in the list of providers"
    if space.problem:
        return space.problem
    if space.usable_kib < request.size_kib:
        return f"{request.size_kib} KiB do not fit: {space.usable_kib} KiB are left"
    if pool.provider in THIN_PROVIDERS:
        text = props.MIN_THIN_FREE_SPACE.text(pool.props, *request.maps[:2], node.props, cluster.props())
        least = props.size_kib(text, space.total_kib)
        if space.free_kib < least:
            return f"{space.free_kib} KiB are free, at least {int(least)} KiB must stay so"
    return ""


def _avoided_nodes(request: Request, cluster: Cluster) -> dict[Key, str]:
    """Nodes that have a resource that the new one must not be placed with, and its name."""
    names = {key_of(name) for name in request.filter.not_place_with or ()}
    pattern = request.filter.not_place_with_regex
    if pattern:
        try:
            matcher = re.compile(pattern, re.IGNORECASE)
        except re.error as error:
            raise Invalid(
                Subject.REQUEST,
                pattern[:64],
                f"'{pattern[:64]}' is not a pattern",
                cause=f"{error}.",
                correction="Give a regular expression for names of resources.",
            ) from error
        names.update(key for key, record in cluster.definitions.items() if matcher.search(record.name))
    names.discard(key_of(request.name))
    return {
        key_of(resource.node): resource.definition
        for name in sorted(names)
        for resource in cluster.resources_of(name)
    }


def _scores(world: World, candidates: list[_Place]) -> list[float]:
    """The weighted sum of every strategy's rating, each divided by its maximum."""
    controller = world.cluster.props()
    strategies = (
        (props.WEIGHT_FREE_SPACE.number(controller, default=1.0), 1, _rate_free_space),
        (props.WEIGHT_RESERVED_SPACE.number(controller), -1, _rate_reserved_space),
        (_count_weight(controller), -1, _rate_resource_count),
        (props.WEIGHT_THROUGHPUT.number(controller), 1, _rate_throughput),
    )
    totals = [0.0] * len(candidates)
    for weight, sign, rate in strategies:
        if not weight:
            continue
        ratings = [rate(world, candidate) for candidate in candidates]
        highest = max(ratings, default=0.0)
        if highest > 0:
            factor = sign * weight / highest
            totals = [total + factor * rating for total, rating in zip(totals, ratings, strict=True)]
    return totals


def _count_weight(controller: Props) -> float:
    """Unless somebody says otherwise, fewer resources only decide between equals."""
    weight = props.WEIGHT_RESOURCE_COUNT
    return weight.number(controller) if weight.found(controller) is not None else 0.00001


def _rate_free_space(_world: World, place: _Place) -> float:
    return float(place.space.free_kib)


def _rate_reserved_space(world: World, place: _Place) -> float:
    return float(world.cluster.claimed_kib(place.key))


def _rate_resource_count(world: World, place: _Place) -> float:
    return float(world.cluster.resource_count(place.node.name))


def _rate_throughput(_world: World, place: _Place) -> float:
    return props.MAX_THROUGHPUT.number(place.pool.props, place.node.props)


def _diskless_names(request: Request) -> set[str]:
    names = request.filter.storage_pools_diskless or ("DfltDisklessStorPool",)
    return {name.upper() for name in names}


def _node_props(cluster: Cluster, name: str) -> Props:
    node = cluster.nodes.get(key_of(name))
    return node.props if node is not None else {}


_OUTDONE = ("not needed: what was chosen scores at least as high",)


def _explain(
    ranked: list[Candidate], picked: tuple[Candidate, ...], refused: list[_Refused]
) -> tuple[Explained, ...]:
    accepted = [
        Explained(one.node, one.pool, chosen, round(one.score, 6), () if chosen else _OUTDONE)
        for one in ranked
        for chosen in (one in picked,)
    ]
    rest = [Explained(no.node, no.pool, chosen=False, reasons=(no.reason,)) for no in refused]
    return (*accepted, *rest)


def _too_few(request: Request, ranked: list[Candidate], refused: list[_Refused]) -> Exhausted:
    nodes = {one.node for one in ranked}
    where = "nodes" if request.diskless else f"nodes with {request.size_kib} KiB of space"
    listed = [f"{no.node}{'/' + no.pool if no.pool else ''}: {no.reason}" for no in refused[:40]]
    more = [f"and {len(refused) - 40} more"] if len(refused) > 40 else []
    return Exhausted(
        Subject.PLACEMENT,
        request.name,
        f"There are not enough nodes for '{request.name}'",
        cause=f"{request.count} more {where} are wanted, {len(nodes)} pass the filters"
        + (", and the rules over them cannot all be met." if len(nodes) >= request.count else "."),
        details="Refused: " + "; ".join((*listed, *more)) if refused else "",
        correction="Add nodes or space, bring nodes online, or relax the filter.",
    )
