"""Split brain: the after-sb policies, discard-my-data and rr-conflict as functions of what was sent. Pure."""

from enum import StrEnum
from typing import Final

import msgspec

from bollard.replica.protocol.commands import AfterSplitBrain
from bollard.replica.protocol.outcomes import Basis, Decision, Rule, Settings, Side, Strategy
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.uuids import PRIMARY_BIT, UuidFlag

_SINCE_QUORUM: Final = 113
_SINCE_REVERSED_DISCARD: Final = 121


def resolve_split_brain(me: Side, peer: Side, settings: Settings, decision: Decision) -> Decision:
    """A source, a target, a later try (an unstable side), or the split brain as it was.

    An unstable side is Secondary to somebody else, and will know more when those two have settled.
    """
    automatic = decision.rule is not Rule.HISTORY_BOTH
    if automatic and settings.version >= 110 and not (me.has(UuidFlag.STABLE) and peer.has(UuidFlag.STABLE)):
        return msgspec.structs.replace(decision, strategy=Strategy.RETRY_CONNECT, basis=Basis.UNSTABLE)
    decision = msgspec.structs.replace(decision, split_brain=True)
    if not (automatic or settings.always_asbp):
        return decision
    if settings.quorum_configured and settings.version >= _SINCE_QUORUM and me.quorum != peer.quorum:
        return _decided(decision, i_am_source=me.quorum, basis=Basis.QUORUM)
    primaries = (me.role is Role.PRIMARY) + (peer.role is Role.PRIMARY)
    i_am_source = (_no_primary, _one_primary, _two_primaries)[primaries](me, peer, settings)
    if i_am_source is None:
        return decision
    policy = (settings.after_sb_0p, settings.after_sb_1p, settings.after_sb_2p)[primaries]
    loser = peer if i_am_source else me
    demote = policy is AfterSplitBrain.CALL_HELPER and loser.role is Role.PRIMARY
    decided = _decided(decision, i_am_source=i_am_source, basis=Basis.AFTER_SPLIT_BRAIN)
    return msgspec.structs.replace(decided, demote_loser=demote)


def apply_discard_my_data(me: Side, peer: Side, settings: Settings, decision: Decision) -> Decision:
    """Exactly one side gave its data up: it becomes the target of an unresolved or (121) reversed sync."""
    mine, theirs = me.has(UuidFlag.DISCARD_MY_DATA), peer.has(UuidFlag.DISCARD_MY_DATA)
    if mine == theirs:
        return decision
    if decision.strategy is Strategy.SPLIT_BRAIN:
        return _decided(decision, i_am_source=theirs, basis=Basis.DISCARD_MY_DATA)
    wrong_way = Strategy.SYNC_SOURCE if mine else Strategy.SYNC_TARGET
    if decision.strategy is not wrong_way or settings.version < _SINCE_REVERSED_DISCARD:
        return decision
    # Bits kept for a third node do not cover what the discarding side changed itself.
    full = decision.full or decision.slot is not None
    reversed_one = msgspec.structs.replace(decision, slot=None, full=full, demote_loser=False)
    return _decided(reversed_one, i_am_source=theirs, basis=Basis.DISCARD_MY_DATA)


class LostRole(StrEnum):
    """What a Primary does that would become a sync target."""

    GO_ON = "go-on"
    DISCONNECT = "disconnect"
    RETRY_CONNECT = "retry-connect"
    CALL_PRI_LOST = "call-pri-lost"
    AUTO_DISCARD = "auto-discard"


def judge_lost_role(me: Side, peer: Side, decision: Decision, rr_conflict: AfterSplitBrain) -> LostRole:
    """rr-conflict: I am Primary with data and would lose blocks. Local: the peer only sees a disconnect."""
    endangered = (
        decision.strategy is Strategy.SYNC_TARGET
        and me.role is Role.PRIMARY
        and me.disk >= DiskState.CONSISTENT
        and (decision.full or decision.slot is not None or me.dirty_bits > 0 or peer.dirty_bits > 0)
    )
    if not endangered:
        return LostRole.GO_ON
    return {
        AfterSplitBrain.VIOLENTLY: LostRole.GO_ON,
        AfterSplitBrain.RETRY_CONNECT: LostRole.RETRY_CONNECT,
        AfterSplitBrain.CALL_HELPER: LostRole.CALL_PRI_LOST,
        AfterSplitBrain.AUTO_DISCARD: LostRole.AUTO_DISCARD,
    }.get(rr_conflict, LostRole.DISCONNECT)


def _decided(decision: Decision, *, i_am_source: bool, basis: Basis) -> Decision:
    strategy = Strategy.SYNC_SOURCE if i_am_source else Strategy.SYNC_TARGET
    return msgspec.structs.replace(decision, strategy=strategy, basis=basis)


def _no_primary(me: Side, peer: Side, settings: Settings) -> bool | None:
    """Whether I am the source; None = disconnect."""
    policy = settings.after_sb_0p
    match policy:
        case AfterSplitBrain.DISCARD_LOCAL:
            return False
        case AfterSplitBrain.DISCARD_REMOTE:
            return True
        case AfterSplitBrain.DISCARD_YOUNGER | AfterSplitBrain.DISCARD_OLDER:
            i_was = me.slot(peer.node_id) & PRIMARY_BIT
            peer_was = peer.slot(me.node_id) & PRIMARY_BIT
            if i_was != peer_was:
                i_am_older = bool(i_was)
                return i_am_older if policy is AfterSplitBrain.DISCARD_YOUNGER else not i_am_older
            return _fewer_changes_lose(me, peer)
        case AfterSplitBrain.DISCARD_ZERO_CHANGES:
            if me.dirty_bits and peer.dirty_bits:
                return None
            return _fewer_changes_lose(me, peer)
        case AfterSplitBrain.DISCARD_LEAST_CHANGES:
            return _fewer_changes_lose(me, peer)
        case _:
            return None


def _fewer_changes_lose(me: Side, peer: Side) -> bool:
    if me.dirty_bits != peer.dirty_bits:
        return me.dirty_bits > peer.dirty_bits
    return not me.resolve_conflicts


def _one_primary(me: Side, peer: Side, settings: Settings) -> bool | None:
    i_am_primary = me.role is Role.PRIMARY
    match settings.after_sb_1p:
        case AfterSplitBrain.DISCARD_SECONDARY:
            return i_am_primary
        case AfterSplitBrain.CONSENSUS:
            i_am_source = _no_primary(me, peer, settings)
            return i_am_source if i_am_source == i_am_primary else None
        case AfterSplitBrain.VIOLENTLY | AfterSplitBrain.CALL_HELPER:
            return _no_primary(me, peer, settings)
        case _:
            return None


def _two_primaries(me: Side, peer: Side, settings: Settings) -> bool | None:
    if settings.after_sb_2p in (AfterSplitBrain.VIOLENTLY, AfterSplitBrain.CALL_HELPER):
        return _no_primary(me, peer, settings)
    return None
