"""Which nodes have each write of a Primary: numbering on its side, notes on the side of those who get them.

A node that holds a write which others may lack keeps the place (and its extents in the log) until the Primary
says who has it; if the Primary is lost first, the place is marked toward everybody. No resync begins here.
"""

from collections import deque
from typing import TYPE_CHECKING

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.model import Epoch, Peer, PeerDevice, Route, Volume
from bollard.replica.protocol.receiver import ReceivedEpoch
from bollard.replica.protocol.states import DiskState, ReplState, Role

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_STEP_BYTES = (1 << 32) - 4096


class PeerAcks:
    """Both sides of P_DAGTAG and P_PEER_ACK."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self._unsettled: deque[Epoch] = deque()

    # -- the Primary

    def number(self, route: Route, sectors: int) -> None:
        """A write is about to be sent to several nodes: they must know its place in our stream."""
        core = self.core
        for device in route.send:
            peer = device.peer
            if peer.sent_dagtag != core.dagtag:
                core.send(peer, p.Dagtag(core.dagtag))
            peer.sent_dagtag = core.dagtag + sectors

    def closed(self, epoch: Epoch) -> None:
        """The epoch gets no more writes."""
        epoch.dagtag = self.core.dagtag
        self._unsettled.append(epoch)

    def settled(self) -> None:
        """Epochs that nobody has to confirm any more: tell, in their order, who has them."""
        core = self.core
        while self._unsettled and self._unsettled[0].settled:
            epoch = self._unsettled.popleft()
            if len(core.peers) < 2:
                continue
            mask = epoch.stored
            if all(volume.disk_open for volume in core.volumes.values()):
                mask |= 1 << core.node_id
            for peer in core.connected_peers():
                if peer.dialect.drbd9 and not peer.config.diskless:
                    core.send(peer, p.PeerAck(mask, epoch.dagtag))

    # -- the others

    def has_thirds(self, volume: Volume, writer: Peer) -> bool:
        """A disk besides ours may lack what the writer sends: a third one, or its own that it lost."""
        own = writer.devices[volume.number]
        lost = own.slot >= 0 and own.disk < DiskState.INCONSISTENT
        found = lost or any(device.slot not in (-1, own.slot) for device in self.core.devices(volume))
        volume.thirds[writer.node_id] = found
        return found

    def on_dagtag(self, peer: Peer, _volume: int, packet: p.Dagtag) -> None:
        peer.stream_dagtag = packet.dagtag
        self.r.receiver.got_further(peer)

    def on_peer_ack(self, peer: Peer, _volume: int, packet: p.PeerAck) -> None:
        """All writes up to there are on the nodes of the mask, and on no others."""
        unconfirmed = peer.unconfirmed
        while unconfirmed:
            epoch = unconfirmed[0]
            epoch.confirmed_mask &= packet.node_mask
            if epoch.dagtag > packet.dagtag:
                return
            unconfirmed.popleft()
            epoch.over = True
            self._mark(epoch, lacking=~epoch.confirmed_mask)
            self._release(epoch)
            if epoch.dagtag == packet.dagtag:
                break
        if not unconfirmed and peer.role != Role.PRIMARY:
            self.r.receiver.primary_gone(peer)

    def _mark(self, epoch: ReceivedEpoch, *, lacking: int) -> None:
        """Set the bits of the epoch's places toward the nodes that lack it."""
        for volume, start, end in epoch.ranges:
            if volume.bitmap is None:
                continue
            slots = tuple(
                device.slot
                for device in self.core.devices(volume)
                if device.slot >= 0 and lacking >> device.peer.node_id & 1
            )
            if not slots:
                continue
            volume.bitmap.mark(slots, start, end - start)
            volume.unsaved_marks = True

    @staticmethod
    def _release(epoch: ReceivedEpoch) -> None:
        extents, epoch.extents = epoch.extents, {}
        for volume, held in extents.items():
            log = epoch.logs.get(volume)
            if log is None or volume.log is not log:
                continue
            for extent in held:
                log.release(extent)
            if volume.writer is not None:
                volume.writer.wake()

    def spill(self, volume: Volume) -> None:
        """The activity log is full of extents that wait for peer acks: let the bitmap remember instead."""
        for peer in self.core.peers.values():
            for epoch in peer.unconfirmed:
                if volume in epoch.extents:
                    epoch.spilled = True
                    self._mark(epoch, lacking=~(1 << peer.node_id))
                    self._release(epoch)

    def remark(self, volume: Volume) -> None:
        """Bits were cleared wholesale: those that only the bitmap remembers are set again."""
        for peer in self.core.peers.values():
            for epoch in peer.unconfirmed:
                if epoch.spilled and any(place[0] is volume for place in epoch.ranges):
                    self._mark(epoch, lacking=~(1 << peer.node_id))

    def writer_lost(self, peer: Peer) -> None:
        """Nobody will say any more who has these writes: everybody may lack them."""
        unconfirmed, peer.unconfirmed = peer.unconfirmed, deque()
        for epoch in unconfirmed:
            epoch.over = True
            self._mark(epoch, lacking=-1)
            self._release(epoch)

    # -- third nodes of a resync

    def tell_in_sync(self, volume: Volume, target: Peer) -> None:
        """The target has all that we have now, as have others: they need to keep nothing for each other."""
        own = target.devices[volume.number]
        if volume.disk != DiskState.UP_TO_DATE:
            return
        for device in self.core.devices(volume):
            if device is not own and self._in_sync(device):
                self._say(volume, target, device.peer)
                self._say(volume, device.peer, target)

    def _in_sync(self, device: PeerDevice) -> bool:
        volume = device.volume
        return (
            device.peer.connected
            and device.equal
            and device.slot >= 0
            and device.repl == ReplState.ESTABLISHED
            and device.disk == DiskState.UP_TO_DATE
            and volume.bitmap is not None
            and not volume.bitmap.count(device.slot)
            and not self.r.disks.generations(volume).bitmap_uuid(device.peer.node_id)
        )

    def _say(self, volume: Volume, to: Peer, about: Peer) -> None:
        mask = 1 << self.core.node_id | 1 << about.node_id
        for start in range(0, volume.size_bytes, _STEP_BYTES):
            size = min(_STEP_BYTES, volume.size_bytes - start)
            self.core.send(to, p.PeersInSync(start >> 9, mask, size), volume.number)

    def on_peers_in_sync(self, peer: Peer, number: int, packet: p.PeersInSync) -> None:
        """A node whose data is ours found another one equal to itself."""
        source = peer.devices.get(number)
        if source is None or source.slot < 0 or not packet.node_mask >> peer.node_id & 1:
            return
        volume, bitmap = source.volume, source.volume.bitmap
        primaries = self.core.primary_peers()
        if (
            bitmap is None
            or volume.disk <= DiskState.INCONSISTENT
            or source.repl != ReplState.ESTABLISHED
            or bitmap.count(source.slot)
            or (primaries and peer not in primaries)
            or (packet.sector << 9) + packet.size_bytes > volume.size_bytes
        ):
            return
        for device in self.core.devices(volume):
            if device.slot >= 0 and device is not source and packet.node_mask >> device.peer.node_id & 1:
                bitmap.clean(device.slot, packet.sector << 9, packet.size_bytes)
                self.remark(volume)
                self.r.sources.settle_slot(device)
