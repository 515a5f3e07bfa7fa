"""Requests of applications on a Primary: the gate, the course of a write, its answer.

The short path of a write: gate, range, activity log, one packet to each peer, one disk write, acks, answer.
"""

from struct import Struct
from typing import TYPE_CHECKING, Final

from bollard.replica.metadata.activity_log import extents_of
from bollard.replica.metadata.al_block import EXTENT_BYTES
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import Channel, Cmd, DataFlag, WireProtocol
from bollard.replica.protocol.config import Handler, OnCongestion, OnNoQuorum
from bollard.replica.protocol.events import Request, Verb
from bollard.replica.protocol.frames import MAGIC_100
from bollard.replica.protocol.model import EINVAL, EIO, EROFS, Peer, PeerDevice, Route, Volume
from bollard.replica.protocol.states import DiskState, ReplState, Role
from bollard.replica.protocol.writes import FlushOp, Group, QuickOp, WriteOp

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

# Plain numbers: an IntFlag costs microseconds at each use, and these are used for every packet.
_DISCARD: Final = int(DataFlag.DISCARD)
_FUA: Final = int(DataFlag.FUA)
_SEND_RECEIVE_ACK: Final = int(DataFlag.SEND_RECEIVE_ACK)
_SEND_WRITE_ACK: Final = int(DataFlag.SEND_WRITE_ACK)
_ZEROES: Final = int(DataFlag.ZEROES)

MAX_WRITE_BYTES: Final = 1 << 20
MAX_RANGE_BYTES: Final = 32 << 20
_HEAD: Final = Struct(">IhHIIQQII")
_EXTENT_SHIFT: Final = EXTENT_BYTES.bit_length() - 1
_OUT_OF_SYNC_ONLY: Final = (ReplState.WF_BITMAP_S, ReplState.AHEAD, ReplState.STARTING_SYNC_S)


