"""The generations of one volume and every way they change; pure functions from one record to the next.

New random generations come in as arguments. The caller writes the result before it acts on it: a new
generation must be on disk before the next write is acknowledged.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from bollard.replica.protocol.commands import NODE_ID_COUNT
from bollard.replica.protocol.outcomes import Side
from bollard.replica.protocol.states import DiskState
from bollard.replica.protocol.uuids import (
    JUST_CREATED,
    PRIMARY_BIT,
    UNKNOWN,
    UNSET,
    UuidFlag,
    is_random,
    masked,
    same,
)

MAX_HISTORY: Final = 32


class Slot(msgspec.Struct, frozen=True):
    """Where a peer stopped: its generation (0 = it is with us) and our change-stream position then."""

    bitmap_uuid: int = UNSET
    dagtag: int = 0


EMPTY_SLOT: Final = Slot()
EMPTY_SLOTS: Final = (EMPTY_SLOT,) * NODE_ID_COUNT


class Generations(msgspec.Struct, frozen=True):
    """What the metadata keeps: current generation, one slot for each node id, history (newest first)."""

    current: int = JUST_CREATED
    slots: tuple[Slot, ...] = EMPTY_SLOTS
    history: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.slots) == NODE_ID_COUNT, len(self.slots)
        assert len(self.history) <= MAX_HISTORY, len(self.history)

    def bitmap_uuid(self, node_id: int) -> int:
        """The generation at which that node stopped, 0 = none."""
        return self.slots[node_id].bitmap_uuid

    def pairs(self, nodes: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """The slots of some nodes as P_UUIDS110 and Side hold them."""
        return tuple((node, self.slots[node].bitmap_uuid) for node in sorted(nodes))


class PeerDisk(msgspec.Struct, frozen=True):
    """What rotation needs to know of a configured peer. `diskless`: intentionally without a disk."""

    disk: DiskState
    diskless: bool = False

    @property
    def misses_writes(self) -> bool:
        """Unknown or worse, but not while it negotiates."""
        return self.disk <= DiskState.UNKNOWN and self.disk is not DiskState.NEGOTIATING


Peers = Mapping[int, PeerDisk]


# ---- containers


def push_history(generations: Generations, uuid: int) -> Generations:
    """Remember a former generation, unless it is reserved, current, in use by a slot, or remembered."""
    uuid = masked(uuid)
    if uuid in (UNSET, JUST_CREATED, masked(UNKNOWN)) or same(uuid, generations.current):
        return generations
    if any(same(uuid, slot.bitmap_uuid) for slot in generations.slots):
        return generations
    if any(same(uuid, old) for old in generations.history):
        return generations
    return msgspec.structs.replace(generations, history=(uuid, *generations.history)[:MAX_HISTORY])


def set_bitmap(generations: Generations, node_id: int, uuid: int, dagtag: int = 0) -> Generations:
    """Give a node's slot a value (0 = it is with us); the old one becomes history."""
    old = generations.slots[node_id].bitmap_uuid
    slots = list(generations.slots)
    slots[node_id] = Slot(uuid, dagtag) if uuid else EMPTY_SLOT
    return push_history(msgspec.structs.replace(generations, slots=tuple(slots)), old)


def set_current(generations: Generations, uuid: int, *, primary: bool) -> Generations:
    """Adopt a generation; the old one becomes history unless a slot still names it."""
    old = generations.current
    current = masked(uuid) | (PRIMARY_BIT if primary else 0)
    return push_history(msgspec.structs.replace(generations, current=current), old)


def set_primary(generations: Generations, *, primary: bool) -> Generations:
    """Mark or unmark the current generation as one that is being written."""
    current = masked(generations.current) | (PRIMARY_BIT if primary else 0)
    return msgspec.structs.replace(generations, current=current)


def knows(generations: Generations, uuid: int) -> bool:
    """The generation is a former one, or the point at which some peer stopped."""
    slots = (slot.bitmap_uuid for slot in generations.slots)
    return any(same(uuid, old) for old in (*generations.history, *slots))


# ---- new generations


class Rotation(msgspec.Struct, frozen=True):
    """The result, and the nodes whose slot got a new value."""

    generations: Generations
    marked: frozenset[int]


