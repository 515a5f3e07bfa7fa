"""One NBD client's connection: negotiation, then requests to the volume and replies back, in batches.

Every ready event parses all requests that arrived and sends all replies that are due with one call.
It decides nothing about data: the volume does.
"""

import errno
import logging
import select
import socket
import ssl
from collections.abc import Callable
from typing import Final

from bollard.replica.disk import Buffer
from bollard.replica.export import OWNED_BYTES, Exports, Reading, Volume
from bollard.replica.loop import READ, WRITE, Loop
from bollard.replica.nbd import negotiation as talk
from bollard.replica.nbd import transmission
from bollard.replica.nbd.burst import KIND_AT, reads_at, writes_at
from bollard.replica.nbd.opening import Opening
from bollard.replica.nbd.outbox import Outbox
from bollard.replica.nbd.stream import PlainStream, Stream, TlsStream
from bollard.wire import nbd as wire
from bollard.wire.nbd import Command, NbdError

__all__ = ["NbdConnection"]

_INPUT_BYTES: Final = 256 << 10
_FIRST_BYTES: Final = 16 << 10
_HELD_LIMIT_BYTES: Final = 64 << 20
_IN_FLIGHT_LIMIT: Final = 1024
_HANDSHAKE_S: Final = 30
_MAX_EXTENTS: Final = 1024
_MAX_ROUNDS: Final = 8
_BROKEN: Final = select.EPOLLHUP | select.EPOLLERR
_FUA: Final = 1
_NO_HOLE: Final = 2
_REQ_ONE: Final = 8
_log = logging.getLogger(__name__)

_READ: Final = int(Command.READ)
_WRITE: Final = int(Command.WRITE)
_HEAD: Final = wire.REQUEST.size
_unpack: Final = wire.REQUEST.unpack_from


