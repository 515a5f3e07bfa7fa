"""Who syncs from whom: DRBD 9's decision table on what two nodes have sent each other. Pure.

Both nodes run it on the same records in opposite order and must come to mirrored results: nothing here may
look at anything that was not sent. Split brain policies: split_brain.py; protocol 101: handshake84.py.
"""

from typing import Final

import msgspec

from bollard.replica.protocol.commands import WireProtocol
from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.outcomes import Basis, Decision, Rule, Settings, Side, Strategy
from bollard.replica.protocol.split_brain import apply_discard_my_data, resolve_split_brain
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.uuids import JUST_CREATED, UNKNOWN, UuidFlag, masked, same

_SINCE_DISK_STATES: Final = 119
_SINCE_RECONNECT_FIRST: Final = 120
_SINCE_CRASHED_PRIMARY: Final = 121
_MISSED_FINISH: Final = (Rule.SYNC_SOURCE_MISSED_FINISH, Rule.SYNC_TARGET_PEER_MISSED_FINISH)


def decide(me: Side, peer: Side, settings: Settings) -> Decision:
    """The whole handshake for protocol 110 and later, from my point of view.

    Exactly one side has `resolve_conflicts`. rr-conflict is a local matter: see split_brain.judge_lost_role.
    """
    assert me.resolve_conflicts != peer.resolve_conflicts, "exactly one side resolves conflicts"
    assert me.node_id != peer.node_id, me.node_id
    decision = compare(me, peer, settings)
    if decision.slot is not None and not settings.copy_slots:
        decision = msgspec.structs.replace(decision, slot=None, full=True)
    if settings.features & Feature.KEEPS_LEFTOVERS and decision.rule in _MISSED_FINISH:
        # A third node may have brought the peer up to date, from a better copy than ours.
        decision = Decision(decision.rule, Strategy.NO_SYNC)
    decision = _prefer_better_disk(me, peer, settings, decision)
    decision = _use_leftover_bits(me, peer, settings, decision)
    if decision.strategy is Strategy.SPLIT_BRAIN:
        decision = resolve_split_brain(me, peer, settings, decision)
    decision = _heed_mixtures(me, peer, apply_discard_my_data(me, peer, settings, decision))
    return _heed_third_nodes(me, peer, settings, decision)


def changed_since_sent(sent: Side, now: Side) -> bool:
    """Rule 0: what I would send now differs from what the decision would be based on; drop and retry."""
    return (sent.current, sent.bitmap_uuids, sent.history, sent.flags) != (
        now.current,
        now.bitmap_uuids,
        now.history,
        now.flags,
    )


RETRY: Final = Decision(Rule.INITIAL_HANDSHAKE_CHANGED, Strategy.RETRY_CONNECT)
"""The outcome of rule 0."""


def compare(me: Side, peer: Side, settings: Settings) -> Decision:
    """Rules 1 to 13: generations only."""
    mine, theirs = _effective(me.current), _effective(peer.current)
    if mine == theirs == JUST_CREATED:
        return Decision(Rule.JUST_CREATED_BOTH, Strategy.NO_SYNC)
    if mine == JUST_CREATED:
        return Decision(Rule.JUST_CREATED_SELF, Strategy.SYNC_TARGET, full=True)
    if theirs == JUST_CREATED:
        return Decision(Rule.JUST_CREATED_PEER, Strategy.SYNC_SOURCE, full=True)
    if mine == theirs:
        return _compare_equal(me, peer, settings)
    if settings.features & Feature.KEEPS_LEFTOVERS and _took_back(me, peer):
        return _after_taking_back(me, peer)
    return _compare_bitmaps(me, peer) or _compare_history(me, peer)


def _effective(uuid: int) -> int:
    return masked(uuid) or JUST_CREATED