def rotate_into_bitmap(
    generations: Generations,
    peers: Peers,
    *,
    weak: int = 0,
    fresh_uuid: int,
    dagtag: int = 0,
    unconfigured: int = 0,
) -> Rotation:
    """Note for every peer that will miss the next writes that it stops at the current generation.

    A peer that is behind at an older point keeps that point. `weak` and `unconfigured` are node masks; the
    latter names free node ids whose day-0 bits are tracked. `fresh_uuid` is used for a just created disk.
    """
    previous = masked(generations.current)
    mark = generations.current if previous not in (JUST_CREATED, UNSET) else masked(fresh_uuid)
    assert is_random(mark), "the generation that a peer stops at is never a reserved value"
    wanted = [
        node for node, peer in peers.items() if not peer.diskless and (peer.misses_writes or weak >> node & 1)
    ]
    wanted += [node for node in range(NODE_ID_COUNT) if unconfigured >> node & 1 and node not in peers]
    marked = frozenset(
        node
        for node in wanted
        if generations.bitmap_uuid(node) == UNSET or same(generations.bitmap_uuid(node), previous)
    )
    slots = tuple(
        Slot(mark, dagtag) if node in marked else slot for node, slot in enumerate(generations.slots)
    )
    return Rotation(msgspec.structs.replace(generations, slots=slots), marked)


def new_generation(
    generations: Generations,
    peers: Peers,
    *,
    uuid: int,
    fresh_uuid: int,
    weak: int = 0,
    dagtag: int = 0,
    unconfigured: int = 0,
    primary: bool = True,
) -> Rotation:
    """Before a Primary's next write that somebody will miss. Unchanged when nobody needs the difference."""
    assert is_random(uuid), "a new generation is never a reserved value"
    rotation = rotate_into_bitmap(
        generations, peers, weak=weak, fresh_uuid=fresh_uuid, dagtag=dagtag, unconfigured=unconfigured
    )
    if not rotation.marked:
        return rotation
    return Rotation(set_current(rotation.generations, uuid, primary=primary), rotation.marked)


def owes_unmarked(
    generations: Generations, peers: Peers, dirty_bits: Mapping[int, int], *, target: int
) -> bool:
    """As source I would pass on what an absent peer of the same generation may lack (after a crash).

    Afterwards nothing would tell the two apart, and they could meet without a resync. So before the resync
    make a `new_generation` (with `primary` as the role is), tell it to the connected peers, and repeat the
    handshake.
    """
    return any(
        peer.misses_writes
        and not peer.diskless
        and dirty_bits.get(node, 0) > 0
        and (
            generations.bitmap_uuid(node) == UNSET or same(generations.bitmap_uuid(node), generations.current)
        )
        for node, peer in peers.items()
        if node != target
    )


def force_primary(
    generations: Generations,
    peers: Peers,
    *,
    uuid: int,
    fresh_uuid: int,
    dagtag: int = 0,
    unconfigured: int = 0,
) -> Rotation:
    """`primary --force`: a new generation, whoever is there; connected Inconsistent peers are left behind."""
    assert is_random(uuid), "a new generation is never a reserved value"
    weak = sum(1 << node for node, peer in peers.items() if peer.disk is DiskState.INCONSISTENT)
    rotation = rotate_into_bitmap(
        generations, peers, weak=weak, fresh_uuid=fresh_uuid, dagtag=dagtag, unconfigured=unconfigured
    )
    return Rotation(set_current(rotation.generations, uuid, primary=True), rotation.marked)


def receive_new_generation(
    generations: Generations, peers: Peers, *, me: int, uuid: int, weak: int, fresh_uuid: int, dagtag: int = 0
) -> Generations:
    """An UpToDate node is told of its Primary's new generation (NEW_DATAGEN, or P_CURRENT_UUID).

    Weak nodes stop at the old one; other nodes we had marked follow the Primary and move on with it.
    """
    weak &= ~(1 << me)
    left_behind = {node: peer for node, peer in peers.items() if weak >> node & 1}
    rotated = rotate_into_bitmap(generations, left_behind, weak=weak, fresh_uuid=fresh_uuid, dagtag=dagtag)
    result = set_current(rotated.generations, uuid, primary=False)
    for node, slot in enumerate(result.slots):
        if slot.bitmap_uuid and not weak >> node & 1:
            result = set_bitmap(result, node, masked(uuid), dagtag)
    return result


def restart_generation(generations: Generations, *, uuid: int, primary: bool) -> Generations:
    """`new-current-uuid`, and with it the peers that skip the initial sync: all slots become history."""
    assert is_random(uuid), "a new generation is never a reserved value"
    result = generations
    for node, slot in enumerate(generations.slots):
        if slot.bitmap_uuid:
            result = set_bitmap(result, node, UNSET)
    return set_current(result, uuid, primary=primary)


def skip_initial_sync(generations: Generations, peer: Side) -> Generations:
    """The peer declared all data equal (SKIP_INITIAL_SYNC): its generation is ours, nobody is behind."""
    assert peer.has(UuidFlag.SKIP_INITIAL_SYNC), "only when the peer said so"
    return set_current(connect_in_sync(generations, peer.node_id), peer.current, primary=False)


