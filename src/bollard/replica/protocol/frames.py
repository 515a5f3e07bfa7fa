"""Headers, and an incremental reader that turns received bytes into packets. Pure: it is fed, it never reads.

Memory is bounded: a frame's length is judged from its header, before any of its payload is kept.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

import msgspec

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.codec import HEADER, Accepted, accepted, check_length, spec_of
from bollard.replica.protocol.commands import CONNECTION_VOLUME, Channel, Cmd
from bollard.replica.protocol.dialect import SETUP, Dialect
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.spare import Spare

MAGIC_80: Final = 0x83740267
MAGIC_95: Final = 0x835A
MAGIC_100: Final = 0x8620EC20
H80: Final = Struct(">IHH")
H95: Final = Struct(">HHI")
H100: Final = Struct(HEADER)
_DATA_PACKETS: Final = (p.Data, p.DataReply, p.RsDataReply)
_DATA_FRAME: Final = Struct(HEADER + "QQII")
_OPENING: Final = frozenset({int(Cmd.INITIAL_DATA), int(Cmd.INITIAL_META), int(Cmd.CONNECTION_FEATURES)})
_MAGIC_100_BYTES: Final = MAGIC_100.to_bytes(4, "big")
_MAGIC_80_BYTES: Final = MAGIC_80.to_bytes(4, "big")
_MAGIC_95_BYTES: Final = MAGIC_95.to_bytes(2, "big")
_MAGICS: Final = (_MAGIC_100_BYTES, _MAGIC_80_BYTES, _MAGIC_95_BYTES)

COPY_BELOW_BYTES: Final = 1 << 16
"""Frames smaller than this are gathered in the receive buffer; larger ones are received in place."""
RECEIVE_BYTES: Final = 1 << 18
_FIRST_BYTES: Final = 1 << 14
"""The receive buffer starts with this and grows to RECEIVE_BYTES when so much comes: idle links are many."""

Frame = tuple[int, p.Packet]


def encode_header(cmd: int, length: int, volume: int, dialect: Dialect) -> bytes:
    """8 bytes for the opening packets and old versions, else 16. `volume` -1 = the connection."""
    if cmd in _OPENING or not dialect.big_header:
        return H80.pack(MAGIC_80, cmd, length)
    return H100.pack(MAGIC_100, volume, cmd, length, 0)


def encode_frame(packet: p.Packet, dialect: Dialect, volume: int = CONNECTION_VOLUME) -> list[p.Payload]:
    """Buffers to be written in order: the first holds the header; large payloads are passed through."""
    spec = spec_of(packet)
    assert spec.since <= dialect.version <= spec.until, f"{spec.cmd.name} in version {dialect.version}"
    if spec.pack is not None and dialect.version >= 100 and spec.cmd not in _OPENING:
        return [spec.pack(MAGIC_100, volume, spec.cmd, spec.max_bytes, 0, *msgspec.structs.astuple(packet))]
    if isinstance(packet, _DATA_PACKETS) and dialect.version >= 100:
        assert len(packet.digest) == dialect.digest_bytes, "digest size is agreed in P_PROTOCOL"
        size = 24 + dialect.digest_bytes + len(packet.data)
        fields = packet.sector, packet.block_id, packet.seq, packet.flags
        return [_DATA_FRAME.pack(MAGIC_100, volume, spec.cmd, size, 0, *fields) + packet.digest, packet.data]
    pieces = spec.encode(packet, dialect)
    length = sum(map(len, pieces))
    head = encode_header(spec.cmd, length, volume, dialect)
    return [head + bytes(pieces[0]), *pieces[1:]] if len(pieces[0]) < 256 else [head, *pieces]


def encode_data_header(
    volume: int, payload_bytes: int, *, sector: int, block_id: int, seq: int, flags: int, cmd: int = Cmd.DATA
) -> bytes:
    """The first 40 bytes of a data frame (16-byte header); digest and data, `payload_bytes`, follow."""
    return _DATA_FRAME.pack(MAGIC_100, volume, cmd, 24 + payload_bytes, 0, sector, block_id, seq, flags)


def encode_ack(cmd: int, volume: int, *, sector: int, block_id: int, size_bytes: int, seq: int = 0) -> bytes:
    """A whole acknowledgement frame (16-byte header)."""
    return _DATA_FRAME.pack(MAGIC_100, volume, cmd, 24, 0, sector, block_id, size_bytes, seq)


class FrameReader:
    """Bytes in, (volume, packet) out. Set `dialect` as soon as it is agreed: packets are decoded lazily.

    Either iterate `feed(data)` to its end, or receive in place: `get_buffer()`, `received(count)`, then
    iterate the reader; iteration ends when a whole frame is missing. Payloads never share the receive
    buffer, so packets may be kept. After a ProtocolError the reader must be thrown away.
    """

    __slots__ = ("_buffer", "_channel", "_dialect", "_end", "_large", "_specs", "_start", "spare")

    def __init__(self, *, channel: Channel | None = None, dialect: Dialect = SETUP) -> None:
        """`channel` given: packets that belong on the other connection are refused."""
        self._channel = channel
        self._buffer = memoryview(bytearray(_FIRST_BYTES))
        self._start = self._end = 0
        self._large: _Large | None = None
        self.spare: Spare | None = None
        """Where memory for large frames comes from, if it is shared with others."""
        self.dialect = dialect

    @property
    def dialect(self) -> Dialect:
        """How the next frame is understood."""
        return self._dialect

    @dialect.setter
    def dialect(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._specs = accepted(dialect, self._channel)

    @property
    def buffered_bytes(self) -> int:
        """Bytes received and not yet handed out: below RECEIVE_BYTES plus one frame."""
        return self._end - self._start + (self._large.filled if self._large else 0)

    def get_buffer(self) -> memoryview:
        """Where to receive next; never empty after the reader was iterated to its end."""
        if self._large is not None:
            return self._large.view[self._large.filled :]
        start, end, size = self._start, self._end, len(self._buffer)
        if end == size < RECEIVE_BYTES:
            # Parts of the old one may still be in use.
            old, self._buffer = self._buffer, memoryview(bytearray(min(4 * size, RECEIVE_BYTES)))
            self._buffer[: end - start] = old[start:end]
            self._start, self._end = 0, end - start
        elif start == end:
            self._start = self._end = 0
        elif start and size - end < min(COPY_BELOW_BYTES, size // 4):
            self._buffer[: end - start] = bytes(self._buffer[start:end])
            self._start, self._end = 0, end - start
        room = self._buffer[self._end :]
        assert len(room), "iterate the reader before receiving more"
        return room

    def received(self, count: int) -> None:
        """`count` bytes were put at the front of the last `get_buffer()`."""
        if self._large is not None:
            self._large.filled += count
            assert self._large.filled <= len(self._large.view), count
        else:
            self._end += count
            assert self._end <= len(self._buffer), count

    def span(self) -> tuple[memoryview, int, int]:
        """The receive buffer, and from where to where it holds bytes not yet handed out, a header first.

        Nothing while a large frame is received in place. What is taken from there by hand: `skip_to` its end.
        """
        if self._large is not None:
            return self._buffer, 0, 0
        return self._buffer, self._start, self._end

    def skip_to(self, at: int) -> None:
        """Everything before `at` of the last `span` was taken."""
        if self._large is None:
            assert self._start <= at <= self._end, at
            self._start = at

    def feed(self, data: p.Payload) -> Iterator[Frame]:
        """The packets that are complete with `data`. Iterate to the end, or bytes are lost."""
        rest = memoryview(data)
        while rest:
            room = self.get_buffer()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            self.received(count)
            rest = rest[count:]
            yield from self

    def __iter__(self) -> Iterator[Frame]:
        """Whole frames only. Raises ProtocolError at the first bad header, length or value."""
        buffer, unpack_from = self._buffer, H100.unpack_from
        while True:
            start = self._start
            if self._large is None and self._end - start >= 16:
                magic, volume, cmd, length, pad = unpack_from(buffer, start)
                spec = self._specs.get(cmd)
                begin = start + 16
                if (
                    magic == MAGIC_100
                    and spec is not None
                    and spec[0] <= length <= spec[1]
                    and begin + length <= self._end
                    and volume >= CONNECTION_VOLUME
                    and not pad
                ):
                    self._start = begin + length
                    yield volume, spec[3](buffer, begin, length, self._dialect)
                    continue
            frame = self._next()
            if frame is None:
                return
            yield frame

    def _next(self) -> Frame | None:
        if self._large is not None:
            return self._finish_large(self._large)
        start, have = self._start, self._end - self._start
        if have < 16:
            return self._next_short(have)
        magic, volume, cmd, length, pad = H100.unpack_from(self._buffer, start)
        if magic != MAGIC_100:
            return self._next_short(have)
        spec = self._specs.get(cmd)
        if spec is None or pad or volume < CONNECTION_VOLUME or not spec[0] <= length <= spec[1]:
            raise self._refusal(cmd, length, volume, pad)
        return self._take(16, volume, length, spec)

    def _next_short(self, have: int) -> Frame | None:
        """A header of 8 bytes, or too few bytes to tell."""
        start = self._start
        opening = bytes(self._buffer[start : start + min(have, 4)])
        if opening[:2] == _MAGIC_95_BYTES:
            if have < H95.size:
                return None
            _, cmd, length = H95.unpack_from(self._buffer, start)
        elif opening == _MAGIC_80_BYTES:
            if have < H80.size:
                return None
            _, cmd, length = H80.unpack_from(self._buffer, start)
        elif any(magic.startswith(opening) for magic in _MAGICS):
            return None
        else:
            raise ProtocolError("magic of a header", expected="one of DRBD's three", got=opening.hex())
        spec = self._specs.get(cmd)
        if spec is None or not spec[0] <= length <= spec[1]:
            raise self._refusal(cmd, length, 0, 0)
        return self._take(8, CONNECTION_VOLUME if cmd in _OPENING else 0, length, spec)

    def _take(self, head: int, volume: int, length: int, spec: Accepted) -> Frame | None:
        begin = self._start + head
        end = begin + length
        if end <= self._end:
            self._start = end
            return volume, spec[3](self._buffer, begin, length, self._dialect)
        if length >= COPY_BELOW_BYTES:
            self._large = large = _Large(
                volume, self.spare.take(length) if self.spare else bytearray(length), spec
            )
            large.filled = self._end - begin
            large.view[: large.filled] = self._buffer[begin : self._end]
            self._start = self._end = 0
        return None

    def _finish_large(self, large: "_Large") -> Frame | None:
        if large.filled < len(large.view):
            return None
        self._large = None
        return large.volume, large.spec[2](large.view, self._dialect)

    def _refusal(self, cmd: int, length: int, volume: int, pad: int) -> ProtocolError:
        if pad:
            return ProtocolError("padding of a header", expected=0, got=pad)
        if volume < CONNECTION_VOLUME:
            return ProtocolError("volume of a header", expected="-1..32767", got=volume)
        spec = check_length(cmd, length, self._dialect)
        return ProtocolError(f"connection of {spec.cmd.name}", expected=spec.channel, got=self._channel)


class _Large:
    """A frame that is received in place."""

    __slots__ = ("filled", "spec", "view", "volume")

    def __init__(self, volume: int, memory: bytearray, spec: Accepted) -> None:
        self.volume = volume
        self.view = memoryview(memory)
        self.filled = 0
        self.spec = spec
