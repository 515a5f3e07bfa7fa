"""Congestion: a slow peer is left behind for a while instead of slowing the application down.

The Primary goes Ahead: it sends places instead of data, in a new generation. When the peer has made all that
it was sent durable, the two connect anew, and a resync brings it up to date.
"""

from typing import TYPE_CHECKING, Final

from bollard.replica.protocol.config import OnCongestion
from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.model import Peer, PeerDevice, Route
from bollard.replica.protocol.states import ConnState, DiskState, ReplState, Role

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_LOOK_S: Final = 1.0


class Congestion:
    """The policy on-congestion of one resource."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- the Primary

    def check(self, route: Route) -> None:
        """After a write was sent: has one of those who got it too much to take?"""
        for device in route.send:
            if self._congested(device):
                self._act(device.peer)

    def _congested(self, device: PeerDevice) -> bool:
        options, peer = self.core.options, device.peer
        ours = peer.dialect.features & Feature.KEEPS_LEFTOVERS
        if not ours or device.repl is not ReplState.ESTABLISHED or not peer.connected:
            return False
        log, fill = device.volume.log, options.congestion_fill_bytes
        return bool(fill and self.in_flight_bytes(peer) >= fill) or (
            log is not None and log.held_count >= options.congestion_extents
        )

    @staticmethod
    def in_flight_bytes(peer: Peer) -> int:
        """What it was sent and has not made durable."""
        sending = peer.sending.size_bytes if peer.sending is not None else 0
        return sending + sum(sent.size_bytes for sent in peer.sent_epochs.values())

    def _act(self, peer: Peer) -> None:
        core = self.core
        # It can only say that it has everything once it was asked for that.
        self.r.epochs.close()
        if core.options.on_congestion is OnCongestion.DISCONNECT:
            self.r.connector.stand_alone(peer, "it does not keep up (on-congestion disconnect)")
            return
        core.log("warning", f"{peer.config.name} does not keep up: going ahead of it")
        for device in peer.devices.values():
            if device.repl is ReplState.ESTABLISHED and device.disk >= DiskState.INCONSISTENT:
                device.repl = ReplState.AHEAD
                device.disk = min(device.disk, DiskState.OUTDATED)
                self.r.rotation.want(device.volume, urgent=False)
                self.r.news.send_state(device)
        core.changed = True
        self.r.membership.update()
        self._look_later(peer)

    def _look_later(self, peer: Peer) -> None:
        link = peer.link

        def look() -> None:
            if peer.link != link or not peer.connected:
                return
            self.r.epochs.close()
            if self.in_flight_bytes(peer):
                self._look_later(peer)
            else:
                self.r.connector.drop(peer, ConnState.TEAR_DOWN, "it has caught up: a resync brings the rest")

        self.core.after(_LOOK_S, look)

    # -- the peer

    def peer_went_ahead(self, device: PeerDevice) -> None:
        """The Primary writes without us from here on."""
        if device.repl is ReplState.ESTABLISHED and device.peer.role is Role.PRIMARY:
            device.repl = ReplState.BEHIND
            device.equal = False
            volume = device.volume
            self.core.log("warning", f"volume {volume.number}: {device.peer.config.name} went ahead of us")
            self.r.disks.set_disk(volume, min(volume.disk, DiskState.OUTDATED))
            self.r.news.send_state(device)
