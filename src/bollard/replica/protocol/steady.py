"""The short way of plain writes while nothing is unusual: no event, no action and no packet object for each.

The same course as in requests.py and receiver.py, which stay the rule: whatever this declines goes there, and
every step of theirs voids what was prepared here. The caller writes to the disk at once, between two calls.
"""

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from bollard.replica.metadata.activity_log import ActivityLog
from bollard.replica.metadata.al_block import EXTENT_BYTES
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.codec import MAX_BIO_BYTES
from bollard.replica.protocol.commands import Channel, Cmd, DataFlag
from bollard.replica.protocol.config import OnCongestion
from bollard.replica.protocol.events import Buffer, Verb
from bollard.replica.protocol.frames import COPY_BELOW_BYTES, MAGIC_100, FrameReader
from bollard.replica.protocol.model import Core, Peer, Phase, SentEpoch, Volume
from bollard.replica.protocol.receiver import PeerWrite, ReceivedEpoch
from bollard.replica.protocol.requests import MAX_WRITE_BYTES
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.writes import FlushOp, QuickOp, WriteOp

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

__all__ = ["Batch", "Lane", "Steady"]

_SEND_RECEIVE_ACK: Final = int(DataFlag.SEND_RECEIVE_ACK)
_SEND_WRITE_ACK: Final = int(DataFlag.SEND_WRITE_ACK)
_UNUSUAL: Final = int(DataFlag.FUA) | _SEND_RECEIVE_ACK
_ACKED: Final = _SEND_WRITE_ACK | _SEND_RECEIVE_ACK
_DATA: Final = int(Cmd.DATA)
_WRITE_ACK: Final = int(Cmd.WRITE_ACK)
_ACKS: Final = frozenset({_WRITE_ACK, int(Cmd.RECV_ACK), int(Cmd.WRITE_ACK_IN_SYNC)})
_FRAME: Final = Struct(">IhHIIQQII")
_FRAME_BYTES: Final = _FRAME.size
# The same bytes: magic, volume and command; length and padding; the block id.
_ACK: Final = Struct(">QQ8xQ8x")
_ACK_SIZE: Final = 24 << 32
_BODY_BYTES: Final = 24
_BLOCK_ID: Final = 6
_FLAGS: Final = 8
_ACK_BYTES: Final = 24
_EXTENT_SHIFT: Final = EXTENT_BYTES.bit_length() - 1
_pack: Final = _FRAME.pack

Head = tuple[int, int, int, int, int, int, int, int, int]
Target = tuple[SentEpoch, dict[int, WriteOp | QuickOp], list[Buffer]]


def _covered(log: ActivityLog, held: set[int], start: int, end: int) -> bool:
    """A write lies in one extent, which is among those held: from now on, where the log has it."""
    extent = start >> _EXTENT_SHIFT
    if (end - 1) >> _EXTENT_SHIFT != extent:
        return False
    if extent not in held:
        if not log.hold(extent):
            return False
        held.add(extent)
    return True


class Batch:
    """Writes of a peer to one volume, to be put on the disk now: (offset, data) in order.

    `acks` is to be sent on the control channel when all are there.
    """

    __slots__ = ("acks", "heads", "peer", "volume", "writes")

    def __init__(self, peer: Peer, volume: Volume) -> None:
        self.peer = peer
        self.volume = volume
        self.writes: list[tuple[int, memoryview]] = []
        self.heads: list[Head] = []
        self.acks = b""


