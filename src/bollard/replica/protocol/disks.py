"""The local disk of a volume: attaching with crash recovery, state and generations on it, letting go.

The one place where a superblock is changed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from bollard.domain.units import SECTOR_BYTES
from bollard.replica.metadata import layout
from bollard.replica.metadata.activity_log import ActivityLog
from bollard.replica.metadata.al_block import EXTENT_BYTES, INITIALISED_BLOCK, max_extents, replay
from bollard.replica.metadata.bitmap import Bitmap
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.running import decode_running, is_v08, pass_slot
from bollard.replica.metadata.superblock import (
    HISTORY_UUIDS,
    DeviceFlag,
    PeerFlag,
    PeerSlot,
    Superblock,
    take_slot,
    with_peer,
    without_day_0,
)
from bollard.replica.protocol import actions as a
from bollard.replica.protocol.config import QUORUM_OFF, Handler, OnIoError
from bollard.replica.protocol.events import Buffer, DiskAttached, DiskOpenFailed
from bollard.replica.protocol.generations import Generations, PeerDisk, Peers, Slot, set_primary
from bollard.replica.protocol.growing import left_by_growth
from bollard.replica.protocol.meta_writer import MetaWriter
from bollard.replica.protocol.model import EIO, Peer, PeerDevice, Volume
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.uuids import masked, same

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_KEPT = DeviceFlag.CONSISTENT | DeviceFlag.WAS_UP_TO_DATE


def _own_entry(superblock: Superblock) -> tuple[Superblock, bool]:
    """Note in a node's own entry, as DRBD does, that the disk was attached; True if it never was before."""
    entry = superblock.peers[superblock.node_id]
    flags = entry.flags | PeerFlag.NODE_EXISTS
    noted = with_peer(superblock, superblock.node_id, msgspec.structs.replace(entry, flags=flags))
    return noted, flags != entry.flags


