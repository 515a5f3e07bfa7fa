"""After-split-brain policies, discard-my-data, rr-conflict: the tables line by line."""

import pytest

from bollard.replica.protocol.commands import AfterSplitBrain as Asb
from bollard.replica.protocol.handshake import decide
from bollard.replica.protocol.outcomes import Basis, Decision, Rule, Settings, Side, Strategy
from bollard.replica.protocol.split_brain import LostRole, judge_lost_role
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.uuids import UuidFlag

STABLE = int(UuidFlag.STABLE)
DISCARD = STABLE | int(UuidFlag.DISCARD_MY_DATA)
SRC, TGT, SB = Strategy.SYNC_SOURCE, Strategy.SYNC_TARGET, Strategy.SPLIT_BRAIN
P, S = Role.PRIMARY, Role.SECONDARY


def me(slot: int = 0xC0, **more: object) -> Side:
    base = {
        "node_id": 0,
        "current": 0xA0,
        "bitmap_uuids": ((1, slot),),
        "flags": STABLE,
        "resolve_conflicts": True,
    }
    return Side(**{**base, **more})  # type: ignore[arg-type]


def peer(slot: int = 0xC0, **more: object) -> Side:
    base = {"node_id": 1, "current": 0xB0, "bitmap_uuids": ((0, slot),), "flags": STABLE}
    return Side(**{**base, **more})  # type: ignore[arg-type]


ZERO_PRIMARIES = [
    (Asb.DISCONNECT, me(), peer(), SB),
    (Asb.DISCARD_YOUNGER, me(0xC1), peer(0xC0), SRC),
    (Asb.DISCARD_YOUNGER, me(0xC0), peer(0xC1), TGT),
    (Asb.DISCARD_OLDER, me(0xC1), peer(0xC0), TGT),
    (Asb.DISCARD_OLDER, me(0xC0), peer(0xC1), SRC),
    (Asb.DISCARD_YOUNGER, me(dirty_bits=3), peer(dirty_bits=2), SRC),
    (Asb.DISCARD_OLDER, me(dirty_bits=0), peer(dirty_bits=2), TGT),
    (Asb.DISCARD_ZERO_CHANGES, me(dirty_bits=0), peer(dirty_bits=2), TGT),
    (Asb.DISCARD_ZERO_CHANGES, me(dirty_bits=1), peer(dirty_bits=0), SRC),
    (Asb.DISCARD_ZERO_CHANGES, me(dirty_bits=1), peer(dirty_bits=2), SB),
    (Asb.DISCARD_ZERO_CHANGES, me(), peer(), TGT),
    (Asb.DISCARD_LEAST_CHANGES, me(dirty_bits=1), peer(dirty_bits=2), TGT),
    (Asb.DISCARD_LEAST_CHANGES, me(dirty_bits=2), peer(dirty_bits=1), SRC),
    (Asb.DISCARD_LEAST_CHANGES, me(dirty_bits=2), peer(dirty_bits=2), TGT),
    (Asb.DISCARD_LOCAL, me(), peer(), TGT),
    (Asb.DISCARD_REMOTE, me(), peer(), SRC),
]


@pytest.mark.parametrize(("policy", "mine", "theirs", "strategy"), ZERO_PRIMARIES)
def test_no_primary(policy: Asb, mine: Side, theirs: Side, strategy: Strategy) -> None:
    decision = decide(mine, theirs, Settings(after_sb_0p=policy))
    assert (decision.rule, decision.strategy, decision.full) == (Rule.BITMAP_BOTH, strategy, False)
    assert decision.split_brain
    assert decision.disconnect == (strategy is SB)


ONE_PRIMARY = [
    (Asb.DISCONNECT, Asb.DISCARD_REMOTE, P, SB, False),
    (Asb.CONSENSUS, Asb.DISCARD_REMOTE, P, SRC, False),
    (Asb.CONSENSUS, Asb.DISCARD_LOCAL, P, SB, False),
    (Asb.CONSENSUS, Asb.DISCONNECT, P, SB, False),
    (Asb.VIOLENTLY, Asb.DISCARD_LOCAL, P, TGT, False),
    (Asb.VIOLENTLY, Asb.DISCARD_REMOTE, S, SRC, False),
    (Asb.DISCARD_SECONDARY, Asb.DISCONNECT, P, SRC, False),
    (Asb.DISCARD_SECONDARY, Asb.DISCONNECT, S, TGT, False),
    (Asb.CALL_HELPER, Asb.DISCARD_LOCAL, P, TGT, True),
    (Asb.CALL_HELPER, Asb.DISCARD_REMOTE, P, SRC, False),
    (Asb.CALL_HELPER, Asb.DISCARD_REMOTE, S, SRC, True),
]


