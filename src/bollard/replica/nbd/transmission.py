"""NBD's transmission phase as pure functions: check a request against its export, build replies.

It must not touch sockets or volumes; the connection calls it for everything but the hot path's packing.
"""

import struct
from typing import Final

from bollard.wire import nbd as wire
from bollard.wire.nbd import ChunkType, Command, CommandFlag, NbdError, TransmissionFlag

__all__ = [
    "block_status_reply",
    "error_reply",
    "export_flags",
    "nbd_error",
    "read_reply_head",
    "refusal",
    "simple_reply",
]

_DONE: Final = 1
_OFFSET: Final = struct.Struct(">Q")
_ERROR: Final = struct.Struct(">IH")
_ALLOCATION_ID: Final = 1
_MAX_LENGTH: Final = 0xFFFF_FFFF
_KNOWN: Final = frozenset(NbdError)

_FLAGS_ALLOWED: Final = {
    Command.READ: CommandFlag.DF | CommandFlag.FUA,
    Command.WRITE: CommandFlag.FUA,
    Command.FLUSH: CommandFlag(0),
    Command.TRIM: CommandFlag.FUA,
    Command.CACHE: CommandFlag(0),
    Command.WRITE_ZEROES: CommandFlag.FUA | CommandFlag.NO_HOLE,
    Command.BLOCK_STATUS: CommandFlag.REQ_ONE,
}
_WRITES: Final = frozenset({Command.WRITE, Command.TRIM, Command.WRITE_ZEROES})


def export_flags(*, read_only: bool, structured: bool = True) -> int:
    """The transmission flags of an export; multi-conn is safe because one process serves every connection."""
    flags = TransmissionFlag.HAS_FLAGS | TransmissionFlag.SEND_FLUSH | TransmissionFlag.CAN_MULTI_CONN
    flags |= TransmissionFlag.SEND_CACHE
    if structured:
        flags |= TransmissionFlag.SEND_DF
    if read_only:
        flags |= TransmissionFlag.READ_ONLY
    else:
        flags |= TransmissionFlag.SEND_FUA | TransmissionFlag.SEND_TRIM | TransmissionFlag.SEND_WRITE_ZEROES
    return int(flags)


def refusal(
    command: int,
    flags: int,
    offset: int,
    length: int,
    *,
    size_bytes: int,
    read_only: bool,
    block_status: bool,
    block_bytes: int = 1,
) -> NbdError:
    """OK, or the error a request must be answered with before anything is done for it."""
    allowed = _FLAGS_ALLOWED.get(command)  # type: ignore[call-overload]
    if allowed is None:
        return NbdError.EINVAL
    if flags & ~int(allowed):
        return NbdError.EINVAL
    if command == Command.FLUSH:
        return NbdError.OK if not offset and not length else NbdError.EINVAL
    if read_only and command in _WRITES:
        return NbdError.EPERM
    if offset + length > size_bytes:
        return NbdError.ENOSPC if command in {Command.WRITE, Command.WRITE_ZEROES} else NbdError.EINVAL
    if (offset | length) % block_bytes:
        return NbdError.EINVAL
    if command == Command.READ and length > wire.MAX_PAYLOAD_BYTES:
        return NbdError.EOVERFLOW
    if command == Command.BLOCK_STATUS and (not block_status or not length):
        return NbdError.EINVAL
    return NbdError.OK


def nbd_error(code: int) -> int:
    """An errno as one of the protocol's numbers."""
    return code if code in _KNOWN else NbdError.EIO


def simple_reply(cookie: int, error: int = 0) -> bytes:
    return wire.SIMPLE_REPLY.pack(wire.SIMPLE_REPLY_MAGIC, error, cookie)


def error_reply(cookie: int, error: int, *, structured: bool) -> bytes:
    """`error` is one of the protocol's numbers, not 0."""
    if not structured:
        return simple_reply(cookie, error)
    head = wire.STRUCTURED_HEAD.pack(wire.STRUCTURED_MAGIC, _DONE, ChunkType.ERROR, cookie, _ERROR.size)
    return head + _ERROR.pack(error, 0)


def read_reply_head(cookie: int, offset: int, length: int) -> bytes:
    """What stands before a structured read's data."""
    head = wire.STRUCTURED_HEAD.pack(
        wire.STRUCTURED_MAGIC, _DONE, ChunkType.OFFSET_DATA, cookie, _OFFSET.size + length
    )
    return head + _OFFSET.pack(offset)


def block_status_reply(cookie: int, runs: list[tuple[int, bool]]) -> bytes:
    """`runs` are (bytes, is_hole), at least one, none longer than a u32 holds."""
    assert runs, "a block status reply covers something"
    body = struct.pack(">I", _ALLOCATION_ID) + b"".join(
        struct.pack(
            ">II",
            min(length, _MAX_LENGTH & ~4095),
            wire.BLOCK_STATUS_HOLE_ZERO if hole else wire.BLOCK_STATUS_DATA,
        )
        for length, hole in runs
    )
    head = wire.STRUCTURED_HEAD.pack(wire.STRUCTURED_MAGIC, _DONE, ChunkType.BLOCK_STATUS, cookie, len(body))
    return head + body
