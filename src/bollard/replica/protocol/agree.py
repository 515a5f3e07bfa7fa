"""What two nodes tell each other when they connect, what they conclude, and what changes from then on.

The decision itself is handshake.decide; here are its inputs and its consequences.
"""

from typing import TYPE_CHECKING

from bollard.domain.units import SECTOR_BYTES
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.config import QUORUM_OFF, Handler
from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.generations import connect_in_sync, owes_unmarked, set_current
from bollard.replica.protocol.generations84 import side84
from bollard.replica.protocol.handshake import changed_since_sent, decide
from bollard.replica.protocol.handshake84 import decide84
from bollard.replica.protocol.model import Peer, PeerDevice, Phase, Volume
from bollard.replica.protocol.outcomes import Decision, Settings, Side, Strategy
from bollard.replica.protocol.split_brain import LostRole, judge_lost_role
from bollard.replica.protocol.states import ConnState, DiskState, ReplState, Role
from bollard.replica.protocol.twopc import Vote
from bollard.replica.protocol.uuids import UNSET, UuidFlag, same

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

MAX_BIO_BYTES = 1 << 20


class Agreement:
    """The handshake of one connection, volume by volume."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- telling

    def send_handshake(self, peer: Peer) -> None:
        """Everything the decision needs, once a link."""
        if peer.handshake_sent:
            return
        peer.handshake_sent = True
        options = self.core.options
        self.r.reconcile.tell(peer)
        for volume in self.core.volumes.values():
            device = peer.devices[volume.number]
            settings = p.SyncParam89(
                resync_rate_kib_s=max(1, options.resync_bytes_per_s >> 10),
                verify_alg=options.verify_alg,
                csums_alg=options.csums_alg,
            )
            self.core.send(peer, settings, volume.number)
            self.core.send(peer, self.sizes_of(volume), volume.number)
            device.sent_side = self.my_side(device)
            self.send_uuids(device)
            self.r.news.send_state(device)

    def sizes_of(self, volume: Volume) -> p.Sizes:
        room = self.r.sizing.room_bytes(volume)
        return p.Sizes(
            room // SECTOR_BYTES,
            volume.config.size_bytes // SECTOR_BYTES,
            volume.size_bytes // SECTOR_BYTES,
            MAX_BIO_BYTES,
            0,
            p.QueueLimits(io_min_bytes=4096, discard_enabled=1, discard_zeroes=1),
        )

    def send_uuids(self, device: PeerDevice, *, flags: int = 0, weak: int = 0) -> None:
        """The generations of a disk, or the one that a diskless node knows."""
        volume, peer = device.volume, device.peer
        if not peer.dialect.drbd9:
            self.r.peer84.send_uuids(device, flags=flags)
            return
        if volume.superblock is None or volume.disk < DiskState.INCONSISTENT:
            self.core.send(peer, p.CurrentUuid(volume.exposed_uuid, weak), volume.number)
            return
        side = self.my_side(device)
        packet = p.Uuids110(
            side.current, side.dirty_bits, side.flags | flags, weak, side.bitmap_uuids, side.history
        )
        self.core.send(peer, packet, volume.number)

    def my_side(self, device: PeerDevice) -> Side:
        """This node as the peer sees it."""
        volume, peer = device.volume, device.peer
        generations = self.r.disks.generations(volume)
        superblock = volume.superblock
        if superblock is None or volume.bitmap is None:
            return Side(
                node_id=self.core.node_id, current=volume.exposed_uuid, disk=volume.disk, role=self.core.role
            )
        nodes = [node for node, entry in enumerate(superblock.peers) if entry.bitmap_index >= 0]
        flags = UuidFlag.NONE
        # What kernels would make of these two is another story: to them all our data is final.
        ours = bool(peer.dialect.features & Feature.KEEPS_LEFTOVERS)
        for flag, holds in (
            (UuidFlag.STABLE, not ours or self.r.sources.stable(peer)),
            (UuidFlag.DISKLESS_PRIMARY, ours and self.r.sources.shares_diskless(volume, peer)),
            (UuidFlag.SYNC_TARGET, ours and self.r.sources.syncing(volume, but=device) is not None),
            (UuidFlag.DISCARD_MY_DATA, peer.discard_my_data),
            (UuidFlag.CRASHED_PRIMARY, volume.crashed_primary),
            (UuidFlag.INCONSISTENT, volume.disk == DiskState.INCONSISTENT),
            (UuidFlag.RECONNECT, device.was_connected),
            (UuidFlag.PRIMARY_LOST_QUORUM, volume.lost_quorum_as_primary and not volume.quorum),
        ):
            if holds:
                flags |= flag
        side = Side(
            node_id=self.core.node_id,
            current=generations.current,
            bitmap_uuids=generations.pairs(nodes),
            history=generations.history,
            flags=int(flags),
            dirty_bits=volume.bitmap.count(device.slot) if device.slot >= 0 else 0,
            disk=volume.disk,
            role=self.core.role,
            resolve_conflicts=peer.resolve_conflicts,
            quorum=volume.quorum,
            lost_primary=self.core.lost,
        )
        return side if peer.dialect.drbd9 else side84(side, peer.node_id)

    def peer_side(self, device: PeerDevice) -> Side:
        """The peer as it told."""
        uuids, word = device.uuids, device.wire_state
        assert uuids is not None
        assert word is not None
        return Side(
            node_id=device.peer.node_id,
            current=uuids.current,
            bitmap_uuids=uuids.bitmap_uuids,
            history=uuids.history,
            flags=uuids.flags,
            dirty_bits=uuids.dirty_bits,
            disk=word.disk,
            role=word.role,
            resolve_conflicts=not device.peer.resolve_conflicts,
            quorum=word.quorum,
            lost_primary=device.peer.told_lost,
        )

    # -- listening

    def on_sync_param(self, peer: Peer, volume: int, packet: p.SyncParam89) -> None:
        device = peer.devices.get(volume)
        if device is not None:
            device.sync_param = packet
            if not peer.dialect.drbd9:
                self.r.peer84.on_sync_param(device, packet)

    def on_sizes(self, peer: Peer, number: int, packet: p.Sizes) -> None:
        device = peer.devices.get(number)
        if device is None:
            return
        device.sizes = packet
        if peer.connected:
            self.r.sizing.peer_sizes(device)

    def on_uuids(self, peer: Peer, number: int, packet: p.Uuids110) -> None:
        device = peer.devices.get(number)
        if device is None:
            return
        device.uuids = packet
        device.current_uuid = packet.current
        if peer.connected:
            self.r.rotation.peer_uuids(device, packet)

    def on_current_uuid(self, peer: Peer, number: int, packet: p.CurrentUuid) -> None:
        device = peer.devices.get(number)
        if device is None:
            return
        device.current_uuid = packet.uuid
        if peer.connected:
            self.r.rotation.peer_current(device, packet)
        else:
            device.uuids = None

    def on_state(self, peer: Peer, number: int, packet: p.State) -> None:
        device = peer.devices.get(number)
        if device is None:
            return
        if not peer.dialect.drbd9:
            self.r.peer84.on_state(device, packet.state)
            return
        device.wire_state = packet.state
        if peer.connected:
            self.r.news.peer_state(device, packet.state)
        elif peer.phase == Phase.READY:
            device.got_state = True
            self.maybe_judge(peer)

    # -- concluding

    def maybe_judge(self, peer: Peer) -> None:
        """Vote once the peer has told everything and a transaction for this connection is under way."""
        tx = self.r.twopc.current
        if tx is None or tx.is_resize or not self.r.changes.is_connect_with(tx, peer):
            return
        if not all(device.got_state for device in peer.devices.values()):
            return
        vote = self.judge(peer)
        if vote is None:
            return
        self.r.twopc.decide(tx, vote)

    def judge(self, peer: Peer) -> Vote | None:
        """Our vote on the connection, by what was told; None when it ended instead."""
        if len(self.core.primary_peers()) + (self.core.role == Role.PRIMARY) and not (
            self.core.options.allow_two_primaries
        ):
            words = [device.wire_state for device in peer.devices.values()]
            others = any(word is not None and word.role == Role.PRIMARY for word in words)
            if others:
                self._two_primaries(peer)
                return Vote.NO
        if self.r.reconcile.busy_with(peer):
            return Vote.RETRY
        for device in peer.devices.values():
            device.plan = None
            if not self.r.sizing.fits(device):
                self.r.connector.stand_alone(peer, f"volume {device.volume.number} is too small on one side")
                return None
            word = device.wire_state
            assert word is not None
            if device.volume.disk < DiskState.INCONSISTENT or word.disk < DiskState.INCONSISTENT:
                continue
            if device.uuids is None:
                raise ProtocolError("handshake", expected="UUIDS110 of a node with a disk", got="none")
            vote = self.judge_data(device)
            if vote != Vote.YES:
                return vote
        return Vote.YES

    def _two_primaries(self, peer: Peer) -> None:
        self.core.log("warning", f"{peer.config.name} is Primary while another node is: not connecting")
        if self.core.role == Role.PRIMARY and not all(v.quorum for v in self.core.volumes.values()):
            self.r.promotion.outdated_while_suspended()

    def judge_data(self, device: PeerDevice) -> Vote | None:
        """The same for one volume on which both have a disk: the plan, if it is a yes."""
        peer, volume = device.peer, device.volume
        sent, options = device.sent_side, self.core.options
        if sent is None or changed_since_sent(sent, self.my_side(device)):
            return Vote.RETRY
        if self._promised_to_others(device):
            return Vote.NO
        theirs = self.peer_side(device)
        decision = (decide if peer.dialect.drbd9 else decide84)(sent, theirs, self._settings(peer))
        if (decision.strategy is Strategy.NO_SYNC and self._must_rotate(device)) or (
            decision.strategy is Strategy.SYNC_SOURCE and self._owes_others(device)
        ):
            self.r.rotation.rotate_now(volume)
            return Vote.RETRY
        if decision.strategy is Strategy.RETRY_CONNECT or self.r.sources.yields_to(device, decision):
            return Vote.RETRY
        if decision.strategy is Strategy.NO_SYNC and sent.dirty_bits != self.my_side(device).dirty_bits:
            return Vote.RETRY
        if decision.split_brain:
            self.r.calls.tell(Handler.INITIAL_SPLIT_BRAIN, volume, peer)
        if decision.disconnect:
            if decision.split_brain:
                self.r.calls.tell(Handler.SPLIT_BRAIN, volume, peer)
            word = "split brain" if decision.split_brain else "unrelated data"
            self.core.log(
                "error", f"{word} with {peer.config.name} on volume {volume.number}: {decision.rule}"
            )
            self.r.connector.stand_alone(peer, f"{word}; decide whose data to discard, then connect")
            return None
        if decision.demote_loser and decision.strategy is Strategy.SYNC_TARGET:
            self._lost_after_split_brain(device)
            return Vote.NO
        match judge_lost_role(sent, theirs, decision, options.rr_conflict):
            case LostRole.RETRY_CONNECT | LostRole.AUTO_DISCARD:
                return Vote.NO
            case (LostRole.DISCONNECT | LostRole.CALL_PRI_LOST) as lost:
                if lost is LostRole.CALL_PRI_LOST:
                    self.r.calls.tell(Handler.PRI_LOST, volume, peer)
                self.r.promotion.outdated_while_suspended()
                return Vote.NO
            case LostRole.GO_ON:
                pass
        device.plan = decision
        self.core.log(
            "info",
            f"volume {volume.number} with {peer.config.name}: {decision.strategy} by rule {decision.rule}",
        )
        return Vote.YES

    def _promised_to_others(self, device: PeerDevice) -> bool:
        """Our vote would make good what others, who had it last, went on without."""
        word, uuids, promised = device.wire_state, device.uuids, device.volume.promised_uuid
        if promised == UNSET or word is None or uuids is None or not device.peer.dialect.drbd9:
            return False
        past = (uuids.current, *uuids.history, *(uuid for _, uuid in uuids.bitmap_uuids))
        harmless = word.quorum or word.disk < DiskState.CONSISTENT
        return not harmless and not any(same(promised, uuid) for uuid in past)

    def _lost_after_split_brain(self, device: PeerDevice) -> None:
        """This Primary's data loses: it gives way, or if it is in use a handler must see to that."""

        def demoted(refusal: object) -> None:
            if refusal is not None:
                self.r.calls.tell(Handler.PRI_LOST_AFTER_SB, device.volume, device.peer)

        self.r.promotion.demote(demoted, force=False)

    def _must_rotate(self, device: PeerDevice) -> bool:
        """This Primary, or former one, has writes the peer may lack although both name one generation."""
        volume = device.volume
        if volume.bitmap is None or device.slot < 0:
            return False
        pending = volume.need_new_uuid or bool(volume.rotating)
        if self.core.role != Role.PRIMARY:
            pending = volume.unsettled and not device.peer.dialect.features & Feature.KEEPS_LEFTOVERS
        return pending and volume.bitmap.count(device.slot) > 0

    def _owes_others(self, device: PeerDevice) -> bool:
        """The peer would get from us what an absent third node of the same generation may lack."""
        volume, bitmap = device.volume, device.volume.bitmap
        if bitmap is None or self.core.primary_peers():
            return False
        if device.peer.dialect.features & Feature.KEEPS_LEFTOVERS:
            # Our bits toward the absent one will do: a new generation without quorum could part us.
            return False
        slots = {other.peer.node_id: other.slot for other in self.core.devices(volume) if other.slot >= 0}
        dirty = {node: bitmap.count(slot) for node, slot in slots.items()}
        return owes_unmarked(
            self.r.disks.generations(volume),
            self.r.disks.peer_disks(volume),
            dirty,
            target=device.peer.node_id,
        )

    def _settings(self, peer: Peer) -> Settings:
        o = self.core.options
        return Settings(
            version=peer.dialect.version,
            features=peer.dialect.features,
            protocol=o.protocol,
            after_sb_0p=o.after_sb_0pri,
            after_sb_1p=o.after_sb_1pri,
            after_sb_2p=o.after_sb_2pri,
            always_asbp=o.always_asbp,
            quorum_configured=o.quorum != QUORUM_OFF,
        )

    # -- from then on

    def establish(self, peer: Peer) -> None:
        """The transaction was committed: the connection counts."""
        core = self.core
        peer.phase = Phase.CONNECTED
        peer.cstate = ConnState.CONNECTED
        core.renegotiating.discard(peer.node_id)
        peer.discard_my_data = False
        core.changed = True
        words = [device.wire_state for device in peer.devices.values() if device.wire_state is not None]
        peer.role = words[0].role if words else Role.SECONDARY
        core.log("info", f"connected to {peer.config.name}, protocol {peer.dialect.version}")
        self.r.connector.watch_pings(peer)
        self.r.fences.connected(peer)
        for device in peer.devices.values():
            assert device.wire_state is not None
            device.disk = device.wire_state.disk
            self.r.sizing.adopt(device)
            if device.disk >= DiskState.INCONSISTENT:
                self.r.disks.note_seen(device)
            sent = device.sent_side
            self.establish_volume(device)
            self.r.sources.heed_voucher(device)
            if device.peer.role == Role.PRIMARY:
                self.r.reconcile.forget()
            if sent is None or changed_since_sent(sent, self.my_side(device)):
                self.send_uuids(device)
        self.r.sources.reconsider()
        self.r.news.broadcast()
        self.r.membership.update()

    def establish_volume(self, device: PeerDevice) -> None:
        """Carry the plan of the handshake out."""
        plan: Decision | None = device.plan
        device.plan = device.parked = None
        if plan is None or device.volume.bitmap is None:
            device.repl = ReplState.ESTABLISHED
            self.r.rotation.met_diskless(device)
            return
        match plan.strategy:
            case _ if plan.parked:
                self.r.sources.park(device, plan)
            case Strategy.SYNC_SOURCE:
                self.r.resync.start_source(device, plan)
            case Strategy.SYNC_TARGET:
                self.r.resync.start_target(device, plan)
            case _:
                device.repl = ReplState.ESTABLISHED
                if plan.in_sync:
                    self._in_sync(device)

    def _in_sync(self, device: PeerDevice) -> None:
        """Equal data: nothing is kept against the peer, and who was in doubt is not any more."""
        volume = device.volume
        assert volume.bitmap is not None
        assert device.uuids is not None
        # Between two of our own there were no bits; those that came since are about writes under way.
        if device.slot >= 0 and not device.peer.dialect.features & Feature.KEEPS_LEFTOVERS:
            volume.bitmap.clear_all(device.slot)
        generations = connect_in_sync(self.r.disks.generations(volume), device.peer.node_id)
        if not same(generations.current, device.uuids.current):
            generations = set_current(generations, device.uuids.current, primary=False)
        volume.crashed_primary = volume.unsettled = False
        device.was_connected = device.equal = True
        self.r.disks.set_generations(volume, generations)
        if volume.disk == DiskState.CONSISTENT and device.disk >= DiskState.OUTDATED:
            self.r.promotion.trust(volume)
        else:
            self.r.news.follow_peer(device)
        if device.disk in (DiskState.CONSISTENT, DiskState.OUTDATED) and volume.disk == DiskState.UP_TO_DATE:
            device.disk = DiskState.UP_TO_DATE
        self.r.disks.refresh(volume)
