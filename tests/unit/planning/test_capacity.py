"""Questions about sizes: what the placer could still place, and what cannot be."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.domain.cluster import Cluster, Record
from bollard.domain.errors import Exhausted, Invalid
from bollard.domain.ids import NodeName, Uuid, key_of
from bollard.domain.layers import ProviderKind
from bollard.domain.nodes import Node, StoragePool
from bollard.domain.observed import NodeSeen, Observed
from bollard.domain.resources import SelectFilter
from bollard.domain.seen import SeenPool
from bollard.planning import capacity
from bollard.planning.capacity import PoolSet
from bollard.planning.world import World
from rest_driver import NOW_MS, CountingDraw

FREE_KIB = {"n1": 31_139_732, "n2": 31_129_460, "n3": 41_521_580}
TOTAL_KIB = {"n1": 31_391_744, "n2": 31_391_744, "n3": 41_877_504}


def world(props: dict[str, str] | None = None) -> World:
    """Three nodes with a thick and a thin pool each."""
    records: list[Record] = []
    observed = Observed()
    for name, free in FREE_KIB.items():
        records.append(Node(NodeName(name), Uuid(name)))
        pools = {}
        for pool, provider in (("pfile", ProviderKind.FILE), ("pthin", ProviderKind.FILE_THIN)):
            uuid = Uuid(f"{name}-{pool}")
            records.append(StoragePool(NodeName(name), pool, uuid, provider, props or {}))
            pools[key_of(pool)] = SeenPool(pool, uuid, free, TOTAL_KIB[name])
        observed.nodes[key_of(name)] = NodeSeen(status="ONLINE", pools=pools)
    return World(Cluster(records), observed, NOW_MS, CountingDraw())


def test_the_largest_volume_by_pool() -> None:
    found = capacity.max_volume_sizes(SelectFilter(place_count=2), world())
    assert found == (
        PoolSet("pfile", ("n1", "n3"), 31_139_732, thin=False),
        PoolSet("pthin", ("n1", "n3"), 31_139_732, thin=True),
    )
    three = capacity.max_volume_sizes(SelectFilter(place_count=3, storage_pools=("PTHIN",)), world())
    assert three == (PoolSet("pthin", ("n1", "n2", "n3"), 31_129_460, thin=True),)


def test_too_many_replicas_are_refused() -> None:
    with pytest.raises(Exhausted):
        capacity.max_volume_sizes(SelectFilter(place_count=4), world())
    nothing = capacity.size_info(SelectFilter(place_count=4), world())
    assert (nothing.largest_kib, nothing.available_kib, nothing.capacity_kib, nothing.next) == (0, 0, 0, ())


def test_what_a_thin_group_can_take_is_what_the_original_says() -> None:
    wanted = SelectFilter(place_count=2, storage_pools=("pthin",))
    found = capacity.size_info(wanted, world())
    assert found.largest_kib == 622_794_640
    assert found.available_kib == 41_521_580
    assert found.capacity_kib == 41_877_504
    assert [(each.node, each.pool, each.ratio) for each in found.next] == [
        ("n1", "pthin", 20.0),
        ("n3", "pthin", 20.0),
    ]


def test_the_ratio_of_a_pool_counts() -> None:
    wanted = SelectFilter(place_count=1, storage_pools=("pfile",))
    found = capacity.size_info(wanted, world({"MaxOversubscriptionRatio": "2"}))
    assert found.largest_kib == 2 * 41_521_580
    assert found.next[0].ratio == 2.0


@given(spaces=st.lists(st.integers(0, 1000), max_size=6), count=st.integers(1, 4))
def test_what_fits_in_all_is_never_more_than_there_is(spaces: list[int], count: int) -> None:
    found = capacity._in_all(spaces, count)
    assert 0 <= found * count <= sum(spaces)
    if len(spaces) >= count:
        assert found >= sorted(spaces, reverse=True)[count - 1]
    else:
        assert found == 0


@pytest.mark.parametrize("ask", [capacity.max_volume_sizes, capacity.size_info])
def test_less_than_no_replicas_are_no_count(ask: Callable[[SelectFilter, World], object]) -> None:
    with pytest.raises(Invalid, match="-1 is not a place count"):
        ask(SelectFilter(place_count=-1), world())
    assert ask(SelectFilter(place_count=0), world()) == ask(SelectFilter(), world())
