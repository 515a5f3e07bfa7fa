"""A blocking NBD client: connect, read, write, flush, trim, with pipelined requests.

Used by the demo, the tests and anyone who wants a volume without a kernel device. It holds one connection
and is not safe to share between threads.
"""

import socket
import ssl
import struct
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, NoReturn, Self

from bollard.wire import nbd as wire

__all__ = ["NbdClient", "NbdClientError", "parse_address"]

_NO_INFO: Final = struct.pack(">H", 0)


class NbdClientError(OSError):
    """A refused handshake, a failed request or a broken server; `errno` is NBD's number, 0 if none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(code, message)


def parse_address(text: str) -> str | tuple[str, int]:
    """`unix:/path` or `/path` gives a path; `host:port` or `tcp:host:port` gives a pair."""
    if text.startswith("unix:"):
        return text.removeprefix("unix:")
    if text.startswith("/"):
        return text
    host, _, port = text.removeprefix("tcp:").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"NBD address {text!r} is neither unix:/path nor host:port")
    return host.strip("[]"), int(port)


class NbdClient:
    """One connection to one export. Offsets and lengths are bytes, multiples of 512 for bollard's exports."""

    def __init__(
        self,
        address: str,
        export: str = "",
        *,
        timeout_s: float | None = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connects and opens `export`; raises NbdClientError when refused, OSError when unreachable."""
        where = parse_address(address)
        if isinstance(where, str):
            self._sock: socket.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._sock.settimeout(timeout_s)
            host = None
        else:
            self._sock = socket.create_connection(where, timeout_s)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            host = where[0]
        self.size_bytes = 0
        self.flags = wire.TransmissionFlag(0)
        self._cookie = 0
        self._reads: dict[int, int] = {}
        self._waiting: set[int] = set()
        self._done: dict[int, bytes] = {}
        self._failed: dict[int, int] = {}
        try:
            if isinstance(where, str):
                self._sock.connect(where)
            self._negotiate(export, tls, host)
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def read_only(self) -> bool:
        return bool(self.flags & wire.TransmissionFlag.READ_ONLY)

    # -- requests, one at a time

    def read(self, offset: int, length: int) -> bytes:
        """The bytes at `offset`; raises NbdClientError on an error reply."""
        return self.wait(self.submit_read(offset, length))

    def write(self, offset: int, data: bytes, *, fua: bool = False) -> None:
        """Returns when the server acknowledged; with `fua` the bytes are on stable storage by then."""
        self.wait(self.submit_write(offset, data, fua=fua))

    def flush(self) -> None:
        """Returns when every write acknowledged before is on stable storage."""
        self.wait(self._submit(wire.Command.FLUSH, 0, 0))

    def trim(self, offset: int, length: int, *, fua: bool = False) -> None:
        self.wait(self._submit(wire.Command.TRIM, offset, length, flags=int(fua)))

    def write_zeroes(self, offset: int, length: int, *, fua: bool = False, no_hole: bool = False) -> None:
        flags = int(fua) | (wire.CommandFlag.NO_HOLE if no_hole else 0)
        self.wait(self._submit(wire.Command.WRITE_ZEROES, offset, length, flags=flags))

    # -- requests in flight

    def submit_read(self, offset: int, length: int) -> int:
        """Sends a read and returns its cookie for `wait`."""
        cookie = self._submit(wire.Command.READ, offset, length)
        self._reads[cookie] = length
        return cookie

    def submit_write(self, offset: int, data: bytes, *, fua: bool = False) -> int:
        """Sends a write and returns its cookie for `wait`."""
        return self._submit(wire.Command.WRITE, offset, len(data), data, flags=int(fua))

    def wait(self, cookie: int) -> bytes:
        """Blocks for one request; its data (empty but for reads), or NbdClientError."""
        while cookie in self._waiting:
            self._receive_one()
        error = self._failed.pop(cookie, 0)
        if error:
            raise NbdClientError(f"NBD request failed with error {error}", error)
        return self._done.pop(cookie)

    def wait_any(self) -> tuple[int, int]:
        """Blocks for the next reply: (cookie, error number); data of reads is dropped."""
        while not self._done and not self._failed:
            if not self._waiting:
                raise NbdClientError("no NBD request is in flight")
            self._receive_one()
        if self._failed:
            return self._failed.popitem()
        cookie, _ = self._done.popitem()
        return cookie, 0

    def write_many(self, blocks: Iterable[tuple[int, bytes]], *, depth: int = 16) -> Iterator[int]:
        """Writes blocks with up to `depth` in flight; yields each offset as it is acknowledged."""
        pending: dict[int, int] = {}
        for offset, data in blocks:
            pending[self.submit_write(offset, data)] = offset
            if len(pending) >= depth:
                yield self._next_offset(pending)
        while pending:
            yield self._next_offset(pending)

    def _next_offset(self, pending: dict[int, int]) -> int:
        cookie, error = self.wait_any()
        offset = pending.pop(cookie)
        if error:
            raise NbdClientError(f"NBD write at offset {offset} failed with error {error}", error)
        return offset

    def close(self) -> None:
        """Says goodbye and closes; safe to repeat."""
        if self._sock.fileno() < 0:
            return
        try:
            self._sock.sendall(wire.REQUEST.pack(wire.REQUEST_MAGIC, 0, wire.Command.DISC, 0, 0, 0))
        except OSError:
            pass
        finally:
            self._sock.close()

    def abort(self) -> None:
        """Closes without a goodbye, as a crash would."""
        self._sock.close()

    # -- wire

    def _submit(self, command: int, offset: int, length: int, data: bytes = b"", *, flags: int = 0) -> int:
        self._cookie += 1
        head = wire.REQUEST.pack(wire.REQUEST_MAGIC, flags, command, self._cookie, offset, length)
        self._sock.sendall(head + data)
        self._waiting.add(self._cookie)
        return self._cookie

    def _receive_one(self) -> None:
        magic, error, cookie = wire.SIMPLE_REPLY.unpack(self._exactly(wire.SIMPLE_REPLY.size))
        if magic != wire.SIMPLE_REPLY_MAGIC or cookie not in self._waiting:
            self._broken(f"unexpected reply (magic {magic:#x}, cookie {cookie})")
        length = self._reads.pop(cookie, 0)
        if error:
            self._failed[cookie] = error
        else:
            self._done[cookie] = self._exactly(length)
        self._waiting.discard(cookie)

    def _exactly(self, count: int) -> bytes:
        if not count:
            return b""
        data = bytearray(count)
        view = memoryview(data)
        while view:
            got = self._sock.recv_into(view)
            if not got:
                self._broken("the server closed the connection")
            view = view[got:]
        return bytes(data)

    def _broken(self, why: str) -> NoReturn:
        self._sock.close()
        raise NbdClientError(f"NBD connection lost: {why}", wire.NbdError.ESHUTDOWN)

    # -- handshake

    def _negotiate(self, export: str, tls: ssl.SSLContext | None, host: str | None) -> None:
        greeting = self._exactly(len(wire.INIT_MAGIC) + 2)
        flags = int.from_bytes(greeting[-2:])
        if greeting[:-2] != wire.INIT_MAGIC or not flags & wire.ServerFlag.FIXED_NEWSTYLE:
            self._broken("not a fixed-newstyle NBD server")
        self._sock.sendall((flags & wire.ServerFlag.NO_ZEROES | wire.ClientFlag.FIXED_NEWSTYLE).to_bytes(4))
        if tls is not None:
            self._option(wire.Option.STARTTLS, b"")
            self._sock = tls.wrap_socket(self._sock, server_hostname=host)
        name = export.encode()
        for kind, payload in self._option(wire.Option.GO, struct.pack(">I", len(name)) + name + _NO_INFO):
            if kind == wire.OptionReply.INFO and payload[:2] == b"\0\0" and len(payload) == 12:
                self.size_bytes, bits = struct.unpack_from(">QH", payload, 2)
                self.flags = wire.TransmissionFlag(bits)

    def _option(self, option: wire.Option, payload: bytes) -> list[tuple[int, bytes]]:
        """Sends one option; the replies before the final ACK, or NbdClientError with the server's words."""
        self._sock.sendall(wire.OPTION_HEAD.pack(wire.OPTION_MAGIC, option, len(payload)) + payload)
        replies: list[tuple[int, bytes]] = []
        while True:
            head = self._exactly(wire.OPTION_REPLY_HEAD.size)
            magic, echoed, kind, length = wire.OPTION_REPLY_HEAD.unpack(head)
            if magic != wire.OPTION_REPLY_MAGIC or echoed != option or length > wire.MAX_OPTION_BYTES:
                self._broken("malformed option reply")
            body = self._exactly(length)
            if kind == wire.OptionReply.ACK:
                return replies
            if kind & 0x8000_0000:
                words = body.decode(errors="replace") or f"error {kind:#x}"
                raise NbdClientError(f"NBD server refused {option.name}: {words}", wire.NbdError.EPERM)
            replies.append((kind, body))