class NbdConnection:
    """A client from accept to close. `default_export` is what the empty name means on this socket."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        exports: Exports,
        *,
        default_export: str = "",
        tls: ssl.SSLContext | None = None,
        on_closed: Callable[["NbdConnection"], None] | None = None,
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._stream: Stream = PlainStream(sock)
        self._tls = tls
        self._on_closed = on_closed
        self._opening = Opening(exports, self._act, default_export=default_export, tls=tls is not None)
        self.volume: Volume | None = None
        self._size_bytes = 0
        self._read_only = False
        self._block_bytes = 1
        self._block_status = False
        self._buffer = bytearray(_FIRST_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._big: bytearray | None = None
        self._big_got = 0
        self._big_request = (0, 0, 0)
        self._tickets = 0
        # ticket -> (cookie, offset of a read or -1, bytes of payload it holds)
        self._in_flight: dict[int, tuple[int, int, int]] = {}
        self._writing = 0  # short ones, whose payload is the volume's
        self._held_bytes = 0
        self._stalled = False
        self._out = Outbox()
        self._out.put(talk.GREETING)
        self._flush_due = False
        self._serving = False
        self._leaving = False
        self._interest = READ
        self.closed = False
        loop.watch(self._fd, READ, self._on_ready, self.close)
        self._patience = loop.after(_HANDSHAKE_S, self._give_up)
        self._flush()

    # -- life

    def close(self) -> None:
        """Ends the connection at once and gives the volume back; safe to repeat.

        Replies of requests still running in the volume are dropped when they come.
        """
        if self.closed:
            return
        self.closed = True
        self._patience.cancel()
        self._loop.forget(self._fd)
        self._sock.close()
        self.volume = None
        self._opening.abandon()
        if self._on_closed is not None:
            self._on_closed(self)

    def _give_up(self) -> None:
        if self.volume is None:
            _log.info("NBD client did not finish its handshake in %d s; closing", _HANDSHAKE_S)
            self.close()

    def _on_ready(self, events: int) -> None:
        if events & _BROKEN:
            self.close()
            return
        if events & WRITE:
            self._flush()
        if self.closed or not events & ~WRITE:
            return
        self._serving = True
        try:
            for _ in range(_MAX_ROUNDS):
                if not self._receive() or self.closed:
                    break
        except OSError as error:
            _log.info("NBD client lost: %s", error.strerror or error)
            self.close()
        finally:
            self._serving = False
        self._flush()
        if self._stream.pending and self._interest & READ:
            self._loop.defer(lambda: self._on_ready(READ))

    def _receive(self) -> bool:
        """Takes what is there; False when nothing more is to be had now."""
        if not self._interest & READ:
            return False
        big = self._big
        room = self._view[self._end :] if big is None else memoryview(big)[self._big_got :]
        got = self._stream.receive(room)
        if got <= 0:
            if got == 0:
                self.close()
            return False
        if big is not None:
            self._big_got += got
            if self._big_got == len(big):
                self._big_done()
            return got == len(room) or not self._stream.fills
        self._end += got
        full = self._end == len(self._buffer)
        if self.volume is None:
            data = bytes(self._view[: self._end])
            self._end = 0
            self._opening.receive(data)
            return full
        self._parse()
        if full and len(self._buffer) < _INPUT_BYTES:
            # A client with much to say; there may be many with little.
            left, self._buffer = self._view[: self._end], bytearray(_INPUT_BYTES)
            self._view = memoryview(self._buffer)
            self._view[: len(left)] = left
        return full or self._big is not None

    # -- negotiation

    def _act(self, actions: list[talk.Action]) -> None:
        for action in actions:
            match action:
                case talk.Send(data):
                    self._out.put(data)
                case talk.OpenExport(name):
                    self._opening.open(name)
                case talk.StartTls():
                    self._start_tls()
                case talk.Transmit(structured, block_status):
                    self._transmit(structured=structured, block_status=block_status)
                case talk.Close(why):
                    if why:
                        _log.info("NBD handshake ended: %s", why)
                    self._flush()
                    self.close()
                    return
        if not self._serving:
            self._flush()

    def _start_tls(self) -> None:
        self._flush()
        if self.closed:
            return
        assert self._tls is not None
        if self._out.buffers:
            self.close()
            return
        self._loop.forget(self._fd)
        wrapped = self._tls.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        self._sock = wrapped
        self._stream = TlsStream(wrapped)
        self._loop.watch(self._fd, self._interest, self._on_ready, self.close)

    def _transmit(self, *, structured: bool, block_status: bool) -> None:
        volume = self._opening.volume
        assert volume is not None
        rest = self._opening.rest()
        self.volume = volume
        self._out.structured = structured
        self._block_status = block_status
        self._size_bytes = volume.size_bytes
        self._read_only = volume.read_only
        self._block_bytes = volume.block_bytes
        # The handshake's input is shorter than the buffer: the negotiation took it from there.
        self._view[: len(rest)] = rest
        self._start, self._end = 0, len(rest)
        if rest:
            self._parse()

    # -- requests

    def _parse(self) -> None:
        """Serves every whole request in the buffer."""
        start, end = self._start, self._end
        buffer, view, volume = self._buffer, self._view, self.volume
        assert volume is not None
        while end - start >= _HEAD:
            if self._busy():
                self._stalled = True
                break
            kind = buffer[start + KIND_AT]
            if kind == _WRITE and not self._read_only:
                writes, start = writes_at(view, start, end, self._size_bytes, self._block_bytes, client=self)
                if writes:
                    self._writing += len(writes)
                    volume.write_burst(writes)
                    continue
            elif kind == _READ:
                reads, start = reads_at(view, start, end, self._size_bytes, self._block_bytes)
                if reads:
                    self._read_burst(volume, reads)
                    continue
            magic, flags, command, cookie, offset, length = _unpack(buffer, start)
            if magic != wire.REQUEST_MAGIC:
                _log.info("NBD client sent a bad request magic; closing")
                self.close()
                return
            if command == _WRITE:
                if length > wire.MAX_PAYLOAD_BYTES:
                    _log.info("NBD client sent a write of %d bytes; closing", length)
                    self.close()
                    return
                if length >= OWNED_BYTES:
                    self._big_start(start, length, (flags, cookie, offset))
                    start, end = self._start, self._end
                    if self._big is not None:
                        return
                    continue
                if start + _HEAD + length > end:
                    break
                start += _HEAD
                self._write(flags, cookie, offset, view[start : start + length])
                start += length
            elif command == _READ:
                start += _HEAD
                self._read(flags, cookie, offset, length)
            else:
                start += _HEAD
                if not self._request(command, flags, cookie, offset, length):
                    return
        if start == end:
            self._start = self._end = 0
        else:
            left = end - start
            if start:
                buffer[:left] = buffer[start:end]
            self._start, self._end = 0, left

    def _big_start(self, start: int, length: int, request: tuple[int, int, int]) -> None:
        """Gives a long payload memory of its own and takes what the buffer has of it."""
        start += _HEAD
        have = min(self._end - start, length)
        self._big = self._loop.spare.take(length)
        self._big[:have] = self._view[start : start + have]
        self._big_got = have
        self._big_request = request
        self._start = start + have
        if self._start == self._end:
            self._start = self._end = 0
        if have == length:
            self._big_done()

    def _big_done(self) -> None:
        big, self._big = self._big, None
        assert big is not None
        flags, cookie, offset = self._big_request
        self._write(flags, cookie, offset, memoryview(big))

    def _busy(self) -> bool:
        """So much is on its way that no further request may start."""
        return (
            self._out.waiting_bytes + self._held_bytes > _HELD_LIMIT_BYTES
            or len(self._in_flight) + self._writing > _IN_FLIGHT_LIMIT
        )

    def _ticket(self, cookie: int, read_offset: int, payload_bytes: int) -> int:
        self._tickets += 1
        self._in_flight[self._tickets] = (cookie, read_offset, payload_bytes)
        self._held_bytes += payload_bytes
        return self._tickets

    def _refused(self, command: int, flags: int, cookie: int, offset: int, length: int) -> bool:
        error = transmission.refusal(
            command,
            flags,
            offset,
            length,
            size_bytes=self._size_bytes,
            read_only=self._read_only,
            block_status=self._block_status,
            block_bytes=self._block_bytes,
        )
        if error and self.volume is not None and self._size_bytes != self.volume.size_bytes:  # resized
            self._size_bytes = self.volume.size_bytes
            return self._refused(command, flags, cookie, offset, length)
        if error:
            self._out.error(cookie, error)
        return error != NbdError.OK

    def _write(self, flags: int, cookie: int, offset: int, data: memoryview) -> None:
        volume = self.volume
        assert volume is not None
        length = len(data)
        if (
            flags
            or self._read_only
            or offset + length > self._size_bytes
            or ((offset | length) % self._block_bytes)
        ) and self._refused(_WRITE, flags, cookie, offset, length):
            return
        if length < OWNED_BYTES:
            self._writing += 1
            volume.write(offset, data, bool(flags & _FUA), cookie, self.written)
        else:
            volume.write(offset, data, bool(flags & _FUA), self._ticket(cookie, -1, length), self._done)

    def _read(self, flags: int, cookie: int, offset: int, length: int) -> None:
        volume = self.volume
        assert volume is not None
        if (
            flags
            or offset + length > self._size_bytes
            or length > wire.MAX_PAYLOAD_BYTES
            or ((offset | length) % self._block_bytes)
        ) and self._refused(_READ, flags, cookie, offset, length):
            return
        volume.read(offset, length, self._ticket(cookie, offset, length), self._done)

    def _read_burst(self, volume: Volume, reads: list[Reading]) -> None:
        """Short reads without flags, from the disk itself where the volume allows it."""
        disk = volume.direct()
        total = 0
        for offset, length, cookie in reads:
            try:
                data = disk.read_now(offset, length) if disk is not None else None
            except OSError as error:
                self._done(self._ticket(cookie, offset, 0), error.errno or errno.EIO, b"")
                continue
            if data is None:
                volume.read(offset, length, self._ticket(cookie, offset, length), self._done)
                disk = volume.direct()
            else:
                self._out.read(cookie, offset, data)
                total += length
        volume.count_reads(total)

    def _request(self, command: int, flags: int, cookie: int, offset: int, length: int) -> bool:
        """Anything but a write; False when the connection is closing."""
        volume = self.volume
        if volume is None:
            return False
        if command == Command.DISC:
            self._leave()
            return False
        if self._refused(command, flags, cookie, offset, length):
            return True
        if command == Command.BLOCK_STATUS:
            limit = 1 if flags & _REQ_ONE else _MAX_EXTENTS
            runs = volume.extents(offset, length, limit)
            self._out.put(transmission.block_status_reply(cookie, runs))
            return True
        ticket = self._ticket(cookie, -1, 0)
        match command:
            case Command.FLUSH:
                volume.flush(ticket, self._done)
            case Command.TRIM:
                volume.trim(offset, length, bool(flags & _FUA), ticket, self._done)
            case Command.WRITE_ZEROES:
                volume.zero(
                    offset,
                    length,
                    ticket,
                    self._done,
                    may_unmap=not flags & _NO_HOLE,
                    fua=bool(flags & _FUA),
                )
            case _:
                self._done(ticket, 0, b"")
        return True

    def _leave(self) -> None:
        """The client said goodbye: finish what runs, then close."""
        self._leaving = True
        self._start = self._end = 0
        self._flush()

    # -- replies

    def _done(self, ticket: int, error: int, data: Buffer) -> None:
        """A volume's answer; perhaps inside the call that asked."""
        cookie, offset, held = self._in_flight.pop(ticket)
        self._held_bytes -= held
        if self.closed:
            return
        if error:
            self._out.failed(cookie, error)
        elif offset < 0:
            self._out.done(cookie)
        else:
            self._out.read(cookie, offset, data)
        self._answered()

    def wrote(self, cookies: list[bytes]) -> None:
        """These short writes have succeeded; perhaps inside the call that asked."""
        self._writing -= len(cookies)
        if cookies and not self.closed:
            self._out.all_done(cookies)
            self._answered()

    def written(self, cookie: int, code: int, _data: Buffer) -> None:
        """A volume's answer to a short write; perhaps inside the call that asked."""
        self._writing -= 1
        if self.closed:
            return
        if code:
            self._out.failed(cookie, code)
        else:
            self._out.done(cookie)
        self._answered()

    def _answered(self) -> None:
        if not self._serving and not self._flush_due:
            self._flush_due = True
            self._loop.defer(self._flush)

    def _flush(self) -> None:
        """Sends what is due, as much as the socket takes."""
        self._flush_due = False
        if self.closed:
            return
        try:
            self._out.send(self._stream)
        except OSError as error:
            _log.info("NBD client lost: %s", error.strerror or error)
            self.close()
            return
        if self._leaving and not (self._out.buffers or self._in_flight or self._writing):
            self.close()
            return
        self._set_interest()

    def _set_interest(self) -> None:
        want = WRITE if self._out.buffers else 0
        if not self._leaving and not self._busy():
            want |= READ
        if want != self._interest:
            if want & READ and not self._interest & READ:
                self._stalled = True
            self._interest = want
            self._loop.change(self._fd, want)
        if self._stalled and want & READ:
            self._stalled = False
            self._loop.defer(self._resume)

    def _resume(self) -> None:
        """Serves what was left in the buffers when the client had too much in flight."""
        if self.closed or self._leaving:
            return
        if self.volume is not None and self._big is None:
            self._serving = True
            self._parse()
            self._serving = False
        self._flush()
        if self._stream.pending:
            self._on_ready(READ)
