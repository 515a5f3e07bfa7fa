"""Disks for nodes that use a volume without one for long, and what goes in return."""

from bollard.domain import commands as c
from bollard.domain.ids import key_of
from planning_lab import Lab

MINUTE_MS = 60_000
AFTER, CLEANUP = "DrbdOptions/auto-diskful", "DrbdOptions/auto-diskful-allow-cleanup"


def used_on_n4(**props: str) -> Lab:
    lab = Lab(4)
    lab.spawn("vol")
    lab.run(c.MakeAvailable(definition="vol", node="n4"))
    lab.quiet()
    values = {AFTER: "5"} | props
    lab.run(c.ModifyDefinition(name="vol", props=c.PropsChange(override=values)))
    lab.use("vol", "n4")
    return lab


def disks(lab: Lab) -> list[str]:
    return [node for node, one in lab.resources("vol").items() if one.diskful]


def test_a_disk_comes_when_the_time_is_up() -> None:
    lab = used_on_n4(**{CLEANUP: "false"})
    lab.now_ms += 5 * MINUTE_MS - 1
    lab.quiet()
    assert lab.kinds("vol")["n4"] == "client"
    lab.now_ms += 1
    lab.quiet()
    assert lab.kinds("vol")["n4"] == "diskful"
    assert lab.resources("vol")["n4"].props["DiskfulBy"] == "auto-diskful"
    # Without leave to clean up nothing goes.
    assert disks(lab) == ["n1", "n2", "n4"]


def test_a_replica_goes_in_return_and_never_the_one_in_use() -> None:
    lab = used_on_n4()
    lab.now_ms += 5 * MINUTE_MS
    lab.quiet()
    assert len(disks(lab)) == 2
    assert "n4" in disks(lab)


def test_nothing_goes_while_the_new_disk_is_filled() -> None:
    lab = used_on_n4()
    lab.now_ms += 5 * MINUTE_MS
    lab.tick()
    lab.follow()
    lab.tick()
    assert disks(lab) == ["n1", "n2", "n4"]


def test_nothing_goes_that_would_leave_too_few_complete_copies() -> None:
    lab = used_on_n4()
    lab.offline("n1")
    lab.now_ms += 5 * MINUTE_MS
    lab.quiet()
    assert disks(lab) == ["n1", "n2", "n4"]


def test_who_closes_in_time_gets_no_disk() -> None:
    lab = used_on_n4()
    lab.now_ms += 4 * MINUTE_MS
    lab.roles.clear()
    lab.follow()
    lab.use("vol", "n4")
    lab.now_ms += 4 * MINUTE_MS
    lab.quiet()
    assert lab.kinds("vol")["n4"] == "client"


def test_nothing_happens_without_the_property_or_without_a_pool() -> None:
    lab = used_on_n4()
    lab.run(c.ModifyDefinition(name="vol", props=c.PropsChange(delete=(AFTER,))))
    lab.now_ms += 500 * MINUTE_MS
    lab.quiet()
    assert lab.kinds("vol")["n4"] == "client"
    lab.run(c.ModifyController(props=c.PropsChange(override={AFTER: "1"})))
    lab.see_pool("n4", "thin", free_kib=1)
    lab.quiet()
    assert lab.kinds("vol")["n4"] == "client"
    assert key_of("vol") in lab.observed.node("n4").in_use_since


def test_snapshots_keep_a_replica() -> None:
    lab = used_on_n4()
    lab.keep_snapshot("vol", "n1", "n2")
    lab.now_ms += 5 * MINUTE_MS
    lab.quiet()
    assert disks(lab) == ["n1", "n2", "n4"]
