"""How large volumes may become that match a filter, from the placer's own candidates. Changes nothing."""

import itertools

import msgspec

from bollard.domain import props
from bollard.domain.errors import Exhausted, Invalid, Subject
from bollard.domain.ids import key_of
from bollard.domain.layers import DEFAULT_STACK, THIN_PROVIDERS
from bollard.domain.nodes import StoragePool
from bollard.domain.resources import SelectFilter
from bollard.planning import effective, placement, sizes
from bollard.planning.world import World

__all__ = ["DEFAULT_COUNT", "PoolSet", "SizeInfo", "Spawned", "max_volume_sizes", "ratio_of", "size_info"]

DEFAULT_COUNT = 2
"""Replicas, when nobody says how many."""


class PoolSet(msgspec.Struct, frozen=True):
    """Pools of one name that could hold a volume together."""

    pool: str
    nodes: tuple[str, ...]
    size_kib: int
    """Of the largest volume, without oversubscription."""
    thin: bool


class Spawned(msgspec.Struct, frozen=True):
    """Where the next volume would go."""

    node: str
    pool: str
    ratio: float


class SizeInfo(msgspec.Struct, frozen=True):
    """What a filter can still take."""

    largest_kib: int
    """Of one volume, with oversubscription."""
    available_kib: int
    """Of many volumes, one after the other, without oversubscription."""
    capacity_kib: int
    """The same for empty pools."""
    next: tuple[Spawned, ...] = ()


def max_volume_sizes(wanted: SelectFilter, world: World) -> tuple[PoolSet, ...]:
    """The sets of pools that could hold a volume, by pool name. Raises Exhausted, Invalid."""
    count = _count(wanted)
    found: list[PoolSet] = []
    by_name = sorted(_candidates(wanted, world), key=lambda pool: key_of(pool.name))
    for _, same in itertools.groupby(by_name, key=lambda pool: key_of(pool.name)):
        pools = sorted(same, key=lambda pool: (-_free_kib(world, pool), key_of(pool.node)))[:count]
        if len(pools) == count:
            found.append(
                PoolSet(
                    pool=pools[0].name,
                    nodes=tuple(sorted((pool.node for pool in pools), key=key_of)),
                    size_kib=min(_free_kib(world, pool) for pool in pools),
                    thin=all(pool.provider in THIN_PROVIDERS for pool in pools),
                )
            )
    if not found:
        raise Exhausted(
            Subject.PLACEMENT,
            "",
            f"No storage pool is on {count} nodes that pass the filter",
            correction="Ask for fewer replicas, or relax the filter.",
        )
    return tuple(found)


def size_info(wanted: SelectFilter, world: World) -> SizeInfo:
    """How large one volume may be and how much fits in all; zeroes when nothing can be placed."""
    count = _count(wanted)
    spaces = [sizes.space_in(world, pool, wanted.overprovision) for pool in _candidates(wanted, world)]
    request = placement.Request(
        name="", count=count, filter=wanted, layers=wanted.layer_stack or DEFAULT_STACK
    )
    try:
        chosen = placement.place(request, world).chosen
    except Exhausted:
        return SizeInfo(0, 0, 0)
    pools = [world.cluster.pools[key_of(each.node, each.pool)] for each in chosen]
    return SizeInfo(
        largest_kib=min(sizes.space_in(world, pool, wanted.overprovision).usable_kib for pool in pools),
        available_kib=_in_all([space.free_kib for space in spaces], count),
        capacity_kib=_in_all([space.total_kib for space in spaces], count),
        next=tuple(Spawned(pool.node, pool.name, ratio_of(world, pool)) for pool in pools),
    )


def _count(wanted: SelectFilter) -> int:
    count = wanted.place_count or DEFAULT_COUNT
    if count < 0:
        raise Invalid(
            Subject.PLACE_COUNT,
            str(count),
            f"{count} is not a place count",
            cause="A volume has at least one replica.",
            correction=f"Leave it out or give 0 for {DEFAULT_COUNT}, or give how many there shall be.",
        )
    return count


def ratio_of(world: World, pool: StoragePool) -> float:
    """By how much the pool may be promised away beyond what it has."""
    default = sizes.THIN_RATIO_DEFAULT if pool.provider in THIN_PROVIDERS else 1.0
    return props.OVERSUBSCRIPTION.number(*effective.pool_maps(world.cluster, pool), default=default)


def _candidates(wanted: SelectFilter, world: World) -> list[StoragePool]:
    request = placement.Request(name="", count=0, filter=wanted, layers=wanted.layer_stack or DEFAULT_STACK)
    explained = placement.place(request, world).explanation
    return [
        world.cluster.pools[key_of(each.node, each.pool)]
        for each in explained
        if each.score is not None and each.pool
    ]


def _free_kib(world: World, pool: StoragePool) -> int:
    return sizes.space_in(world, pool).free_kib


def _in_all(spaces_kib: list[int], count: int) -> int:
    """What `count` replicas can hold together: fill the largest, again and again."""
    total, left = 0, sorted(spaces_kib, reverse=True)
    while len(left) >= count and left[count - 1] > 0:
        step = left[count - 1]
        total += step
        left = sorted((*(space - step for space in left[:count]), *left[count:]), reverse=True)
    return total
