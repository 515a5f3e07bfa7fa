"""A non-blocking byte stream over a plain or a TLS socket, with one way to read and one way to write.

It moves bytes only; framing and flow control belong to the connection.
"""

import socket
import ssl
from typing import Final, Protocol

from bollard.replica.disk import Buffer

__all__ = ["IOV_MAX", "PlainStream", "Stream", "TlsStream"]

IOV_MAX: Final = 512
"""So many buffers are given to the socket at once."""
_TLS_RECORD: Final = 16 << 10


class Stream(Protocol):
    def receive(self, view: memoryview) -> int:
        """Bytes read, 0 at the end of the stream, -1 when none are there now; raises OSError."""
        ...

    def send(self, buffers: list[Buffer]) -> int:
        """Bytes taken of the front of `buffers`, -1 when none are taken now; raises OSError."""
        ...

    @property
    def pending(self) -> bool:
        """Bytes were received that epoll no longer sees."""
        ...

    @property
    def fills(self) -> bool:
        """Fewer bytes than asked for mean that the socket has no more, or no room for more."""
        ...


class PlainStream:
    """An ordinary socket."""

    pending = False
    fills = True

    def __init__(self, sock: socket.socket) -> None:
        self._receive = sock.recv_into
        self._send = sock.sendmsg

    def receive(self, view: memoryview) -> int:
        try:
            return self._receive(view)
        except BlockingIOError:
            return -1

    def send(self, buffers: list[Buffer]) -> int:
        try:
            return self._send(buffers if len(buffers) <= IOV_MAX else buffers[:IOV_MAX])
        except BlockingIOError:
            return -1


class TlsStream:
    """TLS over a non-blocking socket; the handshake runs by itself inside the first reads and writes."""

    fills = False

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        # OpenSSL wants a write that was cut short to be repeated with the same bytes.
        self._again: Buffer | None = None

    @property
    def pending(self) -> bool:
        return self._sock.pending() > 0

    def receive(self, view: memoryview) -> int:
        try:
            return self._sock.recv_into(view)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return -1
        except ssl.SSLZeroReturnError:
            return 0

    def send(self, buffers: list[Buffer]) -> int:
        if self._again is None:
            first = buffers[0]
            if len(first) < _TLS_RECORD and len(buffers) > 1:
                self._again = b"".join(buffers[:IOV_MAX])[: 4 * _TLS_RECORD]
            else:
                self._again = first
        try:
            sent = self._sock.send(self._again)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return -1
        self._again = None
        return sent
