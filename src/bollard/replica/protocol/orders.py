"""Commands of the administrator and the configuration: checked here, carried out by the other parts."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.config import QUORUM_OFF, ConfigError, Fencing, parse_options
from bollard.replica.protocol.generations import restart_generation
from bollard.replica.protocol.model import Peer, PeerDevice, Volume
from bollard.replica.protocol.promotion import Refusal
from bollard.replica.protocol.states import ConnState, DiskState, Role, StateChange, encode_change
from bollard.replica.protocol.twopc import Transaction, Vote

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_VERSION = 124


class Orders:
    """One method an order."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- configuration

    def add_volume(self, event: e.AddVolume) -> None:
        core = self.core
        assert event.config.number not in core.volumes, event.config.number
        volume = core.volumes[event.config.number] = Volume(event.config)
        if event.config.diskless:
            volume.size_bytes = event.config.size_bytes
            if volume.size_bytes:
                core.out.append(a.VolumeSize(volume.number, volume.size_bytes))
        for peer in core.peers.values():
            peer.devices[volume.number] = PeerDevice(peer, volume)
        # What follows from the loss of one link looks at the devices of all peers.
        for peer in core.peers.values():
            self.r.connector.renegotiate(peer)
        core.changed = True
        self.r.membership.update()

    def change_volume(self, event: e.ChangeVolume) -> None:
        volume = self.core.volumes.get(event.config.number)
        if volume is not None:
            volume.configure(msgspec.structs.replace(volume.config, options=event.config.options))

    def remove_volume(self, event: e.RemoveVolume) -> None:
        core = self.core
        volume = core.volumes.get(event.volume)
        if volume is None:
            return
        if volume.disk_open:
            self.r.disks.close(volume)
        del core.volumes[event.volume]
        for peer in core.peers.values():
            peer.devices.pop(event.volume, None)
        for peer in core.peers.values():
            self.r.connector.renegotiate(peer)
        core.changed = True

    def add_peer(self, event: e.AddPeer) -> None:
        core = self.core
        assert event.config.node_id != core.node_id, "a node is not its own peer"
        assert event.config.node_id not in core.peers, event.config.node_id
        peer = core.peers[event.config.node_id] = Peer(event.config)
        for volume in core.volumes.values():
            peer.devices[volume.number] = PeerDevice(peer, volume)
            self.r.disks.peer_added(volume, peer)
        core.changed = True
        self.r.membership.update()

    def remove_peer(self, event: e.RemovePeer) -> None:
        peer = self.core.peers.get(event.peer)
        if peer is None:
            return
        self.r.connector.leave(peer)
        del self.core.peers[event.peer]
        for volume in self.core.volumes.values():
            volume.reroute()
        self.core.changed = True
        self.r.membership.update()

    def set_options(self, event: e.SetOptions) -> None:
        try:
            options = parse_options(event.options)
        except ConfigError as error:
            self.r.answer(event.tag, a.Code.INVALID, str(error))
            return
        changed = options != self.core.options
        self.core.options = options
        for volume in self.core.volumes.values():
            volume.route = None
        self.r.membership.update()
        self.r.answer(event.tag, changed=changed)

    def backing_resized(self, event: e.BackingResized) -> None:
        volume = self.core.volumes.get(event.volume)
        if volume is not None:
            volume.backing_bytes, volume.meta_bytes = event.backing_bytes, event.meta_bytes

    # -- role

    def promote(self, event: e.Promote) -> None:
        if self.core.role is Role.PRIMARY:
            self.core.auto_promoted = False
            self.r.answer(event.tag, changed=False)
            return
        self.r.promotion.promote(self._refusal_answer(event.tag), force=event.force)

    def demote(self, event: e.Demote) -> None:
        if self.core.role is not Role.PRIMARY:
            self.r.answer(event.tag, changed=False)
            return
        self.r.promotion.demote(self._refusal_answer(event.tag), force=event.force)

    def _refusal_answer(self, tag: int) -> Callable[[Refusal | None], None]:
        def done(refusal: Refusal | None) -> None:
            if refusal is None:
                self.r.answer(tag)
            else:
                self.r.answer(tag, refusal[1], refusal[2], number=refusal[0])

        return done

    # -- connections

    def _peers(self, tag: int, node_id: int | None) -> Iterable[Peer] | None:
        if node_id is None:
            return list(self.core.peers.values())
        peer = self.core.peers.get(node_id)
        if peer is None:
            self.r.answer(tag, a.Code.NOT_FOUND, f"there is no peer with node id {node_id}")
            return None
        return [peer]

    def connect(self, event: e.Connect) -> None:
        peers = self._peers(event.tag, event.peer)
        if peers is not None:
            started = [
                self.r.connector.connect(peer, discard_my_data=event.discard_my_data) for peer in peers
            ]
            self.r.answer(event.tag, changed=any(started))

    def disconnect(self, event: e.Disconnect) -> None:
        peers = self._peers(event.tag, event.peer)
        if peers is None:
            return
        peers = list(peers)
        volume = self._left_without_data(peers)
        if volume is not None and not event.force:
            why = f"volume {volume.number}: this Primary would lose its last good data; demote it first"
            self.r.answer(event.tag, a.Code.CONFLICT, why, number=-2)
            return
        volume = self.r.membership.lost_without(peers, disk=DiskState.UNKNOWN)
        if volume is not None and not event.force:
            why = f"volume {volume.number}: this Primary would lose quorum; demote it first"
            self.r.answer(event.tag, a.Code.CONFLICT, why, number=-25)
            return
        changed = any(peer.cstate != ConnState.STAND_ALONE for peer in peers)

        def apart() -> None:
            for peer in peers:
                self.r.connector.leave(peer)
            self.r.answer(event.tag, changed=changed)

        def go() -> None:
            self._step_aside(peers, apart)

        if event.force:
            go()
        else:
            self._ask_primary(event.tag, peers, go)

    def _ask_primary(self, tag: int, leaving: list[Peer], go: Callable[[], None]) -> None:
        """A Primary that would lose quorum without us may refuse; `go` when it does not."""
        core = self.core
        primaries = [peer for peer in core.primary_peers() if peer in leaving]
        if core.role is Role.PRIMARY or not primaries or core.options.quorum == QUORUM_OFF:
            go()
            return

        def ended(vote: Vote, _tx: Transaction) -> None:
            if vote is Vote.YES:
                go()
            elif vote is Vote.NO:
                why = f"{primaries[0].config.name} is Primary and would lose quorum; demote it first"
                self.r.answer(tag, a.Code.CONFLICT, why, number=-10)
            else:
                self.r.answer(tag, a.Code.BUSY, "the nodes were busy; try again", number=-19)

        tid, me, target = self.r.twopc.prepare_fields(primaries[0].node_id)
        mask, value = encode_change(StateChange(conn=int(ConnState.DISCONNECTING)), _VERSION)
        if not self.r.twopc.start(p.TwoPcPrepare(tid, me, target, 0, mask, value), on_end=ended):
            self.r.answer(tag, a.Code.BUSY, "another change is under way; try again", number=-19)

    def _left_without_data(self, leaving: list[Peer]) -> Volume | None:
        """A volume that this Primary reads from one of these peers, and from nobody else."""
        core = self.core
        if core.role is not Role.PRIMARY:
            return None
        for volume in core.volumes.values():
            good = [
                d.peer for d in core.devices(volume) if d.peer.connected and d.disk == DiskState.UP_TO_DATE
            ]
            if volume.disk != DiskState.UP_TO_DATE and good and all(peer in leaving for peer in good):
                return volume
        return None

    def _step_aside(self, peers: list[Peer], then: Callable[[], None]) -> None:
        """Who leaves a Primary says first, and writes down, that its data will be old."""
        core = self.core
        leaves_primary = any(peer.connected and peer.role is Role.PRIMARY for peer in peers)
        volumes = [v for v in core.volumes.values() if v.disk_open and v.disk > DiskState.OUTDATED]
        if (
            core.role is Role.PRIMARY
            or not leaves_primary
            or (core.options.quorum == QUORUM_OFF and core.options.fencing is Fencing.DONT_CARE)
            or not volumes
        ):
            then()
            return
        left = len(volumes)

        def saved() -> None:
            nonlocal left
            left -= 1
            if not left:
                self.r.news.broadcast()
                then()

        for volume in volumes:
            volume.disk = DiskState.OUTDATED
            self.r.disks.refresh(volume, saved)

    # -- disks

    def _volume(self, tag: int, number: int) -> Volume | None:
        volume = self.core.volumes.get(number)
        if volume is None:
            self.r.answer(tag, a.Code.NOT_FOUND, f"volume {number} does not exist")
        return volume

    def attach(self, event: e.Attach) -> None:
        volume = self._volume(event.tag, event.volume)
        if volume is not None:
            self.r.disks.attach(event.tag, volume)

    def detach(self, event: e.Detach) -> None:
        volume = self._volume(event.tag, event.volume)
        if volume is None:
            return
        if not volume.disk_open:
            self.r.answer(event.tag, changed=False)
            return
        others = any(d.peer.connected and d.disk == DiskState.UP_TO_DATE for d in self.core.devices(volume))
        if self.core.role is Role.PRIMARY and not others and not event.force:
            why = f"volume {volume.number}: this Primary would lose its last good data"
            self.r.answer(event.tag, a.Code.CONFLICT, why, number=-2)
            return
        if self.core.role is Role.PRIMARY or event.force:
            self.r.disks.close(volume)
            self.r.answer(event.tag)
        else:
            self.r.disks.close_cleanly(volume, lambda: self.r.answer(event.tag))

    def outdate(self, event: e.Outdate) -> None:
        core = self.core
        if core.role is Role.PRIMARY or core.primary_peers():
            why = "a Primary uses this data; demote or disconnect it first"
            self.r.answer(event.tag, a.Code.CONFLICT, why, number=-6)
            return
        changed = False
        for volume in core.volumes.values():
            if volume.disk > DiskState.OUTDATED:
                self.r.disks.set_disk(volume, DiskState.OUTDATED)
                changed = True
        self.r.answer(event.tag, changed=changed)

    def invalidate(self, event: e.Invalidate) -> None:
        volume = self._volume(event.tag, event.volume)
        if volume is None:
            return
        source = next(
            (d for d in self.core.devices(volume) if d.peer.connected and d.disk == DiskState.UP_TO_DATE),
            None,
        )
        if self.core.role is Role.PRIMARY or source is None or volume.bitmap is None:
            why = f"volume {volume.number}: invalidate needs a Secondary connected to a node with good data"
            self.r.answer(event.tag, a.Code.CONFLICT, why, number=-15)
            return
        for device in self.core.devices(volume):
            if device.slot >= 0:
                volume.bitmap.set_all(device.slot)
            device.was_connected = False
        self.r.disks.set_disk(volume, DiskState.INCONSISTENT)
        writer = volume.writer
        assert writer is not None

        def saved() -> None:
            self.r.connector.renegotiate(source.peer)
            self.r.answer(event.tag)

        writer.save_bitmap(saved)

    def verify(self, event: e.Verify) -> None:
        volume = self._volume(event.tag, event.volume)
        if volume is None:
            return
        devices = [
            device
            for device in self.core.devices(volume)
            if (device.peer.node_id == event.peer) or (event.peer is None and not device.peer.config.diskless)
        ]
        if len(devices) != 1:
            why = "name one peer with a disk to verify against"
            self.r.answer(event.tag, a.Code.INVALID, why)
            return
        self.r.verify.start(event.tag, devices[0])

    def resize(self, event: e.Resize) -> None:
        volume = self._volume(event.tag, event.volume)
        if volume is not None:
            self.r.sizing.resize(event.tag, volume, event.size_bytes, assume_clean=event.assume_clean)

    def new_current_uuid(self, event: e.NewCurrentUuid) -> None:
        volume = self._volume(event.tag, event.volume)
        if volume is None:
            return
        if volume.superblock is None or volume.bitmap is None:
            self.r.answer(event.tag, a.Code.CONFLICT, f"volume {volume.number} has no disk here", number=-4)
            return
        uuid = self.r.rotation.fresh_uuid()
        primary = self.core.role is Role.PRIMARY
        generations = restart_generation(self.r.disks.generations(volume), uuid=uuid, primary=primary)
        self.r.disks.set_generations(volume, generations)
        if event.clear_bitmap:
            for device in self.core.devices(volume):
                if device.slot >= 0:
                    volume.bitmap.clear_all(device.slot)
            volume.trust(DiskState.UP_TO_DATE)
        self.r.disks.refresh(volume, lambda: self._generation_saved(event, volume))

    def _generation_saved(self, event: e.NewCurrentUuid, volume: Volume) -> None:
        for peer in list(self.core.connected_peers()):
            if event.clear_bitmap:
                self.r.agree.send_uuids(peer.devices[volume.number], flags=8)
            else:
                self.r.connector.renegotiate(peer)
        self.r.news.broadcast(volume)
        self.r.membership.update()
        self.r.answer(event.tag)

    # -- input and output

    def suspend_io(self, event: e.SuspendIo) -> None:
        core = self.core
        core.suspended_user = True
        core.changed = True
        self.r.epochs.close()
        if core.running_writes or core.epochs:
            core.on_quiet.append(lambda: self.r.answer(event.tag))
        else:
            self.r.answer(event.tag)

    def resume_io(self, event: e.ResumeIo) -> None:
        core = self.core
        changed = core.suspended_user or bool(core.fencing)
        core.suspended_user = False
        self.r.fences.resume()
        core.changed = True
        self.r.membership.update()
        self.r.answer(event.tag, changed=changed)

    # -- the end

    def stop(self, event: e.Stop) -> None:
        """Demote, then leave the peers, then let go of the disks."""
        core = self.core
        core.stopping = True
        core.suspended_user = False

        def demoted(refusal: Refusal | None) -> None:
            if refusal is not None:
                core.stopping = False
                self.r.answer(event.tag, refusal[1], refusal[2], number=refusal[0])
                return
            self._step_aside(list(core.peers.values()), apart)

        def apart() -> None:
            for peer in core.peers.values():
                self.r.connector.leave(peer)
            self._close_disks(event.tag)

        self.r.promotion.demote(demoted, force=event.force)

    def _close_disks(self, tag: int) -> None:
        volumes = [volume for volume in self.core.volumes.values() if volume.disk_open]
        left = len(volumes) + 1

        def closed() -> None:
            nonlocal left
            left -= 1
            if not left:
                self.r.answer(tag)

        for volume in volumes:
            self.r.disks.close_cleanly(volume, closed)
        closed()
