"""DRBD 9's superblock (v09) as a frozen record, with a strict codec.

Knows one 4 KiB block; whether its offsets fit a given device is image.py's question, what a UUID means is not
decided here.
"""

import struct
from enum import IntFlag
from typing import Protocol

import msgspec

from bollard.domain.units import SECTOR_BYTES
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.layout import MAX_USABLE_BYTES, PAGE_BYTES, Geometry, Layout, check_geometry

__all__ = [
    "AL_EXTENTS_FRESH",
    "AL_EXTENTS_MAX",
    "HISTORY_UUIDS",
    "MAGIC_V08",
    "MAGIC_V08_UNCLEAN",
    "MAGIC_V09",
    "NODES",
    "UUID_JUST_CREATED",
    "UUID_PRIMARY_BIT",
    "DeviceFlag",
    "PeerFlag",
    "PeerSlot",
    "Superblock",
    "check_offsets",
    "decode",
    "encode",
    "fresh",
    "push_history",
    "take_slot",
    "with_peer",
    "without_day_0",
]

MAGIC_V09 = 0x8374026D
MAGIC_V08 = 0x8374026B
MAGIC_V08_UNCLEAN = 0x8374026C
NODES = 32
"""Node ids are 0..31; the table of peers is indexed by them."""
HISTORY_UUIDS = 32
UUID_JUST_CREATED = 4
UUID_PRIMARY_BIT = 1
"""Lowest bit of a UUID: the node was Primary. Not part of its identity."""
AL_EXTENTS_FRESH = 257
"""What drbdmeta writes; the running peer puts its own number (default 1237)."""
AL_EXTENTS_MAX = 65534

_HEAD = struct.Struct(">QQQ24xQIIIiIiIIIiII8x")
_PEER = struct.Struct(">QQIi8x")
_HISTORY = struct.Struct(f">{HISTORY_UUIDS}Q")
_UUID_MAX = (1 << 64) - 1
_WHERE = "v09 superblock"


class DeviceFlag(IntFlag):
    """The superblock's flags. Three of them are used by v08 only; v09 keeps those with each peer."""

    CONSISTENT = 0x1
    PRIMARY_IND = 0x2
    """Some node is or was Primary: the activity log must be applied after a crash."""
    V08_CONNECTED = 0x4
    V08_FULL_SYNC = 0x8
    WAS_UP_TO_DATE = 0x10
    V08_PEER_OUTDATED = 0x20
    CRASHED_PRIMARY = 0x40
    """This node is Primary now, hence after a crash: was."""
    AL_CLEAN = 0x80
    """The log's content is in the bitmap; a kernel attaches only with it."""
    AL_DISABLED = 0x100
    """No log was kept: after a crash everything is out of sync."""
    PRIMARY_LOST_QUORUM = 0x200
    HAVE_QUORUM = 0x400


class PeerFlag(IntFlag):
    """Flags of one entry of the peer table."""

    CONNECTED = 0x1
    OUTDATED = 0x2
    FENCING = 0x4
    FULL_SYNC = 0x8
    """All bits of that slot count as set from the next attach on."""
    DEVICE_SEEN = 0x10
    """The peer was seen with a disk: it counts for quorum."""
    NODE_EXISTS = 0x10000


class _Placed(Protocol):
    """What v08 and v09 have in common: where things are."""

    @property
    def geometry(self) -> Geometry: ...
    @property
    def effective_size_sectors(self) -> int: ...
    @property
    def md_size_sectors(self) -> int: ...
    @property
    def al_offset_sectors(self) -> int: ...
    @property
    def bitmap_offset_sectors(self) -> int: ...


