"""Fencing: a lost peer is put out of action by a handler outside before its copy is left behind.

Here is when the handler is asked for, and what its verdict means; what it does is its own affair.
"""

from typing import TYPE_CHECKING, Final

from bollard.replica.protocol import actions as a
from bollard.replica.protocol.config import Fencing
from bollard.replica.protocol.events import FenceDone
from bollard.replica.protocol.model import Peer, Volume
from bollard.replica.protocol.states import DiskState, Role

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_INCONSISTENT: Final = 3
_OUTDATED: Final = 4
_UNREACHABLE: Final = 5
_IS_PRIMARY: Final = 6
_STONITHED: Final = 7
_AGAIN_S: Final = 10.0


class Fences:
    """The fence-peer handler of one resource. `core.fencing` are the peers for which requests wait."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self.asked: set[int] = set()

    def peer_lost(self, peer: Peer) -> None:
        """This Primary lost a connection: whose copy may still be used by others is fenced."""
        if self._may_be_used(peer):
            self._call(peer)

    def before_promotion(self) -> None:
        """Who is neither connected nor known to be harmless must not be, before we write."""
        for peer in self.core.peers.values():
            if self._may_be_used(peer):
                self._call(peer)

    def _may_be_used(self, peer: Peer) -> bool:
        if self.core.options.fencing is Fencing.DONT_CARE or peer.connected or peer.config.diskless:
            return False
        return any(device.slot >= 0 and device.disk > DiskState.OUTDATED for device in peer.devices.values())

    def _call(self, peer: Peer) -> None:
        core = self.core
        if self.core.options.fencing is Fencing.RESOURCE_AND_STONITH and core.role is Role.PRIMARY:
            core.fencing.add(peer.node_id)
        if peer.node_id not in self.asked:
            self.asked.add(peer.node_id)
            core.log("warning", f"{peer.config.name} is to be fenced")
            core.out.append(a.Fence(peer.node_id))

    def done(self, event: FenceDone) -> None:
        """The handler has ended."""
        core, peer = self.core, self.core.peers.get(event.peer)
        self.asked.discard(event.peer)
        if peer is None or peer.connected:
            core.fencing.discard(event.peer)
        else:
            self._heed(peer, event.code)
            if not self._may_be_used(peer):
                core.fencing.discard(peer.node_id)
            elif peer.node_id in core.fencing:
                core.after(_AGAIN_S, lambda: self._again(peer))
        core.changed = True
        self.r.membership.update()

    def _again(self, peer: Peer) -> None:
        """Requests still wait for this."""
        if peer.node_id in self.core.fencing and self._may_be_used(peer):
            self._call(peer)

    def _heed(self, peer: Peer, code: int) -> None:
        name = peer.config.name
        if code == _IS_PRIMARY:
            self.core.log("warning", f"{name} is Primary: our own data is outdated")
            for volume in self.core.volumes.values():
                if volume.disk > DiskState.OUTDATED:
                    self.r.disks.set_disk(volume, DiskState.OUTDATED)
            return
        known = {
            _INCONSISTENT: DiskState.INCONSISTENT,
            _OUTDATED: DiskState.OUTDATED,
            _STONITHED: DiskState.OUTDATED,
        }.get(code)
        only = self.core.options.fencing is Fencing.RESOURCE_ONLY
        for device in peer.devices.values():
            alone = code == _UNREACHABLE and only and self._good(device.volume)
            harmless = DiskState.OUTDATED if alone else known
            if harmless is not None and device.disk > harmless:
                device.disk = harmless
        if self._may_be_used(peer):
            self.core.log("warning", f"{name} could not be fenced: the handler ended with {code}")

    @staticmethod
    def _good(volume: Volume) -> bool:
        return volume.disk is DiskState.UP_TO_DATE

    def connected(self, peer: Peer) -> None:
        """The peer is with us again."""
        if peer.node_id in self.core.fencing:
            self.core.fencing.discard(peer.node_id)
            self.core.changed = True

    def resume(self) -> None:
        """A person says that it is safe to go on."""
        self.core.fencing.clear()
