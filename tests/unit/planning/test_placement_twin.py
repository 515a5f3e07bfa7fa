"""Placement against a twin that is slow and obviously right: every filter, every combination, the best sum.

The twin knows the rules as they are written down and shares no code with the planner.
"""

import itertools
import re
from collections import Counter
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.domain import commands as c
from bollard.domain.cluster import Put
from bollard.domain.errors import Conflict, DomainError, Exhausted
from bollard.domain.layers import LayerKind
from bollard.domain.nodes import NodePhase
from bollard.domain.resources import SelectFilter
from bollard.domain.seen import Problem
from bollard.planning import effective, placement, replicas
from bollard.planning.draft import Draft
from planning_lab import CAPABLE, Lab

MIB = 1024
THIN = {"FILE_THIN", "LVM_THIN", "ZFS_THIN"}
Place = dict[str, Any]


class Town(msgspec.Struct):
    """A drawn cluster, as plain facts."""

    nodes: list[dict[str, Any]]
    controller: dict[str, str]
    wanted: SelectFilter
    count: int
    present: list[str]


PERCENT_OR_SIZE = st.sampled_from([None, None, "0", "10%", "50%", "6M"])
RATIO = st.sampled_from([None, None, "0.9", "1", "2.5"])
ZONE = st.sampled_from([None, "a", "b", "c"])


@st.composite
def pools(draw: st.DrawFn, number: int) -> Place:
    total = draw(st.sampled_from([8, 16, 64])) * MIB
    props = {
        "MaxOversubscriptionRatio": draw(RATIO),
        "MaxFreeCapacityOversubscriptionRatio": draw(RATIO),
        "MaxTotalCapacityOversubscriptionRatio": draw(RATIO),
        "Autoplacer/MinThinFreeSpace": draw(PERCENT_OR_SIZE),
        "Autoplacer/MaxThroughput": draw(st.sampled_from([None, "10", "30"])),
    }
    return {
        "name": f"pool{number}",
        "provider": draw(st.sampled_from(["FILE", "FILE_THIN", "FILE_THIN"])),
        "total": total,
        "free": total * draw(st.integers(2, 8)) // 8,
        "shared": draw(st.sampled_from([None, "san1", "san1", "san2"])),
        "props": {key: value for key, value in props.items() if value is not None},
        "problem": draw(st.sampled_from([False] * 9 + [True])),
    }


@st.composite
def towns(draw: st.DrawFn) -> Town:
    nodes = []
    for number in range(draw(st.integers(3, 5))):
        zone, rack = draw(ZONE), draw(ZONE)
        nodes.append(
            {
                "name": f"n{number}",
                "props": {key: value for key, value in (("Aux/z", zone), ("Aux/r", rack)) if value},
                "target": draw(st.sampled_from([*[None] * 8, "true", "false"])),
                "online": draw(st.sampled_from([True] * 15 + [False])),
                "phase": draw(st.sampled_from([NodePhase.NORMAL] * 15 + [NodePhase.EVACUATING])),
                "layers": draw(st.sampled_from([True] * 15 + [False])),
                "others": draw(st.sets(st.sampled_from(["web", "Mail"]), max_size=1)),
                "pools": [draw(pools(index)) for index in range(draw(st.integers(1, 2)))],
            }
        )
    names = [node["name"] for node in nodes]
    lists = {
        "node_names": draw(st.sampled_from([*[None] * 7, names[:3], names[1:]])),
        "storage_pools": draw(st.sampled_from([*[None] * 5, ["POOL0"], ["pool1", "pool0"]])),
        "providers": draw(st.sampled_from([*[None] * 5, ["FILE_THIN"], ["file", "LVM"]])),
        "not_place_with": draw(st.sampled_from([*[None] * 5, ["WEB"], ["none"]])),
        "replicas_on_same": draw(st.sampled_from([*[None] * 7, ["Aux/z"], ["Aux/r=a"]])),
        "replicas_on_different": draw(st.sampled_from([*[None] * 5, ["Aux/r"], ["Aux/z=b"]])),
    }
    wanted = SelectFilter(
        **{key: tuple(sorted(value)) for key, value in lists.items() if value is not None},  # type: ignore[arg-type]
        not_place_with_regex=draw(st.sampled_from([*[None] * 5, "^ma", "b$"])),
        x_replicas_on_different=draw(st.sampled_from([*[None] * 6, {"Aux/z": 1}, {"Aux/z": 2}])),
        overprovision=draw(st.sampled_from([None, None, None, 0.5, 3.0])),
    )
    controller = {
        "AutoplaceTarget": draw(st.sampled_from([*[None] * 9, "false"])),
        "AllowMixingStoragePoolDriver": draw(st.sampled_from([None, "true"])),
        "MaxOversubscriptionRatio": draw(RATIO),
        "Autoplacer/MinThinFreeSpace": draw(PERCENT_OR_SIZE),
        "Autoplacer/Weights/MaxFreeSpace": draw(st.sampled_from([None, "0", "2"])),
        "Autoplacer/Weights/MinReservedSpace": draw(st.sampled_from([None, "1", "3"])),
        "Autoplacer/Weights/MinRscCount": draw(st.sampled_from([None, "1"])),
        "Autoplacer/Weights/MaxThroughput": draw(st.sampled_from([None, "1"])),
    }
    present = draw(st.sets(st.sampled_from(names[:3]), max_size=2))
    found = {key: value for key, value in controller.items() if value is not None}
    return Town(nodes, found, wanted, draw(st.sampled_from([1, 1, 2, 2, 3])), sorted(present))


