"""Links: two sockets become one link however the two sides meet, and only configured addresses get in."""

import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from bollard.replica.loop import Loop
from bollard.replica.nbd.listen import ListenError
from bollard.replica.net import Links
from bollard.replica.protocol.commands import Channel

ADDRESSES = {0: "127.0.0.11", 1: "127.0.0.12", 2: "127.0.0.13"}


class Gathered:
    """A reader that keeps what it is given."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._room = bytearray(65536)

    def get_buffer(self) -> memoryview:
        return memoryview(self._room)

    def received(self, count: int) -> None:
        self.data += self._room[:count]


@dataclass
class User:
    """One side: remembers what it was told, and dials again when a link breaks."""

    node_id: int
    up: dict[int, bool] = field(default_factory=dict)
    downs: int = 0
    readers: dict[tuple[int, Channel], Gathered] = field(default_factory=dict)
    links: Links = field(init=False)
    redial: bool = True

    def link_up(self, peer: int, resolve_conflicts: bool) -> None:
        assert peer not in self.up, "a second link_up without a link_down"
        self.up[peer] = resolve_conflicts
        for channel in Channel:
            self.readers[peer, channel] = Gathered()

    def link_down(self, peer: int, reason: str) -> None:
        assert reason
        del self.up[peer]
        self.downs += 1
        if self.redial:
            self.links.dial(peer, 0.0)

    def reader(self, peer: int, channel: Channel) -> Gathered:
        return self.readers[peer, channel]

    def received(self, peer: int, channel: Channel) -> None:
        pass


class Net:
    def __init__(self) -> None:
        self.loop = Loop()
        self.ports: dict[int, int] = {}
        self.users: dict[int, User] = {}

    def port(self, node_id: int) -> int:
        if node_id not in self.ports:
            with socket.socket() as probe:
                probe.bind((ADDRESSES[node_id], 0))
                self.ports[node_id] = probe.getsockname()[1]
        return self.ports[node_id]

    def join(self, node_id: int, peers: tuple[int, ...], seed: int = 0) -> User:
        user = User(node_id)
        user.links = Links(
            self.loop,
            user,
            node_id=node_id,
            address=ADDRESSES[node_id],
            port=self.port(node_id),
            dice=random.Random(seed),
        )
        for peer in peers:
            user.links.add_peer(peer, ADDRESSES[peer], self.port(peer))
        self.users[node_id] = user
        return user

    def until(self, condition: Callable[[], bool], limit_s: float = 10.0) -> None:
        end = self.loop.now() + limit_s
        while not condition():
            assert self.loop.now() < end, "the condition did not come true"
            self.loop.run_once(0.02)

    def close(self) -> None:
        for user in self.users.values():
            user.links.close()
        self.loop.close()
        assert self.loop.failures == 0


@pytest.fixture
def net() -> Iterator[Net]:
    net = Net()
    yield net
    net.close()


def linked(first: User, second: User) -> bool:
    return second.node_id in first.up and first.node_id in second.up


@pytest.mark.parametrize("seed", range(6))
def test_both_dial_and_one_link_results_that_carries_both_channels(net: Net, seed: int) -> None:
    low, high = net.join(0, (1,), seed), net.join(1, (0,), seed + 100)
    low.links.dial(1, 0.0)
    high.links.dial(0, 0.0)

    def carried() -> bool:
        if not linked(low, high):
            return False
        low.links.send(1, Channel.DATA, (b"to data",))
        high.links.send(0, Channel.CONTROL, (b"to ", b"control"))
        return (
            b"to data" in high.readers[0, Channel.DATA].data
            and b"to control" in low.readers[1, Channel.CONTROL].data
        )

    net.until(carried)
    assert low.up[1] != high.up[0], "exactly one side resolves conflicts"
    assert b"control" not in high.readers[0, Channel.DATA].data


@pytest.mark.parametrize("seed", range(6))
def test_dials_that_cross_exactly_still_end_in_one_link(net: Net, seed: int) -> None:
    low, high = net.join(0, (1,), seed), net.join(1, (0,), seed)
    for user, other in ((low, 1), (high, 0)):
        peer = user.links._peers[other]
        peer.wanted = True
        user.links._dial_now(peer)
    steady_since = [0.0]

    def steady() -> bool:
        if not linked(low, high):
            steady_since[0] = net.loop.now()
        return net.loop.now() - steady_since[0] > 0.3

    steady_since[0] = net.loop.now()
    net.until(steady)


def test_a_side_that_is_late_is_reached_by_retry(net: Net) -> None:
    low = net.join(0, (1,))
    low.links.dial(1, 0.0)
    net.until(lambda: low.links._peers[1].attempts >= 1)
    high = net.join(1, (0,))
    high.links.dial(0, 0.0)
    net.until(lambda: linked(low, high))


def test_hang_up_sends_what_was_queued_and_the_other_side_is_told(net: Net) -> None:
    low, high = net.join(0, (1,)), net.join(1, (0,))
    high.redial = False
    low.links.dial(1, 0.0)
    high.links.dial(0, 0.0)
    net.until(lambda: linked(low, high))
    reader = high.readers[0, Channel.DATA]
    low.links.send(1, Channel.DATA, (b"x" * 100000,))
    low.links.hang_up(1)
    net.until(lambda: high.downs == 1)
    assert len(reader.data) == 100000
    assert low.downs == 0


def test_a_peer_that_came_back_replaces_the_old_link(net: Net) -> None:
    low, high = net.join(0, (1,)), net.join(1, (0,))
    low.links.dial(1, 0.0)
    high.links.dial(0, 0.0)
    net.until(lambda: linked(low, high))
    high.links.close()
    again = net.join(1, (0,), 7)
    again.links.dial(0, 0.0)
    net.until(lambda: linked(low, again))
    assert low.downs >= 1


def test_a_path_that_is_dead_gives_way_to_the_next(net: Net) -> None:
    """Nobody answers on the first path of either side; no address of it is even there on one of them."""
    low, high = net.join(0, ()), net.join(1, ())
    low.links.add_peer(
        1, ADDRESSES[1], net.port(1), (("192.0.2.1", "127.0.1.12"), ("127.0.1.11", "127.0.1.22"))
    )
    high.links.add_peer(
        0, ADDRESSES[0], net.port(0), (("127.0.1.12", "127.0.2.11"), ("127.0.1.22", "127.0.1.11"))
    )
    low.links.dial(1, 0.0)
    high.links.dial(0, 0.0)
    net.until(lambda: linked(low, high))
    (used,) = {conn.sock.getpeername()[0] for conn in low.links._peers[1].up.values()}
    assert used == "127.0.1.22"
    low.links.remove_peer(1)
    assert set(low.links._listeners) == {ADDRESSES[0]}


def test_only_the_addresses_of_paths_count_where_there_are_some(net: Net) -> None:
    low, high = net.join(0, ()), net.join(1, (0,))
    low.links.add_peer(1, ADDRESSES[1], net.port(1), (("127.0.1.11", "127.0.1.22"),))
    low.links.dial(1, 60.0)
    high.redial = False
    high.links.dial(0, 0.0)
    net.until(lambda: high.downs >= 1)
    assert not low.up


def test_strangers_and_unwanted_peers_are_closed(net: Net) -> None:
    low = net.join(0, (1,))
    for source in (ADDRESSES[2], ADDRESSES[1]):
        sock = socket.socket()
        sock.bind((source, 0))
        sock.setblocking(False)
        sock.connect_ex((ADDRESSES[0], net.port(0)))
        closed: list[bytes] = []

        def gone(sock: socket.socket = sock, closed: list[bytes] = closed) -> bool:
            try:
                closed.append(sock.recv(1))
            except BlockingIOError:
                return False
            except ConnectionResetError:
                closed.append(b"")
            return closed[-1] == b""

        net.until(gone)
        sock.close()
    assert not low.up


def test_a_first_packet_that_is_none_is_closed(net: Net) -> None:
    low = net.join(0, (1,))
    low.links.dial(1, 60.0)
    with socket.socket() as sock:
        sock.bind((ADDRESSES[1], 0))
        sock.connect((ADDRESSES[0], net.port(0)))
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        sock.setblocking(False)

        def gone() -> bool:
            try:
                return sock.recv(1) == b""
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True

        net.until(gone)


def test_a_taken_port_is_said_plainly(net: Net) -> None:
    net.join(0, ())
    with pytest.raises(ListenError, match="taken by another process"):
        net.join(0, ())
