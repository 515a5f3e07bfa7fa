"""New data generations: when a Primary's next write will be missed by somebody; how the others learn of it.

After the loss of a peer no write is acknowledged before the new generation is on the disk and, with quorum,
known to every node that could still be asked.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.config import QUORUM_OFF
from bollard.replica.protocol.generations import (
    force_primary,
    new_generation,
    push_history,
    receive_new_generation,
    set_current,
)
from bollard.replica.protocol.model import PeerDevice, Volume
from bollard.replica.protocol.states import DiskState, ReplState, Role
from bollard.replica.protocol.twopc import Transaction, Vote
from bollard.replica.protocol.uuids import UNSET, UuidFlag, is_random, masked, same
from bollard.replica.protocol.writes import FlushOp

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_FOLLOWS = (ReplState.ESTABLISHED, ReplState.SYNC_SOURCE, ReplState.VERIFY_S, ReplState.VERIFY_T)


class Rotation:
    """The generations of all volumes."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self._turns = 0

    def fresh_uuid(self) -> int:
        """A random generation, none of the reserved values."""
        while True:
            uuid = masked(self.core.draw_u64())
            if is_random(uuid):
                return uuid

    # -- as Primary

    def want(self, volume: Volume, *, urgent: bool) -> None:
        """The next write needs a new generation; urgent: writes already on their way do.

        Only noted here: it begins when membership was evaluated anew.
        """
        volume.need_new_uuid = True
        if urgent:
            volume.urgent_new_uuid = True

    def reconsider(self) -> None:
        """Start what is urgent and possible now; take back what was not confirmed before quorum was lost."""
        for volume in self.core.volumes.values():
            if volume.rotating and not volume.quorum:
                self._withdraw(volume)
            if volume.urgent_new_uuid or volume.held_completions:
                self.start(volume)

    def start(self, volume: Volume) -> None:
        """Begin a rotation, unless one runs, none is needed, or this node may not write now."""
        if volume.rotating or not volume.need_new_uuid or self.core.role != Role.PRIMARY or not volume.quorum:
            return
        self._turns += 1
        volume.rotating = self._turns
        volume.need_new_uuid = volume.urgent_new_uuid = False
        # First of all, that the nodes which give us quorum are still there: else the others may have gone on.
        self._ask(volume, lambda: self._rotate(volume))

    def _rotate(self, volume: Volume) -> None:
        core = self.core
        core.log("info", f"volume {volume.number}: new data generation")
        if volume.superblock is None or volume.disk < DiskState.CONSISTENT:
            # What is here, if anything, is not what clients see: only peers can name what they are shown.
            self._rotate_remotely(volume)
            return
        volume.before_rotation = self.r.disks.generations(volume)
        # Behind the generations a transaction: who answered it has seen them.
        turn = volume.rotating

        def renewed() -> None:
            if volume.rotating == turn:
                self._ask(volume, lambda: self._done(volume))

        self._renew(volume, renewed)

    def _rotate_remotely(self, volume: Volume) -> None:
        """Without a disk here: peers keep the generation; what they hold so far must not hang on a cache."""
        core, turn = self.core, volume.rotating
        if any(not peer.dialect.drbd9 for peer in core.connected_peers()):
            # A peer of 8.4 makes the new generation when it hears that our disk is gone.
            self._done(volume)
            return
        op = FlushOp(volume, 0)

        def durable() -> None:
            if volume.rotating != turn:
                return
            volume.exposed_uuid = self.fresh_uuid()
            weak = self._weak(volume)
            for peer in core.connected_peers():
                core.send(peer, p.CurrentUuid(volume.exposed_uuid | 1, weak), volume.number)
            self._ask(volume, lambda: self._done(volume))

        op.then = durable
        self.r.epochs.flush(op)
        self.r.epochs.flush_step(op)

    def _weak(self, volume: Volume) -> int:
        missing = 0 if volume.config.diskless else 1 << self.core.node_id
        for peer in self.core.diskful_peers():
            device = peer.devices[volume.number]
            if not peer.connected or device.disk < DiskState.UP_TO_DATE:
                missing |= 1 << peer.node_id
        return missing

    def _renew(self, volume: Volume, then: Callable[[], None]) -> None:
        generations = self.r.disks.generations(volume)
        peers = self.r.disks.peer_disks(volume)
        uuid, fresh = self.fresh_uuid(), self.fresh_uuid()
        forced = volume.force_new_uuid
        make = force_primary if forced else new_generation
        volume.force_new_uuid = False
        rotation = make(generations, peers, uuid=uuid, fresh_uuid=fresh, dagtag=self.core.dagtag)
        if rotation.generations == generations:
            then()
            return
        self.r.disks.set_generations(volume, rotation.generations)
        weak = self._weak(volume)

        def saved() -> None:
            for peer in self.core.connected_peers():
                device = peer.devices[volume.number]
                self.r.agree.send_uuids(device, flags=int(UuidFlag.NEW_DATAGEN), weak=weak)
            if forced:
                self._fetch_up(volume)
            then()

        # From here on the peer's copy is old: what it confirmed so far must not hang on our cache alone.
        self.r.disks.refresh(volume, saved, flush_data=True)

    def _fetch_up(self, volume: Volume) -> None:
        """Our data counts by force: connected nodes with lesser data learn it by a handshake and a resync."""
        for peer in list(self.core.connected_peers()):
            if DiskState.INCONSISTENT <= peer.devices[volume.number].disk < DiskState.UP_TO_DATE:
                self.r.connector.renegotiate(peer)

    def _ask(self, volume: Volume, then: Callable[[], None]) -> None:
        """A transaction that changes nothing: every reachable node is there and has seen what we sent."""
        core, turn = self.core, volume.rotating
        if not turn:
            return
        if not volume.quorum or core.role != Role.PRIMARY:
            self._withdraw(volume)
            return
        if core.options.quorum == QUORUM_OFF or not any(True for _ in core.connected_peers()):
            then()
            return

        def again() -> None:
            if volume.rotating == turn:
                self._ask(volume, then)

        def ended(vote: Vote, tx: Transaction) -> None:
            if volume.rotating != turn:
                return
            if vote == Vote.YES and volume.quorum:
                self.r.changes.note_members(tx.reachable, tx.primaries)
                then()
            else:
                core.after(self.r.connector.backoff_s(), again)

        if not self.r.twopc.start(self.r.changes.empty(), on_end=ended):
            core.after(self.r.connector.backoff_s(), again)

    def _withdraw(self, volume: Volume) -> None:
        """Nothing was acknowledged in it: without quorum it must not part us from the others."""
        volume.rotating = 0
        volume.need_new_uuid = volume.urgent_new_uuid = True
        before, volume.before_rotation = volume.before_rotation, None
        present = any(
            device.peer.connected and device.disk >= DiskState.INCONSISTENT
            for device in self.core.devices(volume)
        )
        if before is None or volume.superblock is None or present:
            return
        withdrawn = volume.superblock.current_uuid
        if not same(withdrawn, before.current):
            self.core.log("info", f"volume {volume.number}: the new data generation is taken back")
            self.r.disks.set_generations(volume, push_history(before, withdrawn))
            self.r.disks.refresh(volume)
            for peer in self.core.connected_peers():
                self.r.agree.send_uuids(peer.devices[volume.number])

    def _done(self, volume: Volume) -> None:
        volume.rotating = 0
        volume.before_rotation = None
        if volume.need_new_uuid:
            self.start(volume)
        else:
            self.r.requests.reconsider()

    def rotate_now(self, volume: Volume) -> None:
        """A peer with our generation lacks writes we hold: part from it before anything else."""
        if volume.superblock is None:
            return
        self._turns += 1
        turn = volume.rotating = self._turns
        volume.need_new_uuid = volume.urgent_new_uuid = False

        def saved() -> None:
            if volume.rotating == turn:
                volume.rotating = 0
            self.r.requests.reconsider()
            self.reconsider()

        self._renew(volume, saved)

    def tell(self, device: PeerDevice) -> None:
        """A peer that was being brought up to date when the generation changed may take it over now."""
        weak = self._weak(device.volume) & ~(1 << device.peer.node_id)
        self.r.agree.send_uuids(device, flags=int(UuidFlag.NEW_DATAGEN), weak=weak)

    # -- as the one who is told

    def peer_uuids(self, device: PeerDevice, packet: p.Uuids110) -> None:
        """A connected peer told its generations."""
        volume = device.volume
        if volume.superblock is None or volume.disk < DiskState.INCONSISTENT:
            self.learn(device)
            return
        if packet.flags & UuidFlag.NEW_DATAGEN:
            self._follow(device, packet.current, packet.node_mask)
        self.promise(device)
        self.r.news.follow_peer(device)
        self.r.sources.settle_slot(device)
        self.r.sources.heed_voucher(device)

    def peer_current(self, device: PeerDevice, packet: p.CurrentUuid) -> None:
        """A connected peer without a disk told the generation it writes, or knows."""
        volume = device.volume
        if device.peer.role != Role.PRIMARY or volume.superblock is None:
            return
        if not same(packet.uuid, volume.superblock.current_uuid) and packet.uuid:
            self._follow(device, packet.uuid, packet.weak_nodes)

    def _follow(self, device: PeerDevice, uuid: int, weak: int) -> None:
        volume, core = device.volume, self.core
        good = volume.disk == DiskState.UP_TO_DATE or (volume.disk == DiskState.CONSISTENT and volume.doubt)
        if not good or device.repl not in _FOLLOWS or weak >> core.node_id & 1:
            return
        known = self.r.disks.generations(volume)
        if any(same(uuid, one) for one in (known.current, *known.history)):
            return
        generations = receive_new_generation(
            known,
            self.r.disks.peer_disks(volume),
            me=core.node_id,
            uuid=uuid,
            weak=weak,
            fresh_uuid=self.fresh_uuid(),
            dagtag=0,
        )
        self.r.disks.set_generations(volume, generations)
        self.r.disks.refresh(volume)
        for peer in core.connected_peers():
            other = peer.devices[volume.number]
            if other is device:
                self.r.agree.send_uuids(other)
            else:
                self.r.agree.send_uuids(other, flags=int(UuidFlag.NEW_DATAGEN), weak=weak)

    def promise(self, device: PeerDevice) -> None:
        """Our vote counts for nodes whose data we do not have: remember its generation.

        Another node, which they went on without, must not get quorum from us meanwhile.
        """
        volume, uuids, word = device.volume, device.uuids, device.wire_state
        if uuids is None or word is None or not word.quorum or not is_random(uuids.current):
            return
        if device.disk == DiskState.UP_TO_DATE and volume.disk < DiskState.UP_TO_DATE:
            volume.promised_uuid = masked(uuids.current)

    def learn(self, device: PeerDevice) -> None:
        """A node without a disk remembers the newest generation it was shown."""
        volume, uuids = device.volume, device.uuids
        if uuids is None or not uuids.current or device.disk < DiskState.UP_TO_DATE:
            return
        if volume.disk >= DiskState.INCONSISTENT:
            return
        if volume.exposed_uuid == UNSET or not self.r.changes.is_newer_here(device):
            volume.exposed_uuid = masked(uuids.current)

    def met_diskless(self, device: PeerDevice) -> None:
        """Connected, and one of the two has no disk."""
        volume = device.volume
        if volume.superblock is None or volume.disk < DiskState.INCONSISTENT:
            self.learn(device)
            return
        known = device.current_uuid
        if not known or volume.disk < DiskState.CONSISTENT or device.disk >= DiskState.INCONSISTENT:
            return
        generations = self.r.disks.generations(volume)
        past = (generations.current, *generations.history, *(slot.bitmap_uuid for slot in generations.slots))
        if self.core.role != Role.PRIMARY and not any(same(known, uuid) for uuid in past):
            self.core.log("warning", f"volume {volume.number}: {device.peer.config.name} knows newer data")
            self.r.disks.set_disk(volume, DiskState.OUTDATED)

    def clear_history(self, volume: Volume) -> None:
        """`new-current-uuid --clear-bitmap`: all connected nodes count as equal."""
        generations = self.r.disks.generations(volume)
        self.r.disks.set_generations(volume, set_current(generations, self.fresh_uuid(), primary=False))
