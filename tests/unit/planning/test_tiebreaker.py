"""The third vote: where it goes, when it comes, when it goes away again."""

from bollard.domain import commands as c
from bollard.domain.resources import SelectFilter
from bollard.planning import quorum
from planning_lab import Lab, codes


def zones(lab: Lab, **of: str) -> None:
    for node, zone in of.items():
        lab.run(c.ModifyNode(node=node, props=c.PropsChange(override={"Aux/zone": zone})))


def test_it_keeps_to_the_rules_of_the_group_while_it_can() -> None:
    lab = Lab(4)
    zones(lab, n1="a", n2="b", n3="a", n4="c")
    apart = SelectFilter(place_count=2, replicas_on_different=("Aux/zone",))
    lab.run(c.CreateGroup(name="apart", select_filter=apart))
    decision = lab.spawn("vol", group="apart")
    assert lab.kinds("vol") == {"n1": "diskful", "n2": "diskful", "n4": "tie-breaker"}
    assert "warning|create|RESOURCE|TIE_BREAKER_RULE_RELAXED" not in codes(decision)


def test_rules_are_set_aside_rather_than_the_vote() -> None:
    lab = Lab(3)
    zones(lab, n1="a", n2="b", n3="a")
    apart = SelectFilter(place_count=2, replicas_on_different=("Aux/zone",))
    lab.run(c.CreateGroup(name="apart", select_filter=apart))
    decision = lab.spawn("vol", group="apart")
    assert lab.kinds("vol")["n3"] == "tie-breaker"
    assert "warning|create|RESOURCE|TIE_BREAKER_RULE_RELAXED" in codes(decision)


def test_three_replicas_need_none_and_four_do() -> None:
    lab = Lab(5)
    lab.spawn_on("vol", "n1", "n2", "n3")
    assert sorted(lab.kinds("vol").values()) == ["diskful"] * 3
    lab.spawn_on("four", "n1", "n2", "n3", "n4")
    assert lab.kinds("four")["n5"] == "tie-breaker"


def test_one_that_is_used_stays_as_an_ordinary_diskless_resource() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.run(c.MakeAvailable(definition="vol", node="n3"))
    assert lab.kinds("vol")["n3"] == "diskless"
    lab.quiet()
    lab.run(c.DeleteResource(definition="vol", node="n1"))
    assert lab.kinds("vol")["n3"] == "diskless"


def test_without_a_port_left_there_is_a_warning_and_no_failure() -> None:
    lab = Lab(3)
    blocked = c.PropsChange(override={"TcpPortsBlocked": "7000-7999"})
    lab.run(c.ModifyNode(node="n3", props=blocked))
    decision = lab.spawn("vol")
    assert "warning|create|RESOURCE|NOT_ENOUGH_NODES_FOR_TIE_BREAKER" in codes(decision)
    assert lab.kinds("vol") == {"n1": "diskful", "n2": "diskful"}


def test_a_majority_is_wanted_when_it_outlives_a_node() -> None:
    lab = Lab(4)
    for name, nodes, wanted in (("one", ("n1",), False), ("three", ("n1", "n2", "n3"), True)):
        lab.spawn_on(name, *nodes)
        assert quorum.wants_majority(lab.cluster.resources_of(name)) is wanted
    lab.spawn("two")
    assert quorum.counts(lab.cluster.resources_of("two")) == (2, 1)
    assert quorum.wants_majority(lab.cluster.resources_of("two"))


def test_one_that_is_open_stays_until_it_is_closed() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.quiet()
    lab.use("vol", "n3")
    lab.run(c.DeleteResource(definition="vol", node="n1"))
    assert lab.kinds("vol")["n3"] == "tie-breaker"
    lab.roles.clear()
    lab.follow()
    lab.quiet()
    assert "n3" not in lab.kinds("vol")
