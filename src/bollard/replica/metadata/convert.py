"""DRBD 8.4's metadata as DRBD 9's and back, for a hand-over: only the superblock differs.

Log and bitmap stay where they are, because v08's layout is v09's with one peer slot.
"""

from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.superblock import (
    HISTORY_UUIDS,
    NODES,
    DeviceFlag,
    PeerFlag,
    PeerSlot,
    Superblock,
    with_peer,
)
from bollard.replica.metadata.superblock08 import HISTORY_UUIDS_V08, Superblock08

__all__ = ["from_v08", "to_v08"]

_PEER_FLAGS = (
    (DeviceFlag.V08_CONNECTED, PeerFlag.CONNECTED),
    (DeviceFlag.V08_FULL_SYNC, PeerFlag.FULL_SYNC),
    (DeviceFlag.V08_PEER_OUTDATED, PeerFlag.OUTDATED),
)
_V08_ONLY = DeviceFlag.V08_CONNECTED | DeviceFlag.V08_FULL_SYNC | DeviceFlag.V08_PEER_OUTDATED
_V09_ONLY = DeviceFlag.AL_DISABLED | DeviceFlag.PRIMARY_LOST_QUORUM | DeviceFlag.HAVE_QUORUM


def from_v08(
    superblock: Superblock08, *, node_id: int, peer_node_id: int, log_applied: bool = True
) -> Superblock:
    """The v09 superblock that says the same, the one peer being `peer_node_id` in slot 0.

    Raises MetadataError when the log has to be applied first (unless `log_applied` is False: then the caller
    does), or for node ids that are equal or out of range.
    """
    if log_applied and (superblock.unclean or DeviceFlag.AL_CLEAN not in superblock.flags):
        raise MetadataError(
            "the activity log is not applied",
            where="v08 superblock",
            next_step="apply it to the bitmap (drbdmeta apply-al), then convert",
        )
    if node_id == peer_node_id or not 0 <= node_id < NODES or not 0 <= peer_node_id < NODES:
        raise MetadataError(
            f"node ids {node_id} and {peer_node_id}",
            where="conversion to v09",
            next_step=f"choose two different ids below {NODES}",
        )
    flags = PeerFlag.NODE_EXISTS | PeerFlag.DEVICE_SEEN
    for old, new in _PEER_FLAGS:
        if old in superblock.flags:
            flags |= new
    device_flags = superblock.flags & ~_V08_ONLY
    if superblock.unclean:
        device_flags &= ~DeviceFlag.AL_CLEAN
    if DeviceFlag.PRIMARY_IND in device_flags:
        # In v08 only a Primary sets it; v09 says so by another flag.
        device_flags |= DeviceFlag.CRASHED_PRIMARY
    geometry = superblock.geometry
    converted = Superblock(
        effective_size_sectors=superblock.effective_size_sectors,
        current_uuid=superblock.current_uuid,
        device_uuid=superblock.device_uuid,
        flags=device_flags,
        md_size_sectors=superblock.md_size_sectors,
        al_offset_sectors=superblock.al_offset_sectors,
        al_extents=superblock.al_extents,
        bitmap_offset_sectors=superblock.bitmap_offset_sectors,
        block_bytes=superblock.block_bytes,
        peer_max_bio_bytes=superblock.peer_max_bio_bytes,
        max_peers=1,
        node_id=node_id,
        al_stripes=geometry.al_stripes,
        al_stripe_blocks=geometry.al_stripe_bytes // 4096,
        history=superblock.history + (0,) * (HISTORY_UUIDS - HISTORY_UUIDS_V08),
    )
    peer = PeerSlot(bitmap_uuid=superblock.bitmap_uuid, flags=flags, bitmap_index=0)
    return with_peer(converted, peer_node_id, peer)


def to_v08(superblock: Superblock, *, peer_node_id: int, log_applied: bool = True) -> Superblock08:
    """The v08 superblock that says the same about this node and one peer.

    Raises MetadataError for more than one bitmap slot, one that another peer has, or a log not applied; with
    `log_applied` False that is what the result says too.
    """
    peer = superblock.peers[peer_node_id]
    if superblock.max_peers != 1 or (superblock.slots_used and peer.bitmap_index != 0):
        raise MetadataError(
            f"{superblock.max_peers} bitmap slots, and node id {peer_node_id} has slot {peer.bitmap_index}",
            where="conversion to v08",
            next_step="create v08 metadata anew and resync: v08 knows one peer only",
        )
    if log_applied and DeviceFlag.AL_CLEAN not in superblock.flags:
        raise MetadataError(
            "the activity log is not applied",
            where="v09 superblock",
            next_step="apply it to the bitmap (drbdmeta apply-al), then convert",
        )
    flags = superblock.flags & ~_V09_ONLY
    if DeviceFlag.CRASHED_PRIMARY not in flags:
        # v09 sets it on a Secondary too, for which an 8.4 kernel would take this node for a crashed Primary.
        flags &= ~DeviceFlag.PRIMARY_IND
    for old, new in _PEER_FLAGS:
        if new in peer.flags:
            flags |= old
    return Superblock08(
        effective_size_sectors=superblock.effective_size_sectors,
        current_uuid=superblock.current_uuid,
        bitmap_uuid=peer.bitmap_uuid,
        history=(superblock.history[0], superblock.history[1]),
        device_uuid=superblock.device_uuid,
        flags=flags,
        unclean=DeviceFlag.AL_CLEAN not in superblock.flags,
        md_size_sectors=superblock.md_size_sectors,
        al_offset_sectors=superblock.al_offset_sectors,
        al_extents=superblock.al_extents,
        bitmap_offset_sectors=superblock.bitmap_offset_sectors,
        block_bytes=superblock.block_bytes,
        peer_max_bio_bytes=superblock.peer_max_bio_bytes,
        al_stripes=superblock.al_stripes,
        al_stripe_blocks=superblock.al_stripe_blocks,
    )
