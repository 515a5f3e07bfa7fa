"""Filters and scores, one by one, and the reasons that are given."""

import msgspec
import pytest

from bollard.domain import commands as c
from bollard.domain.cluster import Put
from bollard.domain.errors import Conflict, Exhausted, Invalid, Subject
from bollard.domain.ids import NodeName
from bollard.domain.layers import LayerKind
from bollard.domain.nodes import NodePhase
from bollard.domain.resources import SelectFilter
from bollard.domain.seen import Problem
from bollard.planning.placement import Placement, Request, place
from planning_lab import CAPABLE, GIB, Lab


def request(count: int = 1, **given: object) -> Request:
    wanted = {"name": "vol", "size_kib": 10280, "layers": (LayerKind.DRBD, LayerKind.STORAGE)} | given
    return Request(count=count, **wanted)  # type: ignore[arg-type]


def nodes(placement: Placement) -> list[str]:
    return [one.node for one in placement.chosen]


def reason(placement: Placement, node: str, pool: str = "") -> str:
    return next(
        one.reasons[0]
        for one in placement.explanation
        if (one.node, one.pool, one.chosen) == (node, pool, False)
    )


def settle(lab: Lab, **override: str) -> None:
    change = {key.replace("__", "/"): value for key, value in override.items()}
    lab.run(c.ModifyController(props=c.PropsChange(override=change)))


def test_the_pool_with_the_most_free_space_is_taken() -> None:
    lab = Lab(3)
    lab.see_pool("n2", "thin", free_kib=200 * GIB)
    found = place(request(), lab.world)
    assert nodes(found) == ["n2"]
    assert {one.node: one.chosen for one in found.explanation} == {"n1": False, "n2": True, "n3": False}
    assert max(found.explanation, key=lambda one: one.score or 0).node == "n2"


def test_equals_go_by_fewer_resources_then_by_name() -> None:
    lab = Lab(3)
    for node in ("n1", "n2", "n3"):
        lab.see_pool(node, "thin", free_kib=50 * GIB)
    assert nodes(place(request(), lab.world)) == ["n1"]
    lab.spawn_on("other", "n1")
    assert nodes(place(request(), lab.world)) == ["n2"]


def test_weights() -> None:
    lab = Lab(3)
    lab.spawn_on("other", "n1", size_kib=10240)
    settle(lab, Autoplacer__Weights__MaxFreeSpace="0", Autoplacer__Weights__MinReservedSpace="1")
    assert nodes(place(request(), lab.world)) == ["n2"]
    settle(lab, Autoplacer__Weights__MaxThroughput="5")
    change = c.PropsChange(override={"Autoplacer/MaxThroughput": "100"})
    lab.run(c.ModifyPool(node="n3", name="thin", props=change))
    assert nodes(place(request(), lab.world)) == ["n3"]


def test_nodes_that_are_passed_over_say_why() -> None:
    lab = Lab(3)
    lab.offline("n1")
    lab.run(c.ModifyNode(node="n2", props=c.PropsChange(override={"AutoplaceTarget": "false"})))
    found = place(request(), lab.world)
    assert nodes(found) == ["n3"]
    assert reason(found, "n1") == "it is not online"
    assert reason(found, "n2") == "AutoplaceTarget is false"


def test_other_reasons() -> None:
    lab = Lab(4)
    lab.spawn_on("other", "n2")
    lab.cluster.apply((Put(msgspec.structs.replace(lab.cluster.nodes["N1"], phase=NodePhase.EVACUATING)),))
    lab.online("n3", capabilities=msgspec.structs.replace(CAPABLE, layers=(LayerKind.STORAGE,)))
    wanted = SelectFilter(not_place_with=("OTHER",))
    found = place(request(filter=wanted, excluded=()), lab.world)
    assert nodes(found) == ["n4"]
    assert reason(found, "n1") == "it is evacuating"
    assert reason(found, "n2") == "it has the resource 'other'"
    assert reason(found, "n3") == "it does not support DRBD"
    by_pattern = place(request(filter=SelectFilter(not_place_with_regex="^oth")), lab.world)
    assert reason(by_pattern, "n2") == "it has the resource 'other'"
    with pytest.raises(Invalid):
        place(request(filter=SelectFilter(not_place_with_regex="[")), lab.world)


