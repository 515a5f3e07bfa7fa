"""Survivors of one Primary find out who of them got more of its writes; the others fetch the rest.

Until each connected survivor was compared, none of them counts as UpToDate. How a resync runs is elsewhere.
"""

from typing import TYPE_CHECKING, Final

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.model import Peer, PeerDevice, Volume
from bollard.replica.protocol.outcomes import Basis, Decision, LostPrimary, Rule, Strategy
from bollard.replica.protocol.sources import PARKED
from bollard.replica.protocol.states import DiskState, ReplState, Role
from bollard.replica.protocol.uuids import same

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_PATIENCE_S: Final = 3.0
"""How long to wait for the position of a survivor that may never tell it (a kernel that knew no Primary)."""


class Reconcile:
    """P_PEER_DAGTAG both ways, and what follows from it on a connection that stands."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self._since_s = 0.0

    # -- telling

    def primary_lost(self, primary: Peer) -> None:
        """The Primary is out of reach: remember how far we got, and tell the others."""
        core = self.core
        core.lost = LostPrimary(primary.node_id, primary.stream_dagtag)
        self._since_s = core.now_s
        for peer in core.connected_peers():
            peer.told_lost = None
            self.tell(peer)

    def tell(self, peer: Peer) -> None:
        lost = self.core.lost
        known = peer.dialect.features & Feature.RECONCILE_RECONNECT
        if lost is None or not known or peer.config.diskless or lost.node_id == peer.node_id:
            return
        self.core.send(peer, p.PeerDagtag(lost.dagtag, lost.node_id))

    # -- listening

    def on_peer_dagtag(self, peer: Peer, _volume: int, packet: p.PeerDagtag) -> None:
        """The peer lost a Primary, and says how far it got."""
        core = self.core
        before, peer.told_lost = peer.told_lost, LostPrimary(packet.node_id, packet.dagtag)
        if not peer.connected:
            return
        lost, primary = core.lost, core.peers.get(packet.node_id)
        if primary is not None and primary.connected and primary.role == Role.PRIMARY:
            return
        if lost is None or lost.node_id != packet.node_id:
            if primary is None or core.role == Role.PRIMARY:
                return
            # We had lost it long before, or never met it.
            lost = core.lost = LostPrimary(packet.node_id, primary.stream_dagtag)
            before = None
        if before != peer.told_lost:
            self.tell(peer)
        for device in peer.devices.values():
            self._compare(device, lost, peer.told_lost)

    def waits_for(self, volume: Volume) -> bool:
        """Some connected survivor has not been compared with us."""
        core = self.core
        if core.lost is None or core.now_s > self._since_s + _PATIENCE_S:
            return False
        for device in core.devices(volume):
            peer = device.peer
            told = peer.told_lost
            if not peer.connected or device.slot < 0 or device.disk < DiskState.OUTDATED:
                continue
            if not peer.dialect.features & Feature.RECONCILE_RECONNECT or peer.node_id == core.lost.node_id:
                continue
            if device.repl in PARKED:
                return True
            if device.repl == ReplState.ESTABLISHED and (told is None or told.node_id != core.lost.node_id):
                return True
        return False

    def _compare(self, device: PeerDevice, mine: LostPrimary, theirs: LostPrimary) -> None:
        volume, bitmap = device.volume, device.volume.bitmap
        if (
            device.repl != ReplState.ESTABLISHED
            or bitmap is None
            or volume.superblock is None
            or device.uuids is None
            or device.slot < 0
            or min(volume.disk, device.disk) < DiskState.OUTDATED
        ):
            return
        if not same(volume.superblock.current_uuid, device.uuids.current):
            # Only one of us heard of the Primary's last generation.
            self.r.connector.renegotiate(device.peer)
            return
        if mine.dagtag == theirs.dagtag:
            if self.r.disks.generations(volume).bitmap_uuid(device.peer.node_id) == 0:
                bitmap.clear_all(device.slot)
                device.equal = True
            return
        i_am_source = mine.dagtag > theirs.dagtag
        if (self.core.role == Role.PRIMARY) != (device.peer.role == Role.PRIMARY):
            i_am_source = self.core.role == Role.PRIMARY
        strategy = Strategy.SYNC_SOURCE if i_am_source else Strategy.SYNC_TARGET
        plan = Decision(Rule.SURVIVORS, strategy, checksums=True, basis=Basis.LEFTOVER_BITS)
        name = device.peer.config.name
        self.core.log("info", f"volume {volume.number}: {strategy} of {name}: survivors of one Primary")
        if i_am_source:
            self.r.resync.start_source(device, plan)
        else:
            self.r.resync.start_target(device, plan)

    def finished(self, source: Peer) -> None:
        """We have now what the source has: as far in the lost Primary's stream as it was."""
        lost, theirs = self.core.lost, source.told_lost
        if lost is not None and theirs is not None and lost.node_id == theirs.node_id:
            self.core.lost = theirs

    def busy_with(self, peer: Peer) -> bool:
        """The lost Primary itself comes back while its survivors are still comparing."""
        lost = self.core.lost
        if lost is None or lost.node_id != peer.node_id:
            return False
        return any(self.waits_for(volume) for volume in self.core.volumes.values())

    def forget(self) -> None:
        """A Primary writes again, from what was agreed on: positions of former ones say nothing any more."""
        self.core.lost = None
