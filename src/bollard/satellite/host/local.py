"""The real machine: files through a small thread pool. Nothing here knows of resources or targets."""

import asyncio
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from bollard.satellite.host.base import FileSeen, HostError, Marked, Space
from bollard.satellite.host.sparse import FICLONE, copy_sparse, sync_folder, zero_range

__all__ = ["LocalFiles", "host_error"]

_T = TypeVar("_T")
_THREADS: Final = 8
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class LocalFiles:
    """`host.base.Files` on this machine. A hung file system holds a thread of the pool, not the satellite."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, "bollard-files")
        # A copy outlives the task that asked for it: nobody else may write to its file before it has ended.
        self._copying: set[str] = set()

    async def marked(self, folder: str, suffix: str, prefix: str = "") -> tuple[Marked, ...]:
        return await self._call(folder, _marked, folder, suffix, prefix)

    async def look(self, path: str) -> FileSeen | None:
        return await self._call(path, _look, path)

    async def space(self, folder: str) -> Space:
        return await self._call(folder, _space, folder)

    async def allocate(self, path: str, size_bytes: int, *, thick: bool) -> bool:
        return await self._call(path, _allocate, path, size_bytes, thick)

    async def copy(self, source: str, path: str, size_bytes: int) -> None:
        if path in self._copying:
            raise HostError(
                f"'{Path(path).name}' is still being copied",
                code="busy",
                cause="A copy that was asked for before has not ended.",
                correction="It is tried again by itself.",
                name=path,
            )
        self._copying.add(path)
        await self._call(path, self._copied, source, path, size_bytes)

    def _copied(self, source: str, path: str, size_bytes: int) -> None:
        try:
            copy_sparse(source, path, size_bytes)
        finally:
            self._copying.discard(path)

    async def zero(self, path: str, offset_bytes: int, length_bytes: int) -> None:
        await self._call(path, zero_range, path, offset_bytes, length_bytes)

    async def remove(self, path: str) -> bool:
        return await self._call(path, _remove, path)

    async def read(self, path: str) -> bytes | None:
        return await self._call(path, _read, path)

    async def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        await self._call(path, _write, path, content, mode)

    async def make_folder(self, path: str) -> None:
        await self._call(path, _make_folder, path)

    async def can_reflink(self, folder: str) -> bool:
        return await self._call(folder, _can_reflink, folder)

    async def _call(self, path: str, function: Callable[..., _T], *arguments: object) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        except OSError as error:
            raise host_error(path, error) from error


def host_error(path: str, error: OSError) -> HostError:
    """An error of the system in words, with the next step."""
    where = Path(path).name
    cause = f"{os.strerror(error.errno) if error.errno else error} ({path})"
    match error.errno:
        case number if number in _NO_SPACE:
            return HostError(
                f"There is no space for '{where}'",
                code="no-space",
                cause=cause,
                correction="Free space in the storage pool's folder, or use another pool.",
                name=path,
            )
        case errno.EROFS:
            return HostError(
                f"'{where}' cannot be changed",
                code="read-only",
                cause=cause,
                correction="Mount the file system writable; look for disk errors in the kernel's log first.",
                name=path,
            )
        case errno.ENOENT | errno.ENOTDIR:
            return HostError(
                f"'{path}' is not there or not a folder",
                code="pool-missing",
                cause=cause,
                correction="Create the folder or mount the file system that holds it.",
                name=path,
            )
        case errno.EACCES | errno.EPERM:
            return HostError(
                f"The satellite may not use '{where}'",
                code="permission",
                cause=cause,
                correction="Give the satellite's user access to the folder.",
                name=path,
            )
        case _:
            return HostError(
                f"'{where}' could not be used",
                code="io-error",
                cause=cause,
                correction="Look for disk errors in the kernel's log.",
                name=path,
            )


def _seen(name: str, info: os.stat_result, path: str) -> FileSeen | None:
    if stat.S_ISREG(info.st_mode):
        return FileSeen(name, info.st_size, info.st_blocks * 512)
    if stat.S_ISDIR(info.st_mode):
        return FileSeen(name, 0, is_folder=True)
    if stat.S_ISBLK(info.st_mode):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.lseek(fd, 0, os.SEEK_END)
        finally:
            os.close(fd)
        return FileSeen(name, size, size)
    return None


def _marked(folder: str, suffix: str, prefix: str) -> tuple[Marked, ...]:
    start, length = prefix.upper(), len(prefix)
    names = os.listdir(folder)  # noqa: PTH208  # thousands of names, again and again
    markers = sorted(name for name in names if name[:length].upper() == start and name.endswith(suffix))
    found = []
    for marker in markers:
        name = marker.removesuffix(suffix)
        content = _read(f"{folder}/{marker}")
        if content is not None:
            found.append(Marked(name, content, _look(f"{folder}/{name}")))
    return tuple(found)


def _look(path: str) -> FileSeen | None:
    try:
        return _seen(Path(path).name, os.stat(path), path)  # noqa: PTH116  # one system call, 1 000 times
    except FileNotFoundError:
        return None


def _space(folder: str) -> Space:
    if not Path(folder).is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
    info = os.statvfs(folder)
    return Space(
        info.f_bavail * info.f_frsize,
        info.f_blocks * info.f_frsize,
        bool(info.f_flag & os.ST_RDONLY),
        info.f_frsize,
    )


def _allocate(path: str, size_bytes: int, thick: bool) -> bool:
    made = not Path(path).exists()
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT | os.O_EXCL if made else 0)
    fd = os.open(path, flags, 0o600)
    try:
        info = os.fstat(fd)
        missing = max(0, size_bytes - info.st_blocks * 512) if thick else 0
        if info.st_size >= size_bytes and not missing:
            return made
        try:
            _extend(fd, info.st_size, size_bytes, missing, thick=thick)
        except OSError:
            os.ftruncate(fd, info.st_size)
            if made:
                os.unlink(path)  # noqa: PTH108
            raise
        os.fsync(fd)
        if made:
            sync_folder(path)
        return True
    finally:
        os.close(fd)


def _extend(fd: int, old_bytes: int, size_bytes: int, missing: int, *, thick: bool) -> None:
    if thick:
        # Asked before, because a file system without fallocate would be filled up by zeroes first.
        info = os.fstatvfs(fd)
        if missing > info.f_bavail * info.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(fd, 0, size_bytes)
    elif old_bytes < size_bytes:
        os.ftruncate(fd, size_bytes)


def _remove(path: str) -> bool:
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return False
    sync_folder(path)
    return True


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None


def _write(path: str, content: bytes, mode: int) -> None:
    partial = f"{path}.new"
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(fd, mode)
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        os.fsync(fd)
    except OSError:
        os.unlink(partial)  # noqa: PTH108
        raise
    finally:
        os.close(fd)
    os.replace(partial, path)  # noqa: PTH105
    sync_folder(path)


def _make_folder(path: str) -> None:
    os.makedirs(path, 0o700, exist_ok=True)  # noqa: PTH103


def _can_reflink(folder: str) -> bool:
    flags = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
    try:
        source = os.open(folder, flags, 0o600)
    except OSError:
        return False
    try:
        target = os.open(folder, flags, 0o600)
        try:
            os.write(source, bytes(4096))
            fcntl.ioctl(target, FICLONE, source)
        except OSError:
            return False
        finally:
            os.close(target)
    finally:
        os.close(source)
    return True
