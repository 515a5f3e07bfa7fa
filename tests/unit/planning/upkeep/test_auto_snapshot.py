"""Snapshots on a schedule: when one is taken, how it is called, and which ones go."""

from bollard.domain import commands as c
from bollard.domain.ids import key_of
from bollard.domain.snapshots import SnapshotPhase
from planning_lab import Lab

MINUTE_MS = 60_000


def scheduled(**extra: str) -> Lab:
    lab = Lab(3)
    lab.spawn_on("vol", "n1", "n2")
    lab.quiet()
    keys = {"every": "AutoSnapshot/RunEvery", "keep": "AutoSnapshot/Keep"}
    override = {keys[word]: value for word, value in extra.items()}
    lab.run(c.ModifyDefinition(name="vol", props=c.PropsChange(override=override)))
    lab.quiet()
    return lab


def names(lab: Lab) -> list[str]:
    return sorted(one.name for one in lab.cluster.snapshots.values())


def pass_minutes(lab: Lab, minutes: int) -> None:
    lab.now_ms += minutes * MINUTE_MS
    lab.quiet()


def test_the_first_is_taken_at_once_and_the_next_when_it_is_time() -> None:
    lab = scheduled(every="15")
    assert names(lab) == ["autoSnap00001"]
    (made,) = lab.cluster.snapshots.values()
    assert made.phase is SnapshotPhase.SUCCESSFUL
    assert made.automatic
    pass_minutes(lab, 14)
    assert names(lab) == ["autoSnap00001"]
    pass_minutes(lab, 1)
    assert names(lab) == ["autoSnap00001", "autoSnap00002"]
    assert lab.cluster.definitions[key_of("vol")].props["AutoSnapshot/NextAutoId"] == "3"


def test_the_newest_are_kept() -> None:
    lab = scheduled(every="15", keep="2")
    for _ in range(4):
        pass_minutes(lab, 15)
    assert names(lab) == ["autoSnap00004", "autoSnap00005"]
    assert len(lab.machines[key_of("n1")].local("vol").snapshots) == 2


def test_all_are_kept_where_nobody_says_how_many() -> None:
    lab = scheduled(every="15", keep="0")
    for _ in range(12):
        pass_minutes(lab, 15)
    assert len(names(lab)) == 13


def test_what_a_person_took_stays_and_its_name_is_passed_over() -> None:
    lab = scheduled(keep="1")
    taken = tuple(c.NewSnapshot(definition="vol", name=name) for name in ("autoSnap00001",))
    lab.run(c.CreateSnapshots(snapshots=taken))
    lab.quiet()
    lab.run(c.ModifyDefinition(name="vol", props=c.PropsChange(override={"AutoSnapshot/RunEvery": "15"})))
    lab.quiet()
    for _ in range(3):
        pass_minutes(lab, 15)
    assert names(lab) == ["autoSnap00001", "autoSnap00005"]


def test_one_that_failed_goes_when_there_is_a_newer_one() -> None:
    lab = scheduled(every="15", keep="5")
    lab.machines[key_of("n2")].cannot_hold = True
    pass_minutes(lab, 15)
    pass_minutes(lab, 1)
    phases = {one.name: one.phase for one in lab.cluster.snapshots.values()}
    assert phases["autoSnap00002"] is SnapshotPhase.FAILED_DEPLOYMENT
    lab.machines[key_of("n2")].cannot_hold = False
    pass_minutes(lab, 15)
    assert names(lab) == ["autoSnap00001", "autoSnap00003"]


def test_what_cannot_be_taken_now_stays_due() -> None:
    lab = scheduled()
    for node in ("n1", "n2"):
        lab.offline(node)
    lab.run(c.ModifyDefinition(name="vol", props=c.PropsChange(override={"AutoSnapshot/RunEvery": "15"})))
    lab.quiet()
    assert not names(lab)
    for node in ("n1", "n2"):
        lab.online(node)
    lab.quiet()
    assert names(lab) == ["autoSnap00001"]


def test_one_that_a_restore_still_needs_stays() -> None:
    lab = scheduled(every="15", keep="1")
    lab.offline("n2")
    lab.run(c.CreateDefinition(name="other"))
    lab.run(c.RestoreVolumeDefinitions(definition="vol", snapshot="autoSnap00001", to="other"))
    lab.run(c.RestoreResources(definition="vol", snapshot="autoSnap00001", to="other"))
    lab.quiet()
    pass_minutes(lab, 15)
    lab.online("n2")
    lab.now_ms += 15 * MINUTE_MS
    lab.tick()
    lab.tick()
    kept = names(lab)
    lab.quiet()
    assert "autoSnap00001" in kept
    assert "autoSnap00001" not in names(lab)