def _compare_equal(me: Side, peer: Side, settings: Settings) -> Decision:
    """Rule 4: one generation; who may still have something the other has not?"""
    my_slot, peer_slot = me.slot(peer.node_id), peer.slot(me.node_id)
    if my_slot and not peer_slot and _knows(peer, my_slot):
        return Decision(Rule.SYNC_SOURCE_MISSED_FINISH, Strategy.SYNC_SOURCE)
    if peer_slot and not my_slot and _knows(me, peer_slot):
        return Decision(Rule.SYNC_TARGET_PEER_MISSED_FINISH, Strategy.SYNC_TARGET)
    my_reconnect, peer_reconnect = me.has(UuidFlag.RECONNECT), peer.has(UuidFlag.RECONNECT)
    if settings.version >= _SINCE_RECONNECT_FIRST and my_reconnect and peer_reconnect:
        return Decision(Rule.RECONNECTED, Strategy.NO_SYNC)
    my_crash, peer_crash = me.has(UuidFlag.CRASHED_PRIMARY), peer.has(UuidFlag.CRASHED_PRIMARY)
    asynchronous = settings.protocol is not WireProtocol.C and settings.version >= _SINCE_CRASHED_PRIMARY
    if asynchronous and my_crash != peer_crash:
        return Decision(Rule.CRASHED_PRIMARY, _source_if(my_crash))
    my_loss, peer_loss = me.has(UuidFlag.PRIMARY_LOST_QUORUM), peer.has(UuidFlag.PRIMARY_LOST_QUORUM)
    if my_loss or peer_loss:
        return _if_both_failed(
            me, peer, Rule.LOST_QUORUM, me.resolve_conflicts if peer_loss and my_loss else my_loss
        )
    if my_reconnect or peer_reconnect:
        survivor, crashed = my_reconnect and peer_crash, peer_reconnect and my_crash
        if survivor == crashed:
            return Decision(Rule.RECONNECTED, Strategy.NO_SYNC)
        return _if_both_failed(me, peer, Rule.RECONNECTED, survivor)
    if my_crash or peer_crash:
        last_writer = not me.resolve_conflicts if my_crash and peer_crash else my_crash
        return _if_both_failed(me, peer, Rule.BOTH_OFF, last_writer)
    return Decision(Rule.BOTH_OFF, Strategy.NO_SYNC)


def _if_both_failed(me: Side, peer: Side, rule: Rule, i_am_source: bool) -> Decision:
    """Unless exactly one is Primary now: that one is in use and becomes the source."""
    if (me.role is Role.PRIMARY) != (peer.role is Role.PRIMARY):
        i_am_source = me.role is Role.PRIMARY
    return Decision(rule, _source_if(i_am_source), if_both_failed=True)


def _compare_bitmaps(me: Side, peer: Side) -> Decision | None:
    """Rules 5 to 8: one is where the other saw somebody stop.

    If each claims to be ahead of the other, plain order would make both a target; that is a split brain.
    """
    behind, ahead = _slot_match(peer, me), _slot_match(me, peer)
    if behind is not None and ahead is not None:
        exact = behind == me.node_id and ahead == peer.node_id
        rule = Rule.BITMAP_BOTH if exact else Rule.HISTORY_BOTH
        return Decision(rule, Strategy.SPLIT_BRAIN, full=not exact)
    if behind == me.node_id:
        return Decision(Rule.BITMAP_PEER, Strategy.SYNC_TARGET)
    if behind is not None:
        return Decision(Rule.BITMAP_PEER_OTHER, Strategy.SYNC_TARGET, slot=behind)
    if ahead == peer.node_id:
        return Decision(Rule.BITMAP_SELF, Strategy.SYNC_SOURCE)
    if ahead is not None:
        return Decision(Rule.BITMAP_SELF_OTHER, Strategy.SYNC_SOURCE, slot=ahead)
    return None


def _took_back(me: Side, peer: Side) -> bool:
    """Each knows the other's generation as a past one: one was begun without quorum, and taken back.

    Nothing was acknowledged in it.
    """
    theirs, mine = _holds(me.history, peer.current), _holds(peer.history, me.current)
    return (theirs and _knows(peer, me.current)) or (mine and _knows(me, peer.current))


def _after_taking_back(me: Side, peer: Side) -> Decision:
    """Both have all that was acknowledged; what else they have is to be made equal."""
    i_am_source = _better(me, peer)
    rule = Rule.HISTORY_SELF if i_am_source else Rule.HISTORY_PEER
    return Decision(rule, _source_if(i_am_source), full=True, checksums=True)


def _slot_match(side: Side, other: Side) -> int | None:
    """The node whose slot at `side` names the current generation of `other`; its own slot is preferred."""
    nodes = [node for node, slot in side.bitmap_uuids if node != side.node_id and same(slot, other.current)]
    return other.node_id if other.node_id in nodes else next(iter(nodes), None)


