"""Metadata of a stopped volume from one version to the other: what is to be written, in which order.

Data stays where it is. A crash at any point leaves metadata of one version that says no less than it knew: at
worst that everything is out of sync. Writes nothing itself.
"""

from collections.abc import Callable, Iterator

import msgspec

from bollard.replica.metadata.bitmap import Bitmap
from bollard.replica.metadata.convert import from_v08, to_v08
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.growth import Flush, Write, distrustful
from bollard.replica.metadata.image import (
    AnySuperblock,
    Metadata,
    encode_any,
    fold_log,
    initialised_log,
    zeros,
)
from bollard.replica.metadata.layout import PAGE_BYTES, Geometry, Layout, Place, external, internal
from bollard.replica.metadata.superblock import DeviceFlag, PeerFlag, PeerSlot, Superblock, with_peer
from bollard.replica.metadata.superblock08 import Superblock08

__all__ = ["as_v08", "as_v09", "handed_over"]

_BATCH_PAGES = 256
Steps = Iterator[Write | Flush]


def as_v08(found: Metadata, *, peer_node_id: int) -> Steps:
    """To 8.4's metadata, for this node and the one peer. Nothing when it is that already.

    Raises MetadataError when other peers have bitmap slots that are in use, or the peer has none.
    """
    superblock = found.superblock
    if isinstance(superblock, Superblock08):
        return iter(())
    others = [
        node for node, peer in enumerate(superblock.peers) if peer.bitmap_index >= 0 and node != peer_node_id
    ]
    slot = superblock.peers[peer_node_id].bitmap_index
    if others:
        known = ", ".join(map(str, others))
        what = f"node ids {known} have bitmap slots here, and v08 knows the one peer {peer_node_id} only"
        raise _refused(what, "remove the other replicas first, or name the peer that stays")
    geometry = _with_peers(found.layout.geometry, 1)
    place = _place(found.layout, geometry)
    bitmap = Bitmap(found.bitmap.size_bytes, max_peers=1, block_bytes=geometry.block_bytes)

    def final() -> AnySuperblock:
        _copy_bits(found.bitmap, slot, bitmap)
        entry = msgspec.structs.replace(superblock.peers[peer_node_id], bitmap_index=0)
        entry = msgspec.structs.replace(entry, flags=entry.flags & ~PeerFlag.FULL_SYNC)
        alone = msgspec.structs.replace(superblock, max_peers=1, peers=(PeerSlot(),) * len(superblock.peers))
        moved = _at(with_peer(alone, peer_node_id, entry), place)
        return to_v08(_clean(moved), peer_node_id=peer_node_id)

    return _steps(found, place, bitmap, final)


def as_v09(found: Metadata, *, node_id: int, peer_node_id: int, max_peers: int = 1) -> Steps:
    """To DRBD 9's metadata, with so many bitmap slots. Nothing when it is that already.

    Raises MetadataError when the slots need more room than there is behind the data.
    """
    superblock = found.superblock
    if isinstance(superblock, Superblock):
        return iter(())
    geometry = _with_peers(found.layout.geometry, max_peers)
    place = _place(found.layout, geometry)
    size = found.bitmap.size_bytes
    if not superblock.effective_size_sectors:
        size = min(size, place.usable_bytes)  # no size was ever agreed on
    if place.usable_bytes < size:
        missing = size - place.usable_bytes
        raise _refused(
            f"{max_peers} bitmap slots leave {place.usable_bytes} bytes for {size} of data",
            f"take fewer peer slots, or grow the device by {missing} bytes and its metadata with it",
        )
    bitmap = Bitmap(size, max_peers=max_peers, block_bytes=geometry.block_bytes)
    applied = from_v08(superblock, node_id=node_id, peer_node_id=peer_node_id, log_applied=False)

    def final() -> AnySuperblock:
        _copy_bits(found.bitmap, 0, bitmap)
        entry = applied.peers[peer_node_id]
        entry = msgspec.structs.replace(entry, flags=entry.flags & ~PeerFlag.FULL_SYNC)
        wide = msgspec.structs.replace(with_peer(applied, peer_node_id, entry), max_peers=max_peers)
        moved = _at(wide, place)
        return _clean(moved)

    return _steps(found, place, bitmap, final)


def handed_over(found: Metadata) -> str:
    """The version, as words for people."""
    return "v08 (DRBD 8.4)" if isinstance(found.superblock, Superblock08) else "v09 (DRBD 9)"


def _steps(found: Metadata, place: Layout, bitmap: Bitmap, final: Callable[[], AnySuperblock]) -> Steps:
    """Fold the log in, bring the bitmap to its new form, then the other superblock."""
    old = found.layout
    changed = fold_log(found.superblock, found.bitmap, found.log)
    if changed:
        yield from _bitmap_writes(found.bitmap, old)
        yield Flush()
    for offset, data in initialised_log(old).writes():
        yield Write(offset, data)
    yield Flush()
    superblock = final()
    if (old.bitmap_offset_bytes, found.bitmap.max_peers) != (place.bitmap_offset_bytes, bitmap.max_peers):
        # In its old form the bitmap means something else: until the end nobody may believe it.
        yield Write(old.superblock_offset_bytes, encode_any(distrustful(found.superblock)))
        yield Flush()
        yield from _bitmap_writes(bitmap, place)
        start = min(old.bitmap_offset_bytes, place.bitmap_offset_bytes)
        end = max(old.bitmap_offset_bytes + old.bitmap_bytes, place.bitmap_offset_bytes + place.bitmap_bytes)
        written = range(place.bitmap_offset_bytes, place.bitmap_offset_bytes + bitmap.pages * PAGE_BYTES)
        for region in (*zeros(start, written.start), *zeros(written.stop, end)):
            yield from (Write(offset, data) for offset, data in region.writes())
        yield Flush()
    yield Write(place.superblock_offset_bytes, encode_any(superblock))
    yield Flush()


def _bitmap_writes(bitmap: Bitmap, place: Layout) -> Iterator[Write]:
    for first in range(0, bitmap.pages, _BATCH_PAGES):
        count = min(_BATCH_PAGES, bitmap.pages - first)
        yield Write(place.bitmap_offset_bytes + first * PAGE_BYTES, bitmap.encode_pages(first, count))


def _copy_bits(source: Bitmap, slot: int, target: Bitmap) -> None:
    """A peer without a slot was never known: it gets everything."""
    if slot < 0:
        target.set_all(0)
        return
    for first, count in source.runs(slot, 0, target.bits):
        target.set_bits(0, first, count)


def _with_peers(geometry: Geometry, max_peers: int) -> Geometry:
    return msgspec.structs.replace(geometry, max_peers=max_peers)


def _place(old: Layout, geometry: Geometry) -> Layout:
    if old.place is Place.INTERNAL:
        return internal(old.device_bytes, geometry)
    if old.place is Place.EXTERNAL:
        return external(old.device_bytes, geometry)
    raise _refused("the metadata is in an indexed area", "move it to a device of its own first")


def _at(superblock: Superblock, place: Layout) -> Superblock:
    return msgspec.structs.replace(
        superblock,
        md_size_sectors=place.md_size_sectors,
        al_offset_sectors=place.al_offset_sectors,
        bitmap_offset_sectors=place.bitmap_offset_sectors,
    )


def _clean(superblock: Superblock) -> Superblock:
    return msgspec.structs.replace(superblock, flags=superblock.flags | DeviceFlag.AL_CLEAN)


def _refused(what: str, next_step: str) -> MetadataError:
    return MetadataError(what, where="conversion of metadata", next_step=next_step)
