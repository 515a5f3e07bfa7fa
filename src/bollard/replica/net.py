"""TCP links to the peers of one resource: a listener, dialling with retry, and the pairing of two sockets.

A link is two connections, data and control, told apart by their first packet. It moves bytes between
sockets and the core's readers; what the bytes mean is the core's business.
"""

import errno
import logging
import random
import select
import socket
from dataclasses import dataclass, field
from typing import Final, Protocol

from bollard.replica.disk import Buffer
from bollard.replica.loop import READ, WRITE, Loop, Timer
from bollard.replica.nbd.listen import listen_tcp
from bollard.replica.output import drop_sent
from bollard.replica.protocol.commands import Channel, Cmd
from bollard.replica.protocol.dialect import SETUP
from bollard.replica.protocol.frames import H80, MAGIC_80, encode_header

__all__ = ["LinkUser", "Links", "Reader"]

_BROKEN: Final = select.EPOLLHUP | select.EPOLLERR
_IOV_MAX: Final = 512
_ROUNDS: Final = 16
_DIAL_TIMEOUT_S: Final = 5.0
_GREETING_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = 0.5
_RETRY_MAX_S: Final = 3.0
_YOUNG_S: Final = 2.0
_MAX_STRANGERS: Final = 32
_log = logging.getLogger(__name__)
_GREETINGS: Final = {Channel.DATA: Cmd.INITIAL_DATA, Channel.CONTROL: Cmd.INITIAL_META}


class Reader(Protocol):
    """Where received bytes go: the core's frame reader."""

    def get_buffer(self) -> memoryview: ...
    def received(self, count: int) -> None: ...


class LinkUser(Protocol):
    """Who is told of links: the resource. May call back into Links."""

    def link_up(self, peer: int, resolve_conflicts: bool) -> None: ...
    def link_down(self, peer: int, reason: str) -> None: ...
    def reader(self, peer: int, channel: Channel) -> Reader: ...
    def received(self, peer: int, channel: Channel) -> None: ...


class _Socket:
    """One connected socket of a link, with its output."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.fd = sock.fileno()
        self.out: list[Buffer] = []
        self.out_bytes = 0
        self.interest = READ
        self.flush_due = False


@dataclass
class _Peer:
    """What is known of one peer's link."""

    node_id: int
    paths: tuple[tuple[str, str], ...]
    """Addresses here and there."""
    port: int
    wanted: bool = False
    up: dict[Channel, _Socket] = field(default_factory=dict)
    dialled_by_us: bool = False
    up_since_s: float = 0.0
    dialling: dict[Channel, socket.socket] = field(default_factory=dict)
    dialled: dict[Channel, socket.socket] = field(default_factory=dict)
    accepted: dict[Channel, socket.socket] = field(default_factory=dict)
    accepted_at_s: float = 0.0
    timer: Timer | None = None
    give_up: Timer | None = None
    attempts: int = 0


