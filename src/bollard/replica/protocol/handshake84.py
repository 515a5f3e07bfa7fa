"""Who syncs from whom in protocol 101: 8.4's rules 10 to 100. Pure, and mirrored like handshake.py."""

import msgspec

from bollard.replica.protocol.outcomes import Basis, Decision, Rule, Settings, Side, Strategy
from bollard.replica.protocol.split_brain import apply_discard_my_data, resolve_split_brain
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.uuids import (
    JUST_CREATED,
    SYNC_UUID_OFFSET,
    UINT64_MASK,
    UNSET,
    UuidFlag,
    masked,
    same,
)

_SOURCE, _TARGET = Strategy.SYNC_SOURCE, Strategy.SYNC_TARGET
HISTORY_ENTRIES = 2


def decide84(me: Side, peer: Side, settings: Settings) -> Decision:
    """The whole handshake below protocol 110. Each side has one slot and two history entries."""
    assert me.resolve_conflicts != peer.resolve_conflicts, "exactly one side resolves conflicts"
    decision = _prefer_consistent_disk(me, peer, compare84(me, peer))
    if decision.strategy is Strategy.SPLIT_BRAIN:
        decision = resolve_split_brain(me, peer, settings, decision)
    return apply_discard_my_data(me, peer, settings, decision)


def compare84(me: Side, peer: Side) -> Decision:
    """Generations only; `number` is 8.4's own."""
    fresh_self = masked(me.current) in (UNSET, JUST_CREATED)
    fresh_peer = masked(peer.current) in (UNSET, JUST_CREATED)
    if fresh_self and fresh_peer:
        return Decision(Rule.JUST_CREATED_BOTH, Strategy.NO_SYNC, number=10)
    if fresh_self:
        return Decision(Rule.JUST_CREATED_SELF, _TARGET, full=True, number=20)
    if fresh_peer:
        return Decision(Rule.JUST_CREATED_PEER, _SOURCE, full=True, number=30)
    if same(me.current, peer.current):
        return _compare_equal(me, peer)
    behind, ahead = _behind(me, peer), _behind(peer, me)
    if behind is not None and ahead is not None:
        # Each claims to be ahead of the other; plain order would make both a target.
        return Decision(Rule.HISTORY_BOTH, Strategy.SPLIT_BRAIN, full=True, number=100)
    if behind is not None:
        return behind
    if ahead is not None:
        return msgspec.structs.replace(ahead.mirrored(), number=ahead.number + 20)
    if same(me.slot(peer.node_id), peer.slot(me.node_id)):
        return Decision(Rule.BITMAP_BOTH, Strategy.SPLIT_BRAIN, number=90)
    if any(same(mine, theirs) for mine in me.history for theirs in peer.history):
        return Decision(Rule.HISTORY_BOTH, Strategy.SPLIT_BRAIN, full=True, number=100)
    return Decision(Rule.UNRELATED, Strategy.UNRELATED, number=100)


def _behind(me: Side, peer: Side) -> Decision | None:
    """Rules 50 to 60: I am where the peer once was. Seen from the peer they are 70 to 80."""
    peer_slot = peer.slot(me.node_id)
    if same(me.current, peer_slot):
        return Decision(Rule.BITMAP_PEER, _TARGET, number=50)
    if same(me.current, _first(peer)) and _sync_uuid_lost(_first(peer), peer_slot):
        return Decision(Rule.SYNC_UUID_LOST_PEER, _TARGET, number=51)
    if any(same(me.current, uuid) for uuid in peer.history):
        return Decision(Rule.HISTORY_PEER, _TARGET, full=True, number=60)
    return None


def _compare_equal(me: Side, peer: Side) -> Decision:
    my_slot, peer_slot = masked(me.slot(peer.node_id)), masked(peer.slot(me.node_id))
    if my_slot and not peer_slot:
        missed = same(my_slot, _first(peer)) and _second(peer) == _first(me)
        return Decision(Rule.SYNC_SOURCE_MISSED_FINISH, _SOURCE, number=34 if missed else 36)
    if peer_slot and not my_slot:
        missed = same(peer_slot, _first(me)) and _second(me) == _first(peer)
        return Decision(Rule.SYNC_TARGET_PEER_MISSED_FINISH, _TARGET, number=35 if missed else 37)
    my_crash, peer_crash = me.has(UuidFlag.CRASHED_PRIMARY), peer.has(UuidFlag.CRASHED_PRIMARY)
    if not (my_crash or peer_crash):
        return Decision(Rule.BOTH_OFF, Strategy.NO_SYNC, number=40)
    i_am_primary, peer_is_primary = me.role is Role.PRIMARY, peer.role is Role.PRIMARY
    if i_am_primary and peer_is_primary:
        # One crashed, and yet both write in one generation: nothing tells who has what.
        return Decision(Rule.BOTH_OFF, Strategy.SPLIT_BRAIN, full=True, number=41)
    if i_am_primary or peer_is_primary:
        return Decision(Rule.BOTH_OFF, _SOURCE if i_am_primary else _TARGET, number=41)
    i_am_source = not me.resolve_conflicts if my_crash and peer_crash else my_crash
    return Decision(Rule.BOTH_OFF, _SOURCE if i_am_source else _TARGET, number=40)


def _sync_uuid_lost(started_from: int, slot: int) -> bool:
    """The source had moved its slot on for a resync whose P_SYNC_UUID never arrived."""
    return same((masked(started_from) + SYNC_UUID_OFFSET) & UINT64_MASK, slot)


def _first(side: Side) -> int:
    return masked(side.history[0]) if side.history else UNSET


def _second(side: Side) -> int:
    return masked(side.history[1]) if len(side.history) > 1 else UNSET


def _prefer_consistent_disk(me: Side, peer: Side, decision: Decision) -> Decision:
    """If exactly one side is Inconsistent, the other is the source, whatever the generations say."""
    low, high = sorted((me.disk, peer.disk))
    if not (low == DiskState.INCONSISTENT < high) or decision.strategy is Strategy.UNRELATED:
        return decision
    i_am_source = me.disk > DiskState.INCONSISTENT
    strategy = _SOURCE if i_am_source else _TARGET
    if decision.strategy is strategy:
        return decision
    return msgspec.structs.replace(decision, strategy=strategy, basis=Basis.DISK_STATES)
