"""Becoming Primary and Secondary: local rules, the cluster's consent, opens and closes, doubts."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import ANY_NODE
from bollard.replica.protocol.config import QUORUM_OFF, Fencing
from bollard.replica.protocol.events import Close, Open
from bollard.replica.protocol.model import Peer, Phase, Volume
from bollard.replica.protocol.states import DiskState, Role, StateChange, encode_change
from bollard.replica.protocol.twopc import Transaction, Vote

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_VERSION = 124
_TRANSIENT = (-2, -18, -19, -25)
_RETRY_S = 0.1
_TWO_PRIMARIES = -1
_NOT_FENCED = -7
Refusal = tuple[int, a.Code, str]


class Promotion:
    """The role of this node."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self._resolving = False

    # -- up

    def promote(
        self, done: Callable[[Refusal | None], None], *, force: bool, until_s: float | None = None
    ) -> None:
        """Become Primary; `done(None)` once the role counts, else why not. Passing causes are waited out."""
        core = self.core
        if core.role is Role.PRIMARY:
            done(None)
            return
        refusal = self._refusal(force=force)
        if until_s is None:
            if refusal is not None and refusal[0] == _NOT_FENCED:
                self.r.fences.before_promotion()
            until_s = core.now_s + core.options.auto_promote_timeout_s
            if refusal is not None and refusal[0] == _TWO_PRIMARIES:
                # The other Primary may be dead and not yet missed: look before refusing.
                for peer in core.primary_peers():
                    self.r.connector.ping(peer)
                self._after_a_look(core.now_s + core.options.ping_timeout_s + _RETRY_S, done, force, until_s)
                return
            if refusal is None and not all(peer.connected for peer in core.diskful_peers()):
                # Who cannot be reached will take its copy for old: ours must be durable before.
                self.r.changes.flush_disks(lambda: self.promote(done, force=force, until_s=until_s))
                return
        if refusal is None:
            tid, me, _ = self.r.twopc.prepare_fields()
            mask, value = encode_change(StateChange(role=Role.PRIMARY), _VERSION)
            started = self.r.twopc.start(
                p.TwoPcPrepare(tid, me, ANY_NODE, 0, mask, value),
                on_votes=lambda tx: self._last_word(tx, force=force),
                on_end=lambda vote, tx: self._voted(vote, tx, done, force=force, until_s=until_s),
            )
            if started:
                return
            refusal = -19, a.Code.BUSY, "another change of the cluster is under way; try again"
        self._wait_or_refuse(refusal, done, force=force, until_s=until_s)

    def _after_a_look(
        self, end_s: float, done: Callable[[Refusal | None], None], force: bool, until_s: float
    ) -> None:
        """Go on when the other Primary is missed, at the latest when it has had its time to answer."""
        if self.core.primary_peers() and self.core.now_s < end_s:
            self.core.after(_RETRY_S, lambda: self._after_a_look(end_s, done, force, until_s))
        else:
            self.promote(done, force=force, until_s=until_s)

    def _wait_or_refuse(
        self, refusal: Refusal, done: Callable[[Refusal | None], None], *, force: bool, until_s: float
    ) -> None:
        core = self.core
        passing = refusal[0] in _TRANSIENT and core.now_s < until_s
        fencing = refusal[0] == _NOT_FENCED and bool(self.r.fences.asked)
        if (passing or fencing) and not core.stopping:
            core.after(_RETRY_S, lambda: self.promote(done, force=force, until_s=until_s))
        else:
            done(refusal)

    def _refusal(self, *, force: bool) -> Refusal | None:
        core = self.core
        if core.stopping:
            return -12, a.Code.CONFLICT, "the resource is being stopped"
        if core.fail_io:
            return -12, a.Code.CONFLICT, "clients of the former Primary still hold the volumes open"
        others = core.primary_peers()
        if others and not core.options.allow_two_primaries:
            return -1, a.Code.CONFLICT, f"{others[0].config.name} is Primary; demote it first"
        if any(volume.attach_tag is not None for volume in core.volumes.values()):
            return -18, a.Code.BUSY, "a disk is being attached; try again"
        for volume in core.volumes.values():
            refusal = self._volume_refusal(volume, force=force)
            if refusal is not None:
                return refusal
        return None

    def _volume_refusal(self, volume: Volume, *, force: bool) -> Refusal | None:
        name = f"volume {volume.number}"
        if not volume.quorum:
            return -25, a.Code.UNAVAILABLE, f"{name} has no quorum; bring more nodes back"
        if force and volume.disk_open:
            return None
        if not self.r.membership.data_reachable(volume):
            return -2, a.Code.UNAVAILABLE, f"{name} has no UpToDate data in reach; connect a node that has"
        if self.core.options.fencing != Fencing.DONT_CARE and not force:
            for device in self.core.devices(volume):
                if device.slot >= 0 and not device.peer.connected and device.disk > DiskState.OUTDATED:
                    return (
                        _NOT_FENCED,
                        a.Code.UNAVAILABLE,
                        f"{device.peer.config.name} is neither connected nor fenced",
                    )
        return None

    def _last_word(self, tx: Transaction, *, force: bool) -> Vote:
        """All agreed: whatever changed meanwhile is looked at once more."""
        if tx.primaries & ~(1 << self.core.node_id) and not self.core.options.allow_two_primaries:
            return Vote.NO
        if self._refusal(force=force) is not None:
            return Vote.RETRY
        tx.primaries |= 1 << self.core.node_id
        return Vote.YES

    def _voted(
        self,
        vote: Vote,
        tx: Transaction,
        done: Callable[[Refusal | None], None],
        *,
        force: bool,
        until_s: float,
    ) -> None:
        if vote == Vote.NO:
            refusal = -10, a.Code.CONFLICT, "a node refused: another one is Primary, or has newer data"
            if self.core.now_s < until_s and not self.core.stopping:
                self.core.after(_RETRY_S * 3, lambda: self.promote(done, force=force, until_s=until_s))
            else:
                done(refusal)
            return
        if vote == Vote.RETRY:
            busy = -19, a.Code.BUSY, "the nodes were busy with another change; try again"
            self._wait_or_refuse(busy, done, force=force, until_s=until_s)
            return
        self.r.changes.note_members(tx.reachable, 0)
        self._become_primary(done, force=force)

    def _become_primary(self, done: Callable[[Refusal | None], None], *, force: bool) -> None:
        """The role is in the superblock before a write can be acknowledged."""
        core = self.core
        core.role = Role.PRIMARY
        self.r.reconcile.forget()
        core.changed = True
        core.log("info", "this node is Primary")
        waiting = 1

        def saved() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                self.r.news.broadcast()
                self.r.membership.update()
                done(None)

        for volume in core.volumes.values():
            forced = force and volume.superblock is not None and volume.disk != DiskState.UP_TO_DATE
            if forced:
                volume.trust(DiskState.UP_TO_DATE)
                volume.force_new_uuid = True
            missing = any(
                not peer.connected or peer.devices[volume.number].disk < DiskState.INCONSISTENT
                for peer in core.diskful_peers()
            )
            # A disk of our own that is detached misses our writes like any other.
            missing = missing or (not volume.config.diskless and not volume.disk_open)
            if forced or missing:
                self.r.rotation.want(volume, urgent=forced)
            if volume.superblock is not None and volume.disk_open:
                waiting += 1
                volume.unsaved_bits = True
                self.r.disks.refresh(volume, saved)
        saved()

    # -- down

    def demote(self, done: Callable[[Refusal | None], None], *, force: bool) -> None:
        """Become Secondary once no write is under way; all data is durable everywhere before that."""
        core = self.core
        if core.role is not Role.PRIMARY:
            done(None)
            return
        if any(volume.writers for volume in core.volumes.values()) and not force:
            done((-12, a.Code.CONFLICT, "a volume is open for writing; close its clients first"))
            return
        if force:
            core.fail_io = any(volume.openers for volume in core.volumes.values())
            was, core.fail_io = core.fail_io, True
            self.r.requests.fail_all()
            core.fail_io = was
        self.r.epochs.close()
        renewing = any(volume.urgent_new_uuid or volume.rotating for volume in core.volumes.values())
        if core.running_writes or core.epochs or (renewing and not force):
            core.on_quiet.append(lambda: self.demote(done, force=force))
            return
        self._step_down()
        tid, me, _ = self.r.twopc.prepare_fields()
        mask, value = encode_change(StateChange(role=Role.SECONDARY), _VERSION)
        # Stepping down needs nobody's consent; the transaction only tells the others in the usual way.
        self.r.twopc.start(p.TwoPcPrepare(tid, me, ANY_NODE, 0, mask, value), on_end=lambda _vote, _tx: None)
        done(None)

    def _step_down(self) -> None:
        core = self.core
        core.role = Role.SECONDARY
        core.auto_promoted = False
        core.changed = True
        core.log("info", "this node is Secondary")
        for volume in core.volumes.values():
            doubtful = self._owes_writes(volume)
            volume.need_new_uuid = volume.urgent_new_uuid = False
            volume.rotating = 0
            volume.before_rotation = None
            volume.force_new_uuid = False
            volume.no_data = False
            if doubtful and volume.superblock is not None:
                # Writes that were not answered may be here, there, or on both.
                volume.unsettled = True
                self.r.disks.set_disk(volume, min(volume.disk, DiskState.CONSISTENT))
            self._save_bits(volume)
        self.r.news.broadcast()
        self.r.membership.update()

    def _owes_writes(self, volume: Volume) -> bool:
        """Peers of our generation may lack writes: the new generation that would say so was not reached."""
        pending = volume.need_new_uuid or volume.urgent_new_uuid or bool(volume.rotating)
        bitmap = volume.bitmap
        if not pending or bitmap is None:
            return False
        return any(device.slot >= 0 and bitmap.count(device.slot) for device in self.core.devices(volume))

    def _save_bits(self, volume: Volume) -> None:
        """Until the bitmap is on the disk, only the activity log says what peers miss: keep its flags."""
        writer = volume.writer
        if writer is None or volume.superblock is None:
            return

        def saved() -> None:
            if volume.writer is writer and self.core.role is not Role.PRIMARY:
                volume.unsaved_bits = False
                self.r.disks.refresh(volume)

        writer.save_bitmap(saved)

    def outdated_while_suspended(self) -> None:
        """Frozen without quorum, and the others went on: give way if configured so."""
        core = self.core
        if core.role is Role.PRIMARY and core.options.force_secondary_when_outdated:
            core.log("warning", "the other nodes went on without this Primary: giving way")
            self.demote(lambda _refusal: None, force=True)

    def undone(self, tx: Transaction) -> None:
        """A change that this node agreed to was taken back: nothing was changed yet."""

    # -- clients

    def open(self, event: Open) -> None:
        core = self.core
        volume = core.volumes.get(event.volume)
        if volume is None:
            self.r.answer(event.tag, a.Code.NOT_FOUND, f"volume {event.volume} does not exist")
            return

        def opened(refusal: Refusal | None) -> None:
            if refusal is not None:
                self.r.answer(event.tag, refusal[1], refusal[2], number=refusal[0])
                return
            volume.openers += 1
            volume.writers += event.writable
            core.changed = True
            self.r.answer(event.tag)

        if core.role is Role.PRIMARY:
            opened(None)
        elif not core.options.auto_promote:
            refused = "this node is Secondary; promote it first"
            opened((-1, a.Code.CONFLICT, refused))
        else:

            def promoted(refusal: Refusal | None) -> None:
                if refusal is None:
                    core.auto_promoted = True
                opened(refusal)

            self.promote(promoted, force=False)

    def close(self, event: Close) -> None:
        core = self.core
        volume = core.volumes.get(event.volume)
        if volume is None:
            return
        assert volume.openers > 0, "close without open"
        volume.openers -= 1
        volume.writers -= event.writable
        core.changed = True
        if not any(other.openers for other in core.volumes.values()):
            core.fail_io = False
            if core.auto_promoted and core.role is Role.PRIMARY:
                self.demote(lambda _refusal: None, force=False)

    # -- doubts

    def trust(self, volume: Volume) -> None:
        """Our Consistent data is as good as any in reach: UpToDate, unless a better copy may be elsewhere."""
        if self.r.membership.verdict(volume).have and not self.r.reconcile.waits_for(volume):
            volume.doubt = False
            self.r.disks.set_disk(volume, DiskState.UP_TO_DATE)
        else:
            volume.doubt = True
            self.resolve_doubt()

    def resolve_doubt(self) -> None:
        """A Primary vanished: if another node still reaches one, our data is old; else it is the newest."""
        if self._resolving:
            return
        self._resolving = True
        self.core.after(0.0, self._ask)

    def _ask(self) -> None:
        self._resolving = False
        core = self.core
        doubtful = [v for v in core.volumes.values() if v.doubt and v.disk == DiskState.CONSISTENT]
        if not doubtful or core.role is Role.PRIMARY:
            return
        without_quorum = core.options.quorum != QUORUM_OFF and not all(v.quorum for v in doubtful)
        comparing = any(self.r.reconcile.waits_for(volume) for volume in doubtful)
        if (
            without_quorum
            or comparing
            or not self.r.twopc.start(self.r.changes.empty(), on_end=self._answered)
        ):
            self._later()

    def _later(self) -> None:
        self._resolving = True
        self.core.after(self.r.connector.backoff_s() * 2, self._ask)

    def _answered(self, vote: Vote, tx: Transaction) -> None:
        if vote != Vote.YES:
            self._later()
            return
        self.r.changes.note_members(tx.reachable, 0)
        primary = bool(tx.primaries & ~(1 << self.core.node_id))
        if not primary and any(v.doubt and self.r.reconcile.waits_for(v) for v in self.core.volumes.values()):
            self._later()
            return
        for volume in self.core.volumes.values():
            if volume.doubt and volume.disk == DiskState.CONSISTENT:
                volume.doubt = False
                self.r.disks.set_disk(volume, DiskState.OUTDATED if primary else DiskState.UP_TO_DATE)

    def is_busy(self, peer: Peer) -> bool:
        return peer.phase == Phase.READY