@pytest.mark.parametrize(("policy", "zero", "role", "strategy", "demote"), ONE_PRIMARY)
def test_one_primary(policy: Asb, zero: Asb, role: Role, strategy: Strategy, demote: bool) -> None:
    other = S if role is P else P
    decision = decide(me(role=role), peer(role=other), Settings(after_sb_0p=zero, after_sb_1p=policy))
    assert (decision.strategy, decision.demote_loser) == (strategy, demote)


@pytest.mark.parametrize(
    ("policy", "strategy", "demote"),
    [(Asb.DISCONNECT, SB, False), (Asb.VIOLENTLY, TGT, False), (Asb.CALL_HELPER, TGT, True)],
)
def test_two_primaries(policy: Asb, strategy: Strategy, demote: bool) -> None:
    rules = Settings(after_sb_0p=Asb.DISCARD_LOCAL, after_sb_2p=policy)
    decision = decide(me(role=P), peer(role=P), rules)
    assert (decision.strategy, decision.demote_loser) == (strategy, demote)


def far(side: Side) -> Side:
    """Only history in common."""
    return Side(
        **{
            **{name: getattr(side, name) for name in side.__struct_fields__},
            "bitmap_uuids": (),
            "history": (0xC0,),
        }
    )


def test_history_alone_needs_always_asbp_and_a_full_sync() -> None:
    rules = Settings(after_sb_0p=Asb.DISCARD_REMOTE)
    assert decide(far(me()), far(peer()), rules).strategy is SB
    forced = decide(far(me()), far(peer()), Settings(after_sb_0p=Asb.DISCARD_REMOTE, always_asbp=True))
    assert (forced.strategy, forced.full) == (SRC, True)


def test_unstable_sides_wait() -> None:
    decision = decide(me(flags=0), peer(), Settings(after_sb_0p=Asb.DISCARD_REMOTE))
    assert (decision.strategy, decision.basis) == (Strategy.RETRY_CONNECT, Basis.UNSTABLE)


def test_quorum_decides_before_the_policies() -> None:
    rules = Settings(after_sb_0p=Asb.DISCARD_REMOTE, quorum_configured=True)
    assert decide(me(quorum=False), peer(), rules).strategy is TGT
    assert decide(me(), peer(quorum=False), rules).basis is Basis.QUORUM
    assert decide(me(), peer(), rules).basis is Basis.AFTER_SPLIT_BRAIN


def test_discard_my_data() -> None:
    assert decide(me(flags=DISCARD), peer(), Settings()).strategy is TGT
    assert decide(me(), peer(flags=DISCARD), Settings()).strategy is SRC
    assert decide(me(flags=DISCARD), peer(flags=DISCARD), Settings()).strategy is SB
    history = decide(far(me(flags=DISCARD)), far(peer()), Settings())
    assert (history.strategy, history.full) == (TGT, True)


def test_discard_my_data_may_turn_a_resync_round() -> None:
    ahead, behind = me(slot=0xB0, flags=DISCARD), peer(slot=0)
    turned = decide(ahead, behind, Settings(version=121))
    assert (turned.strategy, turned.full, turned.basis) == (TGT, False, Basis.DISCARD_MY_DATA)
    assert decide(ahead, behind, Settings(version=120)).strategy is SRC
    by_slot = me(bitmap_uuids=((5, 0xB0),), flags=DISCARD)
    assert decide(by_slot, behind, Settings(copy_slots=True)).full


def test_unrelated_data_stays_unrelated() -> None:
    lonely = Side(node_id=1, current=0xB0, flags=DISCARD)
    assert decide(me(slot=0), lonely, Settings(always_asbp=True)).disconnect


TARGET = Decision(Rule.BITMAP_PEER, TGT)


@pytest.mark.parametrize(
    ("policy", "reaction"),
    [
        (Asb.DISCONNECT, LostRole.DISCONNECT),
        (Asb.RETRY_CONNECT, LostRole.RETRY_CONNECT),
        (Asb.CALL_HELPER, LostRole.CALL_PRI_LOST),
        (Asb.VIOLENTLY, LostRole.GO_ON),
        (Asb.AUTO_DISCARD, LostRole.AUTO_DISCARD),
    ],
)
def test_a_primary_does_not_become_a_target_unasked(policy: Asb, reaction: LostRole) -> None:
    assert judge_lost_role(me(role=P, dirty_bits=1), peer(), TARGET, policy) is reaction
    assert judge_lost_role(me(role=S, dirty_bits=1), peer(), TARGET, policy) is LostRole.GO_ON
    assert judge_lost_role(me(role=P), peer(), TARGET, policy) is LostRole.GO_ON
    low = me(role=P, dirty_bits=1, disk=DiskState.OUTDATED)
    assert judge_lost_role(low, peer(), TARGET, policy) is LostRole.GO_ON