class Lane:
    """Writes of clients to one volume, until the next step of the resource. `acked`: peers answer them."""

    __slots__ = ("_core", "_epoch", "_flags", "_held", "_numbered", "_targets", "_volume", "acked")

    def __init__(
        self, core: Core, volume: Volume, targets: list[Target], numbered: list[Peer], flags: int
    ) -> None:
        """`flags` are the data flags for every target, `numbered` those who count along."""
        self._core = core
        self._volume = volume
        self._targets = targets
        self._numbered = numbered
        self._epoch = core.epoch
        self._held = core.epoch.extents[volume.number]
        self._flags = flags
        self.acked = len(targets) if flags & _ACKED else 0

    def write(self, writes: Sequence[tuple[int, Buffer, Any]]) -> list[QuickOp]:
        """Takes (offset, data, request), inside of the volume each, until one must be an event.

        The caller sends what `Steady.take_sends` gives and then writes the taken ones to the disk, before
        anything else comes to the resource: to the end or to the first that fails (`Steady.local_failed`).
        Where no peer answers (`acked` 0) `wrote` follows and the caller answers, else `Steady.acks` tells.
        `request` is handed back then, or in a Complete.
        """
        core, volume, epoch, held = self._core, self._volume, self._epoch, self._held
        log, route, number, acked = volume.log, volume.route, volume.number, self.acked
        assert log is not None, "a lane has a disk"
        assert route is not None, "a lane follows a route"
        room = core.options.max_epoch_size - 1 - epoch.writes
        hinders = volume.busy.hinders if volume.busy.matters else None
        flags, block_id = self._flags, core.last_op
        ops: list[QuickOp] = []
        out: list[Buffer] = []
        total = 0
        for start, data, request in writes if len(writes) <= room else writes[: max(0, room)]:
            length = len(data)
            end, extent = start + length, start >> _EXTENT_SHIFT
            if (
                (end - 1) >> _EXTENT_SHIFT != extent
                or not 0 < length <= MAX_WRITE_BYTES
                or (hinders is not None and hinders(start, end))
            ):
                break
            if extent not in held:
                if not log.hold(extent):
                    break
                held.add(extent)
            block_id += 1
            ops.append(QuickOp(volume, request, start, end, acked))
            out.append(
                _pack(MAGIC_100, number, _DATA, _BODY_BYTES + length, 0, start >> 9, block_id, 0, flags)
            )
            out.append(data)
            total += length
        ids = range(core.last_op + 1, block_id + 1)
        core.last_op = block_id
        for sending, unacked, waiting in self._targets:
            sending.ranges.extend(ops)
            waiting.extend(out)
            if acked:
                unacked.update(zip(ids, ops, strict=True))
        if route.slots and volume.bitmap is not None:
            for op in ops:
                volume.bitmap.mark(route.slots, op.start, op.end - op.start)
        epoch.writes += len(ops)
        volume.written_bytes += total
        core.dagtag += total >> 9
        for peer in self._numbered:
            peer.sent_dagtag = core.dagtag
        core.running_writes += len(ops)
        return ops

    def wrote(self, count: int) -> None:
        """Writes that wait for no peer are on the disk: their requests are answered by the caller."""
        self._core.running_writes -= count


