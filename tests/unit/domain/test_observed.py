"""Reports: the whole, or what changed, with their age."""

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.observed import Observed
from bollard.domain.seen import Observation, SeenPool, SeenResource

N1 = NodeName("n1")


def resource(name: str, revision: int = 1) -> SeenResource:
    return SeenResource(ResourceName(name), Uuid("r"), revision)


def test_changes_are_added_and_the_whole_replaces() -> None:
    observed = Observed()
    observed.take(
        Observation(N1, complete=True, revision=3, resources=(resource("one"), resource("two"))), 10
    )
    observed.take(
        Observation(N1, revision=2, resources=(resource("One", 5),), gone=(ResourceName("TWO"),)), 20
    )
    assert observed.resource("one", "N1") == resource("One", 5)
    assert observed.resource("two", "n1") is None
    assert (observed.node("n1").revision, observed.node("n1").heard_ms) == (3, 20)
    observed.take(Observation(N1, complete=True, leftovers=("thin:x",)), 30)
    assert observed.node("n1").resources == {}
    assert observed.node("n1").leftovers == ("thin:x",)


def test_pools_and_removals() -> None:
    observed = Observed()
    observed.take(Observation(N1, pools=(SeenPool("Thin", Uuid("p"), 5, 9),), removed=(Uuid("t"),)), 1)
    pool = observed.pool("N1", "thin")
    assert pool is not None
    assert pool.free_kib == 5
    assert observed.node("n1").removed == {"t"}


def test_an_unknown_node_was_never_online_and_a_forgotten_one_is_unknown() -> None:
    observed = Observed()
    assert not observed.node("nope").online
    observed.node("n1").status = "ONLINE"
    assert observed.node("N1").online
    observed.forget("N1")
    assert not observed.node("n1").online


def test_nodes_do_not_share_what_they_reported() -> None:
    observed = Observed()
    observed.take(Observation(N1, resources=(resource("one"),)), 1)
    assert observed.node("n2").resources == {}
