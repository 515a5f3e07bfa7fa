"""The best combination of candidates under rules over groups of nodes: a bounded search, best score first."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bollard.domain.ids import NodeName
from bollard.domain.resources import SelectFilter

__all__ = ["Candidate", "Rules", "best", "rules_for", "values_of"]

Value = str | None
_VISITS_MAX = 200_000
"""Ends a search whose rules are a puzzle; the best found so far is the answer then."""


class Rules(msgspec.Struct, frozen=True):
    """Rules over node properties; `values` of a candidate are in the order of `keys`."""

    keys: tuple[str, ...]
    same: tuple[tuple[int, Value, bool], ...] = ()
    """(index, value, whether the value is fixed): all chosen share one value."""
    different: tuple[tuple[int, frozenset[Value]], ...] = ()
    """(index, values of replicas that are there): all differ."""
    avoided: tuple[tuple[int, str], ...] = ()
    """(index, value): nodes with this value are not chosen."""
    counted: tuple[tuple[int, int, tuple[tuple[Value, int], ...]], ...] = ()
    """(index, n, counts so far): each value has n replicas, at most one value fewer."""


class Candidate(msgspec.Struct, frozen=True):
    """A place that passed the filters."""

    node: NodeName
    pool: str
    score: float
    values: tuple[Value, ...] = ()
    storage: str = ""
    """Class of storage; places of different classes do not go together; empty goes with all."""
    shared: str | None = None
    """Pools with the same shared space count once."""


def rules_for(wanted: SelectFilter, present: Sequence[Mapping[str, str]]) -> Rules | None:
    """The rules of a filter, bound by the replicas that are there (their nodes' properties).

    None when those contradict `replicas_on_same`. A property that a node lacks equals that of no other node;
    only where replicas are counted by value, nodes without the property count together.
    """
    keys: list[str] = []

    def index_of(key: str) -> int:
        if key not in keys:
            keys.append(key)
        return keys.index(key)

    same: list[tuple[int, Value, bool]] = []
    for text in wanted.replicas_on_same or ():
        key, fixed, value = text.partition("=")
        found = {node.get(key) for node in present}
        if fixed:
            same.append((index_of(key), value, True))
        elif len(found) > 1:
            return None
        else:
            same.append((index_of(key), next(iter(found), None), bool(found)))
    different: list[tuple[int, frozenset[Value]]] = []
    avoided: list[tuple[int, str]] = []
    for text in wanted.replicas_on_different or ():
        key, fixed, value = text.partition("=")
        if fixed:
            avoided.append((index_of(key), value))
        else:
            different.append((index_of(key), frozenset(node[key] for node in present if key in node)))
    counted = tuple(
        (index_of(key), count, tuple(Counter(node.get(key) for node in present).items()))
        for key, count in sorted((wanted.x_replicas_on_different or {}).items())
        if count >= 1
    )
    return Rules(tuple(keys), tuple(same), tuple(different), tuple(avoided), counted)


def values_of(rules: Rules, node: Mapping[str, str]) -> tuple[Value, ...]:
    """The node's values of the properties that the rules are about."""
    return tuple([node.get(key) for key in rules.keys]) if rules.keys else ()


def best(
    ranked: Sequence[Candidate], count: int, rules: Rules, storage: Iterable[str] = ()
) -> tuple[Candidate, ...] | None:
    """The `count` candidates, on different nodes, with the highest sum of scores; None when there are none.

    `ranked` is sorted by falling score. `storage` are the classes of the replicas that are there. Among
    equal sums the first in the order of `ranked` wins.
    """
    if count == 0:
        return ()
    classes = set(storage) - {""}
    if rules.keys or classes:
        fitting = _reduced([one for one in ranked if _fits_alone(one, rules, classes)], count)
    else:
        fitting = _reduced(ranked, count)
    if len({one.node for one in fitting}) < count:
        return None
    return _Search(fitting, count, rules, classes).run()


def _fits_alone(one: Candidate, rules: Rules, classes: set[str]) -> bool:
    if one.storage and classes and one.storage not in classes:
        return False
    return (
        all(
            one.values[index] is not None and (not fixed or one.values[index] == value)
            for index, value, fixed in rules.same
        )
        and all(one.values[index] not in there for index, there in rules.different)
        and all(one.values[index] != value for index, value in rules.avoided)
    )


def _reduced(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """Of candidates that no rule tells apart only the best `count` nodes can be in an answer."""
    kept: list[Candidate] = []
    nodes: dict[tuple[object, ...], set[str]] = {}
    for one in candidates:
        mine = nodes.setdefault((one.values, one.storage, one.shared), set())
        if len(mine) < count or one.node in mine:
            mine.add(one.node)
            kept.append(one)
    return kept


class _Search:
    """Depth first in the order of scores, cutting branches that cannot beat the best found."""

    def __init__(self, candidates: Sequence[Candidate], count: int, rules: Rules, classes: set[str]) -> None:
        self.candidates = candidates
        self.count = count
        self.rules = rules
        self.classes = classes
        self.picked: list[Candidate] = []
        self.found: tuple[Candidate, ...] | None = None
        self.found_sum = float("-inf")
        self.visits = 0

    def run(self) -> tuple[Candidate, ...] | None:
        self._descend(0, 0.0)
        return self.found

    def _descend(self, start: int, total: float) -> None:
        missing = self.count - len(self.picked)
        if missing == 0:
            if total > self.found_sum and self._counts_hold(0):
                self.found, self.found_sum = tuple(self.picked), total
            return
        for index in range(start, len(self.candidates) - missing + 1):
            self.visits += 1
            if self.visits > _VISITS_MAX:
                return
            # Scores fall: what may still come is at most `missing` times this one.
            one = self.candidates[index]
            if total + missing * one.score <= self.found_sum:
                return
            if self._goes_with_picked(one):
                self.picked.append(one)
                if self._counts_hold(missing - 1):
                    self._descend(index + 1, total + one.score)
                self.picked.pop()

    def _goes_with_picked(self, one: Candidate) -> bool:
        for other in self.picked:
            if one.node == other.node or (one.shared is not None and one.shared == other.shared):
                return False
            if one.storage and other.storage and one.storage != other.storage:
                return False
            if any(one.values[index] != other.values[index] for index, _, _ in self.rules.same):
                return False
            if any(
                one.values[index] is not None and one.values[index] == other.values[index]
                for index, _ in self.rules.different
            ):
                return False
        return True

    def _counts_hold(self, missing: int) -> bool:
        """Whether `missing` more picks can still fill every value but one."""
        for index, most, before in self.rules.counted:
            counts = Counter(dict(before))
            counts.update(one.values[index] for one in self.picked)
            if any(number > most for number in counts.values()):
                return False
            lacking = [most - number for number in counts.values()]
            if lacking and sum(lacking) - max(lacking) > missing:
                return False
        return True
