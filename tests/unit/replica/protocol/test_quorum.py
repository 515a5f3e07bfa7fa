"""The counting rules one by one, and that two separate groups never both have quorum, whatever happened."""

from copy import deepcopy
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.protocol.quorum import (
    ALL,
    MAJORITY,
    OFF,
    Peer,
    Reason,
    Rules,
    Self,
    disk_after,
    evaluate,
    may_follow,
    members_after,
)
from bollard.replica.protocol.states import DiskState

UP, OUTDATED, UNKNOWN = DiskState.UP_TO_DATE, DiskState.OUTDATED, DiskState.UNKNOWN
ME = Self(disk=UP, had_quorum=True)


def here(node: int, disk: DiskState = UP, **more: bool) -> Peer:
    return Peer(node_id=node, connected=True, disk=disk, **more)  # type: ignore[arg-type]


def away(node: int, disk: DiskState = UNKNOWN, **more: bool) -> Peer:
    return Peer(node_id=node, connected=False, disk=disk, **more)  # type: ignore[arg-type]


def witness(node: int, *, connected: bool = True) -> Peer:
    return Peer(node_id=node, connected=connected, disk=DiskState.DISKLESS, diskless=True)


CASES = [
    ("off", ME, (away(1), away(2)), Rules(quorum=OFF), Reason.OFF),
    ("one of one", ME, (), Rules(), Reason.VOTES),
    ("two of three", ME, (here(1), away(2)), Rules(), Reason.VOTES),
    ("one of three", ME, (away(1), away(2)), Rules(), Reason.TOO_FEW),
    ("all", ME, (here(1), away(2)), Rules(quorum=ALL), Reason.TOO_FEW),
    ("count reached", ME, (here(1), away(2)), Rules(quorum=2), Reason.VOTES),
    ("count missed", ME, (away(1), away(2)), Rules(quorum=2), Reason.TOO_FEW),
    ("present counts", ME, (here(1, OUTDATED), away(2)), Rules(), Reason.VOTES),
    ("redundancy", ME, (here(1, OUTDATED), away(2)), Rules(minimum_redundancy=2), Reason.REDUNDANCY),
    ("redundancy majority", ME, (here(1, OUTDATED), away(2)), Rules(minimum_redundancy=MAJORITY),
     Reason.REDUNDANCY),
    ("redundancy met", ME, (here(1), away(2)), Rules(minimum_redundancy=2), Reason.VOTES),
    ("left in order", ME, (away(1, OUTDATED), away(2, OUTDATED)), Rules(), Reason.VOTES),
    ("left in order, one lost", ME, (away(1, OUTDATED), away(2)), Rules(), Reason.TOO_FEW),
    ("tie", ME, (away(1),), Rules(), Reason.TOO_FEW),
    ("tie broken", ME, (away(1), witness(2)), Rules(), Reason.TIEBREAKER),
    ("tie, witness away", ME, (away(1), witness(2, connected=False)), Rules(), Reason.TOO_FEW),
    ("tie, half the witnesses", ME, (away(1), witness(2), witness(3, connected=False)), Rules(),
     Reason.TOO_FEW),
    ("tie, no quorum before", Self(disk=UP), (away(1), witness(2)), Rules(), Reason.TOO_FEW),
    ("tie, not wanted", ME, (away(1), witness(2)), Rules(tiebreaker=False), Reason.TOO_FEW),
    ("left behind", ME, (away(1, member=False),), Rules(), Reason.VOTES),
    ("left behind may regroup", ME, (away(1, member=False), away(2)), Rules(), Reason.TOO_FEW),
    ("restored", Self(disk=UP, restored_alone=True), (away(1), away(2)), Rules(), Reason.RESTORED),
    ("restored outdated", Self(disk=OUTDATED, restored_alone=True), (away(1), away(2)), Rules(),
     Reason.TOO_FEW),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_rules(case: tuple[str, Self, tuple[Peer, ...], Rules, Reason]) -> None:
    _, me, peers, rules, reason = case
    verdict = evaluate(me, peers, rules)
    assert verdict.reason is reason
    assert verdict.have == (reason not in (Reason.TOO_FEW, Reason.REDUNDANCY))


def test_node_without_a_disk_follows_an_up_to_date_peer_with_quorum() -> None:
    me = Self(disk=DiskState.DISKLESS, diskless=True, had_quorum=True)
    peer = Peer(node_id=1, connected=True, disk=UP, quorum=True)
    assert evaluate(me, (peer, away(2)), Rules()).reason is Reason.PEER
    assert evaluate(me, (here(1), away(2)), Rules()).reason is Reason.TOO_FEW
    assert evaluate(me, (here(1), here(2), away(3)), Rules()).reason is Reason.VOTES


def test_what_was_known_of_others_does_not_outlive_quorum() -> None:
    peers = (away(1, OUTDATED), away(2))
    lost = evaluate(ME, peers, Rules())
    assert not lost.have
    assert [disk_after(lost, peer) for peer in peers] == [UNKNOWN, UNKNOWN]
    assert disk_after(lost, here(3, OUTDATED)) is OUTDATED
    kept = evaluate(ME, (away(1, OUTDATED),), Rules())
    assert disk_after(kept, away(1, OUTDATED)) is OUTDATED


def test_members_change_only_with_quorum() -> None:
    peers = (here(1), away(2))
    assert members_after(evaluate(ME, peers, Rules()), 0, peers, 0b111) == 0b011
    alone = (away(1), away(2))
    assert members_after(evaluate(ME, alone, Rules()), 0, alone, 0b111) == 0b111


@dataclass
class Node:
    """One node's own memory."""

    diskless: bool
    disk: DiskState
    had_quorum: bool = False
    members: int = 0
    running: bool = True
    seen: dict[int, DiskState] = field(default_factory=dict)
    restored: bool = False


class Cluster:
    """Nodes in groups that can talk; all of a group see an event at once, as after a two-phase commit."""

    def __init__(self, diskful: int, diskless: int, rules: Rules) -> None:
        self.rules = rules
        self.nodes = [
            Node(n >= diskful, UP if n < diskful else DiskState.DISKLESS) for n in range(diskful + diskless)
        ]
        self.groups = [set(range(len(self.nodes)))]
        for node in self.nodes:
            node.members = (1 << len(self.nodes)) - 1
            node.seen = {n: other.disk for n, other in enumerate(self.nodes)}
        self.settle()

    def view(self, me: int, group: set[int], bits: set[int]) -> tuple[Peer, ...]:
        mine = self.nodes[me]
        return tuple(
            Peer(
                node_id=n,
                connected=n in group,
                disk=other.disk if n in group else mine.seen[n],
                diskless=other.diskless,
                member=bool(mine.members >> n & 1),
                quorum=n in bits,
            )
            for n, other in enumerate(self.nodes)
            if n != me
        )

    def settle(self) -> None:
        for group in self.groups:
            for n in group:
                self.nodes[n].seen.update({m: self.nodes[m].disk for m in group})
            bits: set[int] = set()
            for n in sorted(group, key=lambda n: self.nodes[n].diskless):
                self._evaluate(n, group, bits)

    def _evaluate(self, n: int, group: set[int], bits: set[int]) -> None:
        node = self.nodes[n]
        peers = self.view(n, group, bits)
        me = Self(
            disk=node.disk, diskless=node.diskless, had_quorum=node.had_quorum, restored_alone=node.restored
        )
        verdict = evaluate(me, peers, self.rules)
        node.members = members_after(verdict, n, peers, node.members)
        node.had_quorum = verdict.have
        for peer in peers:
            node.seen[peer.node_id] = disk_after(verdict, peer)
        if verdict.have:
            bits.add(n)

    def split(self, chosen: set[int]) -> None:
        groups = []
        for group in self.groups:
            for part in (group & chosen, group - chosen):
                if part:
                    groups.append(part)
                    for n in part:
                        for gone in group - part:
                            if self.nodes[n].seen[gone] != OUTDATED:
                                self.nodes[n].seen[gone] = UNKNOWN
        self.groups = groups
        for node in self.nodes:
            node.restored = False
        self.settle()

    def leave(self, n: int) -> None:
        """An orderly disconnect: the rest is told, and agrees only if a group that had quorum keeps it."""
        group = next((g for g in self.groups if n in g), set())
        if len(group) < 2:
            return
        saved = self.nodes[n].disk
        if not self.nodes[n].diskless:
            self.nodes[n].disk = OUTDATED
        if not any(self.nodes[m].disk == UP for m in group - {n}):
            self.nodes[n].disk = saved
            return
        for m in group - {n}:
            self.nodes[m].seen[n] = self.nodes[n].disk
        self.groups.remove(group)
        self.groups += [group - {n}, {n}]
        for m in group - {n}:
            self.nodes[n].seen[m] = UNKNOWN if not self.nodes[m].diskless else DiskState.DISKLESS
        self.settle()

    def join(self, left: int, right: int) -> None:
        """Two groups meet; whoever has good data and quorum there resyncs the rest."""
        pair = [g for g in self.groups if left in g or right in g]
        if len(pair) != 2:
            return
        together = pair[0] | pair[1]
        self.groups = [g for g in self.groups if g not in pair] + [together]
        for node in self.nodes:
            node.restored = False
        self.settle()
        sources = [
            Peer(node_id=n, connected=True, disk=UP, quorum=self.nodes[n].had_quorum)
            for n in together
            if self.nodes[n].disk == UP
        ]
        if any(may_follow(source, self.rules) for source in sources):
            for n in together:
                if not self.nodes[n].diskless:
                    self.nodes[n].disk = UP
            self.settle()

    def crash(self, n: int) -> None:
        """Power loss and restart, alone at first."""
        node = self.nodes[n]
        had, disk, members = node.had_quorum, node.disk, node.members
        group = next(g for g in self.groups if n in g)
        if len(group) > 1:
            self.split({n})
        for m in range(len(self.nodes)):
            node.seen[m] = UNKNOWN
        node.seen[n] = node.disk
        diskful = sum(1 << m for m, other in enumerate(self.nodes) if not other.diskless)
        node.members = members
        node.restored = had and disk == UP and members & diskful == 1 << n and not node.diskless
        node.had_quorum = False
        self.settle()

    def writable(self) -> list[set[int]]:
        """Groups in which somebody has quorum and good data to write on."""
        return [
            group
            for group in self.groups
            if any(self.nodes[n].had_quorum for n in group) and any(self.nodes[n].disk == UP for n in group)
        ]


nodes = st.integers(0, 59)
events = st.one_of(
    st.tuples(st.just("split"), st.sets(nodes, min_size=1, max_size=4)),
    st.tuples(st.just("leave"), nodes),
    st.tuples(st.just("crash"), nodes),
    st.tuples(st.just("join"), nodes, nodes),
)


@settings(max_examples=2500, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(0, 2),
    st.sampled_from([MAJORITY, ALL]),
    st.lists(events, max_size=9),
)
def test_two_groups_never_both_have_quorum(
    diskful: int, diskless: int, quorum: int, history: list[tuple[object, ...]]
) -> None:
    cluster = Cluster(diskful, diskless, Rules(quorum=quorum))
    assert all(node.had_quorum for node in cluster.nodes)
    count = diskful + diskless
    for event in history:
        match event:
            case ("split", set() as chosen):
                cluster.split({n % count for n in chosen})
            case ("leave", int(n)):
                cluster.leave(n % count)
            case ("crash", int(n)):
                cluster.crash(n % count)
            case ("join", int(a), int(b)):
                cluster.join(a % count, b % count)
        assert len(cluster.writable()) <= 1, (event, cluster.groups)


LESSONS = [
    "split 0, leave 1, join 1 0, split 0, join 2 0, leave 0, leave 2, join 1 0, join 2 0",
    (
        "leave 0, leave 1, leave 2, join 1 0, join 2 0, split 0, join 3 0, split 0, join 3 1, "
        "leave 1, leave 3, join 1 0, join 3 0"
    ),
]


@pytest.mark.parametrize("history", LESSONS, ids=["made good by a stale node", "votes without good data"])
def test_histories_that_once_gave_two_groups(history: str) -> None:
    cluster = Cluster(4, 0, Rules())
    for step in history.split(", "):
        verb, *words = step.split()
        numbers = [int(word) for word in words]
        match verb:
            case "split":
                cluster.split(set(numbers))
            case "leave":
                cluster.leave(*numbers)
            case _:
                cluster.join(*numbers)
        assert len(cluster.writable()) <= 1, step


def test_only_a_peer_with_quorum_makes_old_data_good() -> None:
    assert not may_follow(here(1), Rules())
    assert may_follow(here(1, quorum=True), Rules())
    assert may_follow(here(1), Rules(quorum=OFF))


def _key(cluster: Cluster) -> object:
    memory = tuple(
        (node.disk, node.had_quorum, node.members, node.restored, tuple(sorted(node.seen.items())))
        for node in cluster.nodes
    )
    return memory, frozenset(frozenset(group) for group in cluster.groups)


def _successors(cluster: Cluster) -> list[Cluster]:
    """Every single event from here."""
    count = len(cluster.nodes)
    calls: list[tuple[str, tuple[object, ...]]] = [
        ("split", ({n for n in range(count) if mask >> n & 1},)) for mask in range(1, 1 << (count - 1))
    ]
    calls += [(verb, (n,)) for verb in ("leave", "crash") for n in range(count)]
    calls += [("join", (a, b)) for a in range(count) for b in range(a)]
    results = []
    for verb, arguments in calls:
        after = deepcopy(cluster)
        getattr(after, verb)(*arguments)
        results.append(after)
    return results


@pytest.mark.parametrize(("diskful", "diskless"), [(1, 1), (1, 2), (2, 0), (2, 1), (3, 0)])
def test_all_reachable_states_of_small_clusters(diskful: int, diskless: int) -> None:
    """Not a sample: every state that any sequence of events can lead to."""
    start = Cluster(diskful, diskless, Rules())
    known, todo = {_key(start)}, [start]
    while todo:
        cluster = todo.pop()
        assert len(cluster.writable()) <= 1, cluster.groups
        for after in _successors(cluster):
            key = _key(after)
            if key not in known:
                known.add(key)
                todo.append(after)
