"""Files in memory, for simulated nodes: same Protocol, every call can fail or be the last.

It never touches the machine it runs on.
"""

import errno
import posixpath
from collections.abc import Awaitable, Callable

import msgspec

from bollard.satellite.host.base import FileSeen, HostError, Marked, Space
from bollard.satellite.host.local import host_error

__all__ = ["Disk", "Metadata", "SimFiles"]

_BLOCK = 4096
_HALF_MADE = "half a copy"
Pause = Callable[[], Awaitable[None]]


class Metadata(msgspec.Struct):
    """What DRBD keeps on a backing: it survives crashes."""

    max_peers: int
    size_bytes: int
    generation: str | None
    """None: never up to date."""
    up_to_date: bool = False
    missed: bool = False
    """Others were written to while it was out of reach: it is stale."""


class Disk:
    """What survives a crash of the node: folders, files with sizes, and the room for them."""

    def __init__(self, total_bytes: int = 1 << 40) -> None:
        self.total_bytes = total_bytes
        self.folders: set[str] = set()
        self.contents: dict[str, bytes] = {}
        self.sizes: dict[str, int] = {}
        self.allocated: dict[str, int] = {}
        self.data: dict[str, str] = {}
        """What is written on large files, in short: equal words are equal contents; absent: zeroes."""
        self.metadata: dict[str, Metadata] = {}
        self.read_only = False
        self.reflink = False

    def used_bytes(self) -> int:
        """All that is allocated."""
        return sum(self.allocated.values())


class SimFiles:
    """`host.base.Files` over a Disk. `pause` runs around each change: a place to stop or to wait."""

    def __init__(self, disk: Disk, pause: Pause) -> None:
        self.disk = disk
        self._pause = pause

    async def marked(self, folder: str, suffix: str, prefix: str = "") -> tuple[Marked, ...]:
        await self._pause()
        self._need_folder(folder)
        found = []
        for marker in sorted(self.disk.contents):
            name = posixpath.basename(marker)
            path = marker.removesuffix(suffix)
            fits = posixpath.dirname(marker) == folder and name.endswith(suffix)
            fits = fits and name.upper().startswith(prefix.upper())
            if fits:
                file = self._seen(path) if path in self.disk.sizes else None
                found.append(Marked(posixpath.basename(path), self.disk.contents[marker], file))
        return tuple(found)

    async def look(self, path: str) -> FileSeen | None:
        await self._pause()
        if path in self.disk.folders:
            return FileSeen(posixpath.basename(path), 0, is_folder=True)
        return self._seen(path) if path in self.disk.sizes else None

    async def space(self, folder: str) -> Space:
        await self._pause()
        self._need_folder(folder)
        free = max(0, self.disk.total_bytes - self.disk.used_bytes())
        return Space(free, self.disk.total_bytes, self.disk.read_only)

    async def allocate(self, path: str, size_bytes: int, *, thick: bool) -> bool:
        await self._pause()
        self._need_writable(path)
        old = self.disk.sizes.get(path)
        held = self.disk.allocated.get(path, 0)
        wanted = max(held, -(-size_bytes // _BLOCK) * _BLOCK) if thick else held
        if old is not None and old >= size_bytes and held >= wanted:
            return False
        if self.disk.used_bytes() + wanted - held > self.disk.total_bytes:
            raise _error(path, errno.ENOSPC)
        self.disk.sizes[path] = max(old or 0, size_bytes)
        self.disk.allocated[path] = wanted
        await self._pause()
        return True

    async def copy(self, source: str, path: str, size_bytes: int) -> None:
        await self._pause()
        self._need_writable(path)
        if source not in self.disk.sizes:
            raise _error(source, errno.ENOENT)
        held = 0 if self.disk.reflink else min(self.disk.allocated[source], size_bytes)
        if self.disk.used_bytes() + held > self.disk.total_bytes:
            raise _error(path, errno.ENOSPC)
        self.disk.sizes[path] = size_bytes
        self.disk.allocated[path] = 0
        self.disk.data[path] = _HALF_MADE
        await self._pause()
        self.disk.allocated[path] = held
        self.disk.data[path] = self.disk.data.get(source, "")
        await self._pause()

    async def zero(self, path: str, offset_bytes: int, length_bytes: int) -> None:
        await self._pause()
        self._need_writable(path)
        assert offset_bytes + length_bytes <= self.disk.sizes[path], path

    async def remove(self, path: str) -> bool:
        await self._pause()
        if self.disk.read_only:
            self._need_writable(path)
        there = self.disk.sizes.pop(path, None) is not None
        self.disk.allocated.pop(path, None)
        self.disk.contents.pop(path, None)
        self.disk.data.pop(path, None)
        self.disk.metadata.pop(path, None)
        await self._pause()
        return there

    async def read(self, path: str) -> bytes | None:
        await self._pause()
        return self.disk.contents.get(path)

    async def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        assert mode & ~0o777 == 0, mode
        await self._pause()
        self._need_writable(path)
        self.disk.contents[path] = content
        self.disk.sizes[path] = len(content)
        self.disk.allocated[path] = _BLOCK
        await self._pause()

    async def make_folder(self, path: str) -> None:
        await self._pause()
        self.disk.folders.add(path)

    async def can_reflink(self, folder: str) -> bool:
        await self._pause()
        return folder in self.disk.folders and self.disk.reflink

    def _seen(self, path: str) -> FileSeen:
        return FileSeen(posixpath.basename(path), self.disk.sizes[path], self.disk.allocated[path])

    def _need_folder(self, folder: str) -> None:
        if folder not in self.disk.folders:
            raise _error(folder, errno.ENOENT)

    def _need_writable(self, path: str) -> None:
        self._need_folder(posixpath.dirname(path))
        if self.disk.read_only:
            raise _error(path, errno.EROFS)


def _error(path: str, number: int) -> HostError:
    return host_error(path, OSError(number, path))