def test_pools_that_are_passed_over_say_why() -> None:
    lab = Lab(4)
    lab.add_pool("n1", "thick", provider="FILE", free_kib=500 * GIB)
    lab.see_pool("n2", "thin", free_kib=5 * GIB, total_kib=100 * GIB)
    seen = lab.observed.node("n3").pools
    seen["THIN"] = msgspec.structs.replace(seen["THIN"], problem=Problem("the directory is gone"))
    wanted = SelectFilter(storage_pools=("THIN",), providers=("file_thin",))
    found = place(request(filter=wanted), lab.world)
    assert nodes(found) == ["n1"]
    assert reason(found, "n1", "thick") == "it is not in the list of pools"
    assert "must stay so" in reason(found, "n2", "thin")
    assert reason(found, "n3", "thin") == "the directory is gone"
    big = place(request(size_kib=300 * GIB, filter=SelectFilter(providers=("FILE",))), lab.world)
    assert "is not in the list of providers" in reason(big, "n4", "thin")


def test_thick_pools_hold_what_they_have_and_thin_ones_more() -> None:
    lab = Lab(1, free_kib=10 * GIB)
    lab.add_pool("n1", "thick", provider="FILE", free_kib=10 * GIB)
    assert place(request(size_kib=50 * GIB), lab.world).chosen[0].pool == "thin"
    with pytest.raises(Exhausted):
        place(request(size_kib=50 * GIB, filter=SelectFilter(storage_pools=("thick",))), lab.world)
    with pytest.raises(Exhausted):
        place(request(size_kib=50 * GIB, filter=SelectFilter(overprovision=2.0)), lab.world)
    settle(lab, MaxOversubscriptionRatio="2")
    with pytest.raises(Exhausted):
        place(request(size_kib=50 * GIB), lab.world)
    allowed = c.PropsChange(override={"MaxOversubscriptionRatio": "10"})
    lab.run(c.ModifyPool(node="n1", name="thin", props=allowed))
    assert place(request(size_kib=50 * GIB), lab.world).chosen[0].pool == "thin"


def test_what_is_promised_already_is_counted() -> None:
    lab = Lab(1, free_kib=10 * GIB)
    settle(lab, MaxTotalCapacityOversubscriptionRatio="1")
    lab.spawn_on("other", "n1", size_kib=6 * GIB)
    with pytest.raises(Exhausted) as caught:
        place(request(size_kib=6 * GIB), lab.world)
    assert caught.value.subject is Subject.PLACEMENT
    assert "do not fit" in caught.value.details


def test_rules_over_nodes() -> None:
    lab = Lab(0)
    for name, zone in (("n1", "a"), ("n2", "b"), ("n3", "b"), ("n4", "c")):
        lab.add_node(name, f"10.0.0.{name[1]}", **{"Aux/zone": zone})
        lab.add_pool(name, "thin")
    same = SelectFilter(replicas_on_same=("Aux/zone",))
    assert nodes(place(request(2, filter=same), lab.world)) == ["n2", "n3"]
    different = SelectFilter(replicas_on_different=("Aux/zone",))
    assert nodes(place(request(3, filter=different), lab.world)) == ["n1", "n2", "n4"]
    beside = place(request(1, filter=different, on=(NodeName("n1"),)), lab.world)
    assert nodes(beside) == ["n2"]
    counted = SelectFilter(x_replicas_on_different={"Aux/zone": 2})
    assert nodes(place(request(3, filter=counted), lab.world)) == ["n1", "n2", "n3"]
    with pytest.raises(Conflict) as caught:
        place(request(1, filter=same, on=(NodeName("n1"), NodeName("n2"))), lab.world)
    assert caught.value.subject is Subject.PLACEMENT
    with pytest.raises(Exhausted) as short:
        place(request(4, filter=different), lab.world)
    assert "rules" in short.value.cause


def test_the_order_of_records_does_not_matter() -> None:
    lab, other = Lab(6), Lab(6)
    other.cluster = type(other.cluster)(reversed(list(lab.cluster.records())))
    other.observed = lab.observed
    wanted = request(3)
    assert place(wanted, lab.world) == place(wanted, other.world)


def test_diskless_places_need_no_space() -> None:
    lab = Lab(2)
    lab.see_pool("n1", "thin", free_kib=0, total_kib=1)
    found = place(request(diskless=True, on=(NodeName("n2"),)), lab.world)
    assert (found.chosen[0].node, found.chosen[0].pool) == ("n1", "DfltDisklessStorPool")
