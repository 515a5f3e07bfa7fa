"""What the loss of a connection or a disk means: bits to set, generations to renew, requests to settle."""

from typing import TYPE_CHECKING

from bollard.replica.protocol.model import Peer, PeerDevice, Volume
from bollard.replica.protocol.states import DiskState, ReplState, Role

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_SYNCED_BY_US = (ReplState.SYNC_SOURCE, ReplState.PAUSED_SYNC_S)


class Losses:
    """Settles what a lost partner leaves behind."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    def connection_lost(self, peer: Peer, *, was_primary: bool) -> None:
        """The link is gone; the peer's data stays where it was when it stopped to confirm."""
        core = self.core
        had = {number: device.disk for number, device in peer.devices.items()}
        synced = {number for number, device in peer.devices.items() if device.repl in _SYNCED_BY_US}
        for device in peer.devices.values():
            self.r.resync.stop(device)
            self.r.verify.stop(device)
            device.repl = ReplState.OFF
            device.equal = False
            known = device.disk in (DiskState.INCONSISTENT, DiskState.OUTDATED)
            # A target of ours may have finished without our knowing: then it is as good as we are.
            if not known or device.volume.number in synced:
                device.disk = DiskState.UNKNOWN
            device.wire_state = None
        dirty = self.r.epochs.forget_peer(peer)
        if core.role == Role.PRIMARY:
            for number, disk in had.items():
                if disk >= DiskState.INCONSISTENT:
                    self._left_behind(peer.devices[number], dirty or number in synced, force=number in synced)
            self.r.fences.peer_lost(peer)
        self.r.receiver.peer_gone(peer)
        self.r.reads.peer_gone(peer)
        if was_primary and core.role != Role.PRIMARY and not core.primary_peers():
            self.r.reconcile.primary_lost(peer)
            for volume in core.volumes.values():
                if volume.disk == DiskState.UP_TO_DATE and not volume.config.diskless:
                    volume.doubt = True
                    self.r.disks.set_disk(volume, DiskState.CONSISTENT)
            self.r.promotion.resolve_doubt()
        self.r.membership.update()
        self.r.epochs.settle_peer(peer)

    def _left_behind(self, device: PeerDevice, urgent: bool, *, force: bool) -> None:
        volume = device.volume
        if not device.peer.dialect.drbd9 and DiskState.INCONSISTENT <= volume.disk <= DiskState.OUTDATED:
            # The one good copy is the peer's own: a new generation here would part us from it.
            return
        if force:
            volume.force_new_uuid = True
        self.r.rotation.want(volume, urgent=urgent or bool(volume.held_completions))

    def peer_disk_lost(self, device: PeerDevice) -> None:
        """A connected peer has no disk any more."""
        self.r.resync.stop(device)
        device.repl = ReplState.ESTABLISHED
        dirty = self.r.epochs.forget_device(device)
        if self.core.role == Role.PRIMARY:
            self.r.rotation.want(device.volume, urgent=dirty)
        self.r.membership.update()

    def peer_disk_arrived(self, device: PeerDevice) -> None:
        """A connected peer attached a disk: it drops the link itself to negotiate."""

    def disk_lost(self, volume: Volume, *, primary: bool) -> None:
        """Our own disk is gone."""
        for device in self.core.devices(volume):
            self.r.resync.stop(device)
            self.r.verify.stop(device)
            if device.peer.connected:
                device.repl = ReplState.ESTABLISHED
        if primary:
            volume.rotating = 0
            volume.before_rotation = None
            self.r.rotation.want(volume, urgent=True)
