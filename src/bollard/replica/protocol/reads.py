"""Reads of applications on a Primary: from the local disk when it can be trusted, else from a peer."""

from typing import TYPE_CHECKING

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.events import Buffer, Request
from bollard.replica.protocol.model import EIO, Peer, PeerDevice, Volume
from bollard.replica.protocol.states import DiskState

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_PART_BYTES = 1 << 20


class RemoteRead:
    """A read in parts at one peer."""

    def __init__(self, event: Request, device: PeerDevice, tried: set[int]) -> None:
        self.event = event
        self.device = device
        self.tried = tried
        self.parts: dict[int, Buffer] = {}
        self.left = 0


class Reads:
    """Reads of one resource."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    def read(self, event: Request, volume: Volume, tried: set[int] | None = None) -> None:
        """Answer a read that the gate let through; `tried` are nodes that failed it."""
        core = self.core
        tried = tried if tried is not None else set()
        if not event.length_bytes:
            core.out.append(a.Complete(event.request))
            return
        volume.read_bytes += event.length_bytes
        if volume.disk is DiskState.UP_TO_DATE and volume.disk_open and core.node_id not in tried:
            tag = core.disk_tag(
                volume, lambda errno, data: self._local_done(event, volume, tried, errno, data)
            )
            core.out.append(a.ReadDisk(tag, volume.number, event.offset_bytes, event.length_bytes))
            return
        for device in core.devices(volume):
            if (
                device.peer.connected
                and device.disk is DiskState.UP_TO_DATE
                and device.peer.node_id not in tried
            ):
                self._ask(RemoteRead(event, device, tried))
                return
        if core.options.on_no_data_suspend and len(tried) == 0:
            core.held.append(event)
            volume.no_data = True
            return
        core.out.append(a.Complete(event.request, EIO))

    def _local_done(self, event: Request, volume: Volume, tried: set[int], errno: int, data: Buffer) -> None:
        if not errno:
            self.core.out.append(a.Complete(event.request, 0, data))
            return
        self.core.log("warning", f"volume {volume.number}: a read from the disk failed, asking a peer")
        self.read(event, volume, tried | {self.core.node_id})
        self.r.io_errors.at(volume, event.offset_bytes, event.length_bytes)

    def _ask(self, read: RemoteRead) -> None:
        event, device = read.event, read.device
        for at in range(0, event.length_bytes, _PART_BYTES):
            block_id = self.core.next_op()
            device.peer.reads[block_id] = (read, at)
            read.left += 1
            size = min(_PART_BYTES, event.length_bytes - at)
            request = p.DataRequest((event.offset_bytes + at) >> 9, block_id, size)
            self.core.send(device.peer, request, event.volume)

    def on_reply(self, peer: Peer, _volume: int, packet: p.DataReply) -> None:
        # Before the read is off the list: a bad answer costs the link, and the read is asked for elsewhere.
        self.r.digests.check(peer, packet.data, packet.digest)
        found = peer.reads.pop(packet.block_id, None)
        if found is None:
            return
        read, at = found
        read.parts[at] = packet.data
        read.left -= 1
        if read.left:
            return
        parts = [read.parts[at] for at in sorted(read.parts)]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if len(data) != read.event.length_bytes:
            self._again(read)
            return
        self.core.out.append(a.Complete(read.event.request, 0, data))

    def on_refused(self, peer: Peer, _volume: int, packet: p.NegDreply) -> None:
        found = peer.reads.pop(packet.block_id, None)
        if found is not None:
            for block_id in [key for key, (read, _) in peer.reads.items() if read is found[0]]:
                del peer.reads[block_id]
            found[0].tried.add(peer.node_id)
            self._again(found[0])

    def _again(self, read: RemoteRead) -> None:
        volume = self.core.volumes.get(read.event.volume)
        if volume is None:
            self.core.out.append(a.Complete(read.event.request, EIO))
        else:
            self.read(read.event, volume, read.tried)

    def peer_gone(self, peer: Peer) -> None:
        """Reads that were asked of a lost peer start again, behind the gate."""
        reads = {id(read): read for read, _ in peer.reads.values()}
        peer.reads = {}
        for read in reads.values():
            self.r.retry_later(read.event)
