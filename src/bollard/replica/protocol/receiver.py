"""The other end of a Primary's writes: apply them, acknowledge them, make epochs durable; serve reads."""

from collections import deque
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Final

from bollard.replica.metadata.activity_log import ActivityLog, extents_of
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import Channel, Cmd, DataFlag
from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.exclusion import RangeOp
from bollard.replica.protocol.frames import MAGIC_100
from bollard.replica.protocol.model import Peer, PeerDevice, Phase, Volume
from bollard.replica.protocol.states import DiskState

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

# Plain numbers: an IntFlag costs microseconds at each use, and these are used for every packet.
_DISCARD: Final = int(DataFlag.DISCARD)
_FUA: Final = int(DataFlag.FUA)
_SEND_RECEIVE_ACK: Final = int(DataFlag.SEND_RECEIVE_ACK)
_SEND_WRITE_ACK: Final = int(DataFlag.SEND_WRITE_ACK)

_ACK: Final = Struct(">IhHIIQQII")
_ACK_BYTES: Final = 24


class ReceivedEpoch:
    """Writes between two barriers of one peer.

    With third nodes it also has their places, up to position `dagtag` of the peer's stream, and holds their
    extents in our log, until the peer says who has them. `spilled`: the bitmap remembers them instead.
    """

    __slots__ = (
        "active", "barrier", "confirmed_mask", "count", "dagtag", "extents", "flushing", "logs", "over",
        "ranges", "spilled", "volumes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.count = 0
        self.active = 0
        self.barrier: int | None = None
        self.flushing = 0
        self.volumes: set[int] = set()
        self.ranges: list[tuple[Volume, int, int]] = []
        self.extents: dict[Volume, set[int]] = {}
        self.logs: dict[Volume, ActivityLog] = {}
        self.dagtag = 0
        self.confirmed_mask = -1
        self.spilled = False
        self.over = False


class PeerWrite(RangeOp):
    """One write of a peer on its way to the local disk."""

    __slots__ = ("cuts", "epoch", "link", "owner", "packet", "peer", "volume")

    def __init__(
        self, owner: "Receiver", peer: Peer, volume: Volume, packet: p.Data | p.Trim | p.Zeroes, length: int
    ) -> None:
        start = packet.sector << 9
        super().__init__(start, start + length)
        self.owner = owner
        self.peer = peer
        self.link = peer.link
        self.volume = volume
        self.packet = packet
        assert peer.receiving is not None
        self.epoch = peer.receiving
        self.cuts: list[tuple[int, int]] = []

    def run(self) -> None:
        self.owner.write(self)

    def done(self, errno: int, _data: Buffer) -> None:
        self.owner.written(self, errno)


class Receiver:
    """Writes and reads that peers ask of us."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- writes

    def on_data(self, peer: Peer, number: int, packet: p.Data) -> None:
        self.r.digests.check(peer, packet.data, packet.digest)
        self._take(peer, number, packet, len(packet.data))

    def on_range(self, peer: Peer, number: int, packet: p.Trim | p.Zeroes) -> None:
        self._take(peer, number, packet, packet.size_bytes)

    def _take(self, peer: Peer, number: int, packet: p.Data | p.Trim | p.Zeroes, length: int) -> None:
        volume = self.core.volumes.get(number)
        if peer.phase != Phase.CONNECTED or volume is None:
            raise ProtocolError("write", expected="a connected volume", got=f"volume {number}")
        start = packet.sector << 9
        if not length > 0 or start + length > volume.size_bytes:
            raise ProtocolError(
                "write", expected=f"within {volume.size_bytes} bytes", got=f"{start}+{length}"
            )
        epoch = peer.receiving
        if epoch is None:
            epoch = peer.receiving = ReceivedEpoch()
        epoch.count += 1
        peer.stream_dagtag += length >> 9
        device = peer.devices[number]
        device.received_bytes += length
        if not volume.disk_open or volume.disk < DiskState.INCONSISTENT:
            self._negative(peer, number, packet, length)
            return
        route = volume.absent if volume.absent is not None else self.absent(volume)
        if route:
            assert volume.bitmap is not None
            volume.bitmap.mark(route, start, length)
        thirds = volume.thirds.get(peer.node_id)
        if thirds if thirds is not None else self.r.peer_acks.has_thirds(volume, peer):
            if not epoch.ranges:
                peer.unconfirmed.append(epoch)
            epoch.ranges.append((volume, start, start + length))
            epoch.dagtag = peer.stream_dagtag
        epoch.active += 1
        epoch.volumes.add(number)
        op = PeerWrite(self, peer, volume, packet, length)
        self.r.sharing.received(peer, volume, op)
        if packet.flags & _SEND_RECEIVE_ACK:
            self._ack(op, Cmd.RECV_ACK)
        if volume.busy.enter(op):
            self.write(op)
        if peer.awaited:
            self.got_further(peer)

    def got_further(self, peer: Peer) -> None:
        """Resync requests that waited for this position of the peer's stream; their ranges come after it."""
        waiting, peer.awaited = peer.awaited, []
        for dagtag, go in waiting:
            if peer.stream_dagtag >= dagtag or peer.phase != Phase.CONNECTED:
                go()
            else:
                peer.awaited.append((dagtag, go))

    def _log_first(self, op: PeerWrite) -> bool:
        """Bits that may have to be set here alone must survive a crash: the extents go through our log too.

        True when the write has to wait for that. The epoch holds them until the peer says who has it.
        """
        volume, epoch = op.volume, op.epoch
        log, writer = volume.log, volume.writer
        if not epoch.ranges or log is None or writer is None:
            return False
        volume.unsaved_marks = True
        held = epoch.extents.get(volume)
        if held is None:
            held = epoch.extents[volume] = set()
            epoch.logs[volume] = log
        wanted = extents_of(op.start, op.end - op.start)
        missing = [extent for extent in wanted if extent not in held]
        if not missing:
            return False
        if not log.hold_all(missing):
            held.update(missing)
            return False

        def active() -> None:
            if volume.log is log:
                self._activated(epoch, volume, log, wanted)
            self._to_disk(op)

        writer.activate(wanted, active)
        return True

    @staticmethod
    def _activated(epoch: ReceivedEpoch, volume: Volume, log: ActivityLog, extents: range) -> None:
        """The extents are held once for this call: hand that on to the epoch, unless it is over."""
        held = epoch.extents.setdefault(volume, set())
        epoch.logs[volume] = log
        for extent in extents:
            if not log.is_active(extent):
                continue
            if extent in held or epoch.over:
                log.release(extent)
            else:
                held.add(extent)
        if epoch.over and volume.writer is not None:
            volume.writer.wake()

    def absent(self, volume: Volume) -> tuple[int, ...]:
        """Slots of nodes that may not get a Primary's writes: away, or known to have no disk now.

        Should we be the one to bring them up to date, nobody else may know any more what they lack.
        """
        slots = tuple(
            device.slot
            for device in self.core.devices(volume)
            if device.slot >= 0 and (not device.peer.connected or device.disk < DiskState.INCONSISTENT)
        )
        volume.absent = slots
        return slots

    def write(self, op: PeerWrite) -> None:
        """The range is free: to the disk, through the activity log where it must be."""
        if not self._log_first(op):
            self._to_disk(op)

    def _to_disk(self, op: PeerWrite) -> None:
        volume, packet = op.volume, op.packet
        if not volume.disk_open:
            self.written(op, 5)
            return
        if op.cuts:
            self.r.sharing.write_rest(op)
            return
        tag = self.core.disk_tag(volume, op.done)
        fua = bool(packet.flags & _FUA)
        if isinstance(packet, p.Data):
            self.core.out.append(a.WriteDisk(tag, volume.number, op.start, packet.data, fua))
        else:
            unmap = isinstance(packet, p.Trim) or bool(packet.flags & _DISCARD)
            self.core.out.append(a.ZeroDisk(tag, volume.number, op.start, op.end - op.start, unmap, fua))

    def written(self, op: PeerWrite, errno: int) -> None:
        peer, epoch, volume = op.peer, op.epoch, op.volume
        alive = peer.link == op.link and peer.phase == Phase.CONNECTED
        if errno:
            if alive:
                self._negative(peer, volume.number, op.packet, op.end - op.start)
            self.r.io_errors.at(volume, op.start, op.end - op.start)
        elif alive and op.packet.flags & _SEND_WRITE_ACK:
            self._ack(op, Cmd.WRITE_ACK)
        volume.busy.leave(op)
        epoch.active -= 1
        if epoch.barrier is not None and not epoch.active and alive:
            self._flush_ready(peer)

    def _ack(self, op: PeerWrite, cmd: Cmd) -> None:
        packet, size, number = op.packet, op.end - op.start, op.volume.number
        orders = op.peer.dialect.features & Feature.ORDERS_WRITES
        seq = op.peer.sent_id if orders else packet.seq
        frame = _ACK.pack(MAGIC_100, number, cmd, _ACK_BYTES, 0, packet.sector, packet.block_id, size, seq)
        self.core.out.append(a.Send(op.peer.node_id, Channel.CONTROL, (frame,)))

    def _negative(self, peer: Peer, number: int, packet: p.Data | p.Trim | p.Zeroes, length: int) -> None:
        if packet.flags & (_SEND_WRITE_ACK | _SEND_RECEIVE_ACK):
            self.core.send(peer, p.NegAck(packet.sector, packet.block_id, length, packet.seq), number)

    # -- epochs

    def on_barrier(self, peer: Peer, _volume: int, packet: p.Barrier) -> None:
        epoch, peer.receiving = peer.receiving or ReceivedEpoch(), None
        epoch.barrier = packet.barrier
        queue: deque[ReceivedEpoch] = peer.received_epochs
        queue.append(epoch)
        if not epoch.active:
            self._flush_ready(peer)

    def _flush_ready(self, peer: Peer) -> None:
        """The oldest epoch, once all its writes are done, is made durable and acknowledged."""
        queue = peer.received_epochs
        if not queue or queue[0].active or queue[0].flushing or queue[0].barrier is None:
            return
        epoch, link = queue[0], peer.link
        volumes = [self.core.volumes[number] for number in epoch.volumes if number in self.core.volumes]
        open_ones = [volume for volume in volumes if volume.disk_open]
        epoch.flushing = len(open_ones) + 1

        def flushed(errno: int, _data: Buffer) -> None:
            epoch.flushing -= 1
            if errno:
                for volume in open_ones:
                    self.r.io_errors.unknown_place(volume)
                if peer.link == link:
                    self.r.connector.drop_for_disk(peer)
                return
            if epoch.flushing or peer.link != link:
                return
            queue.popleft()
            assert epoch.barrier is not None
            self.core.send(peer, p.BarrierAck(epoch.barrier, epoch.count))
            self._flush_ready(peer)

        for volume in open_ones:
            self.core.out.append(a.FlushDisk(self.core.disk_tag(volume, flushed), volume.number))
        flushed(0, b"")

    def peer_gone(self, peer: Peer) -> None:
        """What was received goes on to the disk; nobody waits for its acknowledgement."""
        peer.receiving = None
        peer.received_epochs = deque()
        self.r.peer_acks.writer_lost(peer)
        self.got_further(peer)
        self.primary_gone(peer)

    def primary_gone(self, peer: Peer) -> None:
        """A peer that wrote does not any more: bits that only our activity log vouches for are saved."""
        for device in peer.devices.values():
            volume, writer = device.volume, device.volume.writer
            if volume.unsaved_marks and writer is not None and volume.bitmap is not None:
                writer.save_bitmap(partial(self._marks_saved, volume))

    def _marks_saved(self, volume: Volume) -> None:
        if not self.core.primary_peers() and not any(peer.unconfirmed for peer in self.core.peers.values()):
            volume.unsaved_marks = False
            self.r.disks.refresh(volume)

    # -- places only

    def on_out_of_sync(self, peer: Peer, number: int, packet: p.OutOfSync) -> None:
        device = peer.devices.get(number)
        if device is None or device.volume.bitmap is None or device.slot < 0:
            return
        volume = device.volume
        start = packet.sector << 9
        if start + packet.size_bytes > volume.size_bytes:
            raise ProtocolError("OUT_OF_SYNC", expected="a place inside the volume", got=start)
        assert volume.bitmap is not None
        volume.bitmap.mark((device.slot,), start, packet.size_bytes)
        self.r.resync.more_to_do(device)

    # -- reads

    def on_read(self, peer: Peer, number: int, packet: p.DataRequest) -> None:
        device = self._readable(peer, number, packet.sector << 9, packet.size_bytes)
        volume = device.volume
        if volume.disk != DiskState.UP_TO_DATE or not volume.disk_open:
            self._refuse(device, packet)
            return
        link = peer.link

        def done(errno: int, data: Buffer) -> None:
            if peer.link != link:
                return
            if errno:
                self._refuse(device, packet)
                return
            device.sent_bytes += len(data)
            digest = self.r.digests.integrity(peer, data)
            self.core.send(peer, p.DataReply(packet.sector, packet.block_id, 0, 0, data, digest), number)

        tag = self.core.disk_tag(volume, done)
        self.core.out.append(a.ReadDisk(tag, number, packet.sector << 9, packet.size_bytes))

    def _refuse(self, device: PeerDevice, packet: p.DataRequest) -> None:
        answer = p.NegDreply(packet.sector, packet.block_id, packet.size_bytes)
        self.core.send(device.peer, answer, device.volume.number)

    def _readable(self, peer: Peer, number: int, start: int, length: int) -> PeerDevice:
        device = peer.devices.get(number)
        if device is None or peer.phase != Phase.CONNECTED:
            raise ProtocolError("read", expected="a connected volume", got=f"volume {number}")
        if not 0 < length <= 1 << 20 or start + length > device.volume.size_bytes or length % 512:
            raise ProtocolError(
                "read", expected=f"within {device.volume.size_bytes} bytes", got=f"{start}+{length}"
            )
        return device