class Requests:
    """All clients' requests of one resource."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- the gate

    def request(self, event: Request) -> None:
        core = self.core
        volume = core.volumes[event.volume]
        if event.offset_bytes + event.length_bytes > volume.size_bytes:
            core.out.append(a.Complete(event.request, EINVAL))
            return
        if (
            core.role is not Role.PRIMARY
            or core.suspended_user
            or not volume.quorum
            or volume.need_new_uuid
            or volume.rotating
            or core.held
            or core.fencing
            or volume.no_data
            or core.fail_io
            or core.renegotiating
        ) and not self._pass(event, volume):
            return
        self.admit(event, volume)

    def _pass(self, event: Request, volume: Volume) -> bool:
        """Whether the request may go on; else it was refused or is held."""
        core = self.core
        if core.role is not Role.PRIMARY and not core.starting_primary:
            core.out.append(a.Complete(event.request, EROFS))
            return False
        if core.fail_io:
            core.out.append(a.Complete(event.request, EIO))
            return False
        if core.renegotiating:
            core.held.append(event)
            return False
        if not volume.quorum and core.options.on_no_quorum is OnNoQuorum.IO_ERROR:
            core.out.append(a.Complete(event.request, EIO))
            return False
        if volume.no_data and not core.options.on_no_data_suspend and volume.quorum:
            core.out.append(a.Complete(event.request, EIO))
            return False
        if core.role is Role.PRIMARY and not core.held and not self._frozen(volume):
            if event.verb is Verb.READ or not (volume.need_new_uuid or volume.rotating):
                return True
            core.held.append(event)
            self.r.rotation.start(volume)
            return False
        core.held.append(event)
        return False

    def _frozen(self, volume: Volume) -> bool:
        core = self.core
        return bool(core.suspended_user or not volume.quorum or core.fencing or volume.no_data)

    def reconsider(self) -> None:
        """Something changed: answer what was held back, let waiting requests try again, in order."""
        core = self.core
        for volume in core.volumes.values():
            had_data = not volume.no_data
            volume.no_data = core.role is Role.PRIMARY and not self.r.membership.data_reachable(volume)
            if volume.no_data and had_data:
                self.r.calls.tell(Handler.PRI_ON_INCON_DEGR, volume)
            if not volume.held_completions:
                continue
            io_error = (
                not volume.quorum
                and core.options.on_no_quorum is OnNoQuorum.IO_ERROR
                and not core.renegotiating
            )
            if core.fail_io or io_error:
                ops, volume.held_completions = volume.held_completions, []
                for op in ops:
                    op.ok = False
                    self._answer(op)
            elif not self._must_wait(volume):
                ops, volume.held_completions = volume.held_completions, []
                for op in ops:
                    op.ok = op.ok and not volume.no_data
                    self._answer(op)
        self.quiet()
        if core.held and not core.reconsidering:
            core.reconsidering = True
            waiting = list(core.held)
            core.held.clear()
            for event in waiting:
                self.request(event)
            core.reconsidering = False

    def _must_wait(self, volume: Volume) -> bool:
        return bool(volume.need_new_uuid or volume.rotating or not volume.quorum or self.core.fencing)

    # -- writes

    def admit(self, event: Request, volume: Volume) -> None:
        verb = event.verb
        if verb is Verb.READ:
            self.r.reads.read(event, volume)
            return
        core = self.core
        core.running_writes += 1
        if verb is Verb.FLUSH:
            self._flush(event, volume)
            return
        length = event.length_bytes
        limit = MAX_WRITE_BYTES if verb is Verb.WRITE else MAX_RANGE_BYTES
        if not length:
            core.running_writes -= 1
            core.out.append(a.Complete(event.request))
            return
        if length <= limit:
            self._enter(event, volume, event.offset_bytes, length, None)
            return
        starts = range(0, length, limit)
        group = Group(event.request, len(starts))
        core.running_writes += len(starts) - 1
        for at in starts:
            self._enter(event, volume, event.offset_bytes + at, min(limit, length - at), group)

    def _enter(self, event: Request, volume: Volume, offset: int, length: int, group: Group | None) -> None:
        data = event.data
        if group is not None and event.verb is Verb.WRITE:
            start = offset - event.offset_bytes
            data = memoryview(data)[start : start + length]
        op = WriteOp(self, volume, event.verb, offset, length, data, event.request)
        op.fua, op.may_unmap, op.group = event.fua, event.may_unmap or event.verb is Verb.TRIM, group
        if self.r.sharing.active:
            self.r.sharing.entered(op)
        if volume.busy.enter(op):
            self.activate(op)

    def activate(self, op: WriteOp) -> None:
        """The range is ours: have its extents in the activity log, then go."""
        volume = op.volume
        log = volume.log
        if log is None:
            self._go(op)
            return
        epoch = self.core.epoch
        held = epoch.extents.get(volume.number)
        if held is None:
            held = epoch.extents[volume.number] = set()
            epoch.logs[volume.number] = log
        first = op.start >> _EXTENT_SHIFT
        if first == (op.end - 1) >> _EXTENT_SHIFT:
            if first in held:
                self._go(op)
                return
            if log.hold(first):
                held.add(first)
                self._go(op)
                return
        else:
            missing = [extent for extent in extents_of(op.start, op.end - op.start) if extent not in held]
            if not log.hold_all(missing):
                held.update(missing)
                self._go(op)
                return
        writer = volume.writer
        assert writer is not None
        wanted = extents_of(op.start, op.end - op.start)
        writer.activate(wanted, lambda: self._activated(op, wanted))

    def _activated(self, op: WriteOp, extents: range) -> None:
        """The log is on the disk and the extents are held once for this call: hand that on to the epoch."""
        volume, log = op.volume, op.volume.log
        if log is not None:
            epoch = self.core.epoch
            held = epoch.extents.setdefault(volume.number, set())
            epoch.logs[volume.number] = log
            for extent in extents:
                if not log.is_active(extent):
                    continue
                if extent in held:
                    log.release(extent)
                else:
                    held.add(extent)
        self._go(op)

    def _go(self, op: WriteOp) -> None:
        core, volume = self.core, op.volume
        epoch = core.epoch
        op.epoch = epoch
        epoch.writes += 1
        op.block_id = core.next_op()
        route = volume.route or self.r.routes.compute(volume)
        if route.numbered:
            self.r.peer_acks.number(route, (op.end - op.start) >> 9)
        pending = 0
        for device in route.send:
            pending += self._send(op, device, route)
        if route.slots or route.tell:
            self._mark(op, route)
        volume.written_bytes += op.end - op.start
        core.dagtag += (op.end - op.start) >> 9
        if volume.disk_open:
            pending += 1
            epoch.local_pending += 1
        op.pending += pending
        if volume.disk_open:
            self._write_local(op)
        else:
            volume.busy.leave(op)
            if not pending:
                self.finish(op)
        if core.options.on_congestion is not OnCongestion.BLOCK:
            self.r.congestion.check(route)
        if epoch.writes >= core.options.max_epoch_size and core.epoch is epoch:
            self.r.epochs.close()
        elif core.epoch_timer is None:
            self.r.epochs.arm()

    def _write_local(self, op: WriteOp) -> None:
        core, volume = self.core, op.volume
        tag = core.disk_tag(volume, op.local_done)
        if op.verb is Verb.WRITE:
            core.out.append(a.WriteDisk(tag, volume.number, op.start, op.data, op.fua))
        else:
            length = op.end - op.start
            core.out.append(a.ZeroDisk(tag, volume.number, op.start, length, op.may_unmap, op.fua))

    def _send(self, op: WriteOp, device: PeerDevice, route: Route) -> int:
        """One packet; returns how many answers the request now waits for."""
        core, peer = self.core, device.peer
        self.r.epochs.record(peer, op)
        flags = route.flags[peer.node_id] | (_FUA if op.fua else 0)
        length = op.end - op.start
        seq = self.r.sharing.sequence(op, peer)
        if op.verb is Verb.WRITE and not peer.dialect.digest_bytes:
            head = _HEAD.pack(
                MAGIC_100, op.volume.number, Cmd.DATA, 24 + length, 0, op.start >> 9, op.block_id, seq, flags
            )
            core.out.append(a.Send(peer.node_id, Channel.DATA, (head, op.data)))
        else:
            core.send(peer, self._packet(op, peer, seq, flags), op.volume.number)
        if not flags & (_SEND_WRITE_ACK | _SEND_RECEIVE_ACK):
            return 0
        peer.unacked[op.block_id] = op
        return 1

    def _packet(self, op: WriteOp, peer: Peer, seq: int, flags: int) -> p.Packet:
        sector, length = op.start >> 9, op.end - op.start
        match op.verb:
            case Verb.WRITE:
                digest = self.r.digests.integrity(peer, op.data)
                return p.Data(sector, op.block_id, seq, flags, op.data, digest)
            case Verb.TRIM:
                return p.Trim(sector, op.block_id, seq, flags | _DISCARD, length)
            case _:
                more = _ZEROES | (_DISCARD if op.may_unmap else 0)
                return p.Zeroes(sector, op.block_id, seq, flags | more, length)

    def _mark(self, op: WriteOp, route: Route) -> None:
        volume, length = op.volume, op.end - op.start
        if volume.bitmap is not None:
            volume.bitmap.mark(route.slots, op.start, length)
        for device in route.tell:
            self.core.send(device.peer, p.OutOfSync(op.start >> 9, length), volume.number)

    # -- answers

    def local_done(self, op: WriteOp, errno: int) -> None:
        volume = op.volume
        op.pending -= 1
        if errno:
            self.r.io_errors.at(volume, op.start, op.end - op.start)
        else:
            op.ok = True
        volume.busy.leave(op)
        if not op.pending:
            self.finish(op)
        assert op.epoch is not None
        self.r.epochs.local_done(op.epoch)

    def on_write_ack(
        self, peer: Peer, _volume: int, packet: p.WriteAck | p.RecvAck | p.WriteAckInSync
    ) -> None:
        op = peer.unacked.pop(packet.block_id, None)
        if op is None:
            return
        if packet.seq:
            self.r.sharing.acked(peer, op, packet.block_id, packet.seq)
        op.ok = True
        op.pending -= 1
        if not op.pending:
            self.finish(op)

    def on_neg_ack(self, peer: Peer, number: int, packet: p.NegAck) -> None:
        """The peer could not write: it misses this block from now on."""
        device = peer.devices.get(number)
        op = peer.unacked.pop(packet.block_id, None)
        if device is None or op is None:
            return
        volume = device.volume
        self.r.epochs.refused(peer)
        if volume.bitmap is not None and device.slot >= 0:
            volume.bitmap.mark((device.slot,), op.start, op.end - op.start)
        self.r.rotation.want(volume, urgent=True)
        op.pending -= 1
        if not op.pending:
            self.finish(op)
        self.r.rotation.reconsider()

    def finish(self, op: WriteOp | QuickOp | FlushOp) -> None:
        """Nothing is waited for any more; the answer may have to wait for a new generation or quorum."""
        volume = op.volume
        if volume.no_data:
            # Whatever disk took it is gone, and no other one is in reach.
            op.ok = False
        if volume.need_new_uuid or volume.rotating or not volume.quorum or self.core.fencing:
            volume.held_completions.append(op)
            if self.core.fail_io or not volume.quorum:
                self.reconsider()
            else:
                self.r.rotation.start(volume)
            return
        self._answer(op)

    def _answer(self, op: WriteOp | QuickOp | FlushOp) -> None:
        core = self.core
        core.running_writes -= 1
        group = op.group if isinstance(op, WriteOp) else None
        if group is None:
            core.out.append(a.Complete(op.request, 0 if op.ok else EIO))
        else:
            group.left -= 1
            group.failed |= not op.ok
            if not group.left:
                core.out.append(a.Complete(op.request, EIO if group.failed else 0))
        if core.on_quiet:
            self.quiet()

    def quiet(self) -> None:
        """Tell those who wait for it that no write is running and every epoch is durable."""
        core = self.core
        if core.on_quiet and not core.running_writes and not core.epochs:
            calls, core.on_quiet = core.on_quiet, []
            for call in calls:
                call()

    # -- flushes

    def _flush(self, event: Request, volume: Volume) -> None:
        core = self.core
        op = FlushOp(volume, event.request)
        self.r.epochs.flush(op)
        if volume.disk_open and volume.disk >= DiskState.INCONSISTENT:
            op.local = True

            def done(errno: int, _data: object) -> None:
                op.local = False
                if errno:
                    self.r.io_errors.unknown_place(volume)
                if errno and not any(d.peer.connected for d in core.devices(volume)):
                    op.ok = False
                self.r.epochs.flush_step(op)

            core.out.append(a.FlushDisk(core.disk_tag(volume, done), volume.number))
        self.r.epochs.flush_step(op)

    def fail_all(self) -> None:
        """Forced demotion: what is held fails."""
        core = self.core
        held, core.held = list(core.held), type(core.held)()
        for event in held:
            core.out.append(a.Complete(event.request, EIO))
        self.reconsider()


class Routes:
    """Where a write goes; computed when something changed, used for every write."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    def compute(self, volume: Volume) -> Route:
        core = self.core
        send: list[PeerDevice] = []
        tell: list[PeerDevice] = []
        slots: list[int] = []
        flags: dict[int, int] = {}
        for device in core.devices(volume):
            peer = device.peer
            if peer.connected and device.disk >= DiskState.INCONSISTENT:
                if device.repl in _OUT_OF_SYNC_ONLY:
                    tell.append(device)
                elif device.repl > ReplState.ESTABLISHED or device.disk >= DiskState.CONSISTENT:
                    send.append(device)
                    flags[peer.node_id] = self._ack_flag(device)
                    continue
            if device.slot >= 0:
                slots.append(device.slot)
        volume.route = Route(send, tell, tuple(slots), flags)
        return volume.route

    def _ack_flag(self, device: PeerDevice) -> int:
        if device.repl > ReplState.ESTABLISHED or self.core.options.protocol is WireProtocol.C:
            return _SEND_WRITE_ACK
        if self.core.options.protocol is WireProtocol.B:
            return _SEND_RECEIVE_ACK
        return 0
