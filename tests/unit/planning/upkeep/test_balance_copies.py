"""A replica to spare after clones and restores: the next balancing takes the one on the poorest pool."""

import pytest

from bollard.domain import commands as c
from planning_lab import Lab


def copied(key: str, value: str) -> Lab:
    """A copy of a volume of two replicas, by the way that the property is about."""
    lab = Lab(4)
    lab.spawn_on("vol", "n1", "n2")
    lab.quiet()
    lab.run(c.CreateSnapshots(snapshots=(c.NewSnapshot(definition="vol", name="s1"),)))
    lab.quiet()
    lab.run(c.ModifyController(props=c.PropsChange(override={key: value})))
    if key.startswith("Clone"):
        lab.run(c.CloneDefinition(source="vol", name="copy"))
    else:
        lab.run(c.CreateDefinition(name="copy"))
        lab.run(c.RestoreVolumeDefinitions(definition="vol", snapshot="s1", to="copy"))
        lab.run(c.RestoreResources(definition="vol", snapshot="s1", to="copy"))
    lab.quiet()
    return lab


def disks(lab: Lab) -> list[str]:
    return [node for node, one in lab.resources("copy").items() if one.diskful]


@pytest.mark.parametrize("key", ["Clone/BalanceAfterClone", "Snapshot/BalanceAfterRestore"])
def test_one_more_comes_and_the_poorest_goes(key: str) -> None:
    lab = copied(key, "true")
    assert len(disks(lab)) == 3
    lab.see_pool("n2", "thin", free_kib=100_000)
    lab.now_ms += 3_600_000
    lab.run(c.Tick(balance=True))
    lab.quiet()
    assert len(disks(lab)) == 2
    assert "n2" not in disks(lab)


@pytest.mark.parametrize("key", ["Clone/BalanceAfterClone", "Snapshot/BalanceAfterRestore"])
def test_the_property_switches_it_off(key: str) -> None:
    assert disks(copied(key, "false")) == ["n1", "n2"]
