"""The search against a twin that tries every combination, and the rules one by one."""

import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.domain.ids import NodeName
from bollard.domain.resources import SelectFilter
from bollard.planning import choose
from bollard.planning.choose import Candidate, Rules

KEYS = ("Aux/rack", "Aux/room")
values = st.sampled_from([None, "a", "b", "c"])
node_props = st.fixed_dictionaries({}, optional={key: st.sampled_from("abc") for key in KEYS})


@st.composite
def filters(draw: st.DrawFn) -> SelectFilter:
    texts = [*KEYS, "Aux/rack=a", "Aux/room=b"]
    return SelectFilter(
        replicas_on_same=tuple(draw(st.lists(st.sampled_from(texts), max_size=1))) or None,
        replicas_on_different=tuple(draw(st.lists(st.sampled_from(texts), max_size=1))) or None,
        x_replicas_on_different=draw(
            st.none() | st.dictionaries(st.sampled_from(KEYS), st.integers(1, 2), max_size=1)
        ),
    )


@st.composite
def towns(draw: st.DrawFn) -> tuple[list[Candidate], int, SelectFilter, list[dict[str, str]], set[str]]:
    wanted = draw(filters())
    present = draw(st.lists(node_props, max_size=2))
    rules = choose.rules_for(wanted, present)
    candidates = []
    for number in range(draw(st.integers(0, 6))):
        props = draw(node_props)
        candidates += [
            Candidate(
                node=NodeName(f"n{number}"),
                pool=f"p{pool}",
                score=float(draw(st.integers(-2, 4))),
                values=choose.values_of(rules, props) if rules is not None else (),
                storage=draw(st.sampled_from(["", "FILE", "LVM"])),
                shared=draw(st.sampled_from([None, None, "s"])),
            )
            for pool in range(draw(st.integers(1, 2)))
        ]
    ranked = sorted(candidates, key=lambda one: (-one.score, one.node, one.pool))
    return (
        ranked,
        draw(st.integers(0, 4)),
        wanted,
        present,
        draw(st.sets(st.sampled_from(["FILE", "LVM"]), max_size=1)),
    )


def allowed(picked: tuple[Candidate, ...], rules: Rules, storage: set[str]) -> bool:
    """All rules, said as plainly as they can be."""
    if len({one.node for one in picked}) != len(picked):
        return False
    shared = [one.shared for one in picked if one.shared is not None]
    classes = {one.storage for one in picked if one.storage} | storage
    if len(set(shared)) != len(shared) or len(classes) > 1:
        return False
    for index, value, fixed in rules.same:
        seen = {one.values[index] for one in picked} | ({value} if fixed else set())
        if picked and (len(seen) > 1 or None in seen):
            return False
    for index, there in rules.different:
        mine = [one.values[index] for one in picked if one.values[index] is not None]
        if len(set(mine)) != len(mine) or there & set(mine):
            return False
    if any(one.values[index] == value for index, value in rules.avoided for one in picked):
        return False
    for index, most, before in rules.counted:
        counts = Counter(dict(before)) + Counter(one.values[index] for one in picked)
        if max(counts.values(), default=0) > most:
            return False
        if sum(1 for number in counts.values() if number < most) > 1:
            return False
    return True


@settings(max_examples=400, deadline=None)
@given(towns())
def test_the_best_of_all_combinations_is_found(
    town: tuple[list[Candidate], int, SelectFilter, list[dict[str, str]], set[str]],
) -> None:
    ranked, count, wanted, present, storage = town
    rules = choose.rules_for(wanted, present)
    if rules is None:
        return
    found = choose.best(ranked, count, rules, storage)
    possible = [
        picked
        for picked in itertools.combinations(ranked, count)
        if count == 0 or allowed(picked, rules, storage)
    ]
    if not possible:
        assert found is None
        return
    assert found is not None
    assert count == 0 or allowed(found, rules, storage)
    best_sum = max(sum(one.score for one in picked) for picked in possible)
    assert sum(one.score for one in found) == best_sum


def test_replicas_that_contradict_a_rule_make_it_undecidable() -> None:
    wanted = SelectFilter(replicas_on_same=("Aux/rack",))
    assert choose.rules_for(wanted, [{"Aux/rack": "a"}, {"Aux/rack": "b"}]) is None
    assert choose.rules_for(wanted, [{"Aux/rack": "a"}, {"Aux/rack": "a"}]) is not None


def test_a_missing_property_equals_that_of_no_other_node() -> None:
    def best(wanted: SelectFilter, count: int) -> set[str] | None:
        rules = choose.rules_for(wanted, [])
        assert rules is not None
        bare = [
            Candidate(NodeName(name), "p", 1.0, choose.values_of(rules, props))
            for name, props in (("n1", {}), ("n2", {}), ("n3", {"Aux/rack": "a"}), ("n4", {"Aux/rack": "a"}))
        ]
        found = choose.best(bare, count, rules)
        return None if found is None else {one.node for one in found}

    different = SelectFilter(replicas_on_different=("Aux/rack",))
    assert best(different, 3) == {"n1", "n2", "n3"}
    assert best(different, 4) is None
    assert best(SelectFilter(replicas_on_same=("Aux/rack",)), 2) == {"n3", "n4"}
    assert best(SelectFilter(replicas_on_same=("Aux/unset",)), 1) is None
    assert best(SelectFilter(x_replicas_on_different={"Aux/unset": 2}), 3) is None


def test_a_hard_puzzle_ends() -> None:
    rules = choose.rules_for(SelectFilter(replicas_on_different=("Aux/rack",)), [])
    assert rules is not None
    # Sixty racks' worth of nodes, all of one rack: no answer, and it must not be looked for in 2^60 ways.
    alike = [Candidate(NodeName(f"n{number}"), "p", 1.0, ("a",)) for number in range(60)]
    assert choose.best(alike, 30, rules) is None
