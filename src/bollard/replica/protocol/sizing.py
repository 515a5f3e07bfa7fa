"""Sizes of volumes: what fits at connect, what a diskless node takes over, and growth by the whole cluster."""

from typing import TYPE_CHECKING

import msgspec

from bollard.domain.units import SECTOR_BYTES
from bollard.replica.metadata import layout
from bollard.replica.metadata.al_block import INITIALISED_BLOCK
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.superblock import encode
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import ANY_NODE, SizeFlag
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.exclusion import RangeCall
from bollard.replica.protocol.model import PeerDevice, Volume
from bollard.replica.protocol.states import Role
from bollard.replica.protocol.twopc import Transaction, Vote

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_NO_LIMIT_SECTORS = (1 << 63) - 1


class Sizing:
    """The sizes of one resource's volumes."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- connecting

    def fits(self, device: PeerDevice) -> bool:
        """Neither side has a disk too small for the volume that the other one shows to users."""
        sizes, volume = device.sizes, device.volume
        if sizes is None:
            return False
        mine, theirs = volume.size_bytes // SECTOR_BYTES, sizes.current_sectors
        my_room = self.r.disks.capacity_bytes(volume) // SECTOR_BYTES
        if volume.disk_open and theirs and my_room < theirs:
            return False
        return not (sizes.disk_sectors and mine and sizes.disk_sectors < mine)

    def adopt(self, device: PeerDevice) -> None:
        """Take over a peer's larger size (it grew while we were away), or the only size known."""
        sizes, volume = device.sizes, device.volume
        if sizes is None or not sizes.current_sectors:
            return
        theirs = sizes.current_sectors * SECTOR_BYTES
        if theirs > volume.size_bytes:
            self._set_size(volume, theirs, assume_clean=False)

    def peer_sizes(self, device: PeerDevice) -> None:
        """A connected peer told other sizes."""
        if not device.volume.disk_open:
            self.adopt(device)

    # -- growing

    def resize(self, tag: int, volume: Volume, size_bytes: int, *, assume_clean: bool) -> None:
        """Ask all nodes how much they can hold, commit the least."""
        if size_bytes % SECTOR_BYTES or (size_bytes and size_bytes < volume.size_bytes):
            why = f"volume {volume.number} has {volume.size_bytes} bytes; it can only grow, by whole sectors"
            self.r.answer(tag, a.Code.INVALID, why)
            return
        tid, me, _ = self.r.twopc.prepare_fields()
        flags = int(SizeFlag.NO_RESYNC) if assume_clean else 0
        prepare = p.TwoPcPrepareResize(tid, me, 0, size_bytes // SECTOR_BYTES, flags, ANY_NODE)

        def votes(tx: Transaction) -> Vote:
            wanted = size_bytes // SECTOR_BYTES or tx.max_sectors
            grows = min(wanted, tx.max_sectors) * SECTOR_BYTES >= volume.size_bytes
            fits = wanted <= tx.max_sectors
            tx.max_sectors = min(wanted, tx.max_sectors)
            return Vote.YES if grows and fits and tx.max_sectors < _NO_LIMIT_SECTORS else Vote.NO

        def ended(vote: Vote, tx: Transaction) -> None:
            if vote == Vote.YES:
                self.committed(volume.number, tx.max_sectors, tx)
                self.r.answer(tag)
            elif vote == Vote.NO:
                room = tx.max_sectors * SECTOR_BYTES if tx.max_sectors < _NO_LIMIT_SECTORS else 0
                self.r.answer(
                    tag, a.Code.INVALID, f"the disks of all nodes hold {room} bytes; grow them first"
                )
            else:
                self.r.answer(tag, a.Code.BUSY, "the nodes were busy; try again", number=-19)

        if not self.r.twopc.start(prepare, volume=volume.number, on_votes=votes, on_end=ended):
            self.r.answer(tag, a.Code.BUSY, "another change is under way; try again", number=-19)

    def masks(self, tx: Transaction) -> tuple[int, int, int]:
        """(reachable, diskful primaries, sectors this node can hold)."""
        bit = 1 << self.core.node_id
        volume = self.core.volumes.get(tx.volume)
        if volume is None or not volume.disk_open:
            return bit, 0, _NO_LIMIT_SECTORS
        primary = bit if self.core.role == Role.PRIMARY else 0
        return bit, primary, self._room_bytes(volume) // SECTOR_BYTES

    def _room_bytes(self, volume: Volume) -> int:
        """What the backing would hold with its metadata at the new end."""
        superblock = volume.superblock
        assert superblock is not None
        if not volume.internal:
            return self.r.disks.capacity_bytes(volume)
        try:
            return layout.internal(volume.backing_bytes, superblock.geometry).usable_bytes
        except MetadataError:
            return self.r.disks.capacity_bytes(volume)

    def committed(self, number: int, sectors: int, tx: Transaction) -> None:
        volume = self.core.volumes.get(number)
        prepare = tx.prepare
        assert isinstance(prepare, p.TwoPcPrepareResize)
        if volume is not None and sectors * SECTOR_BYTES > volume.size_bytes:
            self._set_size(
                volume, sectors * SECTOR_BYTES, assume_clean=bool(prepare.dds_flags & SizeFlag.NO_RESYNC)
            )

    def _set_size(self, volume: Volume, size_bytes: int, *, assume_clean: bool) -> None:
        core = self.core
        core.log("info", f"volume {volume.number}: {volume.size_bytes} -> {size_bytes} bytes")
        volume.size_bytes = size_bytes
        core.changed = True
        if volume.disk_open:
            self._grow_disk(volume, size_bytes)
            if not assume_clean:
                # Fresh thin space reads as zeroes on every node; only a verify could tell otherwise.
                core.log("info", f"volume {volume.number}: the new area counts as equal on all nodes")
        core.out.append(a.VolumeSize(volume.number, size_bytes))
        for peer in core.connected_peers():
            core.send(peer, self.r.agree.sizes_of(volume), volume.number)

    def _grow_disk(self, volume: Volume, size_bytes: int) -> None:
        """Bitmap and superblock for the new size; internal metadata moves to the new end first."""
        superblock, bitmap, writer = volume.superblock, volume.bitmap, volume.writer
        assert superblock is not None
        assert bitmap is not None
        assert writer is not None
        bitmap.resize(size_bytes, new_bits_set=False)
        old_end = volume.superblock_offset_bytes + layout.PAGE_BYTES
        old_start = volume.superblock_offset_bytes + superblock.bitmap_offset_sectors * SECTOR_BYTES
        sectors = size_bytes // SECTOR_BYTES
        moved = self.r.disks.capacity_bytes(volume) < size_bytes
        if moved:
            place = layout.internal(volume.backing_bytes, superblock.geometry)
            volume.superblock_offset_bytes = place.superblock_offset_bytes
            superblock = msgspec.structs.replace(
                superblock,
                md_size_sectors=place.md_size_sectors,
                al_offset_sectors=place.al_offset_sectors,
                bitmap_offset_sectors=place.bitmap_offset_sectors,
            )
        superblock = msgspec.structs.replace(superblock, effective_size_sectors=sectors)
        volume.superblock = superblock
        if not moved:
            writer.save_bitmap(lambda: self.r.disks.refresh(volume, lambda: None))
            return
        new_offset = volume.superblock_offset_bytes
        ring = new_offset + superblock.al_offset_sectors * SECTOR_BYTES
        pieces = ((ring, INITIALISED_BLOCK * superblock.al_blocks), (new_offset, encode(superblock)))
        # The old metadata lies where users may write from now on: they wait until it reads as zeroes.
        core = self.core
        gate = RangeCall(old_start, old_end, lambda: None)
        entered = volume.busy.enter(gate)
        assert entered, "nothing was ever written beyond the old end"

        def wiped(errno: int, _data: Buffer) -> None:
            if errno:
                core.log("error", f"volume {volume.number}: the old metadata was not wiped, error {errno}")
            volume.busy.leave(gate)

        def wipe() -> None:
            tag = core.disk_tag(volume, wiped)
            core.out.append(a.ZeroDisk(tag, volume.number, old_start, old_end - old_start, fua=True))

        writer.save_bitmap(lambda: writer.write(pieces, wipe))
