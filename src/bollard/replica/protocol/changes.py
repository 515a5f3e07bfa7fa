"""What cluster-wide changes mean here: the vote of this node on each, and the effect when committed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import ANY_NODE
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.model import Peer, PeerDevice, Phase, Volume
from bollard.replica.protocol.states import ConnState, DiskState, ReplState, Role, StateChange, decode_change
from bollard.replica.protocol.twopc import Rules, Transaction, Vote
from bollard.replica.protocol.uuids import UNSET, same

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_WORDS_VERSION = 124


class Changes(Rules):
    """Votes and effects."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    @staticmethod
    def change_of(tx: Transaction) -> StateChange:
        prepare = tx.prepare
        assert isinstance(prepare, p.TwoPcPrepare)
        return decode_change(prepare.mask, prepare.value, _WORDS_VERSION)

    def is_connect_with(self, tx: Transaction, peer: Peer) -> bool:
        """The transaction opens the connection between this node and `peer`."""
        if self.change_of(tx).conn != ConnState.CONNECTED:
            return False
        ends = {tx.initiator, tx.prepare.target_node_id}
        return ends == {self.core.node_id, peer.node_id}

    # -- votes

    def check(self, tx: Transaction) -> Vote | None:
        vote = self._vote(tx)
        if vote == Vote.YES and self._is_empty(tx) and (unsaved := self._unsaved()):
            # A Primary asks who knows its new generation: none that a power cut could make us forget.
            self._save_all(unsaved, lambda: self.r.twopc.decide(tx, Vote.YES))
            return None
        if vote != Vote.YES or self.core.role != Role.PRIMARY or not self._may_outdate(tx):
            return vote
        # A node that we do not reach will take its own copy for old: ours must be durable before.
        self.flush_disks(lambda: self.r.twopc.decide(tx, Vote.YES))
        return None

    def _is_empty(self, tx: Transaction) -> bool:
        if tx.is_resize:
            return False
        change = self.change_of(tx)
        return change.conn is None and change.role is None

    def _unsaved(self) -> list[Volume]:
        """Volumes whose superblock may not be on the disk yet."""
        volumes = self.core.volumes.values()
        return [
            each for each in volumes if each.disk_open and each.writer is not None and not each.writer.idle
        ]

    def _save_all(self, volumes: list[Volume], then: Callable[[], None]) -> None:
        left = len(volumes)

        def saved() -> None:
            nonlocal left
            left -= 1
            if not left:
                then()

        for volume in volumes:
            self.r.disks.refresh(volume, saved)

    def _may_outdate(self, tx: Transaction) -> bool:
        ends = (tx.initiator, tx.prepare.target_node_id)
        return any(peer.node_id in ends and not peer.connected for peer in self.core.diskful_peers())

    def flush_disks(self, then: Callable[[], None]) -> None:
        """Make everything written so far durable on our disks; `then` afterwards, also if that failed."""
        volumes = [volume for volume in self.core.volumes.values() if volume.disk_open]
        left = len(volumes) + 1

        def done(errno: int, _data: Buffer) -> None:
            nonlocal left
            left -= 1
            if errno:
                for volume in volumes:
                    self.r.io_errors.unknown_place(volume)
            if not left:
                then()

        for volume in volumes:
            tag = self.core.disk_tag(volume, done)
            self.core.out.append(a.FlushDisk(tag, volume.number))
        self.core.after(0.0, lambda: done(0, b""))

    def _vote(self, tx: Transaction) -> Vote | None:
        if tx.is_resize:
            return Vote.YES
        change = self.change_of(tx)
        if change.conn == ConnState.CONNECTED:
            return self._check_connect(tx)
        if change.conn == ConnState.DISCONNECTING:
            return self._check_leave(tx)
        if change.role == Role.PRIMARY:
            return self._check_promote(tx)
        if change.conn in (ReplState.VERIFY_S, ReplState.VERIFY_T):
            return self.r.verify.check(tx)
        if self._is_empty(tx) and self._knows_newer(tx.initiator):
            return Vote.NO
        return Vote.YES

    def _check_connect(self, tx: Transaction) -> Vote | None:
        peer = tx.parent
        assert peer is not None
        if tx.prepare.target_node_id != self.core.node_id:
            return Vote.YES
        if peer.phase != Phase.READY or peer.node_id != tx.initiator:
            return Vote.NO
        if any(volume.attach_tag is not None for volume in self.core.volumes.values()):
            return Vote.RETRY
        tx.own = None
        self.r.agree.send_handshake(peer)
        self.core.after(0.0, lambda: self.r.agree.maybe_judge(peer))
        return tx.own

    def _check_leave(self, tx: Transaction) -> Vote:
        """Who leaves this Primary says that its data will be old; without it we may be too few."""
        peer = self.core.peers.get(tx.initiator)
        if peer is None or tx.prepare.target_node_id not in (self.core.node_id, ANY_NODE):
            return Vote.YES
        lost = self.r.membership.lost_without([peer], disk=DiskState.OUTDATED)
        return Vote.YES if lost is None else Vote.NO

    def _check_promote(self, tx: Transaction) -> Vote:
        if not self.core.options.allow_two_primaries:
            others = [peer for peer in self.core.primary_peers() if peer.node_id != tx.initiator]
            if self.core.role == Role.PRIMARY or others:
                return Vote.NO
        if self._knows_newer(tx.initiator):
            return Vote.NO
        self.r.sharing.expect(tx.initiator)
        return Vote.YES

    def _knows_newer(self, node_id: int) -> bool:
        """This diskless node saw a generation that the asking node does not have in its past."""
        peer = self.core.peers.get(node_id)
        if peer is None or not peer.connected:
            return False
        return any(self.is_newer_here(device) for device in peer.devices.values())

    def is_newer_here(self, device: PeerDevice) -> bool:
        """Without a disk here, the generation this node knows is not the peer's, nor in the peer's past."""
        volume = device.volume
        if not volume.config.diskless or volume.exposed_uuid == UNSET or device.uuids is None:
            return False
        known = volume.exposed_uuid
        uuids = device.uuids
        # A node that lost its disk told its newest generation by P_CURRENT_UUID alone.
        past = (device.current_uuid, uuids.current, *uuids.history, *(uuid for _, uuid in uuids.bitmap_uuids))
        return not any(same(known, uuid) for uuid in past)

    def ask84(self, tx: Transaction, peer: Peer) -> Vote | None:
        return self.r.changes84.ask(tx, peer)

    def probe(self, peer: Peer) -> None:
        self.r.connector.ping(peer)

    def own_masks(self, tx: Transaction) -> tuple[int, int, int]:
        bit = 1 << self.core.node_id
        primary = bit if self.core.role == Role.PRIMARY else 0
        if tx.is_resize:
            return self.r.sizing.masks(tx)
        return bit, primary, 0

    # -- effects

    def apply(self, tx: Transaction, commit: p.TwoPcCommit) -> None:
        if tx.is_resize:
            self.r.sizing.committed(tx.volume, commit.reachable_nodes, tx)
            return
        change = self.change_of(tx)
        self.note_members(commit.reachable_nodes, commit.primary_nodes)
        initiator = self.core.peers.get(tx.initiator)
        if change.conn == ConnState.CONNECTED:
            if tx.prepare.target_node_id == self.core.node_id and tx.parent is not None:
                self.r.agree.establish(tx.parent)
        elif change.role is not None and initiator is not None and initiator.connected:
            self.r.news.peer_role(initiator, change.role)
        elif change.conn in (ReplState.VERIFY_S, ReplState.VERIFY_T):
            self.r.verify.committed(tx)

    def note_members(self, reachable: int, primaries: int) -> None:
        """Who took part; data that a Primary out of direct reach may be changing is outdated."""
        core = self.core
        self.r.membership.note_members(reachable)
        direct = 1 << core.node_id
        for peer in core.peers.values():
            if peer.connected or peer.phase == Phase.READY:
                direct |= 1 << peer.node_id
        if core.role == Role.PRIMARY or not primaries & ~direct:
            return
        for volume in core.volumes.values():
            if volume.disk in (DiskState.CONSISTENT, DiskState.UP_TO_DATE):
                core.log("warning", f"volume {volume.number}: a Primary is out of direct reach")
                self.r.disks.set_disk(volume, DiskState.OUTDATED)

    def undo(self, tx: Transaction) -> None:
        self.r.sharing.known(tx.initiator)
        if not tx.is_resize and self.change_of(tx).conn == ConnState.CONNECTED:
            return
        self.r.promotion.undone(tx)

    def empty(self) -> p.TwoPcPrepare:
        """A transaction that changes nothing: it only shows who is there."""
        tid, me, _ = self.r.twopc.prepare_fields()
        return p.TwoPcPrepare(tid, me, ANY_NODE, 0, 0, 0)
