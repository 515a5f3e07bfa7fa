"""What is fuzzed, by name: each takes any bytes and may end in its decoder's own error only.

A target also checks what holds for all input that was understood, mostly that writing it and reading it again
gives the same.
"""

from collections.abc import Callable
from functools import partial

import msgspec

from bollard.controller.store.documents import as_row, sort_out
from bollard.domain.cluster import KINDS
from bollard.replica.fuse import wire as fuse
from bollard.replica.metadata import al_block, image, layout, superblock, superblock08
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.nbd import transmission
from bollard.replica.nbd.burst import reads_at, writes_at
from bollard.replica.nbd.negotiation import Close, ExportInfo, Negotiation, OpenExport, StartTls, Transmit
from bollard.replica.protocol import codec
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.bitmap_wire import BitmapReceiver
from bollard.replica.protocol.commands import Cmd
from bollard.replica.protocol.dialect import DRBD84, SETUP, Dialect, Feature
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.frames import RECEIVE_BYTES, FrameReader
from bollard.wire import engine, link, nbd

DIALECTS = (SETUP, Dialect(DRBD84), Dialect(118), Dialect(121), Dialect(124, Feature(0x3F)), Dialect(124))
COMMANDS = sorted(Cmd)
DEVICE_BYTES = 1 << 20
VOLUME_BYTES = 1 << 30
_KINDS = sorted(KINDS)
Target = Callable[[bytes], None]


def drbd_packet(data: bytes) -> None:
    """One payload: first byte the dialect, second the command."""
    if len(data) < 2:
        return
    dialect, cmd = DIALECTS[data[0] % len(DIALECTS)], COMMANDS[data[1] % len(COMMANDS)]
    try:
        packet = codec.decode(cmd, memoryview(data)[2:], dialect)
    except ProtocolError:
        return
    number, pieces = codec.encode(packet, dialect)
    assert codec.decode(number, memoryview(b"".join(pieces)), dialect) == packet


def drbd_stream(data: bytes) -> None:
    """A stream, cut into pieces whose length the second byte says."""
    if len(data) < 2:
        return
    reader = FrameReader(dialect=DIALECTS[data[0] % len(DIALECTS)])
    size = data[1] + 1
    try:
        for at in range(2, len(data), size):
            list(reader.feed(data[at : at + size]))
            assert reader.buffered_bytes <= RECEIVE_BYTES + (1 << 20)
    except ProtocolError:
        return


def drbd_bitmap(data: bytes) -> None:
    """The bitmap of a small volume, in packets: a length, a kind, and what follows."""
    bits, at = 5000, 0
    receiver = BitmapReceiver(bits)
    try:
        while at + 2 <= len(data) and not receiver.done:
            length, kind = data[at], data[at + 1]
            body = data[at + 2 : at + 2 + length]
            at += 2 + length
            taken = receiver.take(p.CompressedBitmap(kind, body) if kind else p.Bitmap(body))
            for first, count in getattr(taken, "ranges", ()):
                assert 0 <= first < first + count <= bits
    except ProtocolError:
        return


def superblock_v09(data: bytes) -> None:
    try:
        read = superblock.decode(_page(data))
    except MetadataError:
        return
    assert superblock.decode(superblock.encode(read)) == read


def superblock_v08(data: bytes) -> None:
    try:
        read = superblock08.decode08(_page(data))
    except MetadataError:
        return
    assert superblock08.decode08(superblock08.encode08(read)) == read


def metadata(data: bytes) -> None:
    """A device whose end, where its metadata is, has been replaced."""
    end = data[-min(len(data), 64 << 10) :]

    def read(offset_bytes: int, length_bytes: int) -> bytes:
        device = memoryview(bytes(DEVICE_BYTES - len(end)) + end)
        return bytes(device[offset_bytes : offset_bytes + length_bytes])

    try:
        found = image.read_metadata(read, device_bytes=DEVICE_BYTES, place=layout.Place.INTERNAL)
    except MetadataError:
        return
    image.fold_log(found.superblock, found.bitmap, found.log)


def activity_log(data: bytes) -> None:
    """Up to eight blocks of a log."""
    blocks = [_page(data[at : at + 4096]) for at in range(0, min(len(data), 8 * 4096), 4096)]
    try:
        for block in blocks:
            found = al_block.decode_block(block)
            if found is not None:
                assert al_block.decode_block(al_block.encode_block(found)) == found
        if blocks:
            al_block.replay(blocks)
    except MetadataError:
        return


