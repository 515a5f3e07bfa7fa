"""Who counts: quorum of every volume, and what its loss or return means for a Primary."""

from typing import TYPE_CHECKING

import msgspec

from bollard.replica.protocol import config
from bollard.replica.protocol import quorum as q
from bollard.replica.protocol.model import Peer, PeerDevice, Volume
from bollard.replica.protocol.states import DiskState, Role

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource


def _setting(value: int) -> int:
    return {config.QUORUM_OFF: q.OFF, config.QUORUM_MAJORITY: q.MAJORITY, config.QUORUM_ALL: q.ALL}.get(
        value, value
    )


class Membership:
    """Evaluates after every change of a connection or disk."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    def verdict(self, volume: Volume) -> q.Verdict:
        """The present standing of one volume."""
        me = q.Self(
            disk=volume.disk,
            diskless=volume.config.diskless,
            had_quorum=volume.had_quorum,
            restored_alone=volume.restored_alone,
        )
        return q.evaluate(
            me, tuple(self._peer(device) for device in self.core.devices(volume)), self._rules()
        )

    def _rules(self) -> q.Rules:
        options = self.core.options
        return q.Rules(_setting(options.quorum), _setting(options.quorum_minimum_redundancy))

    def _peer(self, device: PeerDevice) -> q.Peer:
        peer, word = device.peer, device.wire_state
        return q.Peer(
            node_id=peer.node_id,
            connected=peer.connected,
            disk=device.disk,
            diskless=peer.config.diskless,
            member=not self.core.members or bool(self.core.members >> peer.node_id & 1),
            quorum=bool(word is not None and word.quorum),
        )

    def lost_without(self, leaving: list[Peer], *, disk: DiskState) -> Volume | None:
        """A volume that this Primary may write now, but not once these peers are gone.

        `disk` is what is known of theirs then, unless it is known to be worse already.
        """
        if self.core.role is not Role.PRIMARY or self.core.options.quorum == config.QUORUM_OFF:
            return None
        return next((v for v in self.core.volumes.values() if self._needs(v, leaving, disk)), None)

    def _needs(self, volume: Volume, leaving: list[Peer], disk: DiskState) -> bool:
        me = q.Self(
            disk=volume.disk,
            diskless=volume.config.diskless,
            had_quorum=volume.had_quorum,
            restored_alone=volume.restored_alone,
        )
        peers = []
        for device in self.core.devices(volume):
            peer = self._peer(device)
            if device.peer in leaving and device.peer.connected:
                worse = device.disk in (DiskState.INCONSISTENT, DiskState.OUTDATED)
                known = device.disk if worse else disk
                peer = msgspec.structs.replace(peer, connected=False, quorum=False, disk=known)
            peers.append(peer)
        return volume.quorum and not q.evaluate(me, tuple(peers), self._rules()).have

    def may_follow(self, device: PeerDevice) -> bool:
        """An UpToDate peer makes an Outdated disk good only if it belongs to those who have quorum."""
        return q.may_follow(self._peer(device), self._rules())

    def update(self) -> None:
        """Look again; a Primary freezes or thaws."""
        core = self.core
        for volume in core.volumes.values():
            verdict = self.verdict(volume)
            volume.had_quorum = verdict.have
            for device in self.core.devices(volume):
                disk = q.disk_after(verdict, self._peer(device))
                if disk != device.disk:
                    device.disk = disk
            if verdict.have == volume.quorum:
                continue
            volume.quorum = verdict.have
            core.changed = True
            core.log(
                "info" if verdict.have else "warning",
                f"volume {volume.number}: quorum {'gained' if verdict.have else 'lost'}: {verdict.reason}",
            )
            if core.role == Role.PRIMARY:
                volume.lost_quorum_as_primary = not verdict.have
                if not verdict.have:
                    self.r.calls.tell(config.Handler.QUORUM_LOST, volume)
            # The flag may make this node the source of a survivor, so what was acknowledged is durable first.
            self.r.disks.refresh(volume, flush_data=volume.lost_quorum_as_primary)
            self.r.news.broadcast(volume)
        self.r.rotation.reconsider()
        self.r.requests.reconsider()
        self.r.sources.soon()

    def note_members(self, reachable: int) -> None:
        """A transaction was committed among these nodes."""
        volumes = self.core.volumes.values()
        if reachable and all(volume.quorum for volume in volumes):
            self.core.members = reachable | 1 << self.core.node_id
            for volume in volumes:
                self.r.disks.refresh(volume)

    def data_reachable(self, volume: Volume) -> bool:
        """UpToDate data is here or on a connected peer."""
        if volume.disk == DiskState.UP_TO_DATE:
            return True
        return any(
            device.peer.connected and device.disk == DiskState.UP_TO_DATE
            for device in self.core.devices(volume)
        )
