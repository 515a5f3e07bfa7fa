"""Options that the cluster sets by itself: verify algorithm, order of resyncs, block size."""

import msgspec

from bollard.domain import commands as c
from bollard.domain.resources import VolumeDefinition
from bollard.planning.targets import target_for
from planning_lab import CAPABLE, Lab

ALGORITHM = "DrbdOptions/auto-verify-alg"
AFTER = "DrbdOptions/Disk/resync-after"
BLOCK = "DrbdOptions/Disk/block-size"
FROZEN = "Linstor/Drbd/freeze-block-size"


def able(lab: Lab, **digests: tuple[str, ...]) -> None:
    for node, names in digests.items():
        lab.online(node, capabilities=msgspec.structs.replace(CAPABLE, digests=names))


def algorithm(lab: Lab) -> str | None:
    return lab.cluster.definitions["VOL"].props.get(ALGORITHM)  # type: ignore[index]


def volume(lab: Lab, name: str = "VOL") -> VolumeDefinition:
    return lab.cluster.definitions[name].volumes[0]  # type: ignore[index]


def test_the_first_node_decides_among_what_all_can_do() -> None:
    lab = Lab(3)
    able(lab, n1=("sha512", "sha1", "md5"), n2=("md5", "sha1"), n3=("sha1", "md5"))
    lab.spawn("vol")
    assert algorithm(lab) == "sha1"
    option = target_for("n1", lab.cluster).resources[0].replication
    assert option is not None
    assert option.options["Net/verify-alg"] == "sha1"
    lab.run(
        c.ModifyDefinition(name="vol", props=c.PropsChange(override={"DrbdOptions/Net/verify-alg": "md5"}))
    )
    mine = target_for("n1", lab.cluster).resources[0].replication
    assert mine is not None
    assert mine.options["Net/verify-alg"] == "md5"


def test_only_what_is_allowed_and_nothing_of_half_the_nodes() -> None:
    lab = Lab(3)
    able(lab, n1=("blake", "sha1"), n2=("blake", "sha1"), n3=("blake", "sha1"))
    lab.spawn("vol")
    assert algorithm(lab) == "sha1"
    allowed = {"DrbdOptions/auto-verify-algo-allowed-user-list": "blake"}
    lab.run(c.ModifyController(props=c.PropsChange(override=allowed)))
    lab.observed.node("n2").capabilities = None
    lab.tick()
    assert algorithm(lab) == "sha1"
    able(lab, n2=("blake", "sha1"))
    lab.tick()
    assert algorithm(lab) == "blake"
    able(lab, n2=("crc32c",))
    lab.tick()
    assert algorithm(lab) is None


def test_the_property_switches_the_algorithm_off() -> None:
    lab = Lab(3)
    able(lab, n1=("sha1",), n2=("sha1",), n3=("sha1",))
    lab.spawn("vol")
    off = {"DrbdOptions/auto-verify-algo-disable": "true"}
    lab.run(c.ModifyController(props=c.PropsChange(override=off)))
    lab.tick()
    assert algorithm(lab) is None


def test_resyncs_on_one_pool_come_one_after_the_other() -> None:
    lab = Lab(3)
    lab.spawn_on("one", "n1", "n2")
    lab.spawn_on("two", "n2", "n3")
    lab.spawn_on("three", "n1")
    switch = "DrbdOptions/auto-resync-after-disable"
    lab.run(c.Tick(survey=True))
    assert AFTER not in volume(lab, "TWO").props
    lab.run(c.ModifyController(props=c.PropsChange(override={switch: "false"})))
    mine = c.PropsChange(override={AFTER: "other/0"})
    lab.run(c.ModifyVolumeDefinition(definition="three", number=0, props=mine))
    lab.run(c.Tick(survey=True))
    orders = {name: volume(lab, name).props.get(AFTER) for name in ("ONE", "TWO", "THREE")}
    assert orders == {"ONE": None, "TWO": "one/0", "THREE": "other/0"}
    assert lab.run(c.Tick(survey=True)).changes == ()
    lab.run(c.ModifyController(props=c.PropsChange(override={switch: "true"})))
    lab.run(c.Tick(survey=True))
    orders = {name: volume(lab, name).props.get(AFTER) for name in ("ONE", "TWO", "THREE")}
    assert orders == {"ONE": None, "TWO": None, "THREE": "other/0"}


