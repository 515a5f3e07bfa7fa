"""As many replicas as wanted: what is placed, what goes, and when nothing is touched."""

from bollard.domain import commands as c
from bollard.domain.resources import SelectFilter
from bollard.planning.upkeep import surplus
from planning_lab import Lab

HOUR_MS = 3_600_000


def disks(lab: Lab) -> list[str]:
    return [node for node, one in lab.resources("vol").items() if one.diskful]


def balance(lab: Lab) -> None:
    lab.quiet()
    lab.run(c.Tick(balance=True))
    lab.quiet()


def test_a_missing_replica_is_placed() -> None:
    lab = Lab(4)
    lab.spawn_on("vol", "n1")
    balance(lab)
    assert len(disks(lab)) == 2


def test_a_surplus_replica_goes_when_it_is_old_enough() -> None:
    lab = Lab(4)
    lab.spawn_on("vol", "n1", "n2", "n3")
    balance(lab)
    assert len(disks(lab)) == 3
    lab.now_ms += HOUR_MS
    lab.see_pool("n2", "thin", free_kib=GIB)
    balance(lab)
    assert disks(lab) == ["n1", "n3"]


GIB = 1024 * 1024


def test_what_breaks_a_rule_goes_first() -> None:
    lab = Lab(4)
    for node, zone in (("n1", "a"), ("n2", "b"), ("n3", "a")):
        lab.run(c.ModifyNode(node=node, props=c.PropsChange(override={"Aux/zone": zone})))
    apart = SelectFilter(place_count=2, replicas_on_different=("Aux/zone",))
    lab.run(c.ModifyGroup(name="DfltRscGrp", select_filter=apart))
    lab.spawn_on("vol", "n1", "n2", "n3")
    lab.now_ms += HOUR_MS
    lab.see_pool("n2", "thin", free_kib=GIB)
    balance(lab)
    assert disks(lab) in (["n1", "n2"], ["n2", "n3"])


def test_nothing_happens_while_something_is_wrong() -> None:
    lab = Lab(4)
    lab.spawn_on("vol", "n1", "n2", "n3")
    lab.quiet()
    lab.now_ms += HOUR_MS
    lab.offline("n2")
    balance(lab)
    assert len(disks(lab)) == 3, "two others are complete, but n2 may not go unseen"
    lab.online("n2")
    lab.use("vol", "n1")
    lab.use("vol", "n2")
    lab.use("vol", "n3")
    balance(lab)
    assert len(disks(lab)) == 3


def test_the_property_switches_it_off() -> None:
    lab = Lab(4)
    lab.spawn_on("vol", "n1")
    off = {"BalanceResourcesEnabled": "false"}
    lab.run(c.ModifyDefinition(name="vol", props=c.PropsChange(override=off)))
    balance(lab)
    assert disks(lab) == ["n1"]
    on = c.PropsChange(delete=("BalanceResourcesEnabled",))
    lab.run(c.ModifyDefinition(name="vol", props=on))
    balance(lab)
    assert len(disks(lab)) == 2


def test_skipped_disks_hold_it_back() -> None:
    lab = Lab(4)
    lab.spawn_on("vol", "n1", "n2", "n3")
    skip = c.PropsChange(override={"DrbdOptions/SkipDisk": "True"})
    for node in ("n1", "n2"):
        lab.run(c.ModifyResource(definition="vol", node=node, props=skip))
    lab.now_ms += HOUR_MS
    balance(lab)
    assert len(disks(lab)) == 3


def test_violations_are_counted() -> None:
    nodes = [{"z": "a"}, {"z": "a"}, {"z": "b"}, {}]
    assert surplus.violations(SelectFilter(replicas_on_same=("z",)), nodes) == 2
    assert surplus.violations(SelectFilter(replicas_on_same=("z=a",)), nodes) == 2
    assert surplus.violations(SelectFilter(replicas_on_different=("z",)), nodes) == 1
    assert surplus.violations(SelectFilter(replicas_on_different=("z=b",)), nodes) == 1
    assert surplus.violations(SelectFilter(x_replicas_on_different={"z": 1}), nodes) == 1
