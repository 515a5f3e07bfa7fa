"""The connection to a kernel of DRBD 8.4 (protocol 101): what differs from DRBD 9's, and nothing else.

Two nodes, no quorum, no two-phase commit: each side tells its state and both conclude the same. Changes that
need consent are in changes84.py.
"""

from typing import TYPE_CHECKING, Final

import msgspec

from bollard.domain.units import SECTOR_BYTES
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.config import QUORUM_OFF
from bollard.replica.protocol.dialect import DRBD84, MIN_DRBD9
from bollard.replica.protocol.digests import digest_of
from bollard.replica.protocol.generations import skip_initial_sync
from bollard.replica.protocol.generations84 import as_uuids, as_uuids110
from bollard.replica.protocol.model import Peer, PeerDevice, Phase, Volume
from bollard.replica.protocol.states import ConnState, DiskState, ReplState, Role, StateWord
from bollard.replica.protocol.twopc import Vote
from bollard.replica.protocol.uuids import JUST_CREATED, UNSET, UuidFlag, masked

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_RATE_KIB_S: Final = 100 << 10
_PEER_WANTS_SYNC: Final = range(ReplState.STARTING_SYNC_S, ReplState.WF_BITMAP_T + 1)


class Peer84:
    """Everything a resource does otherwise with an 8.4 peer."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- whether

    def unfit(self) -> str:
        """Why this resource cannot be shared with an 8.4 node; empty if it can."""
        options = self.core.options
        if len(self.core.peers) != 1:
            return "8.4 knows two nodes only"
        if options.quorum != QUORUM_OFF:
            return "8.4 knows no quorum: set quorum off"
        if options.allow_two_primaries:
            return "two Primaries are not supported with 8.4: set allow-two-primaries no"
        return ""

    def lowest_version(self) -> int:
        """The lowest protocol version to offer."""
        return MIN_DRBD9 if self.unfit() else DRBD84

    # -- the handshake

    def settings_agreed(self, peer: Peer, *, wait: bool) -> None:
        """P_PROTOCOL was exchanged. A kernel insists on its names of algorithms, so it tells first.

        `wait` is False for an engine that was told to speak 101: it waits for us likewise.
        """
        if not wait or not peer.devices:
            self._try_handshake(peer, peer.link)

    def on_sync_param(self, device: PeerDevice, packet: p.SyncParam89) -> None:
        """The kernel's algorithms become those of this connection; unknown ones end it."""
        peer = device.peer
        if peer.connected:
            return
        for what, name in (("verify-alg", packet.verify_alg), ("csums-alg", packet.csums_alg)):
            if name and digest_of(name) is None:
                self.r.connector.stand_alone(peer, f"its {what} {name!r} is not known here; choose another")
                return
        if peer.phase == Phase.READY and all(d.sync_param is not None for d in peer.devices.values()):
            self._try_handshake(peer, peer.link)

    def _try_handshake(self, peer: Peer, link: int) -> None:
        """A disk that is just being attached is waited for: it decides what is told."""
        if peer.link != link or peer.phase != Phase.READY or peer.handshake_sent:
            return
        if any(volume.attach_tag is not None for volume in self.core.volumes.values()):
            self.core.after(self.r.connector.backoff_s(), lambda: self._try_handshake(peer, link))
            return
        peer.handshake_sent = True
        for device in peer.devices.values():
            self._send_settings(device)
            self.core.send(peer, self._sizes(device.volume), device.volume.number)
            self.send_uuids(device)
            self.r.news.send_state(device)
        self.maybe_establish(peer)

    def _send_settings(self, device: PeerDevice) -> None:
        """A kernel takes over whatever speed it is told, for its own resyncs: it is told its own settings."""
        options, told = self.core.options, device.sync_param
        ours = p.SyncParam89(
            resync_rate_kib_s=options.resync_bytes_per_s >> 10 or _RATE_KIB_S,
            verify_alg=options.verify_alg,
            csums_alg=options.csums_alg,
        )
        self.core.send(device.peer, told if told is not None else ours, device.volume.number)

    def _sizes(self, volume: Volume) -> p.Sizes:
        """The size in use counts as the disk's: a kernel grows to what both disks hold, unasked."""
        sizes = self.r.agree.sizes_of(volume)
        return msgspec.structs.replace(sizes, disk_sectors=sizes.current_sectors if sizes.disk_sectors else 0)

    def send_uuids(self, device: PeerDevice, *, flags: int = 0) -> None:
        """The generations of a disk; without one there is nothing to tell."""
        volume = device.volume
        device.sent_side = side = self.r.agree.my_side(device)
        if volume.superblock is not None and volume.disk >= DiskState.INCONSISTENT:
            packet = as_uuids(side, device.peer.node_id, flags=flags)
            self.core.send(device.peer, packet, volume.number)
        if flags & UuidFlag.SKIP_INITIAL_SYNC:
            # A kernel takes it for granted that both are UpToDate from here on, and does not say so.
            device.disk = DiskState.UP_TO_DATE

    def on_uuids(self, peer: Peer, number: int, packet: p.Uuids) -> None:
        """The peer's generations, at the handshake or because they have changed."""
        device = peer.devices.get(number)
        if device is None:
            return
        device.uuids = as_uuids110(packet, me=self.core.node_id)
        device.current_uuid = packet.current
        if not peer.connected:
            return
        volume = device.volume
        if volume.superblock is None or volume.disk < DiskState.INCONSISTENT:
            volume.exposed_uuid = masked(packet.current)
        elif packet.flags & UuidFlag.SKIP_INITIAL_SYNC:
            self._skip_initial_sync(device)
        else:
            self.r.news.follow_peer(device)

    def _skip_initial_sync(self, device: PeerDevice) -> None:
        volume = device.volume
        generations = self.r.disks.generations(volume)
        if device.repl != ReplState.ESTABLISHED or masked(generations.current) != JUST_CREATED:
            return
        assert volume.bitmap is not None
        volume.bitmap.clear_all(device.slot)
        generations = skip_initial_sync(generations, self.r.agree.peer_side(device))
        self.r.disks.set_generations(volume, generations)
        device.disk = DiskState.UP_TO_DATE
        self.r.disks.set_disk(volume, DiskState.UP_TO_DATE)

    def on_state(self, device: PeerDevice, word: StateWord) -> None:
        """P_STATE: the last of the handshake, later the news."""
        peer = device.peer
        negotiates = word.disk == DiskState.NEGOTIATING
        if negotiates and device.uuids is not None:
            mixed = device.uuids.flags & UuidFlag.INCONSISTENT
            word = msgspec.structs.replace(
                word, disk=DiskState.INCONSISTENT if mixed else DiskState.CONSISTENT
            )
        device.wire_state = word
        if not peer.connected:
            if peer.phase == Phase.READY:
                device.got_state = True
                self.maybe_establish(peer)
            return
        self._news(device, word, negotiates=negotiates)

    def maybe_establish(self, peer: Peer) -> None:
        """Both have told everything: conclude, as the peer does on its side."""
        if peer.phase != Phase.READY or not peer.handshake_sent:
            return
        if not peer.devices or not all(device.got_state for device in peer.devices.values()):
            return
        for device in peer.devices.values():
            self._agree_on_size(device)
        vote = self.r.agree.judge(peer)
        if vote is Vote.YES:
            self.r.agree.establish(peer)
        elif vote is not None:
            self._part(peer, vote)

    def _part(self, peer: Peer, vote: Vote) -> None:
        connector = self.r.connector
        delay_s = 1.0 if vote is Vote.NO else connector.backoff_s()
        connector.drop(peer, ConnState.TEAR_DOWN, "the data cannot be agreed on now", delay_s=delay_s)

    def _agree_on_size(self, device: PeerDevice) -> None:
        """A disk without usable data takes the other one's smaller size, as a kernel does."""
        volume, sizes, superblock = device.volume, device.sizes, device.volume.superblock
        word = device.wire_state
        if sizes is None or word is None or superblock is None:
            return
        mine, theirs = volume.size_bytes // SECTOR_BYTES, sizes.current_sectors or sizes.disk_sectors
        if theirs > mine and word.disk <= DiskState.INCONSISTENT:
            device.sizes = msgspec.structs.replace(sizes, current_sectors=mine)
        elif 0 < theirs < mine and masked(superblock.current_uuid) == JUST_CREATED:
            self.r.disks.shrink_new(volume, theirs * SECTOR_BYTES)

    # -- while connected

    def _news(self, device: PeerDevice, word: StateWord, *, negotiates: bool) -> None:
        peer, volume, before = device.peer, device.volume, device.disk
        words = [other.wire_state for other in peer.devices.values()]
        primary = any(other is not None and other.role == Role.PRIMARY for other in words)
        role = Role.PRIMARY if primary else word.role
        consider = device.repl == ReplState.ESTABLISHED and (
            negotiates
            or word.conn in _PEER_WANTS_SYNC
            or (word.disk == DiskState.UP_TO_DATE and before == volume.disk == DiskState.INCONSISTENT)
        )
        self.r.news.peer_state(device, msgspec.structs.replace(word, role=role))
        if not peer.connected:
            return
        if primary and word.disk < DiskState.INCONSISTENT:
            # Its role may have become known before, when it asked for our consent.
            self._part_from_diskless_primary(device)
        elif word.conn == ReplState.AHEAD and device.repl == ReplState.ESTABLISHED:
            device.repl = ReplState.BEHIND
            self.r.disks.set_disk(volume, min(volume.disk, DiskState.OUTDATED))
        elif consider:
            self._consider(device, negotiates=negotiates)

    def _part_from_diskless_primary(self, device: PeerDevice) -> None:
        """A Primary without a disk writes to ours: its own, should it come back, is an older generation."""
        volume = device.volume
        if volume.disk == DiskState.UP_TO_DATE and device.slot >= 0:
            generations = self.r.disks.generations(volume)
            if generations.bitmap_uuid(device.peer.node_id) == UNSET:
                self.r.rotation.rotate_now(volume)

    def _consider(self, device: PeerDevice, *, negotiates: bool) -> None:
        """A disk came to an established connection: the handshake of one volume, in place."""
        volume, peer = device.volume, device.peer
        word = device.wire_state
        assert word is not None
        if min(volume.disk, word.disk) < DiskState.INCONSISTENT or device.uuids is None:
            return
        device.plan = None
        if negotiates:
            # A kernel that attaches has forgotten what it knew of us.
            self.core.send(peer, self._sizes(volume), volume.number)
            self.send_uuids(device)
        vote = self.r.agree.judge_data(device)
        if vote is Vote.YES:
            self.r.agree.establish_volume(device)
            self.r.news.send_state(device)
            self.r.membership.update()
        elif vote is not None:
            self._part(peer, vote)