class Disks:
    """The disks of one resource."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- attaching

    def attach(self, tag: int, volume: Volume) -> None:
        if volume.config.diskless or volume.disk != DiskState.DISKLESS or volume.attach_tag is not None:
            what = "is diskless on purpose" if volume.config.diskless else "has a disk already"
            self.r.answer(tag, a.Code.CONFLICT, f"volume {volume.number} {what}", number=-11)
            return
        volume.attach_tag = tag
        volume.disk = DiskState.ATTACHING
        self.core.changed = True
        self.core.out.append(a.OpenDisk(volume.number))

    def open_failed(self, event: DiskOpenFailed) -> None:
        volume = self.core.volumes[event.volume]
        tag, volume.attach_tag = volume.attach_tag, None
        volume.disk = DiskState.DISKLESS
        self.core.changed = True
        if tag is not None:
            self.r.answer(tag, a.Code.UNAVAILABLE, event.reason)

    def attached(self, event: DiskAttached) -> None:
        """Take over what is on the disk: replay the log into the bitmap, then count as attached."""
        volume = self.core.volumes[event.volume]
        assert volume.disk == DiskState.ATTACHING, volume.disk
        try:
            superblock = self._load(volume, event)
        except MetadataError as error:
            self.core.out.append(a.CloseDisk(volume.number))
            self.open_failed(DiskOpenFailed(volume.number, f"metadata of volume {volume.number}: {error}"))
            return
        volume.superblock = superblock
        volume.disk_open = True
        volume.writer = MetaWriter(
            self.core,
            volume,
            on_error=lambda: self.io_error(volume, "its metadata cannot be written"),
            starved=lambda: self._starved(volume),
        )
        hot = self._replay(volume, event, superblock)
        volume.crashed_primary = bool(superblock.flags & DeviceFlag.CRASHED_PRIMARY)
        slots = min(self.core.options.al_extents, max_extents(superblock.al_blocks))
        volume.log = ActivityLog(
            slots=slots, stripes=superblock.al_stripes, stripe_blocks=superblock.al_stripe_blocks
        )
        volume.superblock = msgspec.structs.replace(superblock, al_extents=slots)
        ring = volume.superblock_offset_bytes + superblock.al_offset_sectors * SECTOR_BYTES
        clean = ((ring, INITIALISED_BLOCK * superblock.al_blocks),)
        writer = volume.writer
        if hot:
            self.core.log(
                "warning", f"volume {volume.number}: {hot} extents were being written before a crash"
            )
        self._wipe_leftovers(
            volume, lambda: writer.save_bitmap(lambda: writer.write(clean, lambda: self._ready(volume)))
        )

    def _starved(self, volume: Volume) -> None:
        """No extent of the log can be given up before an epoch ends."""
        self.r.epochs.close()
        self.r.peer_acks.spill(volume)

    def _wipe_leftovers(self, volume: Volume, then: Callable[[], None]) -> None:
        """Metadata that a growth, which a crash cut off, left where users will write."""
        assert volume.superblock is not None
        left = left_by_growth(volume.superblock, self.capacity_bytes(volume))
        if not left:
            then()
            return

        def wiped(errno: int, _data: Buffer) -> None:
            if not errno:
                then()
            elif volume.disk_open:
                self.io_error(volume, "what an interrupted growth left cannot be cleared")

        tag = self.core.disk_tag(volume, wiped)
        zero = a.ZeroDisk(tag, volume.number, left.start, len(left), may_unmap=True, fua=True)
        self.core.out.append(zero)

    def _load(self, volume: Volume, event: DiskAttached) -> Superblock:
        peers = [peer.node_id for peer in self.core.diskful_peers()]
        superblock = decode_running(event.superblock, node_id=self.core.node_id, peers=peers)
        volume.v08 = is_v08(event.superblock)
        if superblock.node_id not in (-1, self.core.node_id):
            raise MetadataError(
                f"it belongs to node id {superblock.node_id}",
                where="superblock",
                next_step=f"this is node id {self.core.node_id}: check that the backing is the right one",
            )
        superblock = msgspec.structs.replace(superblock, node_id=self.core.node_id)
        before = superblock.slots_used
        for peer in self.core.diskful_peers():
            superblock, _ = take_slot(superblock, peer.node_id)
        superblock, fresh = _own_entry(without_day_0(superblock))
        volume.superblock_offset_bytes = event.superblock_offset_bytes
        volume.backing_bytes, volume.meta_bytes = event.backing_bytes, event.meta_bytes
        volume.internal = event.internal
        volume.superblock = superblock
        capacity = self.capacity_bytes(volume)
        size = superblock.effective_size_sectors * SECTOR_BYTES
        if size > capacity:
            volume.superblock = None
            raise MetadataError(
                f"the volume has {size} bytes, its backing only room for {capacity}",
                where="superblock",
                next_step="give the backing its old size again",
            )
        size = size or min(volume.config.size_bytes or capacity, capacity)
        volume.size_bytes = size
        bitmap = Bitmap(size, max_peers=superblock.max_peers, block_bytes=superblock.block_bytes)
        bitmap.load_pages(0, event.bitmap[: bitmap.pages * layout.PAGE_BYTES])
        if not fresh:
            # Free slots are not kept: of what their nodes lack nothing is known.
            for slot in superblock.slots_used - before:
                bitmap.set_all(slot)
        volume.bitmap = bitmap
        return msgspec.structs.replace(superblock, effective_size_sectors=size // SECTOR_BYTES)

    def _replay(self, volume: Volume, event: DiskAttached, superblock: Superblock) -> int:
        """Mark what a crashed writer may have touched out of sync, toward everybody."""
        bitmap = volume.bitmap
        assert bitmap is not None
        for entry in superblock.peers:
            if entry.flags & PeerFlag.FULL_SYNC and entry.bitmap_index >= 0:
                bitmap.set_all(entry.bitmap_index)
        if not superblock.flags & DeviceFlag.PRIMARY_IND:
            return 0
        page = layout.PAGE_BYTES
        ring = [event.activity_log[at : at + page] for at in range(0, superblock.al_blocks * page, page)]
        result = replay(ring, stripes=superblock.al_stripes)
        slots = range(superblock.max_peers)
        if not result.complete or superblock.flags & DeviceFlag.AL_DISABLED:
            for slot in slots:
                bitmap.set_all(slot)
            return -(-volume.size_bytes // EXTENT_BYTES)
        for extent in result.hot:
            if extent * EXTENT_BYTES < volume.size_bytes:
                length = min(EXTENT_BYTES, volume.size_bytes - extent * EXTENT_BYTES)
                bitmap.mark(slots, extent * EXTENT_BYTES, length)
        return len(result.hot)

    def _ready(self, volume: Volume) -> None:
        superblock = volume.superblock
        assert superblock is not None
        flags = superblock.flags
        volume.lost_quorum_as_primary = bool(flags & DeviceFlag.PRIMARY_LOST_QUORUM)
        peers = tuple(
            msgspec.structs.replace(entry, flags=entry.flags & ~PeerFlag.FULL_SYNC)
            for entry in superblock.peers
        )
        volume.superblock = msgspec.structs.replace(superblock, peers=peers)
        self.core.members |= superblock.members
        if not flags & DeviceFlag.CONSISTENT:
            volume.disk = DiskState.INCONSISTENT
            volume.torn = True
        elif not flags & DeviceFlag.WAS_UP_TO_DATE:
            volume.disk = DiskState.OUTDATED
        else:
            volume.trust(self._trusted(volume))
        if self.core.role is Role.PRIMARY and not same(volume.exposed_uuid, superblock.current_uuid):
            # This Primary went on without the disk: it has older data than what clients were shown.
            volume.disk = min(volume.disk, DiskState.OUTDATED)
        for device in self.core.devices(volume):
            device.was_connected = False
        self.core.out.append(a.VolumeSize(volume.number, volume.size_bytes))
        self.refresh(volume, lambda: self._attach_done(volume))

    def _trusted(self, volume: Volume) -> DiskState:
        """UpToDate where nothing can be newer: nobody else has a disk, or quorum survived the restart."""
        if self.core.options.quorum == QUORUM_OFF or not any(True for _ in self.core.diskful_peers()):
            return DiskState.UP_TO_DATE
        superblock = volume.superblock
        assert superblock is not None
        alone = superblock.members == 1 << self.core.node_id
        if alone and superblock.flags & DeviceFlag.HAVE_QUORUM:
            volume.restored_alone = volume.had_quorum = True
            return DiskState.UP_TO_DATE
        return DiskState.CONSISTENT

    def _attach_done(self, volume: Volume) -> None:
        tag, volume.attach_tag = volume.attach_tag, None
        self.core.changed = True
        self.r.membership.update()
        self.r.news.disk_arrived(volume)
        if tag is not None:
            self.r.answer(tag)

    # -- state and generations

    def capacity_bytes(self, volume: Volume) -> int:
        """The largest size that backing and metadata allow; 0 without a disk."""
        superblock = volume.superblock
        if superblock is None:
            return 0
        if volume.internal:
            starts = min(superblock.bitmap_offset_sectors, superblock.al_offset_sectors, 0)
            return volume.superblock_offset_bytes + starts * SECTOR_BYTES
        covered = layout.external(volume.meta_bytes, superblock.geometry).usable_bytes
        return min(volume.backing_bytes & ~(layout.PAGE_BYTES - 1), covered)

    def generations(self, volume: Volume) -> Generations:
        superblock = volume.superblock
        if superblock is None:
            return Generations(current=volume.exposed_uuid)
        slots = tuple(Slot(entry.bitmap_uuid, entry.bitmap_dagtag_sectors) for entry in superblock.peers)
        history = tuple(uuid for uuid in superblock.history if uuid)
        return Generations(current=superblock.current_uuid, slots=slots, history=history)

    def set_generations(self, volume: Volume, generations: Generations) -> None:
        """In memory; `refresh` or a save brings it to the disk."""
        superblock = volume.superblock
        assert superblock is not None
        generations = set_primary(generations, primary=self.core.role == Role.PRIMARY)
        peers = tuple(
            msgspec.structs.replace(entry, bitmap_uuid=slot.bitmap_uuid, bitmap_dagtag_sectors=slot.dagtag)
            if (entry.bitmap_uuid, entry.bitmap_dagtag_sectors) != (slot.bitmap_uuid, slot.dagtag)
            else entry
            for entry, slot in zip(superblock.peers, generations.slots, strict=True)
        )
        history = generations.history + (0,) * (HISTORY_UUIDS - len(generations.history))
        volume.superblock = msgspec.structs.replace(
            superblock, current_uuid=generations.current, peers=peers, history=history
        )
        self._expose(volume)
        volume.superblock_changed = True

    def _expose(self, volume: Volume) -> None:
        """Our generation is what clients see, unless they read a better copy through us."""
        assert volume.superblock is not None
        if self.core.role is not Role.PRIMARY or volume.disk >= DiskState.CONSISTENT:
            volume.exposed_uuid = masked(volume.superblock.current_uuid)

    def peer_disks(self, volume: Volume) -> Peers:
        """What rotation needs to know of the peers."""
        return {
            peer.node_id: PeerDisk(
                peer.devices[volume.number].disk,
                diskless=peer.config.diskless or peer.devices[volume.number].slot < 0,
            )
            for peer in self.core.peers.values()
        }

    def peer_added(self, volume: Volume, peer: Peer) -> None:
        """A node joined while the disk is attached: it gets a bitmap slot and, to begin with, everything."""
        superblock, bitmap = volume.superblock, volume.bitmap
        if superblock is None or bitmap is None or peer.config.diskless:
            return
        if volume.v08:
            others = [other for other in self.core.peers if other != peer.node_id]
            superblock = pass_slot(superblock, peer.node_id, others)
        fresh = superblock.peers[peer.node_id].bitmap_index < 0
        try:
            volume.superblock, slot = take_slot(superblock, peer.node_id)
        except MetadataError as error:
            self.core.log("error", f"volume {volume.number}: {error}")
            return
        if fresh:
            bitmap.set_all(slot)
        volume.superblock_changed = True
        self.refresh(volume)

    def note_seen(self, device: PeerDevice) -> None:
        """The peer was seen with a disk: it counts for quorum, also after a restart."""
        superblock = device.volume.superblock
        if superblock is None or device.slot < 0:
            return
        entry = superblock.peers[device.peer.node_id]
        flags = entry.flags | PeerFlag.DEVICE_SEEN | PeerFlag.NODE_EXISTS
        if flags != entry.flags:
            self._set_peer(device.volume, device.peer.node_id, msgspec.structs.replace(entry, flags=flags))

    def _set_peer(self, volume: Volume, node_id: int, entry: PeerSlot) -> None:
        assert volume.superblock is not None
        volume.superblock = with_peer(volume.superblock, node_id, entry)
        volume.superblock_changed = True

    def set_disk(self, volume: Volume, state: DiskState) -> None:
        """Another trust in the local data; told to peers, written to the superblock."""
        if volume.disk == state:
            return
        self.core.log("info", f"volume {volume.number}: disk {volume.disk.name} -> {state.name}")
        volume.trust(state)
        self.core.changed = True
        self.refresh(volume)
        self.r.news.broadcast(volume)
        self.r.membership.update()

    def refresh(
        self, volume: Volume, then: Callable[[], None] | None = None, *, flush_data: bool = False
    ) -> None:
        """Bring flags, members and the Primary bit up to date, and write the superblock if it differs."""
        superblock = volume.superblock
        if superblock is None or not volume.disk_open:
            return
        primary = self.core.role == Role.PRIMARY
        flags = superblock.flags & ~(
            _KEPT | DeviceFlag.CRASHED_PRIMARY | DeviceFlag.PRIMARY_IND | DeviceFlag.AL_CLEAN
            | DeviceFlag.PRIMARY_LOST_QUORUM | DeviceFlag.HAVE_QUORUM
        )  # fmt: skip
        doubtful = volume.crashed_primary or volume.unsaved_bits or volume.unsettled
        somebody = primary or any(peer.role == Role.PRIMARY for peer in self.core.peers.values())
        for flag, holds in (
            (DeviceFlag.CONSISTENT, volume.disk > DiskState.INCONSISTENT),
            (DeviceFlag.WAS_UP_TO_DATE, volume.disk > DiskState.OUTDATED),
            (DeviceFlag.CRASHED_PRIMARY, primary or doubtful),
            (DeviceFlag.PRIMARY_IND, somebody or doubtful or volume.unsaved_marks),
            (DeviceFlag.PRIMARY_LOST_QUORUM, volume.lost_quorum_as_primary),
            (DeviceFlag.HAVE_QUORUM, volume.quorum and self.core.options.quorum != QUORUM_OFF),
        ):
            if holds:
                flags |= flag
        current = set_primary(self.generations(volume), primary=primary).current
        members = self.core.members if volume.quorum else superblock.members
        updated = msgspec.structs.replace(superblock, flags=flags, current_uuid=current, members=members)
        changed = updated != superblock or volume.superblock_changed
        volume.superblock = updated
        volume.superblock_changed = False
        self._expose(volume)
        assert volume.writer is not None
        if changed or then is not None:
            volume.writer.save(then, flush_data=flush_data)

    def shrink_new(self, volume: Volume, size_bytes: int) -> None:
        """Another, smaller size for a volume that never held data."""
        superblock, bitmap = volume.superblock, volume.bitmap
        assert superblock is not None
        assert bitmap is not None
        volume.size_bytes = size_bytes
        bitmap.resize(size_bytes, new_bits_set=False)
        sectors = size_bytes // SECTOR_BYTES
        volume.superblock = msgspec.structs.replace(superblock, effective_size_sectors=sectors)
        volume.superblock_changed = True
        self.core.out.append(a.VolumeSize(volume.number, size_bytes))
        self.refresh(volume)

    # -- letting go

    def io_error(self, volume: Volume, what: str) -> None:
        """The disk failed: go on without it."""
        if not volume.disk_open or volume.disk in (DiskState.DETACHING, DiskState.FAILED):
            return
        why = f"volume {volume.number}: {what}; its disk is given up, replace it and attach"
        self.core.log("error", why)
        if self.r.io_errors.policy(volume) is OnIoError.CALL_LOCAL_IO_ERROR:
            self.r.calls.tell(Handler.LOCAL_IO_ERROR, volume)
        self.close(volume, failed=True)
        tag, volume.attach_tag = volume.attach_tag, None
        if tag is not None:
            self.r.answer(tag, a.Code.UNAVAILABLE, why)

    def close(self, volume: Volume, *, failed: bool = False) -> None:
        """Stop using the disk at once; everything waiting for it fails with EIO."""
        primary = self.core.role == Role.PRIMARY
        volume.disk = DiskState.FAILED if failed else DiskState.DISKLESS
        volume.disk_open = False
        volume.reroute()
        self.core.out.append(a.CloseDisk(volume.number))
        writer, volume.writer = volume.writer, None
        stopped = writer.stop() if writer is not None else []
        self.r.losses.disk_lost(volume, primary=primary)
        volume.superblock = volume.bitmap = volume.log = None
        volume.reroute()
        # Peers hear of it before any further write: from then on they note what we miss.
        volume.disk = DiskState.DISKLESS
        self.r.news.broadcast(volume)
        waiting = [tag for tag, (owner, _) in self.core.disk_waiting.items() if owner is volume]
        for tag in waiting:
            _, then = self.core.disk_waiting.pop(tag)
            then(EIO, b"")
        for resume in stopped:
            resume()
        volume.disk = DiskState.DISKLESS
        self.core.changed = True
        self.r.news.broadcast(volume)
        self.r.membership.update()

    def close_cleanly(self, volume: Volume, then: Callable[[], None]) -> None:
        """Write everything down, mark the log as folded in, then close; `then()` afterwards."""
        writer = volume.writer
        assert writer is not None

        def bitmap_saved() -> None:
            superblock = volume.superblock
            if superblock is None or volume.writer is not writer:
                then()
                return
            ring = volume.superblock_offset_bytes + superblock.al_offset_sectors * SECTOR_BYTES
            writer.write(((ring, INITIALISED_BLOCK * superblock.al_blocks),), ring_saved)

        def ring_saved() -> None:
            superblock = volume.superblock
            if superblock is None or volume.writer is not writer:
                then()
                return
            flags = superblock.flags & ~(DeviceFlag.CRASHED_PRIMARY | DeviceFlag.PRIMARY_IND)
            flags |= DeviceFlag.AL_CLEAN
            if volume.crashed_primary or volume.unsettled:
                flags |= DeviceFlag.CRASHED_PRIMARY
            current = masked(superblock.current_uuid)
            volume.superblock = msgspec.structs.replace(superblock, flags=flags, current_uuid=current)
            writer.save(closed, flush_data=True)

        def closed() -> None:
            if volume.writer is writer:
                self.close(volume)
            then()

        writer.save_bitmap(bitmap_saved)