def built(town: Town) -> Lab:
    """The same as records and reports."""
    lab = Lab(0)
    for number, node in enumerate(town.nodes):
        lab.add_node(node["name"], f"10.9.0.{number + 1}")
        target = {"AutoplaceTarget": node["target"]} if node["target"] else {}
        lab.run(c.ModifyNode(node=node["name"], props=c.PropsChange(override=node["props"] | target)))
        for pool in node["pools"]:
            place = {"StorDriver/StorPoolName": f"/srv/{pool['name']}"}
            lab.run(
                c.CreatePool(
                    node=node["name"],
                    name=pool["name"],
                    provider=pool["provider"],
                    props=place,
                    shared_space=pool["shared"],
                )
            )
            own = c.PropsChange(override=pool["props"])
            lab.run(c.ModifyPool(node=node["name"], name=pool["name"], props=own))
            lab.see_pool(node["name"], pool["name"], free_kib=1 << 40, total_kib=1 << 40)
    for name in ("vol", "web", "Mail"):
        lab.run(
            c.CreateDefinition(name=name, layer_stack=("DRBD", "STORAGE") if name == "vol" else ("STORAGE",))
        )
        lab.run(c.CreateVolumeDefinition(definition=name, size_kib=4 * MIB))
    off = {"DrbdOptions/auto-add-quorum-tiebreaker": "false", "AllowMixingStoragePoolDriver": "true"}
    lab.run(c.ModifyController(props=c.PropsChange(override=off)))
    for node in town.nodes:
        mine = [*node["others"], *(["vol"] if node["name"] in town.present else [])]
        for name in mine:
            where = c.NewResource(node=node["name"], props={"StorPoolName": "pool0"})
            lab.run(c.CreateResources(definition=name, resources=(where,)))
    delete = (
        ("AllowMixingStoragePoolDriver",) if "AllowMixingStoragePoolDriver" not in town.controller else ()
    )
    lab.run(c.ModifyController(props=c.PropsChange(override=town.controller, delete=delete)))
    for node in town.nodes:
        seen = lab.observed.node(node["name"])
        layers = (LayerKind.DRBD, LayerKind.STORAGE) if node["layers"] else (LayerKind.STORAGE,)
        seen.capabilities = msgspec.structs.replace(CAPABLE, layers=layers)
        seen.status = "ONLINE" if node["online"] else "OFFLINE"
        for pool in node["pools"]:
            lab.see_pool(node["name"], pool["name"], free_kib=pool["free"], total_kib=pool["total"])
            if pool["problem"]:
                broken = seen.pools[pool["name"].upper()]
                problem = Problem("it is broken")
                seen.pools[pool["name"].upper()] = msgspec.structs.replace(broken, problem=problem)
        record = lab.cluster.nodes[node["name"].upper()]  # type: ignore[index]
        lab.cluster.apply([Put(msgspec.structs.replace(record, phase=node["phase"]))])
    return lab


