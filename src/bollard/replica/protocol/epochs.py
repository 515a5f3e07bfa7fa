"""Epochs of writes on the sending side, and what each peer has not yet confirmed as durable."""

from typing import TYPE_CHECKING

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.model import Epoch, Peer, PeerDevice, SentEpoch
from bollard.replica.protocol.writes import FlushOp, Place, QuickOp, WriteOp

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_IDLE_CLOSE_S = 0.25


class Epochs:
    """Closes epochs, takes their acknowledgements, and settles what a lost peer left open."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self._orphans: dict[int, list[WriteOp | QuickOp]] = {}

    def arm(self) -> None:
        """An epoch does not stay open for long when writing has stopped."""
        core = self.core
        if core.epoch_timer is None:
            core.epoch_timer = core.after(_IDLE_CLOSE_S, self._idle)

    def _idle(self) -> None:
        self.core.epoch_timer = None
        self.close()

    def close(self) -> None:
        """Writes from now on belong to the next epoch; peers are asked to make this one durable."""
        core = self.core
        epoch = core.epoch
        if not epoch.writes:
            return
        epoch.closed = True
        core.epochs[epoch.number] = epoch
        self.r.peer_acks.closed(epoch)
        core.epoch = Epoch((epoch.number + 1) & 0xFFFF_FFFF or 1)
        for peer in core.peers.values():
            sending, peer.sending = peer.sending, None
            if sending is not None:
                epoch.peers_pending.add(peer.node_id)
                peer.sent_epochs[epoch.number] = sending
                core.send(peer, p.Barrier(epoch.number))
        self._settle(epoch)

    def on_barrier_ack(self, peer: Peer, _volume: int, packet: p.BarrierAck) -> None:
        sent = peer.sent_epochs.pop(packet.barrier, None)
        if sent is None or len(sent.ranges) != packet.set_size:
            expected = "none" if sent is None else f"{len(sent.ranges)} writes"
            raise ProtocolError("BARRIER_ACK", expected=expected, got=f"{packet.set_size} writes")
        epoch = self.core.epochs.get(packet.barrier)
        if epoch is not None and packet.set_size == epoch.writes:
            epoch.stored |= 1 << peer.node_id & ~epoch.refused
        self._confirmed(peer.node_id, packet.barrier)
        self._flushes()

    def _confirmed(self, node_id: int, number: int) -> None:
        epoch = self.core.epochs.get(number)
        if epoch is not None:
            epoch.peers_pending.discard(node_id)
            self._settle(epoch)

    def local_done(self, epoch: Epoch) -> None:
        epoch.local_pending -= 1
        if epoch.closed:
            self._settle(epoch)

    def _settle(self, epoch: Epoch) -> None:
        """Everybody has it: its extents need not stay in the activity log."""
        if epoch.local_pending or epoch.peers_pending or not epoch.closed:
            return
        core = self.core
        core.epochs.pop(epoch.number, None)
        epoch.settled = True
        self.r.peer_acks.settled()
        extents, epoch.extents = epoch.extents, {}
        for number, held in extents.items():
            volume = core.volumes.get(number)
            if volume is None or volume.log is None or volume.log is not epoch.logs.get(number):
                continue
            for extent in held:
                volume.log.release(extent)
            if volume.writer is not None:
                volume.writer.wake()
        self.r.requests.quiet()

    # -- flushes

    def flush(self, op: FlushOp) -> None:
        """Wait for everything sent so far."""
        self.close()
        for peer in self.core.peers.values():
            if peer.sent_epochs:
                op.peers[peer.node_id] = next(reversed(peer.sent_epochs))
        self.core.flushes.append(op)

    def _flushes(self) -> None:
        waiting = self.core.flushes
        if not waiting:
            return
        for op in list(waiting):
            for node_id in list(op.peers):
                peer = self.core.peers.get(node_id)
                if peer is None or op.peers[node_id] not in peer.sent_epochs:
                    del op.peers[node_id]
            self.flush_step(op)

    def flush_step(self, op: FlushOp) -> None:
        if not op.peers and not op.local and op in self.core.flushes:
            self.core.flushes.remove(op)
            if op.then is not None:
                op.then()
            else:
                self.r.requests.finish(op)

    # -- losses

    def forget_peer(self, peer: Peer) -> bool:
        """Mark what the peer has not confirmed; True if there was some. Requests wait for settle_peer."""
        dirty = False
        epochs = [*peer.sent_epochs.values()] + ([peer.sending] if peer.sending is not None else [])
        for sent in epochs:
            for place in sent.ranges:
                dirty = True
                bitmap, slot = place.volume.bitmap, peer.devices[place.volume.number].slot
                if bitmap is not None and slot >= 0:
                    bitmap.mark((slot,), place.start, place.end - place.start)
        self._orphans[peer.node_id] = list(peer.unacked.values())
        peer.unacked = {}
        return dirty

    def refused(self, peer: Peer) -> None:
        """The peer does not have all that it was sent and has not confirmed yet."""
        for number in peer.sent_epochs:
            epoch = self.core.epochs.get(number)
            if epoch is not None:
                epoch.refused |= 1 << peer.node_id
        self.core.epoch.refused |= 1 << peer.node_id

    def forget_device(self, device: PeerDevice) -> bool:
        """The same for one volume whose disk the peer lost; the connection goes on."""
        peer, dirty = device.peer, False
        self.refused(peer)
        epochs = [*peer.sent_epochs.values()] + ([peer.sending] if peer.sending is not None else [])
        for sent in epochs:
            for place in sent.ranges:
                if place.volume is device.volume:
                    dirty = True
                    if device.volume.bitmap is not None and device.slot >= 0:
                        device.volume.bitmap.mark((device.slot,), place.start, place.end - place.start)
        return dirty

    def settle_peer(self, peer: Peer) -> None:
        """Nothing waits for the lost peer any more."""
        numbers = list(peer.sent_epochs)
        peer.sent_epochs.clear()
        peer.sending = None
        for op in self._orphans.pop(peer.node_id, []):
            op.pending -= 1
            if not op.pending:
                self.r.requests.finish(op)
        for number in numbers:
            self._confirmed(peer.node_id, number)
        self._flushes()

    def record(self, peer: Peer, op: WriteOp) -> None:
        """The write was sent to the peer in the present epoch."""
        sending = peer.sending
        if sending is None:
            sending = peer.sending = SentEpoch(self.core.epoch.number)
        sending.ranges.append(Place(op.volume, op.start, op.end))
        sending.size_bytes += op.end - op.start
