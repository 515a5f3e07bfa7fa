"""Copies of large files: by shared blocks where the file system can, otherwise data only, holes stay holes.

Blocking calls, for a thread. Knows nothing of volumes or snapshots.
"""

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Final

__all__ = ["FICLONE", "copy_sparse", "sync_folder", "zero_range"]

FICLONE: Final = 0x40049409
_BLKZEROOUT: Final = 0x127F
_PIECE: Final = 64 << 20
_BUFFER: Final = 1 << 20
_UNSUPPORTED: Final = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM}
)


def copy_sparse(source: str, path: str, size_bytes: int) -> None:
    """Make `path` a durable copy of the first `size_bytes` of `source`, exactly so large. Raises OSError."""
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        writing = os.open(path, flags, 0o600)
        try:
            if not _share(reading, writing):
                _copy_data(reading, writing, min(size_bytes, os.fstat(reading).st_size))
            os.ftruncate(writing, size_bytes)
            os.fsync(writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    sync_folder(path)


def zero_range(path: str, offset_bytes: int, length_bytes: int) -> None:
    """Write zeroes over a piece of a file or block device, durably; a device does it itself if it can.

    Raises OSError.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if stat.S_ISBLK(os.fstat(fd).st_mode):
            fcntl.ioctl(fd, _BLKZEROOUT, struct.pack("=QQ", offset_bytes, length_bytes))
        else:
            for start in range(offset_bytes, offset_bytes + length_bytes, _BUFFER):
                piece = bytes(min(_BUFFER, offset_bytes + length_bytes - start))
                os.pwrite(fd, piece, start)
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Make the entry of `path` in its folder durable. Raises OSError."""
    fd = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _share(reading: int, writing: int) -> bool:
    try:
        fcntl.ioctl(writing, FICLONE, reading)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def _copy_data(reading: int, writing: int, end: int) -> None:
    start = _next_data(reading, 0)
    while start is not None and start < end:
        hole = min(end, os.lseek(reading, start, os.SEEK_HOLE))
        _copy_range(reading, writing, start, hole)
        start = _next_data(reading, hole)


def _next_data(fd: int, offset: int) -> int | None:
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # only holes from here on
            return None
        raise


def _copy_range(reading: int, writing: int, start: int, end: int) -> None:
    at = start
    while at < end:
        try:
            copied = os.copy_file_range(reading, writing, min(_PIECE, end - at), at, at)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            copied = 0
        at += copied or _copy_piece(reading, writing, at, min(_BUFFER, end - at))


def _copy_piece(reading: int, writing: int, at: int, length: int) -> int:
    data = os.pread(reading, length, at)
    if not data:
        raise OSError(errno.EIO, "the source became shorter while it was copied")
    view = memoryview(data)
    done = 0
    while done < len(data):
        done += os.pwrite(writing, view[done:], at + done)
    return done