# -- the twin


def share(text: str, total: int) -> float:
    if text.endswith("%"):
        return total * float(text[:-1]) / 100
    return float(text[:-1]) * MIB if text.endswith("M") else float(text)


def all_places(town: Town) -> list[Place]:
    """Every pool that may be chosen by itself."""
    found = []
    taken = {
        pool["shared"]
        for node in town.nodes
        for pool in node["pools"][:1]
        if node["name"] in town.present and pool["shared"]
    }
    claimed = {
        (node["name"], "pool0"): 4 * MIB * (len(node["others"]) + (node["name"] in town.present))
        for node in town.nodes
    }
    for node in town.nodes:
        target = node["target"] or town.controller.get("AutoplaceTarget", "true")
        names = town.wanted.node_names
        avoided = {name.lower() for name in town.wanted.not_place_with or ()}
        pattern = town.wanted.not_place_with_regex
        if (
            node["name"] in town.present
            or node["phase"] is not NodePhase.NORMAL
            or not node["online"]
            or not node["layers"]
            or target == "false"
            or (names is not None and node["name"] not in names)
            or any(other.lower() in avoided for other in node["others"])
            or (pattern and any(re.search(pattern, other, re.IGNORECASE) for other in node["others"]))
        ):
            continue
        for pool in node["pools"]:
            reserved = claimed.get((node["name"], pool["name"]), 0)
            if fits(town, pool, reserved) and (not pool["shared"] or pool["shared"] not in taken):
                found.append({"node": node, "pool": pool, "reserved": reserved, "mine": node["name"]})
    return found


def fits(town: Town, pool: Place, reserved: int) -> bool:
    wanted, thin = town.wanted, pool["provider"] in THIN
    if wanted.storage_pools and pool["name"] not in {name.lower() for name in wanted.storage_pools}:
        return False
    if wanted.providers and pool["provider"] not in {name.upper() for name in wanted.providers}:
        return False
    if pool["problem"]:
        return False
    if wanted.overprovision is not None and thin:
        by_free = by_total = wanted.overprovision
    else:
        own = pool["props"]
        common = own.get("MaxOversubscriptionRatio") or town.controller.get("MaxOversubscriptionRatio")
        ratio = float(common) if common else 20.0 if thin else 1.0
        by_free = float(own.get("MaxFreeCapacityOversubscriptionRatio", ratio))
        by_total = float(own.get("MaxTotalCapacityOversubscriptionRatio", ratio))
    room = min(pool["free"] * by_free, pool["total"] * by_total - reserved)
    if room < needed_kib():
        return False
    least = pool["props"].get("Autoplacer/MinThinFreeSpace") or town.controller.get(
        "Autoplacer/MinThinFreeSpace", "10%"
    )
    return not thin or pool["free"] >= share(least, pool["total"])


