"""The source of a resync: reads of ranges that the target asks for, while nobody writes there.

What a resync is and how it ends is in resync.py.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.exclusion import RangeCall
from bollard.replica.protocol.model import EIO, Peer, PeerDevice
from bollard.replica.protocol.states import ReplState

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource


class Serving:
    """Requests of resync targets."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    def on_dagtag_request(self, peer: Peer, number: int, packet: p.RsDagtagReq) -> None:
        """A request to be served when we have got that far in another node's stream of writes."""
        writer, link = self.core.peers.get(packet.dagtag_node_id), peer.link

        def go() -> None:
            if peer.link == link:
                self.on_request(peer, number, packet)

        if writer is not None and writer.connected and writer.stream_dagtag < packet.dagtag:
            writer.awaited.append((packet.dagtag, go))
        else:
            go()

    def on_request(
        self, peer: Peer, number: int, packet: p.RsDataRequest | p.RsThinReq | p.RsDagtagReq
    ) -> None:
        start, size = packet.sector << 9, packet.size_bytes
        device = self.served(peer, number, start, size, packet.block_id)
        if device is not None:
            self.serve(device, start, size, lambda errno, data: self.reply(device, packet, errno, data))

    def served(self, peer: Peer, number: int, start: int, size: int, block_id: int) -> PeerDevice | None:
        """The device if it can be read for a resync of the peer; else the peer was told."""
        device = peer.devices.get(number)
        if device is None or not 0 < size <= 1 << 20 or start + size > device.volume.size_bytes:
            raise ProtocolError("resync request", expected="a range inside the volume", got=f"{start}+{size}")
        if device.repl != ReplState.SYNC_SOURCE or not device.volume.disk_open:
            self.core.send(peer, p.RsCancel(start >> 9, block_id, size), number)
            return None
        return device

    def serve(self, device: PeerDevice, start: int, size: int, answer: Callable[[int, Buffer], None]) -> None:
        """Read while nobody writes there; `answer(errno, data)` before somebody can, if the link stands."""
        volume, peer, link = device.volume, device.peer, device.peer.link

        def read() -> None:
            if not volume.disk_open or peer.link != link:
                done(EIO, b"")
                return
            tag = self.core.disk_tag(volume, done)
            self.core.out.append(a.ReadDisk(tag, volume.number, start, size))

        def done(errno: int, data: Buffer) -> None:
            if peer.link == link:
                answer(errno, data)
            volume.busy.leave(lock)

        lock = RangeCall(start, start + size, read)
        if volume.busy.enter(lock):
            read()

    def reply(
        self,
        device: PeerDevice,
        packet: p.RsDataRequest | p.RsThinReq | p.RsDagtagReq | p.CsumRsRequest,
        errno: int,
        data: Buffer,
    ) -> None:
        """Data, or that it could not be read."""
        peer, number = device.peer, device.volume.number
        if errno:
            refusal = p.NegRsDreply(packet.sector, packet.block_id, packet.size_bytes)
            self.core.send(peer, refusal, number)
            return
        if isinstance(packet, p.RsThinReq) and self.r.thin.reply(device, packet, data):
            return
        digest = self.r.digests.integrity(peer, data)
        self.core.send(peer, p.RsDataReply(packet.sector, packet.block_id, 0, 0, data, digest), number)
        device.sent_bytes += packet.size_bytes
