"""The decision table, rule by rule, and that both sides always come to mirrored outcomes."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.protocol.commands import AfterSplitBrain, WireProtocol
from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.handshake import changed_since_sent, compare, decide
from bollard.replica.protocol.outcomes import Basis, LostPrimary, Rule, Settings, Side, Strategy
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.uuids import UNKNOWN, UuidFlag

A, B, C, D, E = 0xA0, 0xB0, 0xC0, 0xD0, 0xE0
STABLE = int(UuidFlag.STABLE)
RECONNECT = STABLE | int(UuidFlag.RECONNECT)
CRASHED = STABLE | int(UuidFlag.CRASHED_PRIMARY)
LOST = STABLE | int(UuidFlag.PRIMARY_LOST_QUORUM)
NO, SRC, TGT = Strategy.NO_SYNC, Strategy.SYNC_SOURCE, Strategy.SYNC_TARGET


def me(current: int = A, **more: object) -> Side:
    return Side(**{"node_id": 0, "current": current, "flags": STABLE, "resolve_conflicts": True, **more})  # type: ignore[arg-type]


def peer(current: int = A, **more: object) -> Side:
    return Side(**{"node_id": 1, "current": current, "flags": STABLE, **more})  # type: ignore[arg-type]


PRIMARY = Role.PRIMARY
CASES = [
    ("1", me(4), peer(4), Rule.JUST_CREATED_BOTH, NO, False, None),
    ("1 zero", me(0), peer(4), Rule.JUST_CREATED_BOTH, NO, False, None),
    ("2", me(4), peer(), Rule.JUST_CREATED_SELF, TGT, True, None),
    ("3", me(), peer(4), Rule.JUST_CREATED_PEER, SRC, True, None),
    ("4a", me(bitmap_uuids=((1, B),)), peer(history=(B,)), Rule.SYNC_SOURCE_MISSED_FINISH, SRC, False, None),
    ("4b", me(history=(B,)), peer(bitmap_uuids=((0, B),)), Rule.SYNC_TARGET_PEER_MISSED_FINISH, TGT, False,
     None),
    ("4c", me(flags=RECONNECT), peer(flags=RECONNECT), Rule.RECONNECTED, NO, False, None),
    ("4f", me(), peer(flags=LOST), Rule.LOST_QUORUM, TGT, False, None),
    ("4f now", me(role=PRIMARY), peer(flags=LOST), Rule.LOST_QUORUM, SRC, False, None),
    ("4g", me(flags=LOST), peer(), Rule.LOST_QUORUM, SRC, False, None),
    ("4h", me(flags=LOST), peer(flags=LOST), Rule.LOST_QUORUM, SRC, False, None),
    ("4i", me(flags=RECONNECT), peer(flags=CRASHED), Rule.RECONNECTED, SRC, False, None),
    ("4k", me(flags=CRASHED), peer(flags=RECONNECT), Rule.RECONNECTED, TGT, False, None),
    ("4l", me(flags=RECONNECT), peer(), Rule.RECONNECTED, NO, False, None),
    ("4m", me(flags=CRASHED), peer(), Rule.BOTH_OFF, SRC, False, None),
    ("4m now", me(flags=CRASHED), peer(role=PRIMARY), Rule.BOTH_OFF, TGT, False, None),
    ("4n", me(flags=CRASHED), peer(flags=CRASHED), Rule.BOTH_OFF, TGT, False, None),
    ("4o", me(), peer(flags=CRASHED), Rule.BOTH_OFF, TGT, False, None),
    ("4p", me(), peer(), Rule.BOTH_OFF, NO, False, None),
    ("4p primary bit", me(A | 1), peer(A), Rule.BOTH_OFF, NO, False, None),
    ("5", me(), peer(B, bitmap_uuids=((0, A),)), Rule.BITMAP_PEER, TGT, False, None),
    ("6", me(), peer(B, bitmap_uuids=((0, C), (3, A))), Rule.BITMAP_PEER_OTHER, TGT, False, 3),
    ("7", me(bitmap_uuids=((1, B | 1),)), peer(B), Rule.BITMAP_SELF, SRC, False, None),
    ("8", me(bitmap_uuids=((1, C), (7, B))), peer(B), Rule.BITMAP_SELF_OTHER, SRC, False, 7),
    ("9", me(), peer(B, history=(C, A)), Rule.HISTORY_PEER, TGT, True, None),
    ("10", me(history=(B,)), peer(B), Rule.HISTORY_SELF, SRC, True, None),
    ("11", me(bitmap_uuids=((1, C),)), peer(B, bitmap_uuids=((0, C | 1),)), Rule.BITMAP_BOTH,
     Strategy.SPLIT_BRAIN, False, None),
    ("12", me(history=(D, C)), peer(B, history=(C,)), Rule.HISTORY_BOTH, Strategy.SPLIT_BRAIN, True, None),
    ("13", me(history=(D,)), peer(B, history=(C,)), Rule.UNRELATED, Strategy.UNRELATED, False, None),
    ("5 and 7", me(bitmap_uuids=((1, B),)), peer(B, bitmap_uuids=((0, A),)), Rule.BITMAP_BOTH,
     Strategy.SPLIT_BRAIN, False, None),
    ("6 and 7", me(bitmap_uuids=((1, B),)), peer(B, bitmap_uuids=((3, A),)), Rule.HISTORY_BOTH,
     Strategy.SPLIT_BRAIN, True, None),
    ("unset slots are no split", me(bitmap_uuids=((1, 0),)), peer(B, bitmap_uuids=((0, 0),)), Rule.UNRELATED,
     Strategy.UNRELATED, False, None),
    ("unknown slots are no split", me(bitmap_uuids=((1, UNKNOWN),)), peer(B, bitmap_uuids=((0, UNKNOWN),)),
     Rule.UNRELATED, Strategy.UNRELATED, False, None),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_each_rule(case: tuple[str, Side, Side, Rule, Strategy, bool, int | None]) -> None:
    _, mine, theirs, rule, strategy, full, slot = case
    decision = decide(mine, theirs, Settings(copy_slots=True))
    assert (decision.rule, decision.strategy, decision.full, decision.slot) == (rule, strategy, full, slot)


def test_bits_for_another_node_are_not_trusted_by_default() -> None:
    left, right = me(bitmap_uuids=((1, C), (7, B))), peer(B)
    decision = decide(left, right, Settings())
    assert (decision.strategy, decision.full, decision.slot) == (SRC, True, None)
    assert decide(left, right, Settings(copy_slots=True)).slot == 7


@pytest.mark.parametrize("protocol", [WireProtocol.A, WireProtocol.B])
def test_asynchronous_protocols_follow_the_crashed_primary(protocol: WireProtocol) -> None:
    rules = Settings(protocol=protocol)
    assert decide(me(flags=CRASHED), peer(), rules).rule is Rule.CRASHED_PRIMARY
    assert decide(me(flags=CRASHED), peer(role=PRIMARY), rules).strategy is SRC
    assert decide(me(), peer(flags=CRASHED), rules).strategy is TGT
    assert decide(me(flags=CRASHED), peer(flags=RECONNECT), rules).strategy is SRC
    old = Settings(protocol=protocol, version=120)
    assert decide(me(flags=CRASHED), peer(flags=RECONNECT), old).strategy is TGT


def test_reconnect_comes_first_only_from_120() -> None:
    both = int(UuidFlag.PRIMARY_LOST_QUORUM) | RECONNECT
    assert decide(me(flags=both), peer(flags=RECONNECT), Settings(version=120)).rule is Rule.RECONNECTED
    assert decide(me(flags=both), peer(flags=RECONNECT), Settings(version=119)).rule is Rule.LOST_QUORUM


def test_equal_generations_and_one_inconsistent_disk() -> None:
    worse = me(disk=DiskState.INCONSISTENT, dirty_bits=2)
    decision = decide(worse, peer(), Settings())
    assert (decision.strategy, decision.full, decision.basis) == (TGT, False, Basis.DISK_STATES)
    assert decide(worse, peer(), Settings(version=118)).strategy is NO


def test_outdated_and_up_to_date_need_no_sync() -> None:
    assert decide(me(disk=DiskState.OUTDATED), peer(), Settings()).strategy is NO
    assert decide(me(disk=DiskState.OUTDATED), peer(disk=DiskState.OUTDATED), Settings()).strategy is NO


def test_better_disk_wins_over_the_last_writer() -> None:
    decision = decide(me(flags=CRASHED, disk=DiskState.OUTDATED), peer(), Settings())
    assert (decision.rule, decision.strategy) == (Rule.BOTH_OFF, TGT)


def test_a_mixture_is_no_source() -> None:
    decision = decide(me(bitmap_uuids=((1, B),), disk=DiskState.INCONSISTENT), peer(B), Settings())
    assert (decision.strategy, decision.basis) == (Strategy.RETRY_CONNECT, Basis.INCONSISTENT_SOURCE)


def test_two_mixtures_of_one_generation_are_not_equal() -> None:
    mixed = DiskState.INCONSISTENT
    decision = decide(me(disk=mixed), peer(disk=mixed), Settings())
    assert (decision.strategy, decision.basis) == (Strategy.RETRY_CONNECT, Basis.BOTH_INCONSISTENT)
    assert not decide(me(4, disk=mixed), peer(4, disk=mixed), Settings()).in_sync
    assert decide(me(), peer(), Settings()).in_sync


def test_target_of_a_third_node_needs_everything() -> None:
    foreign = STABLE | int(UuidFlag.SYNC_TARGET)
    worse = peer(flags=foreign, disk=DiskState.INCONSISTENT)
    assert decide(me(), worse, Settings()).full
    mine = peer(flags=foreign, disk=DiskState.INCONSISTENT, bitmap_uuids=((0, UNKNOWN),))
    assert not decide(me(), mine, Settings()).full


RECONCILE = Settings(features=Feature.RECONCILE_RECONNECT)
LEFTOVER = [
    ((1, 9), (0, 50), SRC),
    ((0, 50), (1, 9), TGT),
    ((1, 50), (1, 9), SRC),
    ((1, 9), (1, 50), TGT),
    ((1, 9), (1, 9), SRC),
    ((0, 9), (0, 50), NO),
]


@pytest.mark.parametrize(("mine", "theirs", "strategy"), LEFTOVER)
def test_survivors_of_one_primary(mine: tuple[int, int], theirs: tuple[int, int], strategy: Strategy) -> None:
    left = me(flags=RECONNECT, dirty_bits=mine[0], lost_primary=LostPrimary(5, mine[1]))
    right = peer(flags=RECONNECT, dirty_bits=theirs[0], lost_primary=LostPrimary(5, theirs[1]))
    decision = decide(left, right, RECONCILE)
    assert (decision.strategy, decision.checksums) == (strategy, strategy is not NO)
    assert decide(left, right, Settings()).strategy is NO
    other = msgspec.structs.replace(right, lost_primary=LostPrimary(6, 9))
    assert decide(left, other, RECONCILE).strategy is NO


def test_change_between_sending_and_deciding_is_seen() -> None:
    assert not changed_since_sent(me(), me(dirty_bits=8))
    assert changed_since_sent(me(), me(B))
    assert changed_since_sent(me(), me(bitmap_uuids=((1, B),)))


uuids = st.sampled_from([0, 4, A, A | 1, B, B | 1, C, C | 1, D, E, UNKNOWN])
flags = st.lists(st.sampled_from([int(flag) for flag in UuidFlag if flag < UuidFlag.HAS_UNALLOC]), max_size=4)
slots = st.dictionaries(st.sampled_from([0, 1, 2, 3]), uuids, max_size=3)


@st.composite
def sides(draw: st.DrawFn, node_id: int, resolves: bool) -> Side:
    return Side(
        node_id=node_id,
        current=draw(uuids),
        bitmap_uuids=tuple(sorted(draw(slots).items())),
        history=tuple(draw(st.lists(uuids, max_size=3))),
        flags=sum(set(draw(flags))),
        dirty_bits=draw(st.sampled_from([0, 1, 2])),
        disk=draw(st.sampled_from(DiskState)),
        role=draw(st.sampled_from([Role.PRIMARY, Role.SECONDARY])),
        resolve_conflicts=resolves,
        quorum=draw(st.booleans()),
        lost_primary=draw(st.none() | st.builds(LostPrimary, st.just(2), st.sampled_from([8, 9]))),
    )


rule_sets = st.builds(
    Settings,
    version=st.integers(118, 124),
    features=st.sampled_from([Feature.NONE, Feature.RECONCILE_RECONNECT, Feature.KEEPS_LEFTOVERS]),
    protocol=st.sampled_from(WireProtocol),
    after_sb_0p=st.sampled_from(AfterSplitBrain),
    after_sb_1p=st.sampled_from(AfterSplitBrain),
    after_sb_2p=st.sampled_from(AfterSplitBrain),
    always_asbp=st.booleans(),
    quorum_configured=st.booleans(),
    copy_slots=st.booleans(),
)


@settings(max_examples=1500, deadline=None)
@given(sides(0, True), sides(1, False), rule_sets)
def test_both_sides_come_to_mirrored_outcomes(left: Side, right: Side, rules: Settings) -> None:
    assert decide(right, left, rules.mirrored()) == decide(left, right, rules).mirrored()


@settings(max_examples=300, deadline=None)
@given(sides(0, True), sides(1, False), rule_sets)
def test_bits_are_enough_only_where_a_slot_or_equal_data_proves_it(
    left: Side, right: Side, rules: Settings
) -> None:
    """A sync by bitmap needs equal generations, a slot that names the target's generation, or split slots."""
    decision = decide(left, right, rules)
    if decision.strategy not in (SRC, TGT) or decision.full:
        return
    base = compare(left, right, rules).rule
    assert base not in (Rule.HISTORY_SELF, Rule.HISTORY_PEER, Rule.HISTORY_BOTH, Rule.UNRELATED)
