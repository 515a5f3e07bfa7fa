"""Opening and losing connections: features, authentication, settings, the connect transaction, liveness.

Packets of the established connection are handled elsewhere; what the two nodes conclude is in agree.py.
"""

import hmac
from typing import TYPE_CHECKING

import msgspec

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.changes84 import goodbye
from bollard.replica.protocol.commands import Channel, ConnFlag
from bollard.replica.protocol.config import Handler
from bollard.replica.protocol.dialect import DRBD84, MIN_DRBD9, Dialect, Feature
from bollard.replica.protocol.digests import digest_of
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.events import LinkDown, LinkUp, Received
from bollard.replica.protocol.features import FEATURES_84
from bollard.replica.protocol.model import Peer, Phase
from bollard.replica.protocol.states import ConnState, Role, StateChange, encode_change
from bollard.replica.protocol.twopc import Transaction, Vote

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

FEATURES = (
    Feature.TRIM
    | Feature.THIN_RESYNC
    | Feature.WSAME
    | Feature.WZEROES
    | Feature.TWOPC_V2
    | Feature.RECONCILE_RECONNECT
    | Feature.KEEPS_LEFTOVERS
    | Feature.ORDERS_WRITES
)
_SETUP_TIMEOUT_S = 5.0
_WAITING_PING_S = 1.0
_REFUSED_DELAY_S = 0.3


