"""Random lives of two and three nodes with real data: no acknowledged write is lost, bits always suffice.

The rules under test are those of handshake.py and generations.py; the model only moves blocks and keeps bits.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.protocol import generations as g
from bollard.replica.protocol.handshake import decide
from bollard.replica.protocol.outcomes import Decision, Rule, Settings, Side, Strategy
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.uuids import UuidFlag

BLOCKS = 3
ALL = frozenset(range(BLOCKS))
UP, BAD = DiskState.UP_TO_DATE, DiskState.INCONSISTENT


@dataclass
class Node:
    """`writes`: the acknowledged writes that the data contains; `bits`: blocks a peer may lack."""

    number: int
    generations: g.Generations
    disk: DiskState = UP
    role: Role = Role.SECONDARY
    data: list[int] = field(default_factory=lambda: [0] * BLOCKS)
    writes: set[int] = field(default_factory=set)
    bits: dict[int, set[int]] = field(default_factory=dict)
    crashed: bool = False
    met: set[int] = field(default_factory=set)


class World:
    """Nodes, the groups in which they are connected, and a supply of new generations."""

    def __init__(self, count: int, *, fresh: bool) -> None:
        start = g.Generations() if fresh else g.Generations(current=0x1000)
        disk = BAD if fresh else UP
        self.nodes = [Node(n, start, disk) for n in range(count)]
        for node in self.nodes:
            node.bits = {n: set() for n in range(count) if n != node.number}
            node.met = set(node.bits)
        self.groups = [set(range(count))]
        self.counter = 0x1000
        self.write_id = 0
        self.rules: Counter[Rule] = Counter()

    def uuid(self) -> int:
        self.counter += 0x10
        return self.counter

    def group_of(self, n: int) -> set[int]:
        return next(group for group in self.groups if n in group)

    def primary_in(self, group: set[int]) -> bool:
        return any(self.nodes[n].role is Role.PRIMARY for n in group)

    def peers_of(self, node: Node) -> dict[int, g.PeerDisk]:
        group = self.group_of(node.number)
        return {n: g.PeerDisk(self.nodes[n].disk if n in group else DiskState.UNKNOWN) for n in node.bits}

    def side(self, node: Node, peer: int) -> Side:
        flags = UuidFlag.STABLE
        flags |= UuidFlag.RECONNECT if peer in node.met else UuidFlag.NONE
        flags |= UuidFlag.CRASHED_PRIMARY if node.crashed else UuidFlag.NONE
        return Side(
            node_id=node.number,
            current=node.generations.current,
            bitmap_uuids=node.generations.pairs(node.bits),
            history=node.generations.history,
            flags=int(flags),
            dirty_bits=len(node.bits[peer]),
            disk=node.disk,
            role=node.role,
            resolve_conflicts=node.number < peer,
        )

    # ---- events

    def force(self, n: int) -> None:
        """`primary --force`, on an untouched cluster only: elsewhere it may lose data by design."""
        if any(node.disk is UP or node.role is Role.PRIMARY for node in self.nodes):
            return
        node = self.nodes[n]
        node.generations = g.force_primary(
            node.generations, self.peers_of(node), uuid=self.uuid(), fresh_uuid=self.uuid()
        ).generations
        node.disk, node.role = UP, Role.PRIMARY
        for peer in node.bits:
            node.bits[peer] = set(ALL)
        for n_other in self.group_of(n) - {n}:
            self.split({n_other})

    def promote(self, n: int) -> None:
        node = self.nodes[n]
        if node.disk is UP and not self.primary_in(self.group_of(n)):
            node.role = Role.PRIMARY
            node.generations = g.set_primary(node.generations, primary=True)

    def demote(self, n: int) -> None:
        node = self.nodes[n]
        node.role = Role.SECONDARY
        node.generations = g.set_primary(node.generations, primary=False)

    def new_generation(self, node: Node) -> None:
        group = self.group_of(node.number)
        weak = sum(1 << n for n in node.bits if n not in group or self.nodes[n].disk is not UP)
        before = node.generations.current
        node.generations = g.new_generation(
            node.generations,
            self.peers_of(node),
            uuid=self.uuid(),
            fresh_uuid=self.uuid(),
            weak=weak,
            primary=node.role is Role.PRIMARY,
        ).generations
        if node.generations.current == before:
            return
        for n in group - {node.number}:
            other = self.nodes[n]
            if other.disk is UP:
                other.generations = g.receive_new_generation(
                    other.generations,
                    self.peers_of(other),
                    me=n,
                    uuid=node.generations.current,
                    weak=weak,
                    fresh_uuid=self.uuid(),
                )

    def write(self, n: int, block: int, reached: set[int] | None = None) -> None:
        """`reached`: the Primary dies with the write under way, and only these have it."""
        node = self.nodes[n]
        if node.role is not Role.PRIMARY:
            return
        self.new_generation(node)
        self.write_id += 1
        receivers = {m for m in self.group_of(n) if self.nodes[m].disk is UP}
        for m in receivers if reached is None else receivers & reached:
            self.nodes[m].data[block] = self.write_id
        for m in receivers:
            for peer in self.nodes[m].bits:
                if peer not in receivers:
                    self.nodes[m].bits[peer].add(block)
            if reached is None:
                self.nodes[m].writes.add(self.write_id)
        if reached is not None:
            for peer in node.bits:  # replay of the activity log
                node.bits[peer].add(block)
            self.crash(n)

    def crash(self, n: int) -> None:
        node = self.nodes[n]
        node.crashed = node.crashed or node.role is Role.PRIMARY
        node.role = Role.SECONDARY
        node.met = set()
        self.split({n})

    def replace_disk(self, n: int) -> None:
        """A new disk, as long as others hold everything."""
        node = self.nodes[n]
        others = [other for other in self.nodes if other is not node and other.disk is UP]
        if node.role is Role.PRIMARY or not any(node.writes <= other.writes for other in others):
            return
        self.split({n})
        node.generations, node.disk, node.crashed = g.Generations(), BAD, False
        node.data, node.writes, node.met = [-1] * BLOCKS, set(), set()
        node.bits = {peer: set(ALL) for peer in node.bits}

    def split(self, chosen: set[int]) -> None:
        self.groups = [part for group in self.groups for part in (group & chosen, group - chosen) if part]

    def join(self, a: int, b: int, stop_after: int | None = None) -> None:
        """The nodes of b's group come over to a's one by one. `stop_after`: a resync is cut there."""
        if b in self.group_of(a):
            return
        for n in sorted(self.group_of(b)):
            self.split({n})
            if not self._connect(n, a, stop_after):
                return

    def _connect(self, newcomer: int, a: int, stop_after: int | None) -> bool:
        group = self.group_of(a)
        if self.primary_in(group) and self.nodes[newcomer].role is Role.PRIMARY:
            return False
        decisions = {h: self._decide(newcomer, h) for h in sorted(group)}
        for h, decision in decisions.items():
            source, target = (newcomer, h) if decision.strategy is Strategy.SYNC_SOURCE else (h, newcomer)
            node = self.nodes[source]
            dirty = {n: len(bits) for n, bits in node.bits.items()}
            syncs = decision.strategy in (Strategy.SYNC_SOURCE, Strategy.SYNC_TARGET)
            if syncs and g.owes_unmarked(node.generations, self.peers_of(node), dirty, target=target):
                self.new_generation(node)
                decisions = {h: self._decide(newcomer, h) for h in sorted(group)}
                break
        if any(self._refused(newcomer, h, decision) for h, decision in decisions.items()):
            return False
        for h in sorted(group):
            node, other = self.nodes[newcomer], self.nodes[h]
            decision = self._decide(newcomer, h)
            assert not self._refused(newcomer, h, decision), decision
            node.met.add(h)
            other.met.add(newcomer)
            if decision.strategy is Strategy.NO_SYNC:
                if decision.in_sync:
                    self._in_sync(node, other)
                continue
            source, target = (node, other) if decision.strategy is Strategy.SYNC_SOURCE else (other, node)
            if not self._resync(source, target, decision, stop_after):
                self.split({target.number})
                return False
        group = self.group_of(a)
        self.groups = [part for part in self.groups if part not in (group, {newcomer})] + [group | {newcomer}]
        for m in group | {newcomer}:
            self.nodes[m].crashed = False
        return True

    def _decide(self, left: int, right: int) -> Decision:
        mine, theirs = self.side(self.nodes[left], right), self.side(self.nodes[right], left)
        decision = decide(mine, theirs, Settings())
        assert decide(theirs, mine, Settings()) == decision.mirrored()
        self.rules[decision.rule] += 1
        return decision

    def _refused(self, newcomer: int, h: int, decision: Decision) -> bool:
        if decision.strategy is Strategy.SPLIT_BRAIN:
            left, right = self.nodes[newcomer], self.nodes[h]
            crashed = left.crashed or right.crashed
            assert (
                crashed
                or not (left.writes <= right.writes and right.writes <= left.writes)
                or (left.data != right.data or left.generations.current != right.generations.current)
            )
        if decision.disconnect or decision.strategy is Strategy.RETRY_CONNECT:
            return True
        if decision.strategy is Strategy.NO_SYNC:
            return False
        target = newcomer if decision.strategy is Strategy.SYNC_TARGET else h
        return self.nodes[target].role is Role.PRIMARY

    def _in_sync(self, left: Node, right: Node) -> None:
        assert left.data == right.data, "connected without a resync, but the data differs"
        assert left.disk is right.disk is UP
        for one, two in ((left, right), (right, left)):
            side = self.side(two, one.number)
            others = [n for n in one.bits if n != two.number]
            also = g.vouched_for(one.generations, side, others)
            one.generations = g.connect_in_sync(one.generations, two.number, also=also)
            for n in (two.number, *also):
                one.bits[n] = set()

    def _resync(self, source: Node, target: Node, decision: Decision, stop_after: int | None) -> bool:
        s, t = source.number, target.number
        assert source.disk is UP, "an inconsistent node is never the source"
        assert target.writes <= source.writes, "a resync would lose acknowledged writes"
        if decision.slot is not None:
            source.bits[t] = set(source.bits[decision.slot])
            source.generations = g.copy_slot(source.generations, t, decision.slot)
            if not decision.keep_bits:
                target.bits[s] = set()
        todo = set(ALL) if decision.full else source.bits[t] | target.bits[s]
        if decision.rule is Rule.JUST_CREATED_PEER:
            assert decision.full
        handshake = self.side(source, t)
        source.generations = g.start_as_source(
            source.generations, self.side(target, s), full=decision.full, fresh_uuid=self.uuid()
        )
        peers = {n: g.PeerDisk(DiskState.UNKNOWN) for n in target.bits if n != s} | {s: g.PeerDisk(UP)}
        start = g.start_as_target(
            target.generations, self.side(source, t), peers, me=t, fresh_uuid=self.uuid()
        )
        target.generations = start.generations
        if len(self.nodes) == 2:
            target.generations = g.adopt_marker(start.generations, handshake, self.side(source, t), me=t)
        target.disk = BAD
        source.bits[t], target.bits[s] = set(todo), set(todo)
        for done, block in enumerate(sorted(todo)):
            if done == stop_after:
                return False
            target.data[block] = source.data[block]
            source.bits[t].discard(block)
            target.bits[s].discard(block)
            for other in target.bits:
                if other != s:
                    target.bits[other].add(block)
        assert target.data == source.data, "the resync left blocks behind"
        target.disk, target.writes = UP, set(source.writes)
        current = source.generations.current
        others = [n for n in target.bits if self.nodes[n].generations.current | 1 != current | 1]
        target.generations = g.finish_as_target(
            target.generations, self.side(source, t), start_uuid=start.start_uuid, me=t, others=others
        )
        source.generations = g.finish_as_source(source.generations, self.side(target, s), me=s)
        assert source.generations.bitmap_uuid(t) == 0
        return True


numbers = st.integers(0, 59)
blocks = st.integers(0, BLOCKS - 1)
events = st.one_of(
    st.tuples(st.just("write"), numbers, blocks),
    st.tuples(st.just("promote"), numbers),
    st.tuples(st.just("demote"), numbers),
    st.tuples(st.just("split"), numbers),
    st.tuples(st.just("join"), numbers, numbers),
    st.tuples(st.just("join"), numbers, numbers, st.integers(0, 2)),
    st.tuples(st.just("crash"), numbers),
    st.tuples(st.just("dies"), numbers, blocks, st.booleans(), st.booleans()),
    st.tuples(st.just("replace"), numbers),
)


def live(world: World, history: list[tuple[object, ...]]) -> None:
    count = len(world.nodes)
    for step in history:
        match step:
            case ("write", int(n), int(block)):
                world.write(n % count, block)
            case ("promote", int(n)):
                world.promote(n % count)
            case ("demote", int(n)):
                world.demote(n % count)
            case ("split", int(n)):
                world.split({n % count})
            case ("join", int(a), int(b)):
                world.join(a % count, b % count)
            case ("join", int(a), int(b), int(stop)):
                world.join(a % count, b % count, stop)
            case ("crash", int(n)):
                world.crash(n % count)
            case ("dies", int(n), int(block), bool(here), bool(there)):
                n %= count
                reached = ({n} if here else set()) | (set(range(count)) - {n} if there else set())
                world.write(n, block, reached)
            case ("replace", int(n)):
                world.replace_disk(n % count)


@settings(max_examples=600, deadline=None)
@given(st.lists(events, max_size=25), st.none() | numbers)
def test_two_nodes(history: list[tuple[object, ...]], forced: int | None) -> None:
    world = World(2, fresh=forced is not None)
    if forced is not None:
        world.force(forced % 2)
    live(world, history)


@settings(max_examples=1000, deadline=None)
@given(st.lists(events, max_size=25), st.none() | numbers)
def test_three_nodes(history: list[tuple[object, ...]], forced: int | None) -> None:
    world = World(3, fresh=forced is not None)
    if forced is not None:
        world.force(forced % 3)
    live(world, history)


def long_history(rng: random.Random, count: int) -> list[tuple[object, ...]]:
    """Mostly writes, splits and joins, with the rarer accidents in between."""
    steps: list[tuple[object, ...]] = []
    for _ in range(rng.randint(3, 30)):
        a, b, block = rng.randrange(count), rng.randrange(count), rng.randrange(BLOCKS)
        here, there = rng.random() < 0.6, rng.random() < 0.6
        pool: list[tuple[object, ...]] = [("write", a, block)] * 4 + [("promote", a)] * 3 + [("split", a)] * 2
        pool += [("join", a, b)] * 3 + [("demote", a), ("join", a, b, block), ("crash", a), ("replace", a)]
        steps.append(rng.choice([*pool, ("dies", a, block, here, there)]))
    return steps


@pytest.mark.parametrize(("count", "lives"), [(3, 2500), (4, 1500)])
def test_long_lives_use_every_rule(count: int, lives: int) -> None:
    """A fixed set of long histories; the failing seed is in the message."""
    used: Counter[Rule] = Counter()
    for seed in range(lives):
        rng = random.Random(seed)
        world = World(count, fresh=bool(seed % 2))
        history = long_history(rng, count)
        try:
            if seed % 2:
                world.force(0)
            live(world, history)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {history}") from error
        used += world.rules
    assert {Rule.BITMAP_SELF_OTHER, Rule.HISTORY_SELF, Rule.BITMAP_BOTH, Rule.BOTH_OFF} <= set(used)
