"""What is different about a resync with an 8.4 peer: P_SYNC_UUID starts it, each side sees its end itself."""

from typing import TYPE_CHECKING

import msgspec

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.config import Handler
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.generations84 import (
    finish_source84,
    finish_target84,
    start_source84,
    take_sync_uuid,
)
from bollard.replica.protocol.model import Peer, PeerDevice
from bollard.replica.protocol.pulling import Target
from bollard.replica.protocol.states import DiskState, ReplState
from bollard.replica.protocol.uuids import masked

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource


class Resync84:
    """Beginning and end of the resyncs with the 8.4 peer; what is between is resync.py's."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- the source

    def source_ready(self, device: PeerDevice) -> None:
        """The bits are merged: the resync gets its generation, on the disk first; then it begins."""
        volume, peer, link = device.volume, device.peer, device.peer.link
        generations, sync_uuid = start_source84(
            self.r.disks.generations(volume), peer.node_id, fresh_uuid=self.r.rotation.fresh_uuid()
        )
        self.r.disks.set_generations(volume, generations)

        def saved() -> None:
            if peer.link != link or device.repl not in (ReplState.WF_BITMAP_S, ReplState.STARTING_SYNC_S):
                return
            assert device.wire_state is not None
            # What it said before does not tell the end of this resync.
            device.wire_state = msgspec.structs.replace(device.wire_state, conn=int(ReplState.WF_SYNC_UUID))
            self.core.send(peer, p.SyncUuid(sync_uuid), volume.number)
            self.r.resync.source_ready(device)

        self.r.disks.refresh(volume, saved)

    def serve_all(self, device: PeerDevice) -> None:
        """The peer gave its data up: it gets everything, without an exchange of bitmaps."""
        bitmap = device.volume.bitmap
        assert bitmap is not None
        bitmap.set_all(device.slot)
        device.repl = ReplState.STARTING_SYNC_S
        self.source_ready(device)

    def maybe_done(self, device: PeerDevice) -> None:
        """No bit is left, and the target has said that its disk is whole: the resync is over."""
        volume, word = device.volume, device.wire_state
        if device.repl != ReplState.SYNC_SOURCE or volume.bitmap is None or word is None:
            return
        if word.conn != ReplState.ESTABLISHED:
            return
        if word.disk == DiskState.UP_TO_DATE:
            if volume.bitmap.count(device.slot):
                return
            generations = finish_source84(self.r.disks.generations(volume), peer=device.peer.node_id)
            self.r.disks.set_generations(volume, generations)
            device.was_connected = True
            self.r.disks.refresh(volume)
        device.disk = word.disk
        device.repl = ReplState.ESTABLISHED
        self.core.changed = True
        self.r.news.send_state(device)
        self.r.membership.update()

    # -- the target

    def take_all(self, device: PeerDevice) -> None:
        """The peer gives us all of its data."""
        volume = device.volume
        assert volume.bitmap is not None
        volume.bitmap.set_all(device.slot)
        self._expect(device)
        self.r.disks.set_disk(volume, min(volume.disk, DiskState.OUTDATED))

    def _expect(self, device: PeerDevice) -> None:
        """Wait for the start of a resync that has no handshake."""
        start = masked(self.r.disks.generations(device.volume).current)
        device.repl = ReplState.WF_SYNC_UUID
        device.resync = Target(device.peer.link, start, self.r.checksums.choose(device, full=True))

    def bits_saved(self, device: PeerDevice) -> None:
        """Merged and durable: the source may begin."""
        device.repl = ReplState.WF_SYNC_UUID
        self.core.changed = True
        self.r.resync.send_bitmap(device)

    def on_sync_uuid(self, peer: Peer, number: int, packet: p.SyncUuid) -> None:
        """The resync begins: until its end our data is a mixture of a generation of its own."""
        device = peer.devices.get(number)
        if device is None or device.volume.superblock is None:
            raise ProtocolError("SYNC_UUID", expected="a volume with a disk", got=f"volume {number}")
        if device.repl == ReplState.BEHIND:
            self._expect(device)
        target, volume = device.resync, device.volume
        if device.repl != ReplState.WF_SYNC_UUID or target is None:
            raise ProtocolError("SYNC_UUID", expected="one for a resync that waits", got=device.repl.name)
        writer = volume.writer
        assert writer is not None
        taken = take_sync_uuid(self.r.disks.generations(volume), packet.uuid, peer=peer.node_id)

        def bits_saved() -> None:
            if self.r.resync.current(device, target):
                self.r.disks.set_generations(volume, taken)
                volume.disk = DiskState.INCONSISTENT
                self.core.changed = True
                self.r.disks.refresh(volume, begin)

        def begin() -> None:
            if self.r.resync.current(device, target):
                target.source_ready = True
                self.r.resync.begin_target(device, target)

        self.r.calls.before(Handler.BEFORE_RESYNC_TARGET, device, lambda: writer.save_bitmap(bits_saved))

    def finish(self, device: PeerDevice) -> None:
        """Everything is here and durable: the source's generations are ours."""
        source = self.r.agree.peer_side(device)
        generations = finish_target84(
            self.r.disks.generations(device.volume), source, me=self.core.node_id, peer=device.peer.node_id
        )
        self.r.disks.set_generations(device.volume, generations)
