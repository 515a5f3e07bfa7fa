"""Two Primaries at once: writes to the same place that neither side knew of yet end the same way on both.

Each write says which of the peer's writes its sender had before it. One of the two nodes, by the link,
decides: of a peer's write it leaves out what it has overwritten itself without the peer's knowing. There
the peer's write counts as the earlier one, and the peer, which gets ours after it, comes to the same.
"""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import DataFlag
from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.model import Peer, Volume
from bollard.replica.protocol.states import Role
from bollard.replica.protocol.writes import Overtaken, WriteOp

if TYPE_CHECKING:
    from bollard.replica.protocol.receiver import PeerWrite
    from bollard.replica.protocol.resource import Resource
    from bollard.replica.protocol.writes import QuickOp

_LOW: Final = 0xFFFF_FFFF
_HALF: Final = 0x8000_0000
Range = tuple[int, int]


def later(one: int, other: int) -> bool:
    """Whether write `one` of a node came after its write `other`; 0 stands for none, before all."""
    return bool(one) and (not other or 0 < (one - other & _LOW) < _HALF)


def remaining(start: int, end: int, cuts: list[Range]) -> list[Range]:
    """What is left of [start, end) without the cuts, in order."""
    left, at = [], start
    for first, last in sorted(cuts):
        if first > at:
            left.append((at, min(first, end)))
        at = max(at, last)
        if at >= end:
            return left
    left.append((at, end))
    return left


class Sharing:
    """What two Primaries of one resource know of the order of their writes."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self._coming: set[int] = set()

    @property
    def active(self) -> bool:
        """This Primary is not alone, or may soon not be: every write goes by the rule."""
        core = self.core
        return core.role is Role.PRIMARY and (bool(self._coming) or bool(core.primary_peers()))

    def expect(self, node_id: int) -> None:
        """We agreed to another Primary; its writes may come before we hear that it is one."""
        if self.core.options.allow_two_primaries:
            self._coming.add(node_id)

    def known(self, node_id: int) -> None:
        """Its role is known, or it is gone."""
        self._coming.discard(node_id)

    # -- our own writes

    def entered(self, op: WriteOp) -> None:
        """Our write has its place behind all that has arrived so far, and before all that comes."""
        op.seen = {peer.node_id: (peer.link, peer.received_id) for peer in self.core.connected_peers()}

    def sequence(self, op: WriteOp, peer: Peer) -> int:
        """The last of the peer's writes that ours stands behind; to be noted as sent."""
        peer.sent_id = op.block_id & _LOW
        link, seen = (op.seen or {}).get(peer.node_id, (0, 0))
        return seen if link == peer.link else 0

    def acked(self, peer: Peer, op: "WriteOp | QuickOp", block_id: int, sequence: int) -> None:
        """The peer has our write; ones that it sent before may still be on their way."""
        if self.active and later(sequence, peer.received_id):
            peer.overtaken.append(Overtaken(op.volume, op.start, op.end, block_id & _LOW, sequence))

    # -- the peer's writes

    def received(self, peer: Peer, volume: Volume, op: "PeerWrite") -> None:
        """A peer's write gets its place; some of it may have been overwritten already."""
        packet = op.packet
        orders = peer.resolve_conflicts and peer.dialect.features & Feature.ORDERS_WRITES
        if orders and (peer.overtaken or self.active):
            op.cuts = list(self._newer(peer, volume, op, packet.seq))
            if op.cuts:
                self._conflict(peer, volume, op.cuts)
        peer.received_id = packet.block_id & _LOW
        if peer.overtaken:
            peer.overtaken = [one for one in peer.overtaken if later(one.until, peer.received_id)]

    @staticmethod
    def _newer(peer: Peer, volume: Volume, op: "PeerWrite", seen: int) -> Iterator[Range]:
        """Our writes there that the peer did not have when it wrote."""
        sent = ((block_id, own) for block_id, own in peer.unacked.items())
        there = ((old.block_id, old) for old in peer.overtaken)
        for block_id, own in chain(sent, there):
            if (
                own.volume is volume
                and own.start < op.end
                and op.start < own.end
                and later(block_id & _LOW, seen)
            ):
                yield own.start, own.end
        for other in volume.busy.overlapping(op.start, op.end):
            if isinstance(other, WriteOp) and not other.block_id:
                yield other.start, other.end

    def _conflict(self, peer: Peer, volume: Volume, cuts: list[Range]) -> None:
        """Third nodes got both in an order that nobody knows."""
        core = self.core
        core.log(
            "warning", f"volume {volume.number}: {peer.config.name} wrote where we did, at the same time"
        )
        thirds = [device.slot for device in core.devices(volume) if device.peer is not peer]
        if volume.bitmap is not None:
            for start, end in cuts:
                volume.bitmap.mark([slot for slot in thirds if slot >= 0], start, end - start)

    def write_rest(self, op: "PeerWrite") -> None:
        """What of a peer's write is not overwritten goes to the disk."""
        volume, packet = op.volume, op.packet
        pieces = remaining(op.start, op.end, op.cuts)
        left, failed = len(pieces) + 1, 0

        def done(errno: int, _data: Buffer) -> None:
            nonlocal left, failed
            left -= 1
            failed = failed or errno
            if not left:
                op.done(failed, b"")

        fua = bool(packet.flags & DataFlag.FUA)
        for start, end in pieces:
            tag = self.core.disk_tag(volume, done)
            if isinstance(packet, p.Data):
                data = memoryview(packet.data)[start - op.start : end - op.start]
                self.core.out.append(a.WriteDisk(tag, volume.number, start, data, fua))
            else:
                unmap = isinstance(packet, p.Trim) or bool(packet.flags & DataFlag.DISCARD)
                self.core.out.append(a.ZeroDisk(tag, volume.number, start, end - start, unmap, fua))
        done(0, b"")