class PeerSlot(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered about one node id.

    `bitmap_uuid` is the generation that node has and relative to which its slot's bits are complete, 0 when
    it has ours (or, in an entry without a slot, the day-0 UUID). `bitmap_index` is its bitmap slot, or -1.
    `bitmap_dagtag_sectors` is the writer's stream position at that moment.
    """

    bitmap_uuid: int = 0
    bitmap_dagtag_sectors: int = 0
    flags: PeerFlag = PeerFlag(0)
    bitmap_index: int = -1


class Superblock(msgspec.Struct, frozen=True, kw_only=True):
    """The v09 superblock, field by field, in the units of the disk.

    Offsets are in sectors relative to the superblock and negative for internal metadata. `members` is a mask
    of node ids; `node_id` is -1 until first used; `effective_size_sectors` is the agreed size, 0 = never.
    """

    effective_size_sectors: int = 0
    current_uuid: int = UUID_JUST_CREATED
    members: int = 0
    device_uuid: int = 0
    flags: DeviceFlag = DeviceFlag.AL_CLEAN
    md_size_sectors: int
    al_offset_sectors: int
    al_extents: int = AL_EXTENTS_FRESH
    bitmap_offset_sectors: int
    block_bytes: int = 4096
    peer_max_bio_bytes: int = 0
    max_peers: int
    node_id: int = -1
    al_stripes: int = 1
    al_stripe_blocks: int = 8
    peers: tuple[PeerSlot, ...] = (PeerSlot(),) * NODES
    history: tuple[int, ...] = (0,) * HISTORY_UUIDS

    @property
    def geometry(self) -> Geometry:
        """The choices made at creation, for the layout formulas."""
        return Geometry(
            max_peers=self.max_peers,
            al_stripes=self.al_stripes,
            al_stripe_bytes=self.al_stripe_blocks * PAGE_BYTES,
            block_bytes=self.block_bytes,
        )

    @property
    def al_blocks(self) -> int:
        """4 KiB blocks of the activity log ring."""
        return self.al_stripes * self.al_stripe_blocks

    @property
    def bitmap_pages(self) -> int:
        """4 KiB pages of the bitmap area."""
        return (self.md_size_sectors * SECTOR_BYTES - PAGE_BYTES) // PAGE_BYTES - self.al_blocks

    @property
    def slots_used(self) -> frozenset[int]:
        """Bitmap slots that belong to a node."""
        return frozenset(peer.bitmap_index for peer in self.peers if peer.bitmap_index >= 0)


def fresh(layout: Layout, *, node_id: int = -1) -> Superblock:
    """The superblock as `drbdmeta create-md` makes it for that layout (there node_id is -1)."""
    geometry = layout.geometry
    return Superblock(
        md_size_sectors=layout.md_size_sectors,
        al_offset_sectors=layout.al_offset_sectors,
        bitmap_offset_sectors=layout.bitmap_offset_sectors,
        block_bytes=geometry.block_bytes,
        max_peers=geometry.max_peers,
        node_id=node_id,
        al_stripes=geometry.al_stripes,
        al_stripe_blocks=geometry.al_stripe_bytes // PAGE_BYTES,
    )


def with_peer(superblock: Superblock, node_id: int, peer: PeerSlot) -> Superblock:
    """The same superblock with another entry for `node_id` (0..31)."""
    assert 0 <= node_id < NODES, node_id
    peers = (*superblock.peers[:node_id], peer, *superblock.peers[node_id + 1 :])
    return msgspec.structs.replace(superblock, peers=peers)


def take_slot(superblock: Superblock, node_id: int) -> tuple[Superblock, int]:
    """Give `node_id` the lowest free bitmap slot, unless it has one; returns the slot too.

    Raises MetadataError when all slots are taken or the id is our own. The entry's other fields stay: without
    a slot its bitmap_uuid was the day-0 UUID, and the slot's bits belong to that.
    """
    peer = superblock.peers[node_id]
    if peer.bitmap_index >= 0:
        return superblock, peer.bitmap_index
    if node_id == superblock.node_id:
        raise MetadataError(
            f"node id {node_id} is this node's own", where=_WHERE, next_step="ask for a slot for a peer only"
        )
    free = sorted(set(range(superblock.max_peers)) - superblock.slots_used)
    if not free:
        raise MetadataError(
            f"all {superblock.max_peers} bitmap slots are taken, none is left for node id {node_id}",
            where=_WHERE,
            next_step="forget a peer that is gone, or create the metadata with more peer slots",
        )
    taken = msgspec.structs.replace(peer, bitmap_index=free[0])
    return with_peer(superblock, node_id, taken), free[0]


def without_day_0(superblock: Superblock) -> Superblock:
    """Forget the day-0 UUIDs of all node ids that have no bitmap slot.

    Who does not keep the bits of unallocated slots up to date must do this before the first write: or else a
    node that joins later would take such a slot for complete, and miss those writes unnoticed.
    """
    peers = tuple(
        peer
        if peer.bitmap_index >= 0
        else msgspec.structs.replace(peer, bitmap_uuid=0, bitmap_dagtag_sectors=0)
        for peer in superblock.peers
    )
    return msgspec.structs.replace(superblock, peers=peers)


def push_history(superblock: Superblock, uuid: int) -> Superblock:
    """Put a generation at the front of the history: without its Primary bit, never 0 or 4, never twice."""
    bare = uuid & ~UUID_PRIMARY_BIT
    if bare in (0, UUID_JUST_CREATED) or bare in superblock.history:
        return superblock
    history = (bare, *superblock.history[: HISTORY_UUIDS - 1])
    return msgspec.structs.replace(superblock, history=history)


def encode(superblock: Superblock) -> bytes:
    """The 4096 bytes on disk. Raises MetadataError for a record that `decode` would refuse."""
    _check(superblock)
    head = _HEAD.pack(
        superblock.effective_size_sectors,
        superblock.current_uuid,
        superblock.members,
        superblock.device_uuid,
        superblock.flags,
        MAGIC_V09,
        superblock.md_size_sectors,
        superblock.al_offset_sectors,
        superblock.al_extents,
        superblock.bitmap_offset_sectors,
        superblock.block_bytes,
        superblock.peer_max_bio_bytes,
        superblock.max_peers,
        superblock.node_id,
        superblock.al_stripes,
        superblock.al_stripe_blocks,
    )
    peers = b"".join(
        _PEER.pack(peer.bitmap_uuid, peer.bitmap_dagtag_sectors, peer.flags, peer.bitmap_index)
        for peer in superblock.peers
    )
    packed = head + peers + _HISTORY.pack(*superblock.history)
    return packed.ljust(PAGE_BYTES, b"\0")


def decode(data: bytes) -> Superblock:
    """Read one 4096-byte block; bytes that the format reserves are ignored.

    Raises MetadataError when it is short, of another version, or says something that cannot be.
    """
    if len(data) != PAGE_BYTES:
        raise MetadataError(
            f"{len(data)} bytes instead of {PAGE_BYTES}",
            where=_WHERE,
            next_step="check that the device is as large as it was when the metadata was created",
        )
    fields = _HEAD.unpack_from(data)
    _check_magic(fields[5])
    peers_at = _HEAD.size
    superblock = Superblock(
        effective_size_sectors=fields[0],
        current_uuid=fields[1],
        members=fields[2],
        device_uuid=fields[3],
        flags=DeviceFlag(fields[4]),
        md_size_sectors=fields[6],
        al_offset_sectors=fields[7],
        al_extents=fields[8],
        bitmap_offset_sectors=fields[9],
        block_bytes=fields[10],
        peer_max_bio_bytes=fields[11],
        max_peers=fields[12],
        node_id=fields[13],
        al_stripes=fields[14],
        al_stripe_blocks=fields[15],
        peers=tuple(
            PeerSlot(
                bitmap_uuid=uuid, bitmap_dagtag_sectors=dagtag, flags=PeerFlag(flags), bitmap_index=index
            )
            for uuid, dagtag, flags, index in _PEER.iter_unpack(
                data[peers_at : peers_at + NODES * _PEER.size]
            )
        ),
        history=_HISTORY.unpack_from(data, peers_at + NODES * _PEER.size),
    )
    _check(superblock)
    return superblock


def _check_magic(magic: int) -> None:
    if magic == MAGIC_V09:
        return
    if magic in (MAGIC_V08, MAGIC_V08_UNCLEAN):
        raise MetadataError(
            "the metadata is version v08", where=_WHERE, next_step="read it as v08, or convert it"
        )
    raise MetadataError(
        f"magic 0x{magic:08x} instead of 0x{MAGIC_V09:08x}",
        where=_WHERE,
        next_step="check that this is the right device and size; create metadata if the device is new",
    )


def _refuse(what: str, field: str, where: str = _WHERE) -> MetadataError:
    return MetadataError(
        what,
        where=f"{where}, {field}",
        next_step="restore the metadata from a dump, or create it anew and resync",
    )


def _check(superblock: Superblock) -> None:
    check_offsets(superblock)
    _check_peers(superblock)
    if not 1 <= superblock.al_extents <= AL_EXTENTS_MAX:
        raise _refuse(f"{superblock.al_extents} extents", "al_extents")
    if not -1 <= superblock.node_id < NODES:
        raise _refuse(f"node id {superblock.node_id}", "node_id")
    if not 0 <= superblock.peer_max_bio_bytes < 1 << 32 or not 0 <= superblock.flags < 1 << 32:
        raise _refuse("a number beyond 32 bits", "flags or peer_max_bio_bytes")
    uuids = (superblock.current_uuid, superblock.members, superblock.device_uuid, *superblock.history)
    if len(superblock.history) != HISTORY_UUIDS or not all(0 <= uuid <= _UUID_MAX for uuid in uuids):
        raise _refuse("not 64-bit numbers, or not 32 of them", "UUIDs")


def check_offsets(superblock: _Placed, *, where: str = _WHERE) -> None:
    """Raise MetadataError unless offsets, sizes and geometry agree with each other; for v08 and v09."""
    geometry = superblock.geometry
    check_geometry(geometry, where=where)
    page_sectors = PAGE_BYTES // SECTOR_BYTES
    al_sectors = geometry.al_bytes // SECTOR_BYTES
    bitmap_sectors = superblock.md_size_sectors - page_sectors - al_sectors
    if superblock.al_offset_sectors == page_sectors:
        expected = page_sectors + al_sectors
    elif superblock.al_offset_sectors == -al_sectors:
        expected = -(al_sectors + bitmap_sectors)
        if bitmap_sectors % page_sectors:
            raise _refuse(f"{superblock.md_size_sectors} sectors are not whole 4 KiB", "md_size", where)
    else:
        raise _refuse(f"{superblock.al_offset_sectors} sectors", "al_offset", where)
    if superblock.bitmap_offset_sectors != expected or not -(1 << 31) <= expected < 1 << 31:
        raise _refuse(f"{superblock.bitmap_offset_sectors} sectors instead of {expected}", "bm_offset", where)
    if bitmap_sectors < page_sectors or superblock.md_size_sectors >= 1 << 32:
        raise _refuse(f"{superblock.md_size_sectors} sectors", "md_size", where)
    slot_bytes = bitmap_sectors // page_sectors * PAGE_BYTES // geometry.max_peers
    covered_bytes = min(slot_bytes * 8 * geometry.block_bytes, MAX_USABLE_BYTES)
    if not 0 <= superblock.effective_size_sectors * SECTOR_BYTES <= covered_bytes:
        raise _refuse(
            f"{superblock.effective_size_sectors} sectors, and the bitmap covers {covered_bytes} bytes",
            "effective_size",
            where,
        )


def _check_peers(superblock: Superblock) -> None:
    if len(superblock.peers) != NODES:
        raise _refuse(f"{len(superblock.peers)} entries", "peers")
    owners: dict[int, int] = {}
    for node_id, peer in enumerate(superblock.peers):
        field = f"peers[{node_id}]"
        if not -1 <= peer.bitmap_index < superblock.max_peers:
            raise _refuse(f"bitmap slot {peer.bitmap_index} of {superblock.max_peers}", field)
        if peer.bitmap_index >= 0 and node_id == superblock.node_id:
            raise _refuse("a bitmap slot for the node itself", field)
        if peer.bitmap_index >= 0 and peer.bitmap_index in owners:
            raise _refuse(
                f"bitmap slot {peer.bitmap_index} belongs to node id {owners[peer.bitmap_index]}", field
            )
        owners[peer.bitmap_index] = node_id
        if not 0 <= peer.flags < 1 << 32 or not 0 <= peer.bitmap_uuid <= _UUID_MAX:
            raise _refuse("a number out of range", field)
        if not 0 <= peer.bitmap_dagtag_sectors <= _UUID_MAX:
            raise _refuse("a number out of range", field)
