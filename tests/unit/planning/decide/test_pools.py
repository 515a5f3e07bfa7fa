"""Storage pools and their definitions, by examples of what LINSTOR answered."""

import pytest

from bollard.domain import commands as c
from bollard.domain.cluster import Drop
from bollard.domain.errors import (
    Conflict,
    DomainError,
    Exists,
    InUse,
    Invalid,
    NotFound,
    Subject,
    Unsupported,
)
from bollard.planning.decide import decide
from planning_lab import CAPABLE, Lab, codes


def refusal(lab: Lab, command: c.Command) -> tuple[type[DomainError], Subject]:
    with pytest.raises(DomainError) as caught:
        decide(command, lab.world)
    return type(caught.value), caught.value.subject


def pool(name: str = "fast", provider: str = "FILE_THIN", node: str = "n1", **props: str) -> c.CreatePool:
    given = {key.replace("__", "/"): value for key, value in props.items()}
    return c.CreatePool(
        node=node, name=name, provider=provider, props=given or {"StorDriver/FileDir": "/srv/fast"}
    )


def test_the_first_pool_of_a_name_brings_its_definition() -> None:
    lab = Lab(2)
    decision = lab.run(pool())
    assert codes(decision) == ["success|create|POOL|-", "success|create|POOL|-"]
    assert "FAST" in lab.cluster.pool_definitions
    made = lab.cluster.pool("n1", "fast")
    assert made is not None
    assert made.props == {"StorDriver/StorPoolName": "/srv/fast"}
    assert [(wait.node, wait.pool) for wait in decision.waits] == [("n1", "fast")]
    assert decision.undo_if_failed == (Drop("pool", made.key),)


@pytest.mark.parametrize(
    ("given", "backing"),
    [
        ({"StorDriver/LvmVg": "vg", "StorDriver/ThinPool": "t"}, "vg/t"),
        ({"StorDriver/ZPool": "tank"}, "tank"),
        ({"StorDriver/ZPoolThin": "tank/x"}, "tank/x"),
    ],
)
def test_older_keys_are_rewritten(given: dict[str, str], backing: str) -> None:
    lab = Lab(1)
    lab.offline("n1")
    lab.run(c.CreatePool(node="n1", name="old", provider="LVM_THIN", props=given))
    made = lab.cluster.pool("n1", "old")
    assert made is not None
    assert made.props == {"StorDriver/StorPoolName": backing}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (pool("thin"), (Exists, Subject.POOL)),
        (pool("THIN"), (Exists, Subject.POOL)),
        (pool("DfltDisklessStorPool"), (Exists, Subject.POOL)),
        (pool("dl"), (Invalid, Subject.POOL_NAME)),
        (pool("bad name"), (Invalid, Subject.POOL_NAME)),
        (pool("x" * 49), (Invalid, Subject.POOL_NAME)),
        (pool(provider="FLOPPY"), (Invalid, Subject.PROVIDER)),
        (pool(provider="ZFS", StorDriver__ZPool="tank"), (Unsupported, Subject.PROVIDER)),
        (pool(StorDriver__FileDir="relative/dir"), (Invalid, Subject.POOL_CONFIGURATION)),
        (pool(StorDriver__FileDir="/srv/../etc"), (Invalid, Subject.POOL_CONFIGURATION)),
        (pool(Aux__a="1"), (Invalid, Subject.POOL_CONFIGURATION)),
        (pool(StorDriver__FileDir="/srv/thin/"), (Conflict, Subject.POOL_CONFIGURATION)),
        (pool(StorDriver__FileDir="/srv/x", Bogus__x="1"), (Invalid, Subject.PROPERTY)),
        (pool(StorDriver__FileDir="/srv/x", PrefNic="nonic"), (Invalid, Subject.PROPERTY)),
        (pool(node="nope"), (NotFound, Subject.NODE)),
    ],
)
def test_refused_pools(command: c.Command, expected: tuple[type[DomainError], Subject]) -> None:
    assert refusal(Lab(1), command) == expected