def nbd_handshake(data: bytes) -> None:
    """A client's side of the negotiation; an export is granted, or refused when its name is odd."""
    info = ExportInfo(VOLUME_BYTES, 1, "a volume")
    known = {"": info, "vol": info}
    handshake = Negotiation(known.get, lambda: ["vol"], tls_offered=bool(data) and data[0] & 1 == 1)
    size = data[1] + 1 if len(data) > 1 else 1
    for at in range(2, len(data), size):
        for action in _answered(handshake, handshake.receive(data[at : at + size])):
            if isinstance(action, Close | StartTls | Transmit):
                return


def _answered(handshake: Negotiation, actions: list[object]) -> list[object]:
    if any(isinstance(action, OpenExport) for action in actions):
        actions = [*actions, *handshake.opened()]
    return actions


def nbd_requests(data: bytes) -> None:
    """A client's requests, taken in runs and one by one."""
    view, at = memoryview(data), 0
    for found, end in (
        writes_at(view, 0, len(data), VOLUME_BYTES, 512, client=None),  # type: ignore[arg-type]
        reads_at(view, 0, len(data), VOLUME_BYTES, 512),
    ):
        assert 0 <= end <= len(data)
        assert all(0 <= each[0] < VOLUME_BYTES for each in found if each[1])
    while at + nbd.REQUEST.size <= len(data):
        _magic, flags, command, _cookie, offset, length = nbd.REQUEST.unpack_from(data, at)
        at += nbd.REQUEST.size
        verdict = transmission.refusal(
            command, flags, offset, length, size_bytes=VOLUME_BYTES, read_only=False, block_status=True
        )
        assert verdict != nbd.NbdError.OK or offset + length <= VOLUME_BYTES


def control_request(data: bytes) -> None:
    _json_line(engine.decode_request, data)


def control_reply(data: bytes) -> None:
    _json_line(engine.decode_reply, data)


def _json_line(decode: Callable[[bytes], object], data: bytes) -> None:
    try:
        record = decode(data)
    except msgspec.DecodeError:
        return
    assert decode(engine.encode_line(record).rstrip(b"\n")) == record  # type: ignore[arg-type]


def resource_spec(data: bytes) -> None:
    try:
        spec = engine.decode_spec(data)
    except msgspec.DecodeError:
        return
    assert engine.decode_spec(engine.encode_spec(spec)) == spec


def link_frames(data: bytes) -> None:
    """The controller's and satellites' messages, from a stream that is cut into pieces."""
    reader, size = link.FrameReader(), data[0] + 1 if data else 1
    try:
        for at in range(1, len(data), size):
            reader.feed(data[at : at + size])
            assert reader.pending_bytes <= link.GREETING_BYTES_MAX + 4 + size
            while (payload := reader.next()) is not None:
                message = link.decode(payload)
                if message is not None:
                    assert link.decode(link.encode(message)[4:]) == message
    except link.LinkError:
        return


def store_document(data: bytes) -> None:
    """A row of the store; the first byte says of which kind."""
    if not data:
        return
    kind = _KINDS[data[0] % len(_KINDS)]
    good, bad = sort_out([(kind, "x", data[1:])])
    assert len(good) + len(bad) == 1
    for record in good:
        again, none = sort_out([as_row(record)])
        assert (again, none) == ([record], [])


def fuse_request(data: bytes) -> None:
    """A kernel's request: whatever is too short raises struct.error, nothing else."""
    bodies = (fuse.init_in, fuse.handle_in, fuse.read_in, fuse.write_in, fuse.fallocate_in)
    for decode in (fuse.header_of, *bodies):
        try:
            decode(memoryview(data))
        except fuse.struct.error:
            continue


def _page(data: bytes) -> bytes:
    return data[:4096].ljust(4096, b"\0")


TARGETS: dict[str, Target] = {
    each.__name__.replace("_", "-"): each
    for each in (
        *(drbd_packet, drbd_stream, drbd_bitmap),
        *(superblock_v09, superblock_v08, metadata, activity_log),
        *(nbd_handshake, nbd_requests, fuse_request),
        *(control_request, control_reply, resource_spec, link_frames, store_document),
    )
}


def crash_of(name: str, data: bytes) -> BaseException | None:
    """What the target does not allow, if these bytes bring it about."""
    call = partial(TARGETS[name], data)
    try:
        call()
    except Exception as error:  # noqa: BLE001  # outermost frame of one input
        return error
    return None