def _compare_history(me: Side, peer: Side) -> Decision:
    """Rules 9 to 13."""
    i_am_old, peer_is_old = _holds(peer.history, me.current), _holds(me.history, peer.current)
    if i_am_old and not peer_is_old:
        return Decision(Rule.HISTORY_PEER, Strategy.SYNC_TARGET, full=True)
    if peer_is_old and not i_am_old:
        return Decision(Rule.HISTORY_SELF, Strategy.SYNC_SOURCE, full=True)
    if same(me.slot(peer.node_id), peer.slot(me.node_id)):
        return Decision(Rule.BITMAP_BOTH, Strategy.SPLIT_BRAIN)
    if any(_holds(peer.history, uuid) for uuid in me.history):
        return Decision(Rule.HISTORY_BOTH, Strategy.SPLIT_BRAIN, full=True)
    return Decision(Rule.UNRELATED, Strategy.UNRELATED)


def _knows(side: Side, uuid: int) -> bool:
    """A former generation of that node: in its history, or still named by a slot for somebody else."""
    return _holds(side.history, uuid) or any(same(slot, uuid) for _, slot in side.bitmap_uuids)


def _holds(history: tuple[int, ...], uuid: int) -> bool:
    return any(same(entry, uuid) for entry in history)


def _source_if(i_am_source: bool) -> Strategy:
    return Strategy.SYNC_SOURCE if i_am_source else Strategy.SYNC_TARGET


def _prefer_better_disk(me: Side, peer: Side, settings: Settings, decision: Decision) -> Decision:
    """Where generations leave it open, the better disk is the source."""
    if settings.version < _SINCE_DISK_STATES or me.disk == peer.disk:
        return decision
    if min(me.disk, peer.disk) < DiskState.INCONSISTENT or DiskState.UNKNOWN in (me.disk, peer.disk):
        return decision
    one_inconsistent = decision.strategy is Strategy.NO_SYNC and DiskState.INCONSISTENT in (
        me.disk,
        peer.disk,
    )
    if not (decision.if_both_failed or one_inconsistent):
        return decision
    worse, better = (me, peer) if me.disk < peer.disk else (peer, me)
    # The worse one syncs from a third node: its bits do not say what it lacks of the better one's data.
    foreign = worse.has(UuidFlag.SYNC_TARGET) and worse.slot(better.node_id) != UNKNOWN
    strategy = _source_if(better is me)
    return msgspec.structs.replace(decision, strategy=strategy, full=foreign, basis=Basis.DISK_STATES)


def _heed_mixtures(me: Side, peer: Side, decision: Decision) -> Decision:
    """An Inconsistent disk holds a mixture, whatever generation it names.

    It is no source and two of them are not equal (try again when one has synced); what an unfinished resync
    changed on it is known from its own bits alone, so it must not clear them.
    """
    if decision.strategy is Strategy.NO_SYNC:
        if me.disk == peer.disk == DiskState.INCONSISTENT and decision.in_sync:
            return msgspec.structs.replace(
                decision, strategy=Strategy.RETRY_CONNECT, basis=Basis.BOTH_INCONSISTENT
            )
        return decision
    if decision.strategy not in (Strategy.SYNC_SOURCE, Strategy.SYNC_TARGET):
        return decision
    source, target = (me, peer) if decision.strategy is Strategy.SYNC_SOURCE else (peer, me)
    if source.disk <= DiskState.INCONSISTENT:
        return msgspec.structs.replace(
            decision, strategy=Strategy.RETRY_CONNECT, basis=Basis.INCONSISTENT_SOURCE
        )
    mixed_target = target.disk <= DiskState.INCONSISTENT and decision.slot is not None
    return msgspec.structs.replace(decision, keep_bits=mixed_target)


