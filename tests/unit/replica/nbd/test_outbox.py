"""Replies leave in order and whole, and a socket that is full is asked once."""

import pytest

from bollard.replica.disk import Buffer
from bollard.replica.nbd.outbox import Outbox
from bollard.replica.nbd.stream import IOV_MAX


class Pipe:
    """A stream that takes `room` bytes a send, then nothing until the next call of `Outbox.send`."""

    pending = False

    def __init__(self, room: int, *, fills: bool) -> None:
        self.fills = fills
        self.room = room
        self.left = 0
        self.asked = 0
        self.taken = bytearray()

    def receive(self, view: memoryview) -> int:
        raise AssertionError("nothing is read here")

    def send(self, buffers: list[Buffer]) -> int:
        self.asked += 1
        if not self.left:
            return -1
        data = b"".join(buffers[:IOV_MAX])[: self.left if self.fills else min(self.left, 10)]
        self.left -= len(data)
        self.taken += data
        return len(data)


@pytest.mark.parametrize("fills", [True, False])
def test_everything_arrives_in_order_whatever_the_stream_takes(fills: bool) -> None:
    out, pipe = Outbox(), Pipe(700, fills=fills)
    pieces = [bytes([number % 256]) * (number % 7 + 1) for number in range(3 * IOV_MAX)]
    for piece in pieces:
        out.put(piece)
    rounds = 0
    while out.buffers:
        pipe.left = pipe.room
        out.send(pipe)
        rounds += 1
        assert rounds < 10_000, "no end"
    assert bytes(pipe.taken) == b"".join(pieces)
    assert out.waiting_bytes == 0


def test_a_full_socket_is_not_asked_again() -> None:
    out, pipe = Outbox(), Pipe(100, fills=True)
    out.put(bytes(250))
    pipe.left = pipe.room
    out.send(pipe)
    assert (pipe.asked, out.waiting_bytes) == (1, 150)


def test_more_buffers_than_one_call_takes_go_at_once_when_there_is_room() -> None:
    out, pipe = Outbox(), Pipe(1 << 20, fills=True)
    for _ in range(IOV_MAX + 3):
        out.put(b"x")
    pipe.left = pipe.room
    out.send(pipe)
    assert (pipe.asked, out.waiting_bytes) == (2, 0)