# ---- connecting and resync


def connect_in_sync(generations: Generations, peer: int, *, also: Iterable[int] = ()) -> Generations:
    """Connected with equal data: the peer's slot is clear, and so are those of nodes it vouches for."""
    result = set_bitmap(generations, peer, UNSET)
    for node in also:
        result = set_bitmap(result, node, UNSET)
    return result


def vouched_for(generations: Generations, peer: Side, others: Iterable[int]) -> tuple[int, ...]:
    """Nodes we hold a slot for, but the peer, at our generation, has an empty one: they are in sync."""
    if not same(generations.current, peer.current):
        return ()
    known = dict(peer.bitmap_uuids)
    return tuple(node for node in others if generations.bitmap_uuid(node) and known.get(node) == UNSET)


class TargetStart(msgspec.Struct, frozen=True):
    """The result, and the generation the resync starts from (kept in memory until it ends)."""

    generations: Generations
    start_uuid: int


def start_as_target(
    generations: Generations, source: Side, peers: Peers, *, me: int, fresh_uuid: int, dagtag: int = 0
) -> TargetStart:
    """Our data is about to change: peers that are away stop here.

    From here to the end every resynced block sets the bits toward all nodes but the source. A just created
    disk stays one: its point is only given by `adopt_marker`.
    """
    assert me != source.node_id, me
    start = masked(generations.current)
    if start in (JUST_CREATED, UNSET):
        return TargetStart(generations, masked(fresh_uuid))
    others = {node: peer for node, peer in peers.items() if node != source.node_id}
    rotation = rotate_into_bitmap(generations, others, fresh_uuid=fresh_uuid, dagtag=dagtag)
    return TargetStart(rotation.generations, start)


def start_as_source(
    generations: Generations, target: Side, *, full: bool, fresh_uuid: int, dagtag: int = 0
) -> Generations:
    """After a full sync was begun, an interrupted one continues by bitmap: remember the target's point.

    A just created target has none and gets a new one, which nobody else knows: send it P_UUIDS110.
    """
    if not full:
        return generations
    point = masked(target.current)
    if not is_random(point):
        point = masked(fresh_uuid)
    return set_bitmap(generations, target.node_id, point, dagtag)


def adopt_marker(generations: Generations, at_handshake: Side, now: Side, *, me: int) -> Generations:
    """A just created sync target takes the point its source made up for it after the handshake.

    The slot that was there before the handshake may be a generation that others know too; who adopted that
    one would be taken by them for a node that has its data. Only for two diskful nodes: a third one does not
    know the point and would call the data unrelated; without it, it starts a full sync.
    """
    marker = masked(now.slot(me))
    if not is_random(marker) or same(marker, at_handshake.slot(me)) or is_random(generations.current):
        return generations
    return set_current(generations, marker, primary=False)


def copy_slot(generations: Generations, peer: int, slot: int) -> Generations:
    """Rule bitmap-self-other: the peer stopped where the node of `slot` did."""
    other = generations.slots[slot]
    return set_bitmap(generations, peer, other.bitmap_uuid, other.dagtag)


def finish_as_target(
    generations: Generations, source: Side, *, start_uuid: int, me: int, others: Iterable[int]
) -> Generations:
    """A resync from a stable source ended: its generation is ours, and its past is ours too.

    `others`: nodes with a slot that do not share the new generation. They stopped where we saw them stop, or
    where we started.
    """
    left_behind = {
        node
        for node in others
        if source.slot(node) not in (UNSET, UNKNOWN) and node not in (me, source.node_id)
    }
    start = masked(start_uuid)
    assert is_random(start), "start_as_target gave it"
    result = set_current(generations, source.current, primary=False)
    for node in range(NODE_ID_COUNT):
        if node in left_behind:
            # An older point of ours stays: our bits since then, and those of this resync, cover the rest.
            point = generations.bitmap_uuid(node) or start
            result = set_bitmap(result, node, point, result.slots[node].dagtag)
        else:
            result = set_bitmap(result, node, UNSET)
    result = push_history(result, start)
    past = [uuid for _, uuid in source.bitmap_uuids] + list(source.history)
    for uuid in reversed(past):
        result = push_history(result, uuid)
    return result


def finish_as_source(generations: Generations, target: Side, *, me: int) -> Generations:
    """The target's new P_UUIDS110 shows our generation and no slot for us: it has all. Else unchanged."""
    if same(generations.current, target.current) and target.slot(me) == UNSET:
        return set_bitmap(generations, target.node_id, UNSET)
    return generations
