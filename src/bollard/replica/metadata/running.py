"""The superblock of a disk in use: always a v09 record in memory, of either version on the disk.

v08 is kept where it is found, so that an 8.4 kernel can take the disk over as it stands.
"""

from collections.abc import Sequence

import msgspec

from bollard.replica.metadata.convert import from_v08, to_v08
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.superblock import (
    MAGIC_V08,
    MAGIC_V08_UNCLEAN,
    PeerSlot,
    Superblock,
    decode,
    encode,
    with_peer,
)
from bollard.replica.metadata.superblock08 import decode08, encode08

__all__ = ["decode_running", "encode_running", "is_v08", "pass_slot"]

_MAGIC = slice(60, 64)


def is_v08(data: bytes) -> bool:
    """Whether a superblock is of DRBD 8.4, by its magic alone."""
    return int.from_bytes(data[_MAGIC], "big") in (MAGIC_V08, MAGIC_V08_UNCLEAN)


def decode_running(data: bytes, *, node_id: int, peers: Sequence[int]) -> Superblock:
    """A superblock of either version as a v09 record; `peers` are the configured ones with a disk.

    The log may still have to be applied. Raises MetadataError, for v08 also when there is more than one peer.
    """
    if not is_v08(data):
        return decode(data)
    if len(peers) > 1:
        raise MetadataError(
            f"v08 metadata knows one peer, {len(peers)} are configured",
            where="v08 superblock",
            next_step="convert it to v09, which has room for more peers",
        )
    # Without a peer any id will do: `pass_slot` gives the slot to the one that comes.
    peer = peers[0] if peers else int(node_id == 0)
    return from_v08(decode08(data), node_id=node_id, peer_node_id=peer, log_applied=False)


def encode_running(superblock: Superblock, *, v08: bool) -> bytes:
    """The 4096 bytes on the disk."""
    if not v08:
        return encode(superblock)
    owner = next(node for node, peer in enumerate(superblock.peers) if peer.bitmap_index == 0)
    return encode08(to_v08(superblock, peer_node_id=owner, log_applied=False))


def pass_slot(superblock: Superblock, node_id: int, configured: Sequence[int]) -> Superblock:
    """The one slot of v08 goes to this peer, if its owner so far is none of the configured ones."""
    owner = next(node for node, peer in enumerate(superblock.peers) if peer.bitmap_index == 0)
    if owner == node_id or owner in configured:
        return superblock
    entry = superblock.peers[owner]
    return with_peer(with_peer(superblock, owner, PeerSlot()), node_id, msgspec.structs.replace(entry))
