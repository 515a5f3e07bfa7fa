"""How generations change in protocol 101: P_SYNC_UUID, the end of a resync, corrections. Pure functions.

An 8.4 node has one slot and two history entries; here they are the peer's slot and the newest of our history.
"""

import msgspec

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.generations import Generations, push_history, set_bitmap, set_current
from bollard.replica.protocol.handshake84 import HISTORY_ENTRIES
from bollard.replica.protocol.outcomes import Decision, Rule, Side
from bollard.replica.protocol.uuids import FLAGS_84, SYNC_UUID_OFFSET, UINT64_MASK, UNSET, is_random, masked

__all__ = [
    "as_uuids",
    "as_uuids110",
    "corrected",
    "finish_source84",
    "finish_target84",
    "side84",
    "start_source84",
    "take_sync_uuid",
]


def side84(side: Side, peer: int) -> Side:
    """What of a side an 8.4 node is told: one slot, two history entries, four flags."""
    return msgspec.structs.replace(
        side,
        bitmap_uuids=((peer, side.slot(peer)),),
        history=_two(side.history),
        flags=int(side.flags & FLAGS_84),
    )


def as_uuids(side: Side, peer: int, *, flags: int = 0) -> p.Uuids:
    """The packet for a side."""
    told = int((side.flags | flags) & FLAGS_84)
    return p.Uuids(side.current, side.slot(peer), _two(side.history), side.dirty_bits, told)


def as_uuids110(packet: p.Uuids, *, me: int) -> p.Uuids110:
    """The same in the form that the rest of the core keeps; the one slot is the one for us."""
    flags = int(packet.flags & FLAGS_84)
    return p.Uuids110(packet.current, packet.dirty_bits, flags, 0, ((me, packet.bitmap),), packet.history)


def corrected(generations: Generations, decision: Decision, *, peer: int) -> Generations:
    """As the source: what the rule found out about our own generations.

    The end of a former resync was missed (it is over), or its P_SYNC_UUID was (it never began).
    """
    slot = generations.bitmap_uuid(peer)
    if decision.rule is Rule.SYNC_SOURCE_MISSED_FINISH and decision.number == 34:
        return set_bitmap(generations, peer, UNSET)
    if decision.rule is Rule.SYNC_UUID_LOST_SELF and generations.history:
        first, *rest = generations.history
        assert masked(first + SYNC_UUID_OFFSET) & UINT64_MASK == masked(slot), "the rule's own condition"
        undone = msgspec.structs.replace(generations, history=tuple(rest))
        slots = list(undone.slots)
        slots[peer] = msgspec.structs.replace(slots[peer], bitmap_uuid=first)
        return msgspec.structs.replace(undone, slots=tuple(slots))
    return generations


def start_source84(generations: Generations, peer: int, *, fresh_uuid: int) -> tuple[Generations, int]:
    """A resync begins: the generation that its target takes on, and ours with it in the peer's slot."""
    slot = masked(generations.bitmap_uuid(peer))
    offset = masked(slot + SYNC_UUID_OFFSET) & UINT64_MASK
    sync_uuid = offset if is_random(slot) and is_random(offset) else masked(fresh_uuid)
    return set_bitmap(generations, peer, sync_uuid), sync_uuid


def take_sync_uuid(generations: Generations, sync_uuid: int, *, peer: int) -> Generations:
    """The target's side of the same: until the end it has the generation of the resync."""
    return set_bitmap(set_current(generations, sync_uuid, primary=False), peer, UNSET)


def finish_target84(generations: Generations, source: Side, *, me: int, peer: int) -> Generations:
    """All blocks are here. Our newest history is then the source's, entry by entry, or it would not see it.

    `source` is what it told before the resync; it has noted the resync's generation since.
    """
    sync_uuid = masked(generations.current)
    result = set_bitmap(set_current(generations, source.current, primary=False), peer, UNSET)
    for uuid in (*reversed(source.history), source.slot(me), sync_uuid):
        history = tuple(old for old in result.history if old != masked(uuid))
        result = push_history(msgspec.structs.replace(result, history=history), uuid)
    return result


def finish_source84(generations: Generations, *, peer: int) -> Generations:
    """The target has all blocks."""
    return set_bitmap(generations, peer, UNSET)


def _two(history: tuple[int, ...]) -> tuple[int, int]:
    first, second = (*history, UNSET, UNSET)[:HISTORY_ENTRIES]
    return first, second