def needed_kib() -> int:
    """4 MiB with DRBD's metadata for seven peers: superblock, activity log, a bitmap each."""
    bitmap = 7 * 128 / 1024
    return 4 * MIB + -(-int(36 + bitmap + 1) // 4) * 4


def scored(town: Town, places: list[Place]) -> list[float]:
    def weight(name: str, default: float) -> float:
        return float(town.controller.get(f"Autoplacer/Weights/{name}", default))

    counts = {node["name"]: len(node["others"]) + (node["name"] in town.present) for node in town.nodes}
    strategies = (
        (weight("MaxFreeSpace", 1.0), [place["pool"]["free"] for place in places]),
        (-weight("MinReservedSpace", 0.0), [place["reserved"] for place in places]),
        (-weight("MinRscCount", 0.00001), [counts[place["mine"]] for place in places]),
        (
            weight("MaxThroughput", 0.0),
            [float(place["pool"]["props"].get("Autoplacer/MaxThroughput", 0)) for place in places],
        ),
    )
    sums = [0.0] * len(places)
    for factor, ratings in strategies:
        if factor and max(ratings, default=0) > 0:
            sums = [old + factor * one / max(ratings) for old, one in zip(sums, ratings, strict=True)]
    return sums


def goes_together(town: Town, chosen: tuple[Place, ...]) -> bool:
    """Whether these places may be taken together, beside what is there."""
    names = [place["mine"] for place in chosen]
    spaces = [place["pool"]["shared"] for place in chosen if place["pool"]["shared"]]
    if len(set(names)) < len(names) or len(set(spaces)) < len(spaces):
        return False
    present = [node["props"] for node in town.nodes if node["name"] in town.present]
    new = [place["node"]["props"] for place in chosen]
    both = [*present, *new]
    for text in town.wanted.replicas_on_same or ():
        key, fixed, value = text.partition("=")
        if fixed and any(props.get(key) != value for props in new):
            return False
        if not fixed and (any(key not in props for props in new) or len({one.get(key) for one in both}) > 1):
            return False
    for text in town.wanted.replicas_on_different or ():
        key, fixed, value = text.partition("=")
        if fixed and any(props.get(key) == value for props in new):
            return False
        values = [props[key] for props in both if key in props]
        # What is there may break the rule among itself already.
        if not fixed and any(values.count(props[key]) > 1 for props in new if key in props):
            return False
    for key, most in (town.wanted.x_replicas_on_different or {}).items():
        counts = Counter(props.get(key) for props in both)
        if any(count > most for count in counts.values()):
            return False
        if sum(count < most for count in counts.values()) > 1:
            return False
    return True


def best_sum(town: Town) -> float | None:
    places = all_places(town)
    scores = scored(town, places)
    found: float | None = None
    for picked in itertools.combinations(range(len(places)), town.count):
        if goes_together(town, tuple(places[index] for index in picked)):
            total = sum(scores[index] for index in picked)
            found = total if found is None else max(found, total)
    return found


@settings(max_examples=300, deadline=None)
@given(towns())
def test_the_planner_finds_what_the_twin_finds(town: Town) -> None:
    lab = built(town)
    definition = lab.cluster.definitions["VOL"]  # type: ignore[index]
    there = lab.cluster.resources_of("vol")
    request = placement.Request(
        name="vol",
        count=town.count,
        size_kib=replicas.gross_total(Draft(lab.world), definition),
        filter=town.wanted,
        layers=(LayerKind.DRBD, LayerKind.STORAGE),
        on=tuple(one.node for one in there),
        maps=effective.definition_maps(lab.cluster, definition),
    )
    assert request.size_kib == needed_kib()
    places = all_places(town)
    scores = {
        (place["mine"], place["pool"]["name"]): score
        for place, score in zip(places, scored(town, places), strict=True)
    }
    wanted = best_sum(town)
    try:
        found = placement.place(request, lab.world)
    except Exhausted:
        assert wanted is None
        return
    except Conflict:
        same = [text for text in town.wanted.replicas_on_same or () if "=" not in text]
        values = {node["props"].get(same[0]) for node in town.nodes if node["name"] in town.present}
        assert len(values) > 1
        return
    except DomainError as error:
        raise AssertionError(error) from error
    assert wanted is not None
    assert {(one.node, one.pool) for one in found.chosen} <= scores.keys()
    chosen = tuple(
        place
        for place in places
        if (place["mine"], place["pool"]["name"]) in {(one.node, one.pool) for one in found.chosen}
    )
    assert goes_together(town, chosen)
    assert abs(sum(scores[one.node, one.pool] for one in found.chosen) - wanted) < 1e-9
    explained = {(row.node, row.pool) for row in found.explanation}
    everything = {(node["name"], pool["name"]) for node in town.nodes for pool in node["pools"]}
    assert everything <= explained | {(node, pool) for node, pool in everything if (node, "") in explained}
    assert all(row.reasons for row in found.explanation if not row.chosen)
