"""A data process whose disks have a cache that a power cut empties.

Run as a program it is `bollard-replica` that keeps beside each backing file what unflushed writes overwrote;
`cut_power` gives a stopped node's file back older content, block by block. It needs no help of the kernel.
"""

import os
import random
import struct
import sys
import threading
from pathlib import Path
from typing import Any

_HEAD = struct.Struct(">QI")
_BLOCK = 4096
_HERE = str(Path(__file__).parent)
PROGRAM = f"import sys; sys.path.insert(0, {_HERE!r}); import volatile_replica; volatile_replica.main()"


class _Cache:
    """The unflushed writes of one backing file."""

    def __init__(self, path: str) -> None:
        self.file = Path(path + ".undo")
        self.file.write_bytes(b"")
        self.out = os.open(self.file, os.O_WRONLY | os.O_APPEND)
        self.lock = threading.Lock()
        self.kept: list[bytes] = []


_caches: dict[str, _Cache] = {}
_pwrite, _pwritev, _fdatasync = os.pwrite, os.pwritev, os.fdatasync


def _cache(fd: int) -> _Cache | None:
    path = str(Path(f"/proc/self/fd/{fd}").readlink())
    if not path.endswith(".img"):
        return None
    if path not in _caches:
        _caches[path] = _Cache(path)
    return _caches[path]


def _remember(fd: int, offset: int, length: int) -> None:
    cache = _cache(fd)
    if cache is not None:
        begin, end = offset // _BLOCK * _BLOCK, -(-(offset + length) // _BLOCK) * _BLOCK
        entry = _HEAD.pack(begin, end - begin) + os.pread(fd, end - begin, begin).ljust(end - begin, b"\0")
        with cache.lock:
            cache.kept.append(entry)
            os.write(cache.out, entry)


def _write(fd: int, data: Any, offset: int) -> int:
    _remember(fd, offset, len(data))
    return _pwrite(fd, data, offset)


def _writev(fd: int, buffers: list[Any], offset: int, *flags: int) -> int:
    _remember(fd, offset, sum(map(len, buffers)))
    return _pwritev(fd, buffers, offset, *flags)


def _sync(fd: int) -> None:
    cache = _cache(fd)
    if cache is None:
        _fdatasync(fd)
        return
    covered = len(cache.kept)
    with cache.lock:
        cache.kept = cache.kept[covered:]
        fresh = cache.file.with_suffix(".fresh")
        fresh.write_bytes(b"".join(cache.kept))
        os.close(cache.out)
        fresh.rename(cache.file)
        cache.out = os.open(cache.file, os.O_WRONLY | os.O_APPEND)


def main() -> None:
    """`bollard-replica` with such disks, which know no holes."""
    from bollard.replica import disk
    from bollard.replica.app import main as replica

    os.pwrite, os.pwritev, os.fdatasync = _write, _writev, _sync  # type: ignore[assignment]
    disk._fallocate = lambda *_: False
    sys.exit(replica())


def cut_power(backing: Path, dice: random.Random) -> int:
    """Each block of a stopped node's file gets any content it had since the last flush; how many changed."""
    raw, at = backing.with_name(backing.name + ".undo").read_bytes(), 0
    versions: dict[int, list[bytes]] = {}
    while at + _HEAD.size <= len(raw):
        offset, length = _HEAD.unpack_from(raw, at)
        data = raw[at + _HEAD.size : at + _HEAD.size + length]
        at += _HEAD.size + length
        for piece in range(0, len(data), _BLOCK):
            versions.setdefault(offset + piece, []).append(data[piece : piece + _BLOCK])
    changed = 0
    with backing.open("r+b") as file:
        for offset, olds in sorted(versions.items()):
            file.seek(offset)
            now = file.read(_BLOCK)
            chosen = dice.choice([*olds, now])
            if chosen != now:
                changed += 1
                file.seek(offset)
                file.write(chosen)
    return changed