class Connector:
    """The life of every connection of one resource."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    # -- wishes

    def connect(self, peer: Peer, *, discard_my_data: bool) -> bool:
        """Keep a connection from now on; False when that was so already."""
        peer.discard_my_data = discard_my_data
        if peer.wanted:
            return False
        peer.wanted = True
        peer.cstate = ConnState.CONNECTING
        self.core.out.append(a.Dial(peer.node_id))
        self.core.changed = True
        return True

    def leave(self, peer: Peer) -> None:
        """Drop the connection and stay apart."""
        peer.wanted = False
        if peer.phase != Phase.DOWN:
            if peer.connected:
                self.core.send(peer, p.Disconnect() if peer.dialect.drbd9 else goodbye())
            self._lost(peer, ConnState.STAND_ALONE)
        peer.cstate = ConnState.STAND_ALONE
        self.core.out.append(a.HangUp(peer.node_id))
        self.core.changed = True

    def drop(self, peer: Peer, state: ConnState, reason: str, *, delay_s: float = 0.0) -> None:
        """Close the link because of `reason` and try again."""
        if peer.phase == Phase.DOWN:
            return
        level = "warning" if state != ConnState.TEAR_DOWN else "info"
        self.core.log(level, f"connection to {peer.config.name} closed: {reason}")
        self._lost(peer, state)
        self.core.out.append(a.HangUp(peer.node_id))
        if peer.wanted:
            self.core.out.append(a.Dial(peer.node_id, delay_s))

    def stand_alone(self, peer: Peer, reason: str) -> None:
        """Close the link for good: a person must decide."""
        self.core.log("error", f"connection to {peer.config.name} refused: {reason}")
        self.leave(peer)

    # -- links

    def link_up(self, event: LinkUp) -> None:
        peer = self.core.peers.get(event.peer)
        if peer is None or not peer.wanted:
            self.core.out.append(a.HangUp(event.peer))
            return
        if peer.phase != Phase.DOWN:
            self._lost(peer, ConnState.NETWORK_FAILURE)
        peer.reset()
        peer.link += 1
        peer.phase = Phase.FEATURES
        peer.cstate = ConnState.CONNECTING
        peer.resolve_conflicts = event.resolve_conflicts
        self.core.send(
            peer,
            p.ConnectionFeatures(
                min(self.r.peer84.lowest_version(), self.core.options.max_version),
                int(FEATURES),
                self.core.options.max_version,
                self.core.node_id,
                peer.node_id,
            ),
        )
        self._watch_setup(peer, _SETUP_TIMEOUT_S)

    def link_down(self, event: LinkDown) -> None:
        peer = self.core.peers.get(event.peer)
        if peer is None or peer.phase == Phase.DOWN:
            return
        was_connected = peer.connected
        level = "warning" if was_connected else "info"
        self.core.log(level, f"connection to {peer.config.name} lost: {event.reason or 'closed'}")
        self._lost(peer, ConnState.BROKEN_PIPE)
        if peer.wanted:
            # A peer that refused us will refuse us again: not at once.
            self.core.out.append(a.Dial(peer.node_id, 0.0 if was_connected else _REFUSED_DELAY_S))

    def received(self, event: Received) -> None:
        """Hand every complete packet to its handler; a broken one costs the connection."""
        peer = self.core.peers.get(event.peer)
        if peer is None or peer.phase == Phase.DOWN:
            return
        reader = peer.readers[event.channel]
        handlers = self.r.handlers
        link = peer.link
        if event.channel is Channel.CONTROL:
            peer.last_heard_s = self.core.now_s
        try:
            for volume, packet in reader.feed(event.data) if event.data else reader:
                handlers[type(packet)](peer, volume, packet)
                if peer.link != link or peer.phase == Phase.DOWN:
                    return
        except ProtocolError as error:
            self.drop(peer, ConnState.PROTOCOL_ERROR, str(error), delay_s=1.0)

    def _lost(self, peer: Peer, state: ConnState) -> None:
        was_connected = peer.connected
        was_primary = peer.role == Role.PRIMARY
        if peer.timer is not None:
            peer.timer.cancel()
        peer.phase = Phase.DOWN
        peer.link += 1
        peer.cstate = ConnState.CONNECTING if peer.wanted else ConnState.STAND_ALONE
        peer.role = Role.UNKNOWN
        self.r.sharing.known(peer.node_id)
        waiters, peer.ping_waiters = peer.ping_waiters, []
        self.core.changed = True
        if was_connected:
            self.core.log("info", f"connection to {peer.config.name} is now {state.name}")
            self.r.losses.connection_lost(peer, was_primary=was_primary)
            self.r.calls.tell(Handler.DISCONNECTED, None, peer)
        self.r.twopc.peer_lost(peer)
        for waiter in waiters:
            waiter(False)

    # -- liveness

    def _watch_setup(self, peer: Peer, timeout_s: float) -> None:
        if peer.timer is not None:
            peer.timer.cancel()
        link = peer.link

        def expired() -> None:
            if peer.link == link and not peer.connected:
                self.drop(
                    peer, ConnState.TIMEOUT, "the peer did not finish the handshake in time", delay_s=0.5
                )

        peer.timer = self.core.after(timeout_s, expired)

    def watch_pings(self, peer: Peer) -> None:
        """Ping when the control connection was silent for the ping interval; sooner if acks are awaited."""
        if peer.timer is not None:
            peer.timer.cancel()
        interval_s = self.core.options.ping_interval_s
        soon_s = min(interval_s, _WAITING_PING_S)
        link = peer.link

        def due() -> None:
            if peer.link != link:
                return
            if self._stuck(peer):
                self.drop(peer, ConnState.TIMEOUT, "it did not take a request in timeout times ko-count")
                return
            silent_s = self.core.now_s - peer.last_heard_s + 1e-9
            waiting = bool(peer.unacked or peer.sent_epochs or peer.reads)
            if silent_s >= interval_s or (waiting and silent_s >= soon_s):
                self.ping(peer)
            else:
                self.watch_pings(peer)

        peer.timer = self.core.after(soon_s, due)

    def _stuck(self, peer: Peer) -> bool:
        """The oldest request, or the oldest epoch, has waited for the peer too long, though it is alive."""
        options, oldest = self.core.options, peer.oldest
        waits = (next(iter(peer.unacked), 0), next(iter(peer.sent_epochs), 0), next(iter(peer.reads), 0))
        now_s = self.core.now_s
        peer.oldest = [old if old[0] == key else (key, now_s) for key, old in zip(waits, oldest, strict=True)]
        limit_s = options.timeout_s * options.ko_count
        return bool(limit_s) and any(key and now_s - since_s >= limit_s for key, since_s in peer.oldest)

    def ping(self, peer: Peer) -> None:
        """Ask for a sign of life within the ping timeout."""
        self.core.send(peer, p.Ping())
        if peer.timer is not None:
            peer.timer.cancel()
        link = peer.link

        def expired() -> None:
            if peer.link != link:
                return
            self.drop(peer, ConnState.NETWORK_FAILURE, "no answer to a ping in time")

        peer.timer = self.core.after(self.core.options.ping_timeout_s, expired)

    def renegotiate(self, peer: Peer) -> None:
        """Drop the link and connect anew, because what was agreed does not hold any more.

        Requests wait for a while rather than fail for lack of the peer.
        """
        if peer.connected and peer.wanted:
            self.core.renegotiating.add(peer.node_id)
            self.core.after(_SETUP_TIMEOUT_S, lambda: self._negotiated(peer))
        self.drop(peer, ConnState.TEAR_DOWN, "this node's disks or data changed; negotiating anew")

    def _negotiated(self, peer: Peer) -> None:
        if peer.node_id in self.core.renegotiating:
            self.core.renegotiating.discard(peer.node_id)
            self.r.requests.reconsider()

    def drop_for_disk(self, peer: Peer) -> None:
        """Our disk could not make an epoch durable: the peer must not believe it was."""
        self.drop(peer, ConnState.TEAR_DOWN, "a disk failed while an epoch was to become durable")

    def on_disconnect(self, peer: Peer, _volume: int, _packet: p.Disconnect) -> None:
        """The peer leaves on purpose; it may come back any time."""
        self.drop(peer, ConnState.TEAR_DOWN, "the peer disconnected", delay_s=0.5)

    def ignore(self, peer: Peer, _volume: int, packet: p.Packet) -> None:
        """Hints and extensions that need no answer."""

    def on_ping(self, peer: Peer, _volume: int, _packet: p.Ping) -> None:
        self.core.send(peer, p.PingAck())

    def on_ping_ack(self, peer: Peer, _volume: int, _packet: p.PingAck) -> None:
        waiters, peer.ping_waiters = peer.ping_waiters, []
        if peer.connected:
            self.watch_pings(peer)
        for waiter in waiters:
            waiter(True)

    # -- setup packets

    def on_features(self, peer: Peer, _volume: int, packet: p.ConnectionFeatures) -> None:
        self._expect(peer, Phase.FEATURES, "CONNECTION_FEATURES")
        highest = self.core.options.max_version
        version = min(packet.proto_max or packet.proto_min, highest)
        lowest = self.r.peer84.lowest_version()
        if version < max(packet.proto_min, lowest) or DRBD84 < version < MIN_DRBD9:
            theirs = f"{packet.proto_min}..{packet.proto_max}"
            reason = f"it speaks protocol {theirs}, {lowest}..{highest} is wanted"
            why = self.r.peer84.unfit() if version == DRBD84 else ""
            self.stand_alone(peer, f"{reason}: {why}" if why else reason)
            return
        ids = (packet.sender_node_id, packet.receiver_node_id)
        if version > DRBD84 and ids != (peer.node_id, self.core.node_id):
            self.stand_alone(peer, f"it says that node {ids[0]} talks to node {ids[1]}; check the node ids")
            return
        features = FEATURES & Feature(packet.feature_flags & int(FEATURES))
        peer.native84 = version == DRBD84 and not any(ids)
        self._set_dialect(peer, Dialect(version, features if version > DRBD84 else features & FEATURES_84))
        if self.core.options.cram_hmac_alg:
            peer.phase = Phase.AUTH
            peer.challenge = b"".join(self.core.draw_u64().to_bytes(8, "big") for _ in range(8))
            self.core.send(peer, p.AuthChallenge(peer.challenge))
        else:
            self._send_protocol(peer)

    def on_challenge(self, peer: Peer, _volume: int, packet: p.AuthChallenge) -> None:
        self._expect(peer, Phase.AUTH, "AUTH_CHALLENGE")
        if packet.challenge == peer.challenge:
            raise ProtocolError("challenge", expected="one of the peer's own", got="ours sent back")
        self.core.send(peer, p.AuthResponse(self._sign(peer, packet.challenge, self.core.node_id)))

    def on_response(self, peer: Peer, _volume: int, packet: p.AuthResponse) -> None:
        self._expect(peer, Phase.AUTH, "AUTH_RESPONSE")
        if not hmac.compare_digest(packet.response, self._sign(peer, peer.challenge, peer.node_id)):
            self.stand_alone(peer, "its shared secret is another one; make them equal, then connect")
            return
        self._send_protocol(peer)

    def _sign(self, peer: Peer, challenge: bytes, responder: int) -> bytes:
        options = self.core.options
        algorithm = options.cram_hmac_alg.removeprefix("hmac(").removesuffix(")")
        signed = challenge + responder.to_bytes(4, "big") if peer.dialect.drbd9 else challenge
        return hmac.digest(options.shared_secret.encode(), signed, algorithm)

    def _send_protocol(self, peer: Peer) -> None:
        peer.phase = Phase.PROTOCOL
        o = self.core.options
        flags = int(ConnFlag.DISCARD_MY_DATA) if peer.discard_my_data else 0
        policies = o.after_sb_0pri, o.after_sb_1pri, o.after_sb_2pri
        packet = p.Protocol(o.protocol, *policies, flags, o.allow_two_primaries, o.data_integrity_alg)
        self.core.send(peer, packet)

    def on_protocol(self, peer: Peer, _volume: int, packet: p.Protocol) -> None:
        self._expect(peer, Phase.PROTOCOL, "PROTOCOL")
        o = self.core.options
        differing = [
            name
            for name, mine, theirs in (
                ("protocol", o.protocol, packet.protocol),
                ("allow-two-primaries", o.allow_two_primaries, packet.two_primaries),
                ("data-integrity-alg", o.data_integrity_alg, packet.integrity_alg),
                ("after-sb-1pri", o.after_sb_1pri, packet.after_sb_1p),
                ("after-sb-2pri", o.after_sb_2pri, packet.after_sb_2p),
            )
            if mine != theirs
        ]
        if differing:
            self.stand_alone(peer, f"settings differ: {', '.join(differing)}; make them equal on both nodes")
            return
        if packet.integrity_alg:
            digest = digest_of(packet.integrity_alg)
            if digest is None:
                why = f"data-integrity-alg {packet.integrity_alg!r} is not known here; choose another"
                self.stand_alone(peer, why)
                return
            peer.integrity_alg = packet.integrity_alg
            agreed = msgspec.structs.replace(peer.dialect, digest_bytes=len(digest(b"")))
            self._set_dialect(peer, agreed)
        peer.phase = Phase.READY
        peer.last_heard_s = self.core.now_s
        self._watch_setup(peer, self.core.options.twopc_timeout_s)
        if not peer.dialect.drbd9:
            self.r.peer84.settings_agreed(peer, wait=peer.native84)
        elif self.core.node_id < peer.node_id:
            self.try_connect(peer)

    # -- the connect transaction

    def try_connect(self, peer: Peer) -> None:
        """The lower node id asks the cluster; busy nodes are asked again a little later."""
        link = peer.link
        if peer.phase != Phase.READY:
            return
        busy = any(volume.attach_tag is not None for volume in self.core.volumes.values())
        if not busy:
            tid, me, target = self.r.twopc.prepare_fields(peer.node_id)
            change = StateChange(role=self.core.role, conn=int(ConnState.CONNECTED))
            mask, value = encode_change(change, peer.dialect.version)
            started = self.r.twopc.start(
                p.TwoPcPrepare(tid, me, target, 0, mask, value),
                also=peer,
                own=None,
                on_end=lambda vote, tx: self._connect_ended(peer, link, vote, tx),
            )
            if started:
                self.r.agree.send_handshake(peer)
                return
        self.core.after(self.backoff_s(), lambda: self._try_again(peer, link))

    def _try_again(self, peer: Peer, link: int) -> None:
        if peer.link == link:
            self.try_connect(peer)

    def backoff_s(self) -> float:
        """A random time, so that two nodes do not meet again and again."""
        return self.core.options.twopc_retry_timeout_s * (0.5 + (self.core.draw_u64() % 1024) / 512)

    def _connect_ended(self, peer: Peer, link: int, vote: Vote, tx: Transaction) -> None:
        if peer.link != link or peer.phase != Phase.READY:
            return
        if vote == Vote.YES:
            self.r.changes.note_members(tx.reachable, tx.primaries)
            self.r.agree.establish(peer)
        elif vote == Vote.RETRY:
            self.drop(peer, ConnState.TEAR_DOWN, "another change was under way", delay_s=self.backoff_s())
        else:
            self.drop(peer, ConnState.TEAR_DOWN, "the connection was refused by a node", delay_s=1.0)

    def _set_dialect(self, peer: Peer, dialect: Dialect) -> None:
        peer.dialect = dialect
        for reader in peer.readers.values():
            reader.dialect = dialect

    def _expect(self, peer: Peer, phase: int, what: str) -> None:
        if peer.phase != phase:
            raise ProtocolError(what, expected=f"phase {phase} of the handshake", got=f"phase {peer.phase}")