def test_changing_a_pool() -> None:
    lab = Lab(1)
    change = c.PropsChange(override={"MaxOversubscriptionRatio": "3"})
    decision = lab.run(c.ModifyPool(node="n1", name="thin", props=change))
    assert codes(decision) == ["success|create|POOL|-", "success|modify|POOL|-"]
    wrong = c.PropsChange(override={"MaxOversubscriptionRatio": "x"})
    assert refusal(lab, c.ModifyPool(node="n1", name="thin", props=wrong)) == (Invalid, Subject.PROPERTY)
    unknown = c.ModifyPool(node="n1", name="nope", props=change)
    assert refusal(lab, unknown) == (NotFound, Subject.POOL_DEFINITION)


def test_the_directory_of_a_pool_in_use_stays() -> None:
    lab = Lab(1)
    lab.run(
        c.ModifyPool(node="n1", name="thin", props=c.PropsChange(override={"StorDriver/FileDir": "/srv/new"}))
    )
    moved = lab.cluster.pool("n1", "thin")
    assert moved is not None
    assert moved.props == {"StorDriver/StorPoolName": "/srv/new"}
    lab.spawn_on("vol", "n1")
    move = c.PropsChange(override={"StorDriver/StorPoolName": "/srv/newer"})
    assert refusal(lab, c.ModifyPool(node="n1", name="thin", props=move)) == (InUse, Subject.POOL)


def test_deleting_pools() -> None:
    lab = Lab(2)
    for command in (c.DeletePool(node="n1", name="nope"), c.DeletePool(node="nope", name="thin")):
        assert codes(lab.run(command)) == ["warning|delete|POOL|NOT_FOUND"]
    own = c.DeletePool(node="n1", name="DfltDisklessStorPool")
    assert refusal(lab, own) == (Invalid, Subject.POOL_NAME)
    lab.spawn_on("vol", "n1")
    assert refusal(lab, c.DeletePool(node="n1", name="thin")) == (InUse, Subject.POOL)
    assert codes(lab.run(c.DeletePool(node="n2", name="thin"))) == ["success|delete|POOL|-"]


def test_a_pool_with_something_still_to_remove_is_in_use() -> None:
    lab = Lab(1)
    lab.spawn_on("vol", "n1")
    lab.quiet()
    lab.run(c.DeleteDefinition(name="vol"))
    assert refusal(lab, c.DeletePool(node="n1", name="thin")) == (InUse, Subject.POOL)
    lab.quiet()
    lab.run(c.DeletePool(node="n1", name="thin"))


def test_an_offline_node_may_get_any_pool() -> None:
    lab = Lab(1)
    lab.online("n1", capabilities=CAPABLE)
    lab.offline("n1")
    lab.run(c.CreatePool(node="n1", name="lvm1", provider="LVM", props={"StorDriver/LvmVg": "vg"}))


def test_definitions() -> None:
    lab = Lab(1)
    assert codes(lab.run(c.CreatePoolDefinition(name="spd1"))) == ["success|create|POOL_DEFINITION|-"]
    assert refusal(lab, c.CreatePoolDefinition(name="SPD1")) == (Exists, Subject.POOL_DEFINITION)
    with_props = lab.run(c.CreatePoolDefinition(name="spd2", props={"Aux/a": "1"}))
    assert len(codes(with_props)) == 2
    change = c.PropsChange(override={"MaxOversubscriptionRatio": "5"})
    changed = lab.run(c.ModifyPoolDefinition(name="spd1", props=change))
    assert codes(changed) == ["success|create|POOL_DEFINITION|-", "success|modify|POOL_DEFINITION|-"]
    for key, value in (("MaxOversubscriptionRatio", "-5"), ("StorDriver/FileDir", "/x")):
        wrong = c.ModifyPoolDefinition(name="spd1", props=c.PropsChange(override={key: value}))
        assert refusal(lab, wrong) == (Invalid, Subject.PROPERTY)
    assert refusal(lab, c.ModifyPoolDefinition(name="nope")) == (NotFound, Subject.POOL_DEFINITION)
    assert codes(lab.run(c.DeletePoolDefinition(name="spd1"))) == ["success|delete|POOL_DEFINITION|-"]
    assert refusal(lab, c.DeletePoolDefinition(name="spd1")) == (NotFound, Subject.POOL_DEFINITION)
    for used in ("thin", "DfltDisklessStorPool"):
        assert refusal(lab, c.DeletePoolDefinition(name=used)) == (InUse, Subject.POOL_DEFINITION)
