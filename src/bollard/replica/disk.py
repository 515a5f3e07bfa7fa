"""One backing file or block device: reads, writes, discards, and flushes that do not stall the loop.

It owns the descriptor and an exclusive lock on it. It knows nothing of metadata layouts or of replication.
"""

import ctypes
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable
from typing import Final

from bollard.replica.loop import Loop

__all__ = ["Backing", "BackingError", "Buffer"]

Buffer = bytes | bytearray | memoryview
FlushDone = Callable[[int], None]
ReadDone = Callable[[int, Buffer], None]

_KEEP_SIZE: Final = 1
_PUNCH_HOLE: Final = 2
_ZERO_RANGE: Final = 0x10
_BLKGETSIZE64: Final = 0x80081272
_BLKROGET: Final = 0x125E
_INLINE_ZERO_BYTES: Final = 1 << 20
_LONG_BYTES: Final = 64 << 10
_ZERO_PIECE: Final = bytes(1 << 20)
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV})

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.fallocate.restype = ctypes.c_int


class BackingError(OSError):
    """A backing that cannot be used; the text names the path, the cause and the next step."""


def _fallocate(fd: int, mode: int, offset: int, length: int) -> bool:
    """True when done, False where the file system cannot; raises OSError for real failures."""
    while _libc.fallocate(fd, mode, offset, length):
        code = ctypes.get_errno()
        if code in _UNSUPPORTED:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True


