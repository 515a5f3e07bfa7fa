"""Changes that an 8.4 peer is asked to agree to, and those it asks of us: one question, one answer.

They stand in for the two-phase commits of DRBD 9; with two nodes nobody else is to be asked.
"""

from typing import TYPE_CHECKING, Final

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.dialect import DRBD84
from bollard.replica.protocol.model import Peer, PeerDevice
from bollard.replica.protocol.states import (
    ConnState,
    DiskState,
    ReplState,
    Role,
    StateChange,
    decode_change,
    encode_change,
)
from bollard.replica.protocol.twopc import Transaction, Vote

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_AGREED: Final = 1
_TWO_PRIMARIES: Final = -1
_NO_DATA: Final = -2
_RUNNING: Final = -8
_NO_VERIFY_ALG: Final = -14
_UNSUPPORTED: Final = -17
_TRANSIENT: Final = -18
_CONCURRENT: Final = -19


def goodbye() -> p.ConnStChgReq:
    """Said before leaving on purpose."""
    return p.ConnStChgReq(*encode_change(StateChange(conn=int(ConnState.DISCONNECTING)), DRBD84))


class Changes84:
    """Questions to and from the 8.4 peer."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self._asked: tuple[Transaction, Peer, int, set[int]] | None = None

    # -- asking

    def ask(self, tx: Transaction, peer: Peer) -> Vote | None:
        """The peer's consent to a transaction of ours; None: it comes later."""
        if tx.is_resize:
            return Vote.NO
        if peer.role is Role.PRIMARY:
            tx.primaries |= 1 << peer.node_id
        tx.reachable |= 1 << peer.node_id
        change = self.r.changes.change_of(tx)
        needs_consent = change.role is Role.PRIMARY or change.conn == ReplState.VERIFY_S
        if not needs_consent:
            return Vote.YES
        # A role is asked for volume by volume.
        volumes = {tx.volume} if tx.volume in peer.devices else set(peer.devices)
        if not volumes:
            return Vote.YES
        self._asked = tx, peer, peer.link, volumes
        mask, value = encode_change(change, DRBD84)
        for number in sorted(volumes):
            self.core.send(peer, p.StateChgReq(mask, value), number)
        return None

    def on_reply(self, peer: Peer, number: int, packet: p.StateChgReply) -> None:
        """The answer for one volume."""
        if self._asked is None:
            return
        tx, asked, link, left = self._asked
        if asked is not peer or link != peer.link or number not in left:
            return
        left.discard(number)
        if packet.result < _AGREED:
            self._asked = None
            busy = packet.result in (_TRANSIENT, _CONCURRENT)
            self.core.log("info", f"{peer.config.name} does not agree: {packet.result}")
            self.r.twopc.replied(tx, peer, Vote.RETRY if busy else Vote.NO)
        elif not left:
            self._asked = None
            self.r.twopc.replied(tx, peer, Vote.YES)

    # -- being asked

    def on_request(self, peer: Peer, number: int, packet: p.StateChgReq) -> None:
        """A change of one volume: agreed, it counts from now on."""
        device = peer.devices.get(number)
        if device is None or not peer.connected:
            self.core.send(peer, p.StateChgReply(_TRANSIENT), number)
            return
        change = decode_change(packet.mask, packet.value, DRBD84)
        result = self._judge(device, change)
        self.core.send(peer, p.StateChgReply(result), number)
        if result == _AGREED:
            self._apply(device, change)

    def _judge(self, device: PeerDevice, change: StateChange) -> int:
        core, peer, volume = self.core, device.peer, device.volume
        if peer.resolve_conflicts and self.r.twopc.current is not None:
            return _CONCURRENT
        if any(one.attach_tag is not None for one in core.volumes.values()):
            return _TRANSIENT
        if change.role is Role.PRIMARY and core.role is Role.PRIMARY:
            return _TWO_PRIMARIES
        loses = change.disk is not None and change.disk < DiskState.INCONSISTENT
        if loses and core.role is Role.PRIMARY and volume.disk != DiskState.UP_TO_DATE:
            return _NO_DATA
        if change.conn == ReplState.VERIFY_S:
            refusal = self.r.verify.refusal(device)
            return _AGREED if refusal is None else refusal[0]
        if change.conn in (ReplState.STARTING_SYNC_S, ReplState.STARTING_SYNC_T):
            return self._judge_sync(device, change)
        if change.conn is not None:
            return _UNSUPPORTED
        return _AGREED

    def _judge_sync(self, device: PeerDevice, change: StateChange) -> int:
        """The peer wants all of our data, or gives us all of its own."""
        volume = device.volume
        if device.repl != ReplState.ESTABLISHED:
            return _RUNNING
        source = volume.disk if change.conn == ReplState.STARTING_SYNC_T else device.disk
        if source != DiskState.UP_TO_DATE or min(volume.disk, device.disk) < DiskState.INCONSISTENT:
            return _NO_DATA
        if change.conn == ReplState.STARTING_SYNC_S and self.core.role is Role.PRIMARY:
            return _NO_DATA
        return _AGREED

    def _apply(self, device: PeerDevice, change: StateChange) -> None:
        if change.role is Role.PRIMARY:
            self.r.news.peer_role(device.peer, Role.PRIMARY)
        match change.conn:
            case ReplState.VERIFY_S:
                self.r.verify.enter_target(device)
            case ReplState.STARTING_SYNC_T:
                self.r.resync84.serve_all(device)
            case ReplState.STARTING_SYNC_S:
                self.r.resync84.take_all(device)
            case _:
                pass

    def on_conn_request(self, peer: Peer, _volume: int, packet: p.ConnStChgReq) -> None:
        """A change of the connection: in practice, that the peer leaves."""
        change = decode_change(packet.mask, packet.value, DRBD84)
        if change.conn not in (ConnState.DISCONNECTING, ConnState.TEAR_DOWN):
            self.core.send(peer, p.ConnStChgReply(_UNSUPPORTED))
            return
        here = all(volume.disk == DiskState.UP_TO_DATE for volume in self.core.volumes.values())
        if self.core.role is Role.PRIMARY and not here:
            self.core.send(peer, p.ConnStChgReply(_NO_DATA))
            return
        if change.peer_disk is DiskState.OUTDATED and self.core.role is not Role.PRIMARY:
            for volume in self.core.volumes.values():
                if volume.disk > DiskState.OUTDATED:
                    self.r.disks.set_disk(volume, DiskState.OUTDATED)
        self.core.send(peer, p.ConnStChgReply(_AGREED))
        self.r.connector.drop(peer, ConnState.TEAR_DOWN, "the peer disconnected", delay_s=0.5)
