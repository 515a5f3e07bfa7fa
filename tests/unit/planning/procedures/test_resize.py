"""Growing a replicated volume: who is waited for, and who is not."""

import msgspec

from bollard.domain import commands as c
from bollard.domain.procedures import Procedure
from bollard.planning.procedures import resize
from bollard.planning.targets import target_resource
from planning_lab import Lab


def grown(lab: Lab, size_kib: int = 40960) -> Procedure:
    lab.spawn_on("vol", "n1", "n2")
    lab.quiet()
    lab.run(c.ModifyVolumeDefinition(definition="vol", number=0, size_kib=size_kib))
    return running(lab)


def running(lab: Lab) -> Procedure:
    (procedure,) = lab.cluster.procedures.values()
    return procedure


def sizes(lab: Lab, node: str) -> tuple[int, int | None]:
    volume = target_resource(lab.cluster, lab.resources("vol")[node]).volumes[0]
    return volume.size_kib, volume.gross_kib


def test_backings_grow_first_and_engines_after() -> None:
    lab = Lab(3)
    assert grown(lab).phase == resize.BACKING
    assert sizes(lab, "n1")[0] == 10240
    assert (sizes(lab, "n1")[1] or 0) > 40960
    lab.follow()
    lab.tick()
    assert running(lab).phase == resize.ENGINE
    assert sizes(lab, "n1")[0] == 40960
    lab.quiet()
    assert not lab.cluster.procedures


def test_a_report_of_before_the_phase_moves_nothing() -> None:
    lab = Lab(3)
    grown(lab)
    before = lab.cluster.revision
    lab.tick()
    assert lab.cluster.revision == before + 1 or running(lab).phase == resize.BACKING
    assert running(lab).phase == resize.BACKING
    lab.follow(only="n1")
    lab.tick()
    assert running(lab).phase == resize.BACKING


def test_a_node_that_is_not_through_holds_the_phase() -> None:
    lab = Lab(3)
    grown(lab)
    lab.follow()
    seen = lab.observed.node("n2").resources
    seen["VOL"] = msgspec.structs.replace(seen["VOL"], settled=False)
    lab.tick()
    assert running(lab).phase == resize.BACKING


def test_two_volumes_grow_in_one_procedure() -> None:
    lab = Lab(3)
    grown(lab)
    lab.run(c.CreateVolumeDefinition(definition="vol", size_kib=4096))
    lab.run(c.ModifyVolumeDefinition(definition="vol", number=1, size_kib=8192))
    assert running(lab).arguments == {"0": "10240", "1": "4096"}
    lab.run(c.ModifyVolumeDefinition(definition="vol", number=0, size_kib=50000))
    assert running(lab).arguments["0"] == "10240"
    lab.run(c.DeleteVolumeDefinition(definition="vol", number=1))
    assert running(lab).arguments == {"0": "10240"}
    lab.run(c.DeleteVolumeDefinition(definition="vol", number=0))
    assert not lab.cluster.procedures


def test_a_definition_that_is_deleted_ends_its_procedures() -> None:
    lab = Lab(3)
    grown(lab)
    lab.run(c.DeleteDefinition(name="vol"))
    assert not lab.cluster.procedures


def test_the_table_ends() -> None:
    phase: str | None = resize.BACKING
    seen = []
    while phase is not None:
        seen.append(phase)
        phase = resize.NEXT[phase]
    assert seen == [resize.BACKING, resize.ENGINE]


def test_an_inactive_replica_is_not_waited_for() -> None:
    lab = Lab(3)
    lab.spawn_on("vol", "n1", "n2")
    lab.quiet()
    lab.run(c.DeactivateResource(definition="vol", node="n2"))
    lab.run(c.ModifyVolumeDefinition(definition="vol", number=0, size_kib=40960))
    lab.quiet()
    assert not lab.cluster.procedures
    lab.run(c.ActivateResource(definition="vol", node="n2"))
    lab.quiet()
    assert lab.machines["N2"].local("vol").backings[0].size_kib > 40960
