"""Sizes of volumes: what fits at connect, what a diskless node takes over, growth by the whole cluster."""

from typing import TYPE_CHECKING

from bollard.domain.units import SECTOR_BYTES
from bollard.replica.metadata import layout
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import ANY_NODE, SizeFlag
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
        my_room = self.room_bytes(volume) // SECTOR_BYTES
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
        return bit, primary, self.room_bytes(volume) // SECTOR_BYTES

    def room_bytes(self, volume: Volume) -> int:
        """What the backing would hold with its metadata at the new end; 0 without a disk."""
        superblock = volume.superblock
        if superblock is None or not volume.internal:
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
        core, old_bytes = self.core, volume.size_bytes
        core.log("info", f"volume {volume.number}: {old_bytes} -> {size_bytes} bytes")
        volume.size_bytes = size_bytes
        core.changed = True

        def ready() -> None:
            core.out.append(a.VolumeSize(volume.number, volume.size_bytes))

        if volume.disk_open:
            self.r.growing.grow(volume, old_bytes, ready)
            if not assume_clean:
                # Fresh thin space reads as zeroes on every node; only a verify could tell otherwise.
                core.log("info", f"volume {volume.number}: the new area counts as equal on all nodes")
        else:
            ready()
        for peer in core.connected_peers():
            core.send(peer, self.r.agree.sizes_of(volume), volume.number)
