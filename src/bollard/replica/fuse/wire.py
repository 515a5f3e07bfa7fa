"""The kernel's FUSE protocol (linux/fuse.h, from 7.31 on): requests taken apart, replies put together. Pure.

Only what a file system of volumes needs; everything else is answered with ENOSYS by the server.
"""

import stat
import struct
from enum import IntEnum
from typing import Final, NamedTuple

__all__ = [
    "HEADER_BYTES",
    "MAJOR",
    "MINOR",
    "Attributes",
    "Header",
    "Opcode",
    "attr_out",
    "dirent",
    "entry_out",
    "fallocate_in",
    "handle_in",
    "header_of",
    "init_in",
    "init_out",
    "open_out",
    "read_in",
    "reply",
    "statfs_out",
    "write_in",
    "write_out",
]

MAJOR: Final = 7
MINOR: Final = 31

_HEADER: Final = struct.Struct("<IIQQIIII")
_OUT: Final = struct.Struct("<IiQ")
_ATTR: Final = struct.Struct("<6Q10I")
_ENTRY: Final = struct.Struct("<4Q2I")
_ATTR_OUT: Final = struct.Struct("<QII")
_OPEN_OUT: Final = struct.Struct("<QII")
_READ: Final = struct.Struct("<QQII")
_FALLOCATE: Final = struct.Struct("<QQQI")
_WRITE_OUT: Final = struct.Struct("<II")
_INIT_IN: Final = struct.Struct("<4I")
_INIT_OUT: Final = struct.Struct("<IIIIHHIIHH32x")
_STATFS: Final = struct.Struct("<5Q4I24x")
_DIRENT: Final = struct.Struct("<QQII")
_WRITE_HEAD: Final = 40
_BLOCK: Final = 512
_PREFERRED_BLOCK: Final = 4096
HEADER_BYTES: Final = _HEADER.size

_ASYNC_READ: Final = 1 << 0
_BIG_WRITES: Final = 1 << 5
_ASYNC_DIO: Final = 1 << 15
_PARALLEL_DIROPS: Final = 1 << 18
_MAX_PAGES: Final = 1 << 22
_WANTED: Final = _ASYNC_READ | _BIG_WRITES | _ASYNC_DIO | _PARALLEL_DIROPS | _MAX_PAGES
_BACKGROUND: Final = 256
_CONGESTION: Final = 192
_PAGE: Final = 4096


class Opcode(IntEnum):
    """What the kernel asks for; those that are missing here are answered with ENOSYS."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    DESTROY = 38
    BATCH_FORGET = 42
    FALLOCATE = 43


class Header(NamedTuple):
    """Of a request."""

    length: int
    opcode: int
    unique: int
    node: int


class Attributes(NamedTuple):
    """Of a folder (`size_bytes` None) or of a volume's file."""

    node: int
    size_bytes: int | None
    read_only: bool = False


def header_of(message: memoryview) -> Header:
    """The first 40 bytes of a request."""
    length, opcode, unique, node, _, _, _, _ = _HEADER.unpack_from(message)
    return Header(length, opcode, unique, node)


def reply(unique: int, error: int = 0, *parts: bytes) -> list[bytes]:
    """A whole answer in pieces; `error` is an errno, 0 for success."""
    length = _OUT.size + sum(map(len, parts))
    return [_OUT.pack(length, -error, unique), *parts]


def init_in(body: memoryview) -> tuple[int, int, int, int]:
    """Major, minor, read-ahead in bytes, flags."""
    major, minor, readahead, flags = _INIT_IN.unpack_from(body)
    return major, minor, readahead, flags


def init_out(readahead: int, flags: int, max_write: int) -> bytes:
    """What we do of what the kernel can; `max_write` in bytes, whole pages."""
    return _INIT_OUT.pack(
        MAJOR,
        MINOR,
        readahead,
        flags & _WANTED,
        _BACKGROUND,
        _CONGESTION,
        max_write,
        1,
        max_write // _PAGE,
        0,
    )


def _attr(one: Attributes) -> bytes:
    folder = one.size_bytes is None
    size = one.size_bytes or 0
    mode = stat.S_IFDIR | 0o700 if folder else stat.S_IFREG | (0o400 if one.read_only else 0o600)
    blocks = -(-size // _BLOCK)
    return _ATTR.pack(
        *(one.node, size, blocks, 0, 0, 0),
        *(0, 0, 0, mode, 2 if folder else 1, 0, 0, 0, _PREFERRED_BLOCK, 0),
    )


def entry_out(one: Attributes) -> bytes:
    """Of LOOKUP: nothing is cached, volumes come, go and grow."""
    return _ENTRY.pack(one.node, 0, 0, 0, 0, 0) + _attr(one)


def attr_out(one: Attributes) -> bytes:
    """Of GETATTR and SETATTR."""
    return _ATTR_OUT.pack(0, 0, 0) + _attr(one)


def open_out(handle: int) -> bytes:
    """Of OPEN and OPENDIR; the page cache starts empty with each open."""
    return _OPEN_OUT.pack(handle, 0, 0)


def handle_in(body: memoryview) -> int:
    """What RELEASE and FSYNC are about."""
    return int.from_bytes(body[:8], "little")


def read_in(body: memoryview) -> tuple[int, int, int]:
    """Handle, offset, length; also of READDIR."""
    handle, offset, length, _ = _READ.unpack_from(body)
    return handle, offset, length


def write_in(body: memoryview) -> tuple[int, int, memoryview]:
    """Handle, offset, data."""
    handle, offset, length, _ = _READ.unpack_from(body)
    return handle, offset, body[_WRITE_HEAD : _WRITE_HEAD + length]


def write_out(length: int) -> bytes:
    """How much was written."""
    return _WRITE_OUT.pack(length, 0)


def fallocate_in(body: memoryview) -> tuple[int, int, int, int]:
    """Handle, offset, length, mode (FALLOC_FL_*)."""
    handle, offset, length, mode = _FALLOCATE.unpack_from(body)
    return handle, offset, length, mode


def statfs_out() -> bytes:
    """A file system that is full: nothing new can be put into it."""
    return _STATFS.pack(0, 0, 0, 0, 0, _PREFERRED_BLOCK, 255, _PREFERRED_BLOCK, 0)


def dirent(one: Attributes, name: bytes, next_offset: int) -> bytes:
    """One entry of READDIR; the next call goes on at `next_offset`."""
    kind = (stat.S_IFDIR if one.size_bytes is None else stat.S_IFREG) >> 12
    head = _DIRENT.pack(one.node, next_offset, len(name), kind)
    return head + name + bytes(-len(name) % 8)
