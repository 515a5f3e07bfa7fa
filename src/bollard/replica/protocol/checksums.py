"""Resync by checksums: the target names the digest of each block it has, the source sends only what differs.

After a crash of a Primary the activity log marks 4 MiB at a time, and most blocks in them are equal.
"""

from struct import Struct
from typing import TYPE_CHECKING, Final

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import ID_SYNCER, Channel, Cmd
from bollard.replica.protocol.digests import Digest, digest_of
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.frames import MAGIC_100, encode_ack
from bollard.replica.protocol.model import Peer, PeerDevice, Timer
from bollard.replica.protocol.pulling import Fetch, Target
from bollard.replica.protocol.uuids import UuidFlag

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

GROUP_BYTES: Final = 1 << 16
"""What is read from a disk at once, on both sides."""
_REQUEST: Final = Struct(">IhHIIQQII")


class Checksums:
    """Both sides of the comparison; everything else of a resync is in `Resync`."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self._batch: list[p.CsumRsRequest] = []
        self._batch_of: tuple[PeerDevice, int] | None = None
        self._timer: Timer | None = None

    # -- the target

    def choose(self, device: PeerDevice, *, full: bool, checksums: bool = False) -> Digest | None:
        """The digest for a resync that begins, None when blocks are just to be fetched."""
        options = self.core.options
        uuids = device.uuids
        crashed = device.volume.crashed_primary or (
            uuids is not None and bool(uuids.flags & UuidFlag.CRASHED_PRIMARY)
        )
        if device.other_primaries:
            return None
        if checksums:
            return digest_of(options.csums_alg or "sha256")
        if options.csums_after_crash_only and (full or not crashed):
            return None
        return self._digest_of(device) if device.peer.native84 else digest_of(options.csums_alg)

    def compare(self, device: PeerDevice, target: Target, fetch: Fetch) -> None:
        """The range is locked: read what we have, and ask about each block of it."""
        volume = device.volume

        def done(errno: int, data: Buffer) -> None:
            if errno:
                self.r.io_errors.at(volume, fetch.start, fetch.end - fetch.start)
            if not self.r.resync.current(device, target):
                volume.busy.leave(fetch)
            elif errno:
                self.r.resync.ask(device, target, fetch)
            else:
                self._ask(device, target, fetch, data)

        tag = self.core.disk_tag(volume, done)
        self.core.out.append(a.ReadDisk(tag, volume.number, fetch.start, fetch.end - fetch.start))

    def _ask(self, device: PeerDevice, target: Target, fetch: Fetch, data: Buffer) -> None:
        """One request for each bitmap block, all in one piece."""
        volume, digest = device.volume, target.digest
        assert digest is not None
        assert volume.bitmap is not None
        step, start, own = volume.bitmap.block_bytes, fetch.start, memoryview(data)
        echoed = device.peer.dialect.echoes_block_ids
        frames = bytearray()
        for at in range(0, len(own), step):
            block = own[at : at + step]
            block_id, size = self.core.next_op() if echoed else ID_SYNCER, len(block)
            target.asked(block_id, start + at, start + at + size, fetch)
            found = digest(block)
            head = MAGIC_100, volume.number, Cmd.CSUM_RS_REQUEST, 24 + len(found), 0
            frames += _REQUEST.pack(*head, (start + at) >> 9, block_id, size, 0)
            frames += found
        self.core.out.append(a.Send(device.peer.node_id, Channel.DATA, (bytes(frames),)))

    # -- the source

    def on_request(self, peer: Peer, number: int, packet: p.CsumRsRequest) -> None:
        """Requests for adjacent blocks are answered together."""
        start, size = packet.sector << 9, packet.size_bytes
        device = self.r.serving.served(peer, number, start, size, packet.block_id)
        if device is None:
            return
        batch, key = self._batch, (device, peer.link)
        if batch:
            first, last = batch[0], batch[-1]
            end = (last.sector << 9) + last.size_bytes
            if self._batch_of != key or end != start or start + size - (first.sector << 9) > GROUP_BYTES:
                self._answer_batch()
                batch = self._batch
        self._batch_of = key
        batch.append(packet)
        if start + size - (batch[0].sector << 9) >= GROUP_BYTES:
            self._answer_batch()
        elif self._timer is None or self._timer.call is None:
            self._timer = self.core.after(0.0, self._answer_batch)

    def _answer_batch(self) -> None:
        packets, self._batch = self._batch, []
        if not packets:
            return
        assert self._batch_of is not None
        device, link = self._batch_of
        if device.peer.link != link:
            return
        start, last = packets[0].sector << 9, packets[-1]
        size = (last.sector << 9) + last.size_bytes - start
        self.r.serving.serve(
            device, start, size, lambda errno, data: self._answer(device, packets, errno, data)
        )

    def _answer(self, device: PeerDevice, packets: list[p.CsumRsRequest], errno: int, data: Buffer) -> None:
        """Our blocks were read: what is equal is in sync on both sides, the rest is sent."""
        volume, peer = device.volume, device.peer
        digest = self._digest_of(device)
        own, begin = memoryview(data), packets[0].sector << 9
        equal = bytearray()
        for packet in packets:
            start, size = packet.sector << 9, packet.size_bytes
            block = own[start - begin : start - begin + size]
            if errno or digest is None or digest(block) != packet.digest:
                self.r.serving.reply(device, packet, errno, block)
                continue
            assert volume.bitmap is not None, "the disk was read"
            volume.bitmap.clean(device.slot, start, size)
            equal += encode_ack(
                Cmd.RS_IS_IN_SYNC,
                volume.number,
                sector=packet.sector,
                block_id=packet.block_id,
                size_bytes=size,
            )
        if equal:
            self.core.out.append(a.Send(peer.node_id, Channel.CONTROL, (bytes(equal),)))

    def _digest_of(self, device: PeerDevice) -> Digest | None:
        """The one the target named at the handshake; should it use another, all blocks just differ."""
        told = device.sync_param
        if device.peer.native84:
            return digest_of(told.csums_alg) if told is not None else None
        return digest_of((told.csums_alg if told is not None else "") or self.core.options.csums_alg)
