"""Which of several peers a node syncs from: one at a time, and never past a Primary's writes.

The handshake says which resync has to wait (`Decision.parked`); here is when it waits no longer. How blocks
move is in resync.py.
"""

from functools import partial
from typing import TYPE_CHECKING, Final

from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.generations import set_bitmap, vouched_for
from bollard.replica.protocol.model import Peer, PeerDevice, Volume
from bollard.replica.protocol.outcomes import Basis, Decision, Strategy
from bollard.replica.protocol.states import DiskState, ReplState, Role
from bollard.replica.protocol.uuids import UNSET, is_random, same

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_SOURCE: Final = (ReplState.WF_BITMAP_S, ReplState.SYNC_SOURCE)
_TARGET: Final = (ReplState.WF_BITMAP_T, ReplState.SYNC_TARGET)
_PATIENCE_S: Final = 1.0
PARKED: Final = (ReplState.PAUSED_SYNC_S, ReplState.PAUSED_SYNC_T)


class Sources:
    """The choice of sources of one resource."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self._due = False

    # -- what the handshake is told

    def stable(self, toward: Peer) -> bool:
        """No other node writes here: what we have is all there is, for this peer."""
        core = self.core
        return core.role == Role.PRIMARY or all(peer is toward for peer in core.primary_peers())

    def shares_diskless(self, volume: Volume, toward: Peer) -> bool:
        """The only other Primary has no disk: our data is second to none, if the peer hears that one too."""
        primaries = [peer for peer in self.core.primary_peers() if peer is not toward]
        disks = [peer.devices[volume.number].disk for peer in primaries]
        return bool(disks) and all(disk < DiskState.INCONSISTENT for disk in disks)

    def others(self, peer: Peer) -> int:
        """The Primaries besides us and the peer, as a node mask."""
        return sum(1 << other.node_id for other in self.core.primary_peers() if other is not peer)

    def syncing(self, volume: Volume, *, but: PeerDevice | None = None) -> PeerDevice | None:
        """The connection on which the volume is being brought up to date, if it is."""
        return next((d for d in self.core.devices(volume) if d.repl in _TARGET and d is not but), None)

    def yields_to(self, device: PeerDevice, plan: Decision) -> bool:
        """We sync from somebody, but this one, a Primary, is the better source: the other one is left."""
        if (
            not plan.parked
            or plan.strategy is not Strategy.SYNC_TARGET
            or plan.basis is not Basis.OTHER_SOURCE
        ):
            return False
        word, other = device.wire_state, self.syncing(device.volume, but=device)
        if word is None or word.role != Role.PRIMARY or other is None or other.peer.role == Role.PRIMARY:
            return False
        self._leave(other)
        return True

    def begins(self, device: PeerDevice) -> None:
        """A resync starts while these nodes write; when others do, it is to be thought over."""
        device.other_primaries = self.others(device.peer)

    # -- waiting

    def park(self, device: PeerDevice, plan: Decision) -> None:
        """Connected, but the resync that is needed has to wait."""
        volume = device.volume
        source = plan.strategy is Strategy.SYNC_SOURCE
        device.repl = ReplState.PAUSED_SYNC_S if source else ReplState.PAUSED_SYNC_T
        device.parked = plan.basis
        self.begins(device)
        name = device.peer.config.name
        self.core.log("info", f"volume {volume.number}: resync with {name} waits: {plan.basis}")
        if device.uuids is None or volume.superblock is None:
            return
        if not source and not same(volume.superblock.current_uuid, device.uuids.current):
            self.r.disks.set_disk(volume, min(volume.disk, DiskState.OUTDATED))

    def soon(self) -> None:
        """Look again, once the present event is dealt with."""
        if not self._due:
            self._due = True
            self.core.after(0.0, self._look)

    def _look(self) -> None:
        self._due = False
        self.reconsider()

    def reconsider(self) -> None:
        """Roles or connections changed: leave sources that are none any more, negotiate what need not wait.

        Called before anything a new Primary writes can arrive.
        """
        for volume in self.core.volumes.values():
            for device in list(self.core.devices(volume)):
                if device.peer.connected and device.peer.dialect.features & Feature.KEEPS_LEFTOVERS:
                    self._look_at(device)
                    self._follow(device)
            self._look_for_one(volume)
            if self._nothing_newer(volume):
                self.core.log("info", f"volume {volume.number}: all copies are here, none is newer than ours")
                self.r.disks.set_disk(volume, DiskState.UP_TO_DATE)

    def _look_at(self, device: PeerDevice) -> None:
        peer, repl = device.peer, device.repl
        ours = Role.PRIMARY in (self.core.role, peer.role)
        moved = device.other_primaries != self.others(peer)
        runs = repl in _SOURCE + _TARGET and not ours
        if moved and (runs or (repl in PARKED and device.parked is Basis.UNSTABLE_SOURCE)):
            self._leave(device)
        waits = repl == ReplState.PAUSED_SYNC_T and device.parked is Basis.OTHER_SOURCE
        if waits and self.syncing(device.volume) is None:
            self._leave(device)

    def _follow(self, device: PeerDevice) -> None:
        """What the end of a resync left to notice: nobody writes, and a peer of our generation is good."""
        core, volume = self.core, device.volume
        quiet = core.lost is None and core.role != Role.PRIMARY and not core.primary_peers()
        if quiet and volume.disk == DiskState.OUTDATED and self.syncing(volume) is None:
            self.r.news.follow_peer(device)

    def _look_for_one(self, volume: Volume) -> None:
        """Nothing brings us up to date, or together, though a peer could."""
        core = self.core
        for device in list(core.devices(volume)):
            if self._could_sync(device, self._behind(device)) and core.now_s >= device.patient_until_s:
                self._try_again(device)
                return
        for device in core.devices(volume):
            if self._could_sync(device, True) and core.now_s >= device.patient_until_s:
                # News from a source that has just finished may be on its way.
                device.patient_until_s = core.now_s + _PATIENCE_S
                core.after(_PATIENCE_S, partial(self._look_apart, device))

    def _look_apart(self, device: PeerDevice) -> None:
        if self._could_sync(device, True):
            self._try_again(device)

    def _try_again(self, device: PeerDevice) -> None:
        device.patient_until_s = self.core.now_s + _PATIENCE_S
        self._leave(device)
        self.core.after(_PATIENCE_S, self.soon)

    def _nothing_newer(self, volume: Volume) -> bool:
        """Outdated, but every node with a disk is here, and each is behind us or equal to us."""
        core = self.core
        if volume.disk != DiskState.OUTDATED or Role.PRIMARY in (
            core.role,
            *(p.role for p in core.connected_peers()),
        ):
            return False
        if not volume.quorum or volume.superblock is None or self.syncing(volume) is not None:
            return False
        for peer in core.diskful_peers():
            device = peer.devices[volume.number]
            if not peer.connected or not DiskState.INCONSISTENT <= device.disk <= DiskState.OUTDATED:
                return False
            equal = device.uuids is not None and same(device.uuids.current, volume.superblock.current_uuid)
            ahead = device.repl in (*_SOURCE, ReplState.PAUSED_SYNC_S)
            if not ahead and not (equal and device.repl == ReplState.ESTABLISHED):
                return False
        return True

    @staticmethod
    def _behind(device: PeerDevice) -> bool:
        """Our data is a mixture, or of an older generation than the peer's."""
        volume, uuids = device.volume, device.uuids
        if uuids is None or volume.superblock is None or not is_random(uuids.current):
            return False
        if volume.disk == DiskState.INCONSISTENT:
            return True
        return volume.disk == DiskState.OUTDATED and not same(volume.superblock.current_uuid, uuids.current)

    def _could_sync(self, device: PeerDevice, now: bool) -> bool:
        """Idle with a good peer, and Inconsistent, or equal to it by name only: there are bits."""
        core, volume = self.core, device.volume
        bitmap = volume.bitmap
        if (
            not now
            or bitmap is None
            or core.role == Role.PRIMARY
            or device.repl != ReplState.ESTABLISHED
            or device.disk != DiskState.UP_TO_DATE
            or device.slot < 0
            or not device.peer.dialect.features & Feature.KEEPS_LEFTOVERS
            or self.syncing(volume) is not None
        ):
            return False
        if self._behind(device):
            return True
        stable = device.peer.role == Role.PRIMARY or not core.primary_peers()
        return volume.disk > DiskState.INCONSISTENT and stable and bool(bitmap.count(device.slot))

    def _leave(self, device: PeerDevice) -> None:
        self.r.resync.stop(device)
        self.r.connector.renegotiate(device.peer)

    def becomes_target(self, volume: Volume) -> None:
        """Who syncs from us has to wait: our own data is about to change."""
        for device in list(self.core.devices(volume)):
            device.equal = False
            if device.repl in _SOURCE and device.peer.connected:
                self._leave(device)

    # -- third nodes

    def heed_voucher(self, device: PeerDevice) -> None:
        """A peer of our generation says that an absent node shares it too: our next write parts us from it.

        Else we would take it for one that stopped long ago, write in this generation, and never be told
        apart.
        """
        volume, uuids = device.volume, device.uuids
        if (
            uuids is None
            or volume.superblock is None
            or device.wire_state is None
            or device.repl != ReplState.ESTABLISHED
            or min(volume.disk, device.disk) < DiskState.OUTDATED
        ):
            return
        generations = self.r.disks.generations(volume)
        absent = [peer.node_id for peer in self.core.diskful_peers() if not peer.connected]
        nodes = vouched_for(generations, self.r.agree.peer_side(device), absent)
        if not nodes:
            return
        for node in nodes:
            generations = set_bitmap(generations, node, UNSET)
        self.r.disks.set_generations(volume, generations)
        self.r.disks.refresh(volume)
        if self.core.role == Role.PRIMARY:
            self.r.rotation.want(volume, urgent=False)
        self.tell_others(device)

    def tell_others(self, device: PeerDevice) -> None:
        """What we say of absent nodes has changed; it counts for everybody."""
        for peer in self.core.connected_peers():
            if peer is not device.peer:
                self.r.agree.send_uuids(peer.devices[device.volume.number])

    def settle_slot(self, device: PeerDevice) -> None:
        """A peer that somebody else brought up to date is with us again."""
        volume, uuids = device.volume, device.uuids
        superblock, bitmap = volume.superblock, volume.bitmap
        if superblock is None or bitmap is None or uuids is None or device.slot < 0:
            return
        peer = device.peer
        theirs = dict(uuids.bitmap_uuids).get(self.core.node_id, UNSET)
        if (
            not peer.connected
            or volume.disk != DiskState.UP_TO_DATE
            or device.disk != DiskState.UP_TO_DATE
            or device.repl not in (ReplState.ESTABLISHED, ReplState.PAUSED_SYNC_S)
            or theirs != UNSET
            or not same(superblock.current_uuid, uuids.current)
            or bitmap.count(device.slot)
        ):
            return
        generations = self.r.disks.generations(volume)
        if generations.bitmap_uuid(peer.node_id) != UNSET:
            self.r.disks.set_generations(volume, set_bitmap(generations, peer.node_id, UNSET))
            self.r.disks.refresh(volume)
        if device.repl == ReplState.PAUSED_SYNC_S:
            self._leave(device)