class Backing:
    """An open, exclusively locked file or block device. Offsets and lengths are bytes."""

    def __init__(self, loop: Loop, path: str, *, read_only: bool = False) -> None:
        """Opens and locks; raises BackingError when missing, busy, or not a file or block device."""
        self.path = path
        self.read_only = read_only
        self._loop = loop
        self._nowait = hasattr(os, "RWF_NOWAIT")
        self._flush_waiting: list[FlushDone] = []
        self._flush_running = False
        self._busy = 0
        self._closing = False
        try:
            self.fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        except OSError as error:
            raise BackingError(error.errno, f"backing {path} cannot be opened: {error.strerror}") from error
        try:
            self._check_and_lock()
            self.size_bytes = self.measure()
        except BaseException:
            os.close(self.fd)
            raise

    def _check_and_lock(self) -> None:
        mode = os.fstat(self.fd).st_mode
        self.is_device = stat.S_ISBLK(mode)
        if not self.is_device and not stat.S_ISREG(mode):
            raise BackingError(errno.EINVAL, f"backing {self.path} is neither a file nor a block device")
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BackingError(
                errno.EBUSY, f"backing {self.path} is held by another process; stop its user first"
            ) from error
        if self.is_device and not self.read_only:
            flag = fcntl.ioctl(self.fd, _BLKROGET, bytes(4))
            self.read_only = struct.unpack("i", flag)[0] != 0

    def measure(self) -> int:
        """The present size in bytes; a device's or a file's, which may have grown."""
        if self.is_device:
            raw = fcntl.ioctl(self.fd, _BLKGETSIZE64, bytes(8))
            self.size_bytes = int(struct.unpack("Q", raw)[0])
        else:
            self.size_bytes = os.fstat(self.fd).st_size
        return self.size_bytes

    def close(self) -> None:
        """Releases the lock and the descriptor, once work on the pool has ended; nothing new may start."""
        self._closing = True
        if self.fd >= 0 and not self._busy:
            os.close(self.fd)
            self.fd = -1

    # -- data

    def read_now(self, offset: int, length: int) -> Buffer | None:
        """The bytes if the page cache has them, None if a wait would be needed; raises OSError.

        Long ones are a view of memory that is used again when the view is gone.
        """
        if self._nowait:
            buffer = self._memory(length)
            try:
                if os.preadv(self.fd, [buffer], offset, os.RWF_NOWAIT) == length:
                    return buffer
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                self._nowait = False
            else:
                return None
        if length >= _LONG_BYTES:
            buffer = self._memory(length)
            if os.preadv(self.fd, [buffer], offset) == length:
                return buffer
        return self.read(offset, length)

    def _memory(self, length: int) -> Buffer:
        return memoryview(self._loop.spare.take(length)) if length >= _LONG_BYTES else bytearray(length)

    def read(self, offset: int, length: int) -> Buffer:
        """All the bytes, waiting for the disk; raises OSError (EIO when the backing is too short)."""
        data = os.pread(self.fd, length, offset)
        if len(data) == length:
            return data
        whole = bytearray(data)
        while len(whole) < length:
            more = os.pread(self.fd, length - len(whole), offset + len(whole))
            if not more:
                raise OSError(errno.EIO, f"backing {self.path} ends before offset {offset + length}")
            whole += more
        return whole

    def read_later(self, offset: int, length: int, done: ReadDone) -> None:
        """Reads on the pool, then `done(errno, data)`."""
        result: list[Buffer] = []
        self.in_pool(
            lambda: result.append(self.read(offset, length)),
            lambda code: done(code, result[0] if not code else b""),
        )

    def write(self, offset: int, data: Buffer) -> None:
        """All the bytes into the page cache; raises OSError."""
        written = os.pwrite(self.fd, data, offset)
        if written != len(data):
            view = memoryview(data)
            while written < len(view):
                written += os.pwrite(self.fd, view[written:], offset + written)

    def write_vector(self, offset: int, buffers: list[Buffer]) -> None:
        """Several buffers, one after another; raises OSError."""
        total = sum(map(len, buffers))
        if os.pwritev(self.fd, buffers, offset) != total:
            self.write(offset, b"".join(buffers))

    # -- space

    def discard_now(self, offset: int, length: int) -> bool:
        """Gives the range back so that it reads as zeroes; False where the backing cannot."""
        return _fallocate(self.fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length)

    def zero_now(self, offset: int, length: int, *, may_unmap: bool) -> None:
        """Makes the range read as zeroes, by hole if allowed, else by zeroed allocation or by writing."""
        if may_unmap and self.discard_now(offset, length):
            return
        if _fallocate(self.fd, _ZERO_RANGE | _KEEP_SIZE, offset, length):
            return
        while length:
            piece = min(length, len(_ZERO_PIECE))
            self.write(offset, memoryview(_ZERO_PIECE)[:piece])
            offset += piece
            length -= piece

    def zero(self, offset: int, length: int, *, may_unmap: bool, done: FlushDone) -> None:
        """`zero_now`, on the pool when it is long; then `done(errno)`, perhaps before this returns."""
        if length > _INLINE_ZERO_BYTES:
            self.in_pool(lambda: self.zero_now(offset, length, may_unmap=may_unmap), done)
            return
        try:
            self.zero_now(offset, length, may_unmap=may_unmap)
        except OSError as error:
            done(error.errno or errno.EIO)
        else:
            done(0)

    def extents(self, offset: int, length: int, limit: int) -> list[tuple[int, bool]]:
        """Up to `limit` runs of (bytes, is_hole) that cover the range from its start."""
        runs: list[tuple[int, bool]] = []
        position, end = offset, offset + length
        while position < end and len(runs) < limit:
            hole = False
            try:
                start = os.lseek(self.fd, position, os.SEEK_DATA)
                if start > position:
                    hole, stop = True, min(start, end)
                else:
                    stop = min(os.lseek(self.fd, position, os.SEEK_HOLE), end)
            except OSError as error:
                hole, stop = error.errno == errno.ENXIO, end
            runs.append((stop - position, hole))
            position = stop
        return runs

    # -- durability

    def flush(self, done: FlushDone) -> None:
        """Fdatasync on the pool; requests that arrive while one runs share the next. Then `done(errno)`."""
        self._flush_waiting.append(done)
        if not self._flush_running:
            self._start_flush()

    def flush_now(self) -> None:
        """fdatasync, waiting for it; raises OSError. For start, stop and metadata creation only."""
        os.fdatasync(self.fd)

    def _start_flush(self) -> None:
        batch, self._flush_waiting = self._flush_waiting, []
        self._flush_running = True

        def finished(code: int) -> None:
            self._flush_running = False
            if self._flush_waiting:
                self._start_flush()
            for done in batch:
                done(code)

        self.in_pool(lambda: os.fdatasync(self.fd), finished)

    def in_pool(self, work: Callable[[], None], done: FlushDone) -> None:
        """Runs work on the descriptor on the pool; the backing stays open until it has ended."""
        self._busy += 1

        def ended(code: int) -> None:
            self._busy -= 1
            if self._closing:
                self.close()
            done(code)

        self._loop.in_pool(work, ended)
