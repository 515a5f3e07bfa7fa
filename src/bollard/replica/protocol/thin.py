"""Thin resync: ranges that read as zeroes on the source are not sent but unmapped on the target."""

from typing import TYPE_CHECKING, Final

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.model import Peer, PeerDevice

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_BLOCK: Final = 4096
_MAX_BYTES: Final = 1 << 20
_ZEROES: Final = bytes(_MAX_BYTES)


def is_zero(data: Buffer) -> bool:
    """Whether all bytes are 0; at most 1 MiB."""
    return bytes(data[:64]) == _ZEROES[: len(data[:64])] and bytes(data) == _ZEROES[: len(data)]


class Thin:
    """Both sides, as far as they differ from a plain resync."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- the target

    def _granularity(self, device: PeerDevice) -> int:
        """What is asked for at once, a multiple of 4 KiB; 0: plain requests."""
        dialect, wanted = device.peer.dialect, device.volume.discard_granularity_bytes
        if wanted is None:
            wanted = self.core.options.rs_discard_granularity_bytes
        agreed = dialect.drbd9 and dialect.features & Feature.THIN_RESYNC
        return min(-(-wanted // _BLOCK) * _BLOCK, _MAX_BYTES) if agreed else 0

    def request_bytes(self, device: PeerDevice) -> int:
        """No request is larger, nor crosses a multiple of it."""
        return self._granularity(device) or self.core.options.resync_request_bytes

    def request(
        self, device: PeerDevice, sector: int, block_id: int, size: int
    ) -> p.RsDataRequest | p.RsThinReq:
        """The request for a range; a whole aligned piece may turn out to be zeroes."""
        whole = self._granularity(device)
        thin = whole and size == whole and not (sector << 9) % whole
        return (p.RsThinReq if thin else p.RsDataRequest)(sector, block_id, size)

    def on_deallocated(self, peer: Peer, number: int, packet: p.RsDeallocated | p.RsDeallocatedId) -> None:
        """The range reads as zeroes there, and shall here."""
        device = peer.devices.get(number)
        target = device.resync if device is not None else None
        block_id = packet.block_id if isinstance(packet, p.RsDeallocatedId) else None
        part = None
        if target is not None and block_id is not None:
            part = target.find(block_id, packet.sector << 9)
        elif target is not None:
            block_id, part = target.at(packet.sector << 9)
        if device is None or target is None or part is None or block_id is None:
            raise ProtocolError("RS_DEALLOCATED", expected="an answer to a request", got=packet.sector)
        size = part.end - part.start
        if size != packet.size_bytes or not self._granularity(device):
            raise ProtocolError(
                "RS_DEALLOCATED", expected=f"{size} bytes, asked for so", got=packet.size_bytes
            )
        answered = p.RsDataReply(packet.sector, block_id, 0, 0, b"")
        tag = self.core.disk_tag(
            device.volume,
            lambda errno, _data: self.r.resync.block_written(device, target, answered, part, errno),
        )
        part.writing = True
        part.fetch.writes += 1
        self.core.out.append(a.ZeroDisk(tag, number, part.start, size, may_unmap=True))

    # -- the source

    def reply(self, device: PeerDevice, packet: p.RsThinReq, data: Buffer) -> bool:
        """Whether zeroes were asked for in this way, found, and named instead of sent."""
        peer, size = device.peer, packet.size_bytes
        if not peer.dialect.features & Feature.THIN_RESYNC or not is_zero(data):
            return False
        if peer.dialect.echoes_block_ids:
            answer: p.Packet = p.RsDeallocatedId(packet.sector, packet.block_id, size)
        else:
            answer = p.RsDeallocated(packet.sector, size)
        self.core.send(peer, answer, device.volume.number)
        return True
