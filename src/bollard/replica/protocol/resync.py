"""Resynchronisation: exchange of bitmaps, then the target pulls what differs; only those blocks move.

A block that is being fetched is locked on the target, and one that is being read for it is locked on the source.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from bollard.replica.metadata.bitmap import Bitmap
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.bitmap_wire import BitmapReceiver, Runs, bitmap_packets
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.exclusion import RangeCall
from bollard.replica.protocol.generations import (
    copy_slot,
    finish_as_source,
    finish_as_target,
    start_as_source,
    start_as_target,
)
from bollard.replica.protocol.model import Peer, PeerDevice, Timer
from bollard.replica.protocol.outcomes import Decision, Rule
from bollard.replica.protocol.states import DiskState, ReplState
from bollard.replica.protocol.uuids import same

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_BLOCK: Final = 4096
_RETRY_S: Final = 1.0


class Target:
    """What a resync target keeps while it pulls."""

    def __init__(self, link: int, start_uuid: int) -> None:
        self.link = link
        self.start_uuid = start_uuid
        self.cursor = 0
        self.in_flight: dict[int, RangeCall] = {}
        self.in_flight_bytes = 0
        self.failed = 0
        self.running = False
        self.source_ready = False
        self.finishing = False
        self.timer: Timer | None = None
        self.next_s = 0.0


def _wire_bits(bitmap: Bitmap) -> int:
    """Bits of the bitmap on the wire: always one for 4 KiB."""
    return -(-bitmap.size_bytes // _BLOCK)


def _wire_runs(bitmap: Bitmap, slot: int, start: int) -> Iterator[tuple[int, int]]:
    """Set runs in wire bits from `start` on."""
    scale, end = bitmap.block_bytes // _BLOCK, _wire_bits(bitmap)
    for first, count in bitmap.runs(slot, start // scale):
        low, high = max(first * scale, start), min((first + count) * scale, end)
        if low < high:
            yield low, high - low


class Resync:
    """Both sides of every resync of the resource."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- starting

    def start_source(self, device: PeerDevice, plan: Decision) -> None:
        """The peer lacks what our bits say: tell it which blocks."""
        volume = device.volume
        bitmap = volume.bitmap
        assert bitmap is not None
        generations = self.r.disks.generations(volume)
        if plan.slot is not None:
            assert volume.superblock is not None
            other = volume.superblock.peers[plan.slot].bitmap_index
            if other >= 0:
                bitmap.copy_slot(other, device.slot)
            generations = copy_slot(generations, device.peer.node_id, plan.slot)
        if plan.full:
            bitmap.set_all(device.slot)
        target = self.r.agree.peer_side(device)
        generations = start_as_source(
            generations, target, full=plan.full, fresh_uuid=self.r.rotation.fresh_uuid()
        )
        self.r.disks.set_generations(volume, generations)
        volume.crashed_primary = False
        if volume.disk == DiskState.CONSISTENT:
            self.r.disks.set_disk(volume, DiskState.UP_TO_DATE)
        self.r.disks.refresh(volume)
        device.repl = ReplState.WF_BITMAP_S
        device.disk = min(device.disk, DiskState.OUTDATED)
        device.bitmap_in = BitmapReceiver(_wire_bits(bitmap))
        self._send_bitmap(device)

    def start_target(self, device: PeerDevice, plan: Decision) -> None:
        """Our data is older: nothing of it is to be used until the resync is done."""
        volume = device.volume
        bitmap = volume.bitmap
        assert bitmap is not None
        source = self.r.agree.peer_side(device)
        started = start_as_target(
            self.r.disks.generations(volume),
            source,
            self.r.disks.peer_disks(volume),
            me=self.core.node_id,
            fresh_uuid=self.r.rotation.fresh_uuid(),
        )
        self.r.disks.set_generations(volume, started.generations)
        if plan.slot is not None:
            bitmap.clear_all(device.slot)
        if plan.full:
            bitmap.set_all(device.slot)
        device.repl = ReplState.WF_BITMAP_T
        device.resync = Target(device.peer.link, started.start_uuid)
        device.bitmap_in = BitmapReceiver(_wire_bits(bitmap))
        equal = plan.rule in (Rule.BOTH_OFF, Rule.RECONNECTED, Rule.LOST_QUORUM, Rule.CRASHED_PRIMARY)
        self.core.log("info", f"volume {volume.number}: target of {device.peer.config.name}, equal {equal}")
        self.r.disks.set_disk(volume, min(volume.disk, DiskState.OUTDATED))

    def _send_bitmap(self, device: PeerDevice) -> None:
        bitmap, slot = device.volume.bitmap, device.slot
        assert bitmap is not None
        packets = bitmap_packets(
            _wire_bits(bitmap),
            lambda start: _wire_runs(bitmap, slot, start),
            lambda first, count: bitmap.words(slot, first, count),
        )
        for packet in packets:
            self.core.send(device.peer, packet, device.volume.number)

    def on_bitmap(self, peer: Peer, number: int, packet: p.Bitmap | p.CompressedBitmap) -> None:
        device = peer.devices.get(number)
        if device is None or device.bitmap_in is None or device.volume.bitmap is None:
            raise ProtocolError("bitmap", expected="none now", got=f"one for volume {number}")
        receiver, bitmap = device.bitmap_in, device.volume.bitmap
        part = receiver.take(packet)
        if isinstance(part, Runs):
            for first, count in part.ranges:
                start = first * _BLOCK
                length = min(count * _BLOCK, device.volume.size_bytes - start)
                bitmap.mark((device.slot,), start, length)
        elif part.data:
            bitmap.merge_words(device.slot, part.first_word, bytes(part.data))
        if not receiver.done:
            return
        device.bitmap_in = None
        if device.repl == ReplState.WF_BITMAP_S:
            self._source_ready(device)
        elif device.repl == ReplState.WF_BITMAP_T:
            self._target_ready(device)

    def _source_ready(self, device: PeerDevice) -> None:
        device.repl = ReplState.SYNC_SOURCE
        device.disk = DiskState.INCONSISTENT
        self._count(device)
        self.r.news.send_state(device)
        self.r.membership.update()

    def _target_ready(self, device: PeerDevice) -> None:
        """The merged bits and the Inconsistent flag must be on the disk before a block is overwritten."""
        volume, target = device.volume, device.resync
        writer = volume.writer
        assert target is not None
        assert writer is not None

        def bits_saved() -> None:
            if self._current(device, target):
                volume.disk = DiskState.INCONSISTENT
                self.core.changed = True
                self.r.disks.refresh(volume, flags_saved)

        def flags_saved() -> None:
            if not self._current(device, target):
                return
            device.repl = ReplState.SYNC_TARGET
            self._count(device)
            self._send_bitmap(device)
            self.r.news.broadcast(volume)
            self.r.membership.update()
            target.running = True
            self._pull(device, target)

        writer.save_bitmap(bits_saved)

    def _count(self, device: PeerDevice) -> None:
        bitmap = device.volume.bitmap
        assert bitmap is not None
        device.out_of_sync_total_bits = bitmap.count(device.slot)
        device.resynced_bytes = device.last_resync_bytes = 0
        self.core.changed = True
        self.core.log(
            "info",
            f"volume {device.volume.number}: resync {device.repl.name} with {device.peer.config.name}, "
            f"{device.out_of_sync_total_bits} blocks",
        )

    def _current(self, device: PeerDevice, target: Target) -> bool:
        return device.resync is target and device.peer.link == target.link and device.peer.connected

    # -- the target

    def more_to_do(self, device: PeerDevice) -> None:
        target = device.resync
        if target is not None and target.running:
            target.cursor = 0
            self._pull(device, target)

    def _pull(self, device: PeerDevice, target: Target) -> None:
        """Ask for blocks while the budget lasts; the end is reached when no bit is set."""
        core, volume = self.core, device.volume
        bitmap, slot = volume.bitmap, device.slot
        assert bitmap is not None
        if not (target.running and target.source_ready):
            return
        budget = core.options.max_buffers * _BLOCK
        block = bitmap.block_bytes
        while target.in_flight_bytes < budget and not self._throttled(device, target):
            first = bitmap.next_set(slot, target.cursor) if target.cursor < bitmap.bits else None
            if first is None:
                break
            end = bitmap.next_clear(slot, first)
            limit = core.options.resync_request_bytes
            stop = bitmap.bits if end is None else end
            aligned = (first * block // limit + 1) * limit // block
            stop = min(stop, aligned if aligned > first else first + 1)
            start_byte = first * block
            length = min(stop * block, volume.size_bytes) - start_byte
            target.cursor = stop
            self._fetch(device, target, start_byte, length)
        if not target.in_flight:
            self._at_end(device, target)

    def _pull_if_current(self, device: PeerDevice, target: Target) -> None:
        if self._current(device, target):
            self._pull(device, target)

    def _throttled(self, device: PeerDevice, target: Target) -> bool:
        rate = self.core.options.resync_bytes_per_s
        if not rate or self.core.now_s >= target.next_s:
            return False
        if target.timer is None or target.timer.call is None:
            delay = target.next_s - self.core.now_s
            target.timer = self.core.after(delay, lambda: self._pull_if_current(device, target))
        return True

    def _fetch(self, device: PeerDevice, target: Target, start: int, length: int) -> None:
        core = self.core
        block_id = core.next_op()
        rate = core.options.resync_bytes_per_s
        if rate:
            target.next_s = max(target.next_s, core.now_s - 0.1) + length / rate

        def ask() -> None:
            if self._current(device, target):
                packet = p.RsDataRequest(start >> 9, block_id, length)
                core.send(device.peer, packet, device.volume.number)
            else:
                device.volume.busy.leave(lock)

        lock = RangeCall(start, start + length, ask)
        target.in_flight[block_id] = lock
        target.in_flight_bytes += length
        if device.volume.busy.enter(lock):
            ask()

    def on_reply(self, peer: Peer, number: int, packet: p.RsDataReply) -> None:
        device = peer.devices.get(number)
        target = device.resync if device is not None else None
        lock = self._lock_of(target, packet.block_id, packet.sector)
        if device is None or target is None or lock is None:
            raise ProtocolError(
                "RS_DATA_REPLY", expected="an answer to a request", got=f"id {packet.block_id:#x}"
            )
        if len(packet.data) != lock.end - lock.start:
            raise ProtocolError("RS_DATA_REPLY", expected=lock.end - lock.start, got=len(packet.data))
        self.r.digests.check(peer, packet.data, packet.digest)
        tag = self.core.disk_tag(
            device.volume, lambda errno, _data: self._block_written(device, target, packet, lock, errno)
        )
        device.received_bytes += len(packet.data)
        lock.writing = True
        self.core.out.append(a.WriteDisk(tag, number, lock.start, packet.data))

    @staticmethod
    def _lock_of(target: Target | None, block_id: int, sector: int) -> RangeCall | None:
        if target is None:
            return None
        lock = target.in_flight.get(block_id)
        return lock if lock is not None and lock.start == sector << 9 else None

    def _block_written(
        self, device: PeerDevice, target: Target, packet: p.RsDataReply, lock: RangeCall, errno: int
    ) -> None:
        volume, size = device.volume, lock.end - lock.start
        current = self._current(device, target)
        if not errno and volume.bitmap is not None and current:
            volume.bitmap.clean(device.slot, lock.start, size)
            device.resynced_bytes += size
            device.last_resync_bytes += size
            ack = p.RsWriteAck(packet.sector, packet.block_id, size)
            self.core.send(device.peer, ack, volume.number)
        target.in_flight.pop(packet.block_id, None)
        target.in_flight_bytes -= size
        volume.busy.leave(lock)
        if errno and volume.disk_open:
            self.r.disks.write_failed(volume)
        elif self._current(device, target):
            self._pull(device, target)

    def on_in_sync(self, peer: Peer, number: int, packet: p.RsIsInSync) -> None:
        """The source found the digest equal: nothing to write."""
        self._settle_request(peer, number, packet.block_id, in_sync=True)

    def on_refused(
        self, peer: Peer, number: int, packet: p.NegRsDreply | p.RsCancel | p.RsCancelAhead
    ) -> None:
        """The source could not or would not serve a block: it stays out of sync for now."""
        self._settle_request(peer, number, packet.block_id, in_sync=False)

    def _settle_request(self, peer: Peer, number: int, block_id: int, *, in_sync: bool) -> None:
        device = peer.devices.get(number)
        target = device.resync if device is not None else None
        lock = target.in_flight.pop(block_id, None) if target is not None else None
        if device is None or target is None or lock is None:
            return
        size = lock.end - lock.start
        target.in_flight_bytes -= size
        if in_sync:
            assert device.volume.bitmap is not None
            device.volume.bitmap.clean(device.slot, lock.start, size)
            device.resynced_bytes += size
        else:
            target.failed += 1
        device.volume.busy.leave(lock)
        self._pull(device, target)

    def _at_end(self, device: PeerDevice, target: Target) -> None:
        bitmap = device.volume.bitmap
        assert bitmap is not None
        if target.finishing:
            return
        if bitmap.count(device.slot):
            if target.timer is None or target.timer.call is None:
                delay = _RETRY_S if target.failed else 0.0
                target.failed = 0
                target.timer = self.core.after(delay, lambda: self._again(device, target))
            return
        target.finishing = True
        volume = device.volume

        def flushed(errno: int, _data: Buffer) -> None:
            target.finishing = False
            if errno and volume.disk_open:
                self.r.disks.write_failed(volume)
            elif self._current(device, target):
                if bitmap.count(device.slot) or target.in_flight:
                    self._again(device, target)
                else:
                    self._finish(device, target)

        self.core.out.append(a.FlushDisk(self.core.disk_tag(volume, flushed), volume.number))

    def _again(self, device: PeerDevice, target: Target) -> None:
        if self._current(device, target):
            target.cursor = 0
            self._pull(device, target)

    def _finish(self, device: PeerDevice, target: Target) -> None:
        """Everything is here and durable: our data is the source's generation."""
        volume = device.volume
        source = self.r.agree.peer_side(device)
        others = [peer.node_id for peer in self.core.diskful_peers() if peer is not device.peer]
        generations = finish_as_target(
            self.r.disks.generations(volume),
            source,
            start_uuid=target.start_uuid,
            me=self.core.node_id,
            others=others,
        )
        self.r.disks.set_generations(volume, generations)
        volume.crashed_primary = False
        volume.lost_quorum_as_primary = False
        volume.doubt = False
        device.resync = None
        device.was_connected = True
        volume.disk = DiskState.UP_TO_DATE
        device.repl = ReplState.ESTABLISHED
        self.core.changed = True
        self.core.log("info", f"volume {volume.number}: resync done, {device.resynced_bytes} bytes")

        def saved() -> None:
            for peer in self.core.connected_peers():
                self.r.agree.send_uuids(peer.devices[volume.number])
            self.r.news.broadcast(volume)
            self.r.membership.update()

        self.r.disks.refresh(volume, saved, flush_data=True)

    # -- the source

    def on_request(self, peer: Peer, number: int, packet: p.RsDataRequest | p.RsThinReq) -> None:
        device = peer.devices.get(number)
        start, size = packet.sector << 9, packet.size_bytes
        if device is None or not 0 < size <= 1 << 20 or start + size > device.volume.size_bytes:
            raise ProtocolError(
                "RS_DATA_REQUEST", expected="a range inside the volume", got=f"{start}+{size}"
            )
        volume, link = device.volume, peer.link
        if device.repl != ReplState.SYNC_SOURCE or not volume.disk_open:
            self.core.send(peer, p.RsCancel(packet.sector, packet.block_id, size), number)
            return

        def read() -> None:
            if not volume.disk_open or peer.link != link:
                done(5, b"")
                return
            tag = self.core.disk_tag(volume, done)
            self.core.out.append(a.ReadDisk(tag, number, start, size))

        def done(errno: int, data: Buffer) -> None:
            if peer.link == link:
                if errno:
                    self.core.send(peer, p.NegRsDreply(packet.sector, packet.block_id, size), number)
                else:
                    digest = self.r.digests.integrity(peer, data)
                    reply = p.RsDataReply(packet.sector, packet.block_id, 0, 0, data, digest)
                    self.core.send(peer, reply, number)
                    device.sent_bytes += size
            volume.busy.leave(lock)

        lock = RangeCall(start, start + size, read)
        if volume.busy.enter(lock):
            read()

    def on_write_ack(self, peer: Peer, number: int, packet: p.RsWriteAck) -> None:
        device = peer.devices.get(number)
        if device is None or device.volume.bitmap is None or device.slot < 0:
            return
        device.volume.bitmap.clean(device.slot, packet.sector << 9, packet.size_bytes)
        device.resynced_bytes += packet.size_bytes

    def peer_moved(self, device: PeerDevice, repl: ReplState, before: DiskState) -> None:
        """The peer's replication state: a source that serves us, a target that has finished or given up."""
        target = device.resync
        if target is not None and repl == ReplState.SYNC_SOURCE and not target.source_ready:
            # Before this the source only named the places of new writes; all of those have arrived now.
            target.source_ready = True
            self._pull(device, target)
        if device.repl != ReplState.SYNC_SOURCE or repl != ReplState.ESTABLISHED or device.uuids is None:
            return
        if before == DiskState.INCONSISTENT and device.disk < DiskState.UP_TO_DATE:
            return
        volume = device.volume
        assert volume.bitmap is not None
        generations = self.r.disks.generations(volume)
        side = self.r.agree.peer_side(device)
        if same(generations.current, side.current):
            self.r.disks.set_generations(volume, finish_as_source(generations, side, me=self.core.node_id))
            volume.bitmap.clear_all(device.slot)
            device.was_connected = True
            self.r.disks.refresh(volume)
        device.repl = ReplState.ESTABLISHED
        self.core.changed = True
        self.r.news.send_state(device)

    def stop(self, device: PeerDevice) -> None:
        """The connection or a disk is gone: blocks under way are given up, their bits stay set."""
        target, device.resync = device.resync, None
        device.bitmap_in = None
        if target is None:
            return
        if target.timer is not None:
            target.timer.cancel()
        locks, target.in_flight = list(target.in_flight.items()), {}
        for _, lock in locks:
            if not lock.blockers and not lock.writing:
                device.volume.busy.leave(lock)
