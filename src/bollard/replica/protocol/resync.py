"""Resynchronisation: exchange of bitmaps, then the target pulls what differs; only those blocks move.

A block that is being fetched is locked on the target, one that is being read for it on the source.
"""

from typing import TYPE_CHECKING, Final

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.bitmap_wire import BitmapReceiver, Runs, slot_packets, wire_bits
from bollard.replica.protocol.checksums import GROUP_BYTES
from bollard.replica.protocol.commands import ID_SYNCER
from bollard.replica.protocol.config import Handler
from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.generations import (
    copy_slot,
    finish_as_source,
    finish_as_target,
    knows,
    start_as_source,
    start_as_target,
)
from bollard.replica.protocol.generations84 import corrected
from bollard.replica.protocol.model import Peer, PeerDevice
from bollard.replica.protocol.outcomes import Decision
from bollard.replica.protocol.pulling import Fetch, Part, Target
from bollard.replica.protocol.states import DiskState, ReplState
from bollard.replica.protocol.uuids import UNSET, same

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_BLOCK: Final = 4096
_RETRY_S: Final = 1.0
_SHARED_BYTES: Final = 1 << 20
"""Asked for at a time while applications write: what waits in front of a write on its way."""
_Refusal = p.NegRsDreply | p.RsCancel | p.RsCancelAhead


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
        target, old = self.r.agree.peer_side(device), not device.peer.dialect.drbd9
        generations = start_as_source(
            generations, target, full=plan.full and not old, fresh_uuid=self.r.rotation.fresh_uuid()
        )
        self.r.disks.set_generations(volume, corrected(generations, plan, peer=device.peer.node_id))
        volume.crashed_primary = volume.unsettled = False
        device.repl = ReplState.WF_BITMAP_S
        self.r.sources.begins(device)
        device.disk = min(device.disk, DiskState.OUTDATED)
        if volume.disk == DiskState.CONSISTENT:
            self.r.promotion.trust(volume)
        self.r.disks.refresh(volume)
        device.bitmap_in = BitmapReceiver(wire_bits(bitmap))
        if old:
            self.r.news.send_state(device)
        self.send_bitmap(device)

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
        self.r.sources.becomes_target(volume)
        if plan.slot is not None and not plan.keep_bits:
            bitmap.clear_all(device.slot)
        if plan.full:
            bitmap.set_all(device.slot)
        device.repl = ReplState.WF_BITMAP_T
        self.r.sources.begins(device)
        digest = self.r.checksums.choose(device, full=plan.full, checksums=plan.checksums)
        device.resync = Target(device.peer.link, started.start_uuid, digest)
        device.bitmap_in = BitmapReceiver(wire_bits(bitmap))
        self.r.rotation.promise(device)
        name = device.peer.config.name
        how = "fetching all" if digest is None else "comparing checksums"
        self.core.log("info", f"volume {volume.number}: target of {name}, {how}")
        self.r.disks.set_disk(volume, min(volume.disk, DiskState.OUTDATED))

    def send_bitmap(self, device: PeerDevice) -> None:
        """All of the peer's slot."""
        bitmap, slot = device.volume.bitmap, device.slot
        assert bitmap is not None
        for packet in slot_packets(bitmap, slot):
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
            ready = self.source_ready if peer.dialect.drbd9 else self.r.resync84.source_ready
            self.r.calls.before(Handler.BEFORE_RESYNC_SOURCE, device, lambda: ready(device))
        elif device.repl == ReplState.WF_BITMAP_T:
            self._target_ready(device)

    def source_ready(self, device: PeerDevice) -> None:
        """Serve requests from now on."""
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
            if self.current(device, target) and not device.peer.dialect.drbd9:
                self.r.resync84.bits_saved(device)
            elif self.current(device, target):
                volume.disk = DiskState.INCONSISTENT
                self.core.changed = True
                self.r.disks.refresh(volume, flags_saved)

        def flags_saved() -> None:
            if self.current(device, target):
                self.send_bitmap(device)
                self.begin_target(device, target)

        self.r.calls.before(Handler.BEFORE_RESYNC_TARGET, device, lambda: writer.save_bitmap(bits_saved))

    def begin_target(self, device: PeerDevice, target: Target) -> None:
        """Ask for blocks from now on."""
        device.repl = ReplState.SYNC_TARGET
        self._count(device)
        self.r.news.broadcast(device.volume)
        self.r.membership.update()
        target.running = True
        self._pull(device, target)

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

    def current(self, device: PeerDevice, target: Target) -> bool:
        """Whether this is still the resync that runs."""
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
        if self._shared():
            budget = min(budget, _SHARED_BYTES)
        block = bitmap.block_bytes
        while target.in_flight_bytes < budget and not self._throttled(device, target):
            first = bitmap.next_set(slot, target.cursor) if target.cursor < bitmap.bits else None
            if first is None:
                break
            end = bitmap.next_clear(slot, first)
            limit = self.r.thin.request_bytes(device) if target.digest is None else GROUP_BYTES
            stop = bitmap.bits if end is None else end
            aligned = (first * block // limit + 1) * limit // block
            stop = min(stop, aligned if aligned > first else first + 1)
            start_byte = first * block
            length = min(stop * block, volume.size_bytes) - start_byte
            target.cursor = stop
            self._fetch(device, target, start_byte, length)
        if not target.in_flight_bytes:
            self._at_end(device, target)

    def _shared(self) -> bool:
        """Whether an application writes, here or there: an epoch with writes ends soon after the last."""
        return self.core.epoch.writes > 0 or any(
            peer.receiving is not None and peer.receiving.count for peer in self.core.peers.values()
        )

    def _pull_if_current(self, device: PeerDevice, target: Target) -> None:
        if self.current(device, target):
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
        core, volume = self.core, device.volume
        rate = core.options.resync_bytes_per_s
        if rate:
            target.next_s = max(target.next_s, core.now_s - 0.1) + length / rate

        def go() -> None:
            if not self.current(device, target):
                volume.busy.leave(fetch)
            elif target.digest is None:
                self.ask(device, target, fetch)
            else:
                self.r.checksums.compare(device, target, fetch)

        fetch = Fetch(start, start + length, go)
        target.in_flight_bytes += length
        if volume.busy.enter(fetch):
            go()

    def ask(self, device: PeerDevice, target: Target, fetch: Fetch) -> None:
        """The range is locked: have all of it sent."""
        block_id = self.core.next_op() if device.peer.dialect.echoes_block_ids else ID_SYNCER
        target.asked(block_id, fetch.start, fetch.end, fetch)
        sector, size = fetch.start >> 9, fetch.end - fetch.start
        packet: p.Packet = self.r.thin.request(device, sector, block_id, size)
        for other in self.core.primary_peers():
            if other is not device.peer and device.other_primaries:
                # What it wrote and we have must not be overwritten with what the source had before.
                packet = p.RsDagtagReq(sector, block_id, size, other.node_id, other.stream_dagtag)
        self.core.send(device.peer, packet, device.volume.number)

    def on_reply(self, peer: Peer, number: int, packet: p.RsDataReply) -> None:
        device = peer.devices.get(number)
        target = device.resync if device is not None else None
        part = target.find(packet.block_id, packet.sector << 9) if target is not None else None
        if device is None or target is None or part is None:
            raise ProtocolError(
                "RS_DATA_REPLY", expected="an answer to a request", got=f"id {packet.block_id:#x}"
            )
        if len(packet.data) != part.end - part.start:
            raise ProtocolError("RS_DATA_REPLY", expected=part.end - part.start, got=len(packet.data))
        self.r.digests.check(peer, packet.data, packet.digest)
        tag = self.core.disk_tag(
            device.volume, lambda errno, _data: self.block_written(device, target, packet, part, errno)
        )
        device.received_bytes += len(packet.data)
        part.writing = True
        part.fetch.writes += 1
        self.core.out.append(a.WriteDisk(tag, number, part.start, packet.data))

    def block_written(
        self, device: PeerDevice, target: Target, packet: p.RsDataReply, part: Part, errno: int
    ) -> None:
        volume, size = device.volume, part.end - part.start
        if not errno and volume.bitmap is not None and self.current(device, target):
            self._settled(device, part, written=True)
            device.resynced_bytes += size
            device.last_resync_bytes += size
            ack = p.RsWriteAck(packet.sector, packet.block_id, size)
            self.core.send(device.peer, ack, volume.number)
        target.settle(packet.block_id, part, volume.busy)
        if errno:
            target.failed += 1
            self.r.io_errors.at(volume, part.start, size)
        if self.current(device, target):
            self._pull(device, target)

    def _settled(self, device: PeerDevice, part: Part, *, written: bool) -> None:
        """The block is as the source's, and if it was not before, new to every other node.

        Both bits go to the disk together: after a restart, a resync may have written what is found equal now.
        """
        volume, size = device.volume, part.end - part.start
        assert volume.bitmap is not None
        if written or volume.torn:
            others = [d.slot for d in self.core.devices(volume) if d is not device and d.slot >= 0]
            volume.bitmap.mark(others, part.start, size)
        volume.bitmap.clean(device.slot, part.start, size)

    def on_in_sync(self, peer: Peer, number: int, packet: p.RsIsInSync) -> None:
        """The source found the digest equal: nothing to write."""
        self._without_data(peer, number, packet, in_sync=True)

    def on_refused(self, peer: Peer, number: int, packet: _Refusal) -> None:
        """The source could not or would not serve a block: it stays out of sync for now."""
        self._without_data(peer, number, packet, in_sync=False)

    def _without_data(
        self, peer: Peer, number: int, packet: p.RsIsInSync | _Refusal, *, in_sync: bool
    ) -> None:
        device = peer.devices.get(number)
        target = device.resync if device is not None else None
        part = target.find(packet.block_id, packet.sector << 9) if target is not None else None
        if device is None or target is None or part is None:
            return
        if in_sync and target.digest is None:
            raise ProtocolError("RS_IS_IN_SYNC", expected="data: no digest was sent", got="no data")
        if in_sync:
            self._settled(device, part, written=False)
        else:
            target.failed += 1
        target.settle(packet.block_id, part, device.volume.busy)
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
            if errno:
                self.r.io_errors.unknown_place(volume)
            elif self.current(device, target):
                if bitmap.count(device.slot) or target.in_flight_bytes:
                    self._again(device, target)
                else:
                    self._finish(device, target)

        self.core.out.append(a.FlushDisk(self.core.disk_tag(volume, flushed), volume.number))

    def _again(self, device: PeerDevice, target: Target) -> None:
        if self.current(device, target):
            target.cursor = 0
            self._pull(device, target)

    def _finish(self, device: PeerDevice, target: Target) -> None:
        """Everything is here and durable: our data is the source's generation."""
        volume = device.volume
        source = self.r.agree.peer_side(device)
        others = [peer.node_id for peer in self.core.diskful_peers() if peer is not device.peer]
        if device.peer.dialect.drbd9:
            generations = finish_as_target(
                self.r.disks.generations(volume),
                source,
                start_uuid=target.start_uuid,
                me=self.core.node_id,
                others=others,
            )
            self.r.disks.set_generations(volume, generations)
        else:
            self.r.resync84.finish(device)
        writer = volume.writer
        assert volume.bitmap is not None
        assert writer is not None
        if not device.peer.dialect.features & Feature.KEEPS_LEFTOVERS:
            # One of our own says itself which others are in sync.
            for other in self.core.devices(volume):
                shares = (other.peer.node_id, UNSET) in source.bitmap_uuids
                if other is not device and other.slot >= 0 and shares:
                    volume.bitmap.clear_all(other.slot)
            self.r.peer_acks.remark(volume)
        self.r.reconcile.finished(device.peer)
        volume.crashed_primary = volume.unsettled = False
        volume.lost_quorum_as_primary = False
        volume.doubt = volume.torn = False
        device.resync = None
        device.was_connected = device.equal = True
        # Else the source has to prove that it is not one left behind, or was not compared with all survivors.
        ours = device.peer.dialect.features & Feature.KEEPS_LEFTOVERS
        good = not ours or (device.disk == DiskState.UP_TO_DATE and self.r.news.may_follow(device))
        volume.trust(DiskState.UP_TO_DATE if good else DiskState.OUTDATED)
        device.repl = ReplState.ESTABLISHED
        self.core.changed = True
        self.core.log("info", f"volume {volume.number}: resync done, {device.resynced_bytes} bytes")

        def saved() -> None:
            self.r.calls.tell(Handler.AFTER_RESYNC_TARGET, volume, device.peer)
            for peer in self.core.connected_peers():
                self.r.agree.send_uuids(peer.devices[volume.number])
            self.r.news.broadcast(volume)
            self.r.news.follow_peer(device)
            self.r.membership.update()
            self.r.sources.soon()

        # What others may lack of it must be on the disk before our generation says that we have it.
        writer.save_bitmap(lambda: self.r.disks.refresh(volume, saved, flush_data=True))

    # -- the source

    def on_write_ack(self, peer: Peer, number: int, packet: p.RsWriteAck) -> None:
        device = peer.devices.get(number)
        if device is None or device.volume.bitmap is None or device.slot < 0:
            return
        device.volume.bitmap.clean(device.slot, packet.sector << 9, packet.size_bytes)
        device.resynced_bytes += packet.size_bytes
        if not peer.dialect.drbd9:
            self.r.resync84.maybe_done(device)

    def peer_moved(self, device: PeerDevice, repl: ReplState, before: DiskState) -> None:
        """The peer's replication state: a source that serves us, a target that has finished or given up."""
        target = device.resync
        if not device.peer.dialect.drbd9:
            self.r.resync84.maybe_done(device)
            return
        if target is not None and repl == ReplState.SYNC_SOURCE and not target.source_ready:
            # Before this the source only named the places of new writes; all of those have arrived now.
            target.source_ready = True
            self._pull(device, target)
        if device.repl != ReplState.SYNC_SOURCE or repl != ReplState.ESTABLISHED or device.uuids is None:
            return
        if before == DiskState.INCONSISTENT and device.disk < DiskState.OUTDATED:
            return
        volume = device.volume
        assert volume.bitmap is not None
        generations = self.r.disks.generations(volume)
        side = self.r.agree.peer_side(device)
        if same(generations.current, side.current):
            self.r.disks.set_generations(volume, finish_as_source(generations, side, me=self.core.node_id))
            volume.bitmap.clear_all(device.slot)
            device.was_connected = device.equal = True
            self.r.disks.refresh(volume)
            device.repl = ReplState.ESTABLISHED
            self.r.peer_acks.tell_in_sync(volume, device.peer)
            self.r.sources.tell_others(device)
        elif knows(generations, side.current):
            # Our generation changed while it finished; all that was written since was sent to it.
            volume.bitmap.clear_all(device.slot)
            device.was_connected = device.equal = True
            device.repl = ReplState.ESTABLISHED
            self.r.rotation.tell(device)
        device.repl = ReplState.ESTABLISHED
        self.core.changed = True
        if volume.disk == DiskState.CONSISTENT:
            self.r.promotion.trust(volume)
        self.r.news.send_state(device)
        self.r.calls.unfence(device.peer)

    def stop(self, device: PeerDevice) -> None:
        """The connection or a disk is gone: blocks under way are given up, their bits stay set."""
        target, device.resync = device.resync, None
        device.bitmap_in = None
        if target is None:
            return
        if target.timer is not None:
            target.timer.cancel()
        target.abandon(device.volume.busy)
