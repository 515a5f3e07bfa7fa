"""Online verify: the source of a verify asks its peer for digests, block by block, and marks what differs.

Only places are marked; data moves with the next resync, after a disconnect and connect.
"""

from typing import TYPE_CHECKING, Final

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import ID_SYNCER, OV_ID_IN_SYNC, OV_ID_OUT_OF_SYNC, OvResultCode
from bollard.replica.protocol.config import Handler
from bollard.replica.protocol.digests import Digest, digest_of
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.exclusion import RangeCall
from bollard.replica.protocol.model import Peer, PeerDevice
from bollard.replica.protocol.states import DiskState, ReplState, StateChange, encode_change
from bollard.replica.protocol.twopc import Transaction, Vote

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_BLOCK: Final = 4096
_STRIDE: Final = 1 << 16
"""Compared at a time; where it differs, its blocks are compared one by one."""
_IN_FLIGHT: Final = 64


class Run:
    """A verify under way on its source."""

    def __init__(self, link: int) -> None:
        self.link = link
        self.next_byte = 0
        self.doubtful: list[int] = []
        self.waiting: dict[int, RangeCall] = {}
        self.out_of_sync = 0
        self.skipped = 0


class Verifier:
    """Both sides of every verify."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- starting

    def start(self, tag: int, device: PeerDevice) -> None:
        """Ask the cluster, then walk the volume."""
        refusal = self.refusal(device)
        if refusal is not None:
            self.r.answer(tag, a.Code.CONFLICT, refusal[1], number=refusal[0])
            return
        mask, value = encode_change(StateChange(conn=int(ReplState.VERIFY_S)), device.peer.dialect.version)
        tid, me, target = self.r.twopc.prepare_fields(device.peer.node_id)

        def ended(vote: Vote, _tx: Transaction) -> None:
            if vote == Vote.YES and self.refusal(device) is None:
                self._begin(device)
                self.r.answer(tag)
            else:
                self.r.answer(
                    tag, a.Code.BUSY, "a node refused the verify or was busy; try again", number=-10
                )

        prepare = p.TwoPcPrepare(tid, me, target, 0, mask, value)
        if not self.r.twopc.start(prepare, volume=device.volume.number, on_end=ended):
            self.r.answer(tag, a.Code.BUSY, "another change is under way; try again", number=-19)

    def refusal(self, device: PeerDevice) -> tuple[int, str] | None:
        """Why no verify can start now: DRBD's code, and words."""
        name = device.peer.config.name
        if not device.peer.connected:
            return -15, f"{name} is not connected"
        if device.repl != ReplState.ESTABLISHED:
            return -8, f"a resync or verify with {name} is running"
        if min(device.volume.disk, device.disk) < DiskState.INCONSISTENT:
            return -4, f"{name} and this node must both have a disk"
        if self._digest(device) is None:
            return -14, f"verify-alg {self._algorithm(device)!r} is not known here"
        return None

    def _algorithm(self, device: PeerDevice) -> str:
        told = device.sync_param if device.peer.native84 else None
        return told.verify_alg if told is not None else self.core.options.verify_alg

    def _digest(self, device: PeerDevice) -> Digest | None:
        return digest_of(self._algorithm(device))

    def check(self, tx: Transaction) -> Vote:
        if tx.prepare.target_node_id != self.core.node_id:
            return Vote.YES
        peer = self.core.peers.get(tx.initiator)
        device = peer.devices.get(tx.volume) if peer is not None else None
        return Vote.NO if device is None or self.refusal(device) is not None else Vote.YES

    def committed(self, tx: Transaction) -> None:
        peer = self.core.peers.get(tx.initiator)
        if peer is None or tx.prepare.target_node_id != self.core.node_id:
            return
        device = peer.devices.get(tx.volume)
        if device is not None and peer.connected:
            self.enter_target(device)

    def enter_target(self, device: PeerDevice) -> None:
        """Answer the peer's verify from now on."""
        device.repl = ReplState.VERIFY_T
        device.verify_out_of_sync_bytes = 0
        self.core.changed = True
        self.r.news.send_state(device)

    def _begin(self, device: PeerDevice) -> None:
        device.repl = ReplState.VERIFY_S
        device.verify = Run(device.peer.link)
        device.verify_out_of_sync_bytes = 0
        self.core.changed = True
        self.r.news.send_state(device)
        self._ask(device)

    # -- the source: asks, compares

    def _ask(self, device: PeerDevice) -> None:
        run, volume = device.verify, device.volume
        if run is None:
            return
        while len(run.waiting) < _IN_FLIGHT and (run.doubtful or run.next_byte < volume.size_bytes):
            if run.doubtful:
                start, size = run.doubtful.pop(), _BLOCK
            else:
                start, size = run.next_byte, _STRIDE
                run.next_byte += size
            self._ask_range(device, run, start, min(size, volume.size_bytes - start))
        if not run.waiting:
            self._done(device)

    def _ask_range(self, device: PeerDevice, run: Run, start: int, size: int) -> None:
        echoed = device.peer.dialect.echoes_block_ids
        block_id = self.core.next_op() if echoed else ID_SYNCER
        key = block_id if echoed else start

        def ask() -> None:
            if device.verify is run:
                request = p.OvRequest(start >> 9, block_id, size)
                self.core.send(device.peer, request, device.volume.number)
            else:
                device.volume.busy.leave(lock)

        lock = RangeCall(start, start + size, ask)
        run.waiting[key] = lock
        if device.volume.busy.enter(lock):
            ask()

    def on_reply(self, peer: Peer, number: int, packet: p.OvReply) -> None:
        device = peer.devices.get(number)
        run = device.verify if device is not None else None
        if device is None or run is None:
            return
        key = packet.block_id if peer.dialect.echoes_block_ids else packet.sector << 9
        lock = run.waiting.get(key)
        if lock is None or lock.start != packet.sector << 9 or lock.end - lock.start != packet.size_bytes:
            raise ProtocolError("OV_REPLY", expected="an answer to a request", got=f"id {packet.block_id:#x}")
        lock.writing = True

        def done(errno: int, data: Buffer) -> None:
            run.waiting.pop(key, None)
            device.volume.busy.leave(lock)
            if device.verify is not run:
                return
            digest = self._digest(device)
            assert digest is not None
            code = OvResultCode.SKIPPED if errno else OvResultCode.IN_SYNC
            if not errno and digest(data) != packet.digest:
                code = self._differs_somewhere(device, run, lock.start, packet.size_bytes)
            self._tell(device, packet, code)
            self._ask(device)

        volume = device.volume
        tag = self.core.disk_tag(volume, done)
        self.core.out.append(a.ReadDisk(tag, number, lock.start, packet.size_bytes))

    def _differs_somewhere(self, device: PeerDevice, run: Run, start: int, size: int) -> OvResultCode:
        """A block is marked; of a larger range it is found out first which of its blocks differ."""
        if size <= _BLOCK:
            self._differs(device, start, size)
            return OvResultCode.OUT_OF_SYNC
        run.doubtful += range(start, start + size, _BLOCK)
        return OvResultCode.SKIPPED

    def _tell(self, device: PeerDevice, packet: p.OvReply, code: OvResultCode) -> None:
        if device.peer.dialect.echoes_block_ids:
            answer: p.Packet = p.OvResultId(packet.sector, packet.block_id, packet.size_bytes, 0, code)
        else:
            word = OV_ID_OUT_OF_SYNC if code == OvResultCode.OUT_OF_SYNC else OV_ID_IN_SYNC
            answer = p.OvResult(packet.sector, word, packet.size_bytes, 0)
        self.core.send(device.peer, answer, device.volume.number)

    def _differs(self, device: PeerDevice, start: int, size: int) -> None:
        device.verify_out_of_sync_bytes += size
        bitmap = device.volume.bitmap
        if bitmap is not None and device.slot >= 0:
            bitmap.mark((device.slot,), start, size)

    def _done(self, device: PeerDevice) -> None:
        device.verify = None
        device.verifies_done += 1
        device.repl = ReplState.ESTABLISHED
        found = device.verify_out_of_sync_bytes
        self.core.changed = True
        level = "warning" if found else "info"
        self.core.log(
            level,
            f"volume {device.volume.number}: verify with {device.peer.config.name}: {found} bytes differ",
        )
        self.r.news.send_state(device)
        if found:
            self.r.calls.tell(Handler.OUT_OF_SYNC, device.volume, device.peer)
        writer = device.volume.writer
        if found and writer is not None:
            writer.save_bitmap(lambda: None)

    # -- the other side: answers, learns

    def on_request(self, peer: Peer, number: int, packet: p.OvRequest) -> None:
        device = peer.devices.get(number)
        start, size = packet.sector << 9, packet.size_bytes
        if device is None or not 0 < size <= 1 << 20 or start + size > device.volume.size_bytes:
            raise ProtocolError("OV_REQUEST", expected="a range inside the volume", got=f"{start}+{size}")
        volume, link = device.volume, peer.link

        def read() -> None:
            if not volume.disk_open or peer.link != link:
                volume.busy.leave(lock)
                return
            tag = self.core.disk_tag(volume, done)
            self.core.out.append(a.ReadDisk(tag, number, start, size))

        def done(errno: int, data: Buffer) -> None:
            volume.busy.leave(lock)
            digest = self._digest(device)
            if peer.link != link or digest is None:
                return
            answer = digest(data) if not errno else b"\0"
            self.core.send(peer, p.OvReply(packet.sector, packet.block_id, size, answer), number)

        lock = RangeCall(start, start + size, read)
        if volume.busy.enter(lock):
            read()

    def on_result(self, peer: Peer, number: int, packet: p.OvResult | p.OvResultId) -> None:
        device = peer.devices.get(number)
        if device is None:
            return
        if isinstance(packet, p.OvResultId):
            differs = packet.result == OvResultCode.OUT_OF_SYNC
        else:
            differs = packet.block_id == OV_ID_OUT_OF_SYNC
        if differs and (packet.sector << 9) + packet.size_bytes <= device.volume.size_bytes:
            self._differs(device, packet.sector << 9, packet.size_bytes)

    def peer_moved(self, device: PeerDevice, repl: ReplState) -> None:
        """The source is back to normal: the verify has ended."""
        if device.repl == ReplState.VERIFY_T and repl == ReplState.ESTABLISHED:
            device.repl = ReplState.ESTABLISHED
            self.core.changed = True
            self.r.news.send_state(device)

    def stop(self, device: PeerDevice) -> None:
        """The connection or a disk is gone."""
        run, device.verify = device.verify, None
        if run is None:
            return
        for lock in run.waiting.values():
            if not lock.blockers and not lock.writing:
                device.volume.busy.leave(lock)
