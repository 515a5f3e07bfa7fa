"""What nodes tell each other while connected: roles, disk states, and what follows from a peer's change."""

from typing import TYPE_CHECKING

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.model import Peer, PeerDevice, Phase, Volume
from bollard.replica.protocol.states import DiskState, ReplState, Role, StateWord
from bollard.replica.protocol.uuids import same

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource


class News:
    """P_STATE out and in."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    def send_state(self, device: PeerDevice) -> None:
        core, volume = self.core, device.volume
        word = StateWord(
            role=core.role,
            peer_role=device.peer.role,
            conn=int(device.repl),
            disk=volume.disk,
            peer_disk=device.disk,
            suspended=core.suspended_user,
            suspended_fencing=bool(core.fencing),
            quorum=volume.quorum,
        )
        core.send(device.peer, p.State(word), volume.number)

    def broadcast(self, volume: Volume | None = None) -> None:
        """Tell every connected node our state."""
        self.core.changed = True
        for peer in self.core.peers.values():
            if peer.phase != Phase.CONNECTED:
                continue
            for device in peer.devices.values():
                if volume is None or device.volume is volume:
                    self.send_state(device)

    def peer_role(self, peer: Peer, role: Role) -> None:
        """A connected peer became Primary or Secondary."""
        self.r.sharing.known(peer.node_id)
        if peer.role == role:
            return
        peer.role = role
        self.core.changed = True
        self.core.log("info", f"{peer.config.name} is {role.name}")
        for volume in self.core.volumes.values():
            self.r.disks.refresh(volume)
        if role == Role.SECONDARY:
            self.r.receiver.primary_gone(peer)
            self.r.sources.soon()
        else:
            self.r.reconcile.forget()
            self.r.sources.reconsider()

    def peer_state(self, device: PeerDevice, word: StateWord) -> None:
        """A connected peer told its state."""
        self.core.changed = True
        self.peer_role(device.peer, word.role)
        ahead = device.repl is ReplState.AHEAD
        before, device.disk = device.disk, min(word.disk, DiskState.OUTDATED) if ahead else word.disk
        if word.repl is ReplState.AHEAD:
            self.r.congestion.peer_went_ahead(device)
        device.equal = device.equal and word.disk > DiskState.OUTDATED
        if word.disk >= DiskState.INCONSISTENT:
            self.r.disks.note_seen(device)
        self.r.resync.peer_moved(device, word.repl, before)
        self.r.verify.peer_moved(device, word.repl)
        if before >= DiskState.INCONSISTENT > word.disk:
            self.r.losses.peer_disk_lost(device)
        elif before >= DiskState.CONSISTENT > word.disk and self.core.role == Role.PRIMARY:
            self.r.rotation.want(device.volume, urgent=self.r.epochs.forget_device(device))
        elif before < DiskState.INCONSISTENT <= word.disk:
            self.r.losses.peer_disk_arrived(device)
        self.follow_peer(device)
        self.r.sources.settle_slot(device)
        if before < DiskState.CONSISTENT <= word.disk:
            self._followed(device)
        self.r.membership.update()

    def follow_peer(self, device: PeerDevice) -> None:
        """An outdated disk that has the peer's generation is as good as the peer's."""
        volume = device.volume
        if (
            device.repl == ReplState.ESTABLISHED
            and volume.disk in (DiskState.OUTDATED, DiskState.CONSISTENT)
            and device.disk == DiskState.UP_TO_DATE
            and volume.superblock is not None
            and device.uuids is not None
            and same(volume.superblock.current_uuid, device.uuids.current)
            and volume.bitmap is not None
            and device.slot >= 0
            and not volume.bitmap.count(device.slot)
            and self.may_follow(device)
        ):
            volume.doubt = False
            self.r.disks.set_disk(volume, DiskState.UP_TO_DATE)

    def _followed(self, device: PeerDevice) -> None:
        """The peer took its data for ours just when we wrote without it."""
        bitmap = device.volume.bitmap
        if self.core.role != Role.PRIMARY or bitmap is None or device.slot < 0:
            return
        if not device.peer.dialect.drbd9:
            return  # its disk arrived: that is negotiated on the standing connection
        if device.repl == ReplState.ESTABLISHED and bitmap.count(device.slot):
            self.r.connector.renegotiate(device.peer)

    def may_follow(self, device: PeerDevice) -> bool:
        """The peer is not one that was left behind and only thinks that it is UpToDate."""
        return self.r.membership.may_follow(device)

    def disk_arrived(self, volume: Volume) -> None:
        """Our own disk was attached: connected nodes must negotiate, which a new handshake does."""
        for peer in list(self.core.connected_peers()):
            self.r.connector.renegotiate(peer)
        self.broadcast(volume)