class Links:
    """All links of one resource. Node ids name the peers."""

    def __init__(
        self,
        loop: Loop,
        user: LinkUser,
        *,
        node_id: int,
        address: str,
        port: int,
        dice: random.Random,
    ) -> None:
        """Listens at once; raises ListenError when the port is taken or the address is not here."""
        self._loop = loop
        self._user = user
        self._node_id = node_id
        self._address = address
        self._dice = dice
        self._peers: dict[int, _Peer] = {}
        self._strangers: dict[int, tuple[socket.socket, Timer]] = {}
        self._port = port
        self._listeners: dict[str, socket.socket] = {}
        if address:
            self._listen(address)

    # -- verbs

    def add_peer(
        self, node_id: int, address: str, port: int, paths: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Makes a peer known; its source addresses are accepted from now on, once `dial` wants a link.

        `paths` are pairs of addresses here and there, the best first; without any there is one to `address`.
        """
        self._peers[node_id] = _Peer(node_id, paths or ((self._address, address),), port)
        self._listen_on_paths()

    def remove_peer(self, node_id: int) -> None:
        """Hangs up and forgets."""
        self.hang_up(node_id)
        self._peers.pop(node_id, None)
        needed = {here for peer in self._peers.values() for here, _ in peer.paths}
        for address in self._listeners.keys() - needed - {self._address}:
            self._deafen(address)

    def dial(self, node_id: int, delay_s: float) -> None:
        """Try until there is a link or `hang_up`; a waiting pair that the peer dialled is taken at once."""
        peer = self._peers.get(node_id)
        if peer is None or peer.up:
            return
        peer.wanted = True
        if len(peer.accepted) == 2:
            self._loop.defer(lambda: self._take_accepted(peer))
            return
        if self._node_id > node_id:
            # The lower id dials first, so that two engines seldom meet half way.
            delay_s += self._dice.uniform(0.2, 0.5)
        self._dial_later(peer, delay_s)

    def hang_up(self, node_id: int) -> None:
        """Close after what was sent before; stop dialling and accepting. Nothing is reported."""
        peer = self._peers.get(node_id)
        if peer is None:
            return
        peer.wanted = False
        self._stop_dialling(peer)
        self._close_all(peer.accepted)
        self._close_link(peer)

    def send(self, node_id: int, channel: Channel, buffers: tuple[Buffer, ...]) -> None:
        """Queue; written at the end of this round. Dropped when the link is down."""
        peer = self._peers.get(node_id)
        conn = peer.up.get(channel) if peer is not None else None
        if conn is None:
            return
        conn.out += buffers
        if not conn.flush_due and conn.interest == READ:
            conn.flush_due = True
            self._loop.defer(lambda: self._flush_deferred(peer, channel, conn))  # type: ignore[arg-type]

    def send_now(self, node_id: int, channel: Channel, buffers: tuple[Buffer, ...]) -> None:
        """Write at once what the socket takes; the rest is copied. Reports nothing before it returns.

        The buffers need to be valid only during the call.
        """
        peer = self._peers.get(node_id)
        conn = peer.up.get(channel) if peer is not None else None
        if peer is None or conn is None:
            return
        out = conn.out
        out += buffers
        try:
            while out and conn.interest == READ:
                whole = len(out) <= _IOV_MAX
                drop_sent(out, conn.sock.sendmsg(out if whole else out[:_IOV_MAX]))
                if whole:
                    # What is left did not fit.
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            # Found out again, when it may be told.
            _log.debug("sending to node id %d: %s", peer.node_id, error.strerror)
        if out:
            out[:] = [bytes(piece) if type(piece) is memoryview else piece for piece in out]
            if not conn.flush_due and conn.interest == READ:
                conn.flush_due = True
                self._loop.defer(lambda: self._flush_deferred(peer, channel, conn))

    def established(self, node_id: int) -> bool:
        peer = self._peers.get(node_id)
        return bool(peer and peer.up)

    def close(self) -> None:
        """Ends everything, the listener too."""
        for node_id in list(self._peers):
            self.remove_peer(node_id)
        for sock, timer in list(self._strangers.values()):
            timer.cancel()
            self._loop.forget(sock.fileno())
            sock.close()
        self._strangers.clear()
        for address in list(self._listeners):
            self._deafen(address)

    def _listen(self, address: str) -> None:
        listener = listen_tcp(address, self._port)
        listener.setblocking(False)
        self._listeners[address] = listener
        self._loop.watch(listener.fileno(), READ, lambda _events: self._on_accept(listener))

    def _listen_on_paths(self) -> None:
        """An address that is not there now, because its network card is not, is tried with each dial."""
        for address in {here for peer in self._peers.values() for here, _ in peer.paths}:
            if address and address not in self._listeners:
                try:
                    self._listen(address)
                except OSError as error:
                    _log.warning("cannot listen on %s port %d now: %s", address, self._port, error)

    def _deafen(self, address: str) -> None:
        listener = self._listeners.pop(address)
        self._loop.forget(listener.fileno())
        listener.close()

    # -- dialling

    def _dial_later(self, peer: _Peer, delay_s: float) -> None:
        if peer.timer is not None:
            peer.timer.cancel()
        peer.timer = self._loop.after(delay_s, lambda: self._dial_now(peer))

    def _dial_again(self, peer: _Peer) -> None:
        """The attempt failed: back off, with dice so that two sides fall out of step."""
        self._stop_dialling(peer)
        if not peer.wanted or peer.up:
            return
        peer.attempts += 1
        most = min(_RETRY_MAX_S, _RETRY_S * 2 ** min(peer.attempts, 8))
        self._dial_later(peer, self._dice.uniform(_RETRY_S / 2, most))

    def _dial_now(self, peer: _Peer) -> None:
        peer.timer = None
        if not peer.wanted or peer.up or peer.dialling:
            return
        if peer.accepted and self._loop.now() - peer.accepted_at_s < _YOUNG_S:
            self._dial_later(peer, _RETRY_S)
            return
        self._close_all(peer.accepted)
        self._listen_on_paths()
        peer.give_up = self._loop.after(_DIAL_TIMEOUT_S, lambda: self._dial_again(peer))
        self._dial_one(peer, Channel.DATA)

    def _dial_one(self, peer: _Peer, channel: Channel) -> None:
        here, there = peer.paths[peer.attempts % len(peer.paths)]
        family = socket.AF_INET6 if ":" in there else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        peer.dialling[channel] = sock
        try:
            # The peer accepts configured source addresses only.
            sock.bind((here, 0))
            code = sock.connect_ex((there, peer.port))
        except OSError as error:
            code = error.errno or errno.EIO
        if code not in {0, errno.EINPROGRESS}:
            self._dial_again(peer)
            return
        self._loop.watch(sock.fileno(), WRITE, lambda _events: self._on_dialled(peer, channel, sock))

    def _on_dialled(self, peer: _Peer, channel: Channel, sock: socket.socket) -> None:
        self._loop.forget(sock.fileno())
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._dial_again(peer)
            return
        try:
            sock.send(encode_header(_GREETINGS[channel], 0, -1, SETUP))
        except OSError:
            self._dial_again(peer)
            return
        if peer.accepted and self._node_id > peer.node_id:
            # Both dialled at once: the lower id's pair is the one that stays.
            self._stop_dialling(peer)
            self._dial_later(peer, _YOUNG_S)
            return
        peer.dialling.pop(channel, None)
        peer.dialled[channel] = sock
        if channel is Channel.DATA:
            self._dial_one(peer, Channel.CONTROL)
            return
        pair, peer.dialled = peer.dialled, {}
        self._stop_dialling(peer)
        self._close_all(peer.accepted)
        self._link(peer, pair, by_us=True)

    def _stop_dialling(self, peer: _Peer) -> None:
        for timer in (peer.timer, peer.give_up):
            if timer is not None:
                timer.cancel()
        peer.timer = peer.give_up = None
        self._close_all(peer.dialling)
        self._close_all(peer.dialled)

    # -- accepting

    def _on_accept(self, listener: socket.socket) -> None:
        try:
            sock, source = listener.accept()
        except OSError:
            return
        known = (peer for peer in self._peers.values() if any(source[0] == there for _, there in peer.paths))
        peer = next(known, None)
        if peer is None or not peer.wanted or len(self._strangers) >= _MAX_STRANGERS:
            sock.close()
            return
        sock.setblocking(False)
        fd = sock.fileno()
        timer = self._loop.after(_GREETING_TIMEOUT_S, lambda: self._drop_stranger(fd))
        self._strangers[fd] = (sock, timer)
        self._loop.watch(fd, READ, lambda _events: self._on_greeting(peer, sock))

    def _drop_stranger(self, fd: int) -> None:
        sock, timer = self._strangers.pop(fd)
        timer.cancel()
        self._loop.forget(fd)
        sock.close()

    def _on_greeting(self, peer: _Peer, sock: socket.socket) -> None:
        """The first 8 bytes say which of the two connections this is."""
        fd = sock.fileno()
        try:
            data = sock.recv(H80.size, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if 0 < len(data) < H80.size:
            return
        channel = None
        if len(data) == H80.size:
            magic, cmd, length = H80.unpack(data)
            if magic == MAGIC_80 and not length:
                channel = next((name for name, first in _GREETINGS.items() if first == cmd), None)
        if channel is None or self._peers.get(peer.node_id) is not peer or not peer.wanted:
            self._drop_stranger(fd)
            return
        sock.recv(H80.size)
        self._strangers.pop(fd)[1].cancel()
        self._loop.forget(fd)
        self._arrived(peer, channel, sock)

    def _arrived(self, peer: _Peer, channel: Channel, sock: socket.socket) -> None:
        """A connection that the peer dialled; decides a crossing with our own."""
        ours_wins = self._node_id < peer.node_id
        now = self._loop.now()
        young = bool(peer.up) and peer.dialled_by_us and now - peer.up_since_s < _YOUNG_S
        if ours_wins and (peer.dialled or young):
            sock.close()
            return
        if channel is Channel.DATA:
            # A new attempt of the peer; what is there stems from an earlier one.
            self._close_all(peer.accepted)
        elif Channel.DATA not in peer.accepted:
            sock.close()
            return
        peer.accepted[channel] = sock
        peer.accepted_at_s = now
        if len(peer.accepted) < 2:
            return
        if peer.up:
            # The peer would not dial if it still had the old link.
            self._lost(peer, "the peer made a new connection")
        elif peer.wanted:
            self._take_accepted(peer)

    def _take_accepted(self, peer: _Peer) -> None:
        if not peer.wanted or peer.up or len(peer.accepted) != 2:
            return
        pair, peer.accepted = peer.accepted, {}
        self._stop_dialling(peer)
        self._link(peer, pair, by_us=False)

    # -- a standing link

    def _link(self, peer: _Peer, pair: dict[Channel, socket.socket], *, by_us: bool) -> None:
        peer.attempts = 0
        peer.dialled_by_us = by_us
        peer.up_since_s = self._loop.now()
        peer.up = {channel: _Socket(sock) for channel, sock in pair.items()}
        for channel, conn in peer.up.items():
            self._loop.watch(
                conn.fd,
                READ,
                lambda events, channel=channel, conn=conn: self._on_ready(peer, channel, conn, events),  # type: ignore[misc]
                lambda: self._lost(peer, "a packet could not be handled"),
            )
        self._user.link_up(peer.node_id, not by_us)

    def _on_ready(self, peer: _Peer, channel: Channel, conn: _Socket, events: int) -> None:
        if events & WRITE:
            self._flush(peer, channel, conn)
        if not events & ~WRITE:
            return
        for _ in range(_ROUNDS):
            if peer.up.get(channel) is not conn:
                return
            reader = self._user.reader(peer.node_id, channel)
            room = reader.get_buffer()
            try:
                got = conn.sock.recv_into(room)
            except BlockingIOError:
                return
            except OSError as error:
                self._lost(peer, error.strerror or str(error))
                return
            if not got:
                self._lost(peer, "the peer closed the connection")
                return
            reader.received(got)
            self._user.received(peer.node_id, channel)
            if got < len(room):
                return

    def _flush_deferred(self, peer: _Peer, channel: Channel, conn: _Socket) -> None:
        conn.flush_due = False
        if peer.up.get(channel) is conn:
            self._flush(peer, channel, conn)

    def _flush(self, peer: _Peer, channel: Channel, conn: _Socket) -> None:
        out = conn.out
        try:
            while out:
                whole = len(out) <= _IOV_MAX
                drop_sent(out, conn.sock.sendmsg(out if whole else out[:_IOV_MAX]))
                if whole:
                    # What is left did not fit.
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self._lost(peer, error.strerror or str(error))
            return
        want = READ | WRITE if out else READ
        if want != conn.interest and peer.up.get(channel) is conn:
            conn.interest = want
            self._loop.change(conn.fd, want)

    def _lost(self, peer: _Peer, reason: str) -> None:
        if peer.up:
            self._close_link(peer)
            self._user.link_down(peer.node_id, reason)

    def _close_link(self, peer: _Peer) -> None:
        """Writes what the sockets still take, then closes them."""
        up, peer.up = peer.up, {}
        for conn in up.values():
            self._loop.forget(conn.fd)
            try:
                while conn.out:
                    drop_sent(conn.out, conn.sock.sendmsg(conn.out[:_IOV_MAX]))
            except OSError:
                conn.out.clear()
            conn.sock.close()

    def _close_all(self, socks: dict[Channel, socket.socket]) -> None:
        for sock in socks.values():
            self._loop.forget(sock.fileno())
            sock.close()
        socks.clear()