def see_block(lab: Lab, node: str, size: int) -> None:
    pools = lab.observed.node(node).pools
    pools["THIN"] = msgspec.structs.replace(pools["THIN"], min_io_bytes=size)  # type: ignore[index]


def test_the_largest_block_of_all_pools_is_taken_and_frozen_by_use() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.quiet()
    assert BLOCK not in volume(lab).props
    see_block(lab, "n1", 512)
    see_block(lab, "n2", 4096)
    lab.quiet()
    assert volume(lab).props[BLOCK] == "4096"
    assert FROZEN not in volume(lab).props
    lab.use("vol", "n1")
    lab.quiet()
    assert volume(lab).props[FROZEN] == "true"
    see_block(lab, "n2", 512)
    lab.quiet()
    assert volume(lab).props[BLOCK] == "4096"


def test_a_block_size_of_a_person_stays_and_the_property_switches_it_off() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    see_block(lab, "n1", 4096)
    by_hand = c.PropsChange(override={BLOCK: "1024"})
    lab.run(c.ModifyVolumeDefinition(definition="vol", number=0, props=by_hand))
    lab.tick()
    assert volume(lab).props[BLOCK] == "1024"
    lab.run(c.ModifyVolumeDefinition(definition="vol", number=0, props=c.PropsChange(delete=(BLOCK,))))
    lab.tick()
    assert volume(lab).props[BLOCK] == "4096"
    off = c.PropsChange(override={"Linstor/Drbd/auto-block-size": "false"})
    lab.run(c.ModifyDefinition(name="vol", props=off))
    lab.tick()
    assert BLOCK not in volume(lab).props


RESYNC, DISCARD = "DrbdOptions/Disk/rs-discard-granularity", "DrbdOptions/Disk/discard-granularity"
UNIT = "StorDriver/internal/AllocationGranularity"


def see_discard(lab: Lab, node: str, size: int | None) -> None:
    pools = lab.observed.node(node).pools
    pools["THIN"] = msgspec.structs.replace(pools["THIN"], discard_bytes=size)  # type: ignore[index]


def test_the_largest_discard_is_taken_once_all_pools_have_said_theirs() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.quiet()
    assert volume(lab).props[UNIT] == "1"
    see_discard(lab, "n1", 4096)
    lab.quiet()
    assert RESYNC not in volume(lab).props, "n2 has not said anything"
    see_discard(lab, "n2", 4 << 20)
    lab.quiet()
    assert (volume(lab).props[RESYNC], volume(lab).props[DISCARD]) == (str(1 << 20), str(4 << 20))
    see_discard(lab, "n2", 0)
    lab.quiet()
    assert not {RESYNC, DISCARD} & volume(lab).props.keys(), "a disk that discards nothing"


def test_discard_granularities_can_be_left_to_a_person() -> None:
    lab = Lab(3)
    see_discard(lab, "n1", 4096)
    see_discard(lab, "n2", 4096)
    see_discard(lab, "n3", 4096)
    lab.spawn("vol")
    assert volume(lab).props[RESYNC] == "4096", "with the creation, not after the first report"
    off = {
        "DrbdOptions/auto-rs-discard-granularity": "false",
        "Linstor/Drbd/auto-discard-granularity": "false",
    }
    lab.run(c.ModifyDefinition(name="vol", props=c.PropsChange(override=off)))
    by_hand = c.PropsChange(override={RESYNC: "65536"}, delete=(DISCARD,))
    lab.run(c.ModifyVolumeDefinition(definition="vol", number=0, props=by_hand))
    lab.quiet()
    assert volume(lab).props[RESYNC] == "65536"
    assert DISCARD not in volume(lab).props
