"""The control socket: newline-delimited JSON requests in, replies and events out, on a 0600 Unix socket.

It frames, decodes and refuses; what a request does is the `Handler`'s business.
"""

import logging
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from bollard.replica.loop import READ, WRITE, Loop
from bollard.wire import engine as wire

__all__ = ["Answer", "ControlServer", "Handler"]

_RECEIVE_BYTES: Final = 64 << 10
_OUTPUT_LIMIT_BYTES: Final = 16 << 20
_BROKEN: Final = select.EPOLLHUP | select.EPOLLERR
_log = logging.getLogger(__name__)

Answer = Callable[[wire.Reply], None]
Emit = Callable[[wire.Event], None]


class Handler(Protocol):
    """What answers requests. `answer` is called exactly once for each, perhaps later."""

    def handle(self, request: wire.Request, answer: Answer) -> None: ...

    def watch(self, name: str, emit: Emit) -> Callable[[], None]:
        """Emits the present state and then every change; the returned call ends the watch."""
        ...


class ControlServer:
    """Accepts control connections on one listening Unix socket, which it owns."""

    def __init__(self, loop: Loop, sock: socket.socket, handler: Handler) -> None:
        self._loop = loop
        self._sock = sock
        self._handler = handler
        self._connections: set[_Connection] = set()
        sock.setblocking(False)
        loop.watch(sock.fileno(), READ, self._on_ready)

    def close(self) -> None:
        """Stops listening, sends what is due if the clients take it, and removes the socket's file."""
        self._loop.forget(self._sock.fileno())
        path = self._sock.getsockname()
        self._sock.close()
        Path(path).unlink(missing_ok=True)
        for connection in list(self._connections):
            connection.close()

    def _on_ready(self, _events: int) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError:
            return
        self._connections.add(_Connection(self._loop, sock, self._handler, self._connections.discard))


class _Connection:
    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        handler: Handler,
        on_closed: Callable[["_Connection"], None],
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._handler = handler
        self._on_closed = on_closed
        self._input = bytearray()
        self._output = bytearray()
        self._interest = READ
        self._end_watch: Callable[[], None] | None = None
        self._closed = False
        loop.watch(self._fd, READ, self._on_ready, self.close)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._end_watch is not None:
            self._end_watch()
        self._loop.forget(self._fd)
        self._sock.close()
        self._on_closed(self)

    def _on_ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self._closed or not events & ~WRITE:
            return
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            data = None
        except OSError:
            data = b""
        if data is None:
            return
        if not data or (events & _BROKEN and not data):
            self.close()
            return
        self._input += data
        self._lines()

    def _lines(self) -> None:
        while not self._closed:
            end = self._input.find(b"\n")
            if end < 0:
                if len(self._input) > wire.MAX_LINE_BYTES:
                    _log.warning("a control client sent an endless line; closing")
                    self.close()
                return
            line = bytes(self._input[:end])
            del self._input[: end + 1]
            if line.strip():
                self._request(line)

    def _request(self, line: bytes) -> None:
        try:
            request = wire.decode_request(line)
        except msgspec.DecodeError as error:
            self._send(_undecodable(line, error))
            return
        if isinstance(request, wire.WatchEvents):
            self._watch(request)
            return
        self._handler.handle(request, self._send)

    def _watch(self, request: wire.WatchEvents) -> None:
        if self._end_watch is not None:
            self._end_watch()
        self._send(wire.Reply(id=request.id, ok=True))
        self._end_watch = self._handler.watch(request.name, self._send)

    def _send(self, record: wire.Reply | wire.Event) -> None:
        if self._closed:
            return
        if not self._output:
            self._loop.defer(self._flush)
        self._output += wire.encode_line(record)
        if len(self._output) > _OUTPUT_LIMIT_BYTES:
            _log.warning("a control client does not read; closing")
            self.close()

    def _flush(self) -> None:
        if self._closed:
            return
        try:
            while self._output:
                sent = self._sock.send(self._output)
                del self._output[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        want = READ | WRITE if self._output else READ
        if want != self._interest:
            self._interest = want
            self._loop.change(self._fd, want)


class _Envelope(msgspec.Struct):
    id: int = 0


def _undecodable(line: bytes, error: msgspec.DecodeError) -> wire.Reply:
    """A refusal that carries the request's id if at least that can be read; the line is never echoed."""
    try:
        ident = msgspec.json.decode(line, type=_Envelope).id
    except msgspec.DecodeError:
        ident = 0
    return wire.Reply(
        id=ident,
        ok=False,
        error=wire.EngineError(
            code=wire.ErrorCode.INVALID,
            message="the request was not understood",
            cause=str(error),
            correction="send one JSON object a line with a known op and its fields",
        ),
    )