class Steady:
    """All short ways of one resource. Nothing here is kept over a step of the resource."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self.lanes: dict[int, Lane] = {}
        self._out: dict[int, list[Buffer]] = {}
        self._usual: bool | None = None

    def void(self) -> list[a.Send]:
        """Something happens: look again at everything then. Returns what is to be sent before."""
        self.lanes.clear()
        self._usual = None
        return self.take_sends()

    def take_sends(self) -> list[a.Send]:
        """What lanes wrote to peers since the last call; before anything else is sent to them."""
        sends: list[a.Send] = []
        for node_id, out in self._out.items():
            if out:
                sends.append(a.Send(node_id, Channel.DATA, tuple(out)))
                out.clear()
        return sends

    def _is_usual(self) -> bool:
        """Whether requests are answered as soon as nobody's disk is waited for."""
        core = self.core
        if self._usual is None:
            self._usual = not (
                core.fencing
                or core.on_quiet
                or core.fail_io
                or core.renegotiating
                or core.suspended_user
                or core.held
                or self.r.sharing.active
                or any(
                    volume.need_new_uuid or volume.rotating or volume.no_data or not volume.quorum
                    for volume in core.volumes.values()
                )
            )
        return self._usual

    # -- a Primary's writes

    def lane(self, number: int) -> Lane | None:
        """The short way to a volume; valid until the next step."""
        found = self.lanes.get(number)
        if found is not None:
            return found
        core, volume = self.core, self.core.volumes[number]
        route, epoch = volume.route, core.epoch
        if (
            core.role is not Role.PRIMARY
            or not self._is_usual()
            or route is None
            or route.tell
            or not volume.disk_open
            or volume.log is None
            or epoch.logs.get(number) is not volume.log
            or core.epoch_timer is None
            or core.options.on_congestion is not OnCongestion.BLOCK
            or len(flags := set(route.flags.values())) > 1
        ):
            return None
        targets: list[Target] = []
        numbered = [device.peer for device in route.send] if route.numbered else []
        if any(peer.sent_dagtag != core.dagtag for peer in numbered):
            return None
        for device in route.send:
            peer = device.peer
            sending = peer.sending
            if sending is None or peer.dialect.digest_bytes or peer.dialect.version < 100:
                return None
            out = self._out.setdefault(peer.node_id, [])
            targets.append((sending, peer.unacked, out))
        self.lanes[number] = lane = Lane(core, volume, targets, numbered, max(flags, default=0))
        return lane

    def local_failed(self, ops: list[QuickOp], errno: int) -> list[QuickOp]:
        """The disk did not take the first of these, later ones were not tried: the rule goes on.

        `Resource.settle` must follow. Returns those that are still to be written: none without a disk.
        """
        core = self.core
        failed = self._by_rule(ops[0])
        volume = failed.volume
        failed.ok = False
        failed.pending += 1
        core.epoch.local_pending += 1
        entered = volume.busy.enter(failed)
        assert entered, "a lane's write overlaps nothing that is under way"
        self.r.requests.local_done(failed, errno)
        if volume.disk_open:
            return ops[1:]
        for op in ops[1:]:
            op.ok = False
            if not op.pending:
                self.r.requests.finish(op)
        return []

    def _by_rule(self, quick: QuickOp) -> WriteOp:
        """The same write as the rule knows it, in the place of the quick one."""
        start, length = quick.start, quick.end - quick.start
        op = WriteOp(self.r.requests, quick.volume, Verb.WRITE, start, length, b"", quick.request)
        op.ok, op.pending, op.epoch = True, quick.pending, self.core.epoch
        for peer in self.core.peers.values():
            for block_id, waiting in peer.unacked.items():
                if waiting is quick:
                    peer.unacked[block_id] = op
        return op

    def acks(self, peer: Peer, reader: FrameReader, now_s: float) -> list[Any]:
        """Takes acks of short writes off the reader's front; returns the requests that they complete."""
        finished: list[Any] = []
        if peer.phase == Phase.DOWN:
            return finished
        core = self.core
        core.now_s = peer.last_heard_s = max(core.now_s, now_s)
        if not self._is_usual():
            return finished
        unacked, known = peer.unacked, 0
        buffer, start, end = reader.span()
        whole = (end - start) // _FRAME_BYTES * _FRAME_BYTES
        taken = 0
        for kind, size, block_id in _ACK.iter_unpack(buffer[start : start + whole]):
            if kind != known:
                if kind >> 32 != MAGIC_100 or kind >> 16 & 0x8000 or kind & 0xFFFF not in _ACKS:
                    break
                known = kind
            if size != _ACK_SIZE:
                break
            op = unacked.pop(block_id, None)
            if type(op) is QuickOp:
                op.ok = True
                op.pending -= 1
                if not op.pending:
                    finished.append(op.request)
            elif op is not None:
                unacked[block_id] = op
                break
            taken += 1
        reader.skip_to(start + taken * _FRAME_BYTES)
        core.running_writes -= len(finished)
        return finished

    def under_way(self) -> list[Any]:
        """The requests that went the short way and are not answered."""
        ops = {id(op): op for peer in self.core.peers.values() for op in peer.unacked.values()}
        for volume in self.core.volumes.values():
            ops.update({id(op): op for op in volume.held_completions if not isinstance(op, FlushOp)})
        return [op.request for op in ops.values() if isinstance(op, QuickOp)]

    @staticmethod
    def waits(reader: FrameReader) -> bool:
        """Whether nothing whole is there, and nothing that the rule would refuse already."""
        buffer, start, end = reader.span()
        have = end - start
        if have < _FRAME_BYTES:
            return not reader.buffered_bytes
        magic, _, cmd, length, *_ = _FRAME.unpack_from(buffer, start)
        return bool(magic == MAGIC_100 and cmd == _DATA and have - 16 < length < COPY_BELOW_BYTES)

    # -- a Secondary's writes

    def data(self, peer: Peer, reader: FrameReader) -> Batch | None:
        """Takes writes to one volume off the reader's front; None when a packet is there for the rule.

        Nothing taken: nothing whole is there. The caller writes them in order, to the end or to the first
        one that fails, and calls `remote_failed` then.
        """
        buffer, at, end = reader.span()
        if end - at < _FRAME_BYTES or peer.phase != Phase.CONNECTED or peer.dialect.digest_bytes:
            return None
        if peer.awaited or peer.overtaken or self.core.role is Role.PRIMARY:
            return None
        unpack_from = _FRAME.unpack_from
        number = unpack_from(buffer, at)[1]
        volume = self._way(number)
        if volume is None:
            return None
        thirds = volume.thirds.get(peer.node_id)
        if thirds is None:
            thirds = self.r.peer_acks.has_thirds(volume, peer)
        epoch, log = peer.receiving, volume.log
        held: set[int] = set()
        if thirds:
            # The rule takes the first write of an epoch, and any where there is no log.
            mine = epoch.extents.get(volume) if epoch is not None and not epoch.spilled else None
            if epoch is None or mine is None or log is None or epoch.logs.get(volume) is not log:
                return None
            held = mine
        log_to = log if thirds else None
        batch = Batch(peer, volume)
        writes, heads, acks = batch.writes, batch.heads, []
        begin, size_bytes, hinders = at, volume.size_bytes, volume.busy.hinders
        while end - at >= _FRAME_BYTES:
            head = unpack_from(buffer, at)
            magic, named, cmd, length, pad, sector, block_id, seq, flags = head
            at += _FRAME_BYTES
            size, start = length - _BODY_BYTES, sector << 9
            if (
                cmd != _DATA
                or magic != MAGIC_100
                or named != number
                or at + size > end
                or pad
                or flags & _UNUSUAL
                or not 0 < size <= MAX_BIO_BYTES
                or size % 512
                or start + size > size_bytes
                or hinders(start, start + size)
                or (log_to is not None and not _covered(log_to, held, start, start + size))
            ):
                at -= _FRAME_BYTES
                break
            heads.append(head)
            writes.append((start, buffer[at : at + size]))
            if flags & _SEND_WRITE_ACK:
                acks.append(_pack(MAGIC_100, number, _WRITE_ACK, _ACK_BYTES, 0, sector, block_id, size, seq))
            at += size
        if not writes:
            return None
        reader.skip_to(at)
        batch.acks = b"".join(acks)
        self._count(batch, len(writes), at - begin - len(writes) * _FRAME_BYTES)
        return batch

    def _count(self, batch: Batch, writes: int, received_bytes: int) -> None:
        peer, number = batch.peer, batch.volume.number
        if peer.receiving is None:
            peer.receiving = ReceivedEpoch()
        peer.receiving.count += writes
        peer.received_id = batch.heads[-1][_BLOCK_ID] & 0xFFFF_FFFF
        peer.receiving.volumes.add(number)
        peer.devices[number].received_bytes += received_bytes
        peer.stream_dagtag += received_bytes >> 9
        if peer.receiving.ranges and writes > 0:
            volume = batch.volume
            peer.receiving.ranges += [(volume, start, start + len(data)) for start, data in batch.writes]
            peer.receiving.dagtag = peer.stream_dagtag

    def _way(self, number: int) -> Volume | None:
        """The volume, if a peer's write may go to its disk and nowhere else."""
        volume = self.core.volumes.get(number)
        if volume is None or not volume.disk_open or volume.disk < DiskState.INCONSISTENT:
            return None
        absent = volume.absent if volume.absent is not None else self.r.receiver.absent(volume)
        return None if absent else volume

    def remote_failed(self, batch: Batch, done: int, errno: int) -> bytes:
        """The disk did not take the write after the first `done`, and no later one was tried.

        Returns the acknowledgements of those; send them first. `Resource.settle` must follow.
        """
        peer, volume, receiver = batch.peer, batch.volume, self.r.receiver
        failed, *rest = [
            p.Data(head[5], head[6], head[7], head[8], bytes(data))
            for (_, data), head in zip(batch.writes[done:], batch.heads[done:], strict=True)
        ]
        self._count(batch, -len(rest), -sum(len(packet.data) for packet in rest))
        op = PeerWrite(receiver, peer, volume, failed, len(failed.data))
        entered = volume.busy.enter(op)
        assert entered, "a write of a batch overlaps nothing that is under way"
        op.epoch.active += 1
        receiver.written(op, errno)
        for packet in rest:
            if peer.link == op.link and peer.phase == Phase.CONNECTED:
                receiver.on_data(peer, volume.number, packet)
        asked = sum(bool(head[_FLAGS] & _SEND_WRITE_ACK) for head in batch.heads[:done])
        return batch.acks[: asked * _FRAME_BYTES]
