"""Wishes: a chain of deltas means the same as the full target at its end."""

from hypothesis import given
from hypothesis import strategies as st

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.resources import DiskKind, Tombstone
from bollard.domain.targets import Target, TargetDelta, TargetResource
from bollard.satellite.wishes import Wishes

NODE, CLUSTER = NodeName("n1"), Uuid("c")
CHANGES = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 3), max_size=3),
        st.sets(st.sampled_from(["A", "B", "C"]), max_size=2),
        st.sets(st.sampled_from(["a", "b", "z"]), max_size=2),
    ),
    max_size=8,
)


def resource(name: str, life: int) -> TargetResource:
    return TargetResource(ResourceName(name), Uuid(f"{name}{life}"), DiskKind.DISKFUL)


def stones(names: set[str]) -> tuple[Tombstone, ...]:
    return tuple(Tombstone(NODE, ResourceName(name), Uuid(f"dead-{name}")) for name in sorted(names))


@given(changes=CHANGES)
def test_deltas_add_up(changes: list[tuple[dict[str, int], set[str], set[str]]]) -> None:
    by_delta, held = Wishes(), dict[str, TargetResource]()
    by_delta.take_full(Target(NODE, CLUSTER, 0))
    dead: set[str] = set()
    for revision, (new, gone, dead) in enumerate(changes, 1):
        for name in gone:
            held.pop(name, None)
        for name, life in new.items():
            held[name.upper()] = resource(name, life)
        taken = by_delta.take_delta(
            TargetDelta(
                NODE,
                revision - 1,
                revision,
                resources=tuple(resource(name, life) for name, life in new.items()),
                gone=tuple(ResourceName(name) for name in sorted(gone)),
                tombstones=stones(dead),
            )
        )
        assert taken is not None
        assert {name.upper() for name in new} <= set(taken[0])
    whole = Wishes()
    whole.take_full(Target(NODE, CLUSTER, len(changes), (), tuple(held.values()), stones(dead)))
    assert by_delta.resources == whole.resources
    assert sorted(by_delta.keys()) == sorted(whole.keys())
    assert by_delta.stone_uuids() == whole.stone_uuids()
    assert by_delta.revision == whole.revision


def test_a_delta_on_another_base_changes_nothing() -> None:
    wishes = Wishes()
    assert wishes.take_delta(TargetDelta(NODE, 0, 1, resources=(resource("a", 1),))) is None
    wishes.take_full(Target(NODE, CLUSTER, 3))
    assert wishes.take_delta(TargetDelta(NODE, 2, 4, resources=(resource("a", 1),))) is None
    assert wishes.resources == {}
    assert wishes.revision == 3