def _use_leftover_bits(me: Side, peer: Side, settings: Settings, decision: Decision) -> Decision:
    """Two survivors of one Primary: the one further on in its change stream gives the other the rest."""
    if not decision.in_sync or not (me.dirty_bits or peer.dirty_bits):
        return decision
    if settings.features & Feature.KEEPS_LEFTOVERS:
        return _settle_leftover_bits(me, peer, decision)
    doubtful = UuidFlag.CRASHED_PRIMARY | UuidFlag.PRIMARY_LOST_QUORUM
    if (
        not settings.features & Feature.RECONCILE_RECONNECT
        or not (me.disk == peer.disk == DiskState.UP_TO_DATE)
        or me.has(doubtful)
        or peer.has(doubtful)
        or me.lost_primary is None
        or peer.lost_primary is None
        or me.lost_primary.node_id != peer.lost_primary.node_id
    ):
        return decision
    if not (me.dirty_bits and peer.dirty_bits):
        i_am_source = bool(me.dirty_bits)
    elif me.lost_primary.dagtag != peer.lost_primary.dagtag:
        i_am_source = me.lost_primary.dagtag > peer.lost_primary.dagtag
    else:
        i_am_source = me.node_id < peer.node_id
    return _leftover(decision, i_am_source=i_am_source)


def _settle_leftover_bits(me: Side, peer: Side, decision: Decision) -> Decision:
    """Between two of our engines: bits are a doubt that only a resync removes, whoever set them."""
    return _leftover(decision, i_am_source=_better(me, peer))


def _better(me: Side, peer: Side) -> bool:
    """Of two copies with all that was acknowledged: which one to make both.

    Who is Primary; else who has the better disk; who is further on in the stream of a Primary that both lost;
    who did not restart (writes that were not flushed are only there); who has bits.
    """
    lost, theirs = me.lost_primary, peer.lost_primary
    common = lost is not None and theirs is not None and lost.node_id == theirs.node_id
    my_reach, their_reach = (lost.dagtag, theirs.dagtag) if common and lost and theirs else (0, 0)
    for mine, other in (
        (me.role is Role.PRIMARY, peer.role is Role.PRIMARY),
        (me.disk, peer.disk),
        (my_reach, their_reach),
        (me.has(UuidFlag.RECONNECT), peer.has(UuidFlag.RECONNECT)),
        (bool(me.dirty_bits), bool(peer.dirty_bits)),
    ):
        if mine != other:
            return mine > other
    return me.node_id < peer.node_id


def _leftover(decision: Decision, *, i_am_source: bool) -> Decision:
    strategy = _source_if(i_am_source)
    return msgspec.structs.replace(decision, strategy=strategy, checksums=True, basis=Basis.LEFTOVER_BITS)


def _is_passing(me: Side, peer: Side) -> bool:
    """What parts the two will be gone when a resync from somebody else has ended."""
    mixtures = me.disk == peer.disk == DiskState.INCONSISTENT
    return mixtures or me.has(UuidFlag.SYNC_TARGET) or peer.has(UuidFlag.SYNC_TARGET)


def _heed_third_nodes(me: Side, peer: Side, settings: Settings, decision: Decision) -> Decision:
    """A node syncs from one source at a time, and from none that a Primary elsewhere writes to.

    Such a Primary's writes would reach the two in different order, or one of them not at all.
    """
    if not settings.features & Feature.KEEPS_LEFTOVERS:
        return decision
    if decision.disconnect and _is_passing(me, peer):
        return Decision(decision.rule, Strategy.RETRY_CONNECT, basis=Basis.BOTH_INCONSISTENT)
    if decision.strategy not in (Strategy.SYNC_SOURCE, Strategy.SYNC_TARGET):
        return decision
    source, target = (me, peer) if decision.strategy is Strategy.SYNC_SOURCE else (peer, me)
    # A Primary without a disk can be nobody's source; the target asks for positions of its stream.
    shared = source.has(UuidFlag.DISKLESS_PRIMARY) and target.has(UuidFlag.DISKLESS_PRIMARY)
    unstable = not source.has(UuidFlag.STABLE) and not shared
    if not unstable and not target.has(UuidFlag.SYNC_TARGET):
        return decision
    if unstable and decision.basis is Basis.LEFTOVER_BITS and source.disk == target.disk:
        # Both follow that Primary, and are compared when it is gone.
        return msgspec.structs.replace(decision, strategy=Strategy.NO_SYNC, keep_bits=True, checksums=False)
    basis = Basis.UNSTABLE_SOURCE if unstable else Basis.OTHER_SOURCE
    return msgspec.structs.replace(decision, parked=True, basis=basis)
