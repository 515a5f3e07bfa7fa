"""Loop devices by system calls: make, look at, resize and take away. It knows nothing of volumes.

Numbers are chosen by the caller, so that a device keeps its name. All calls block and raise OSError.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["LoopSeen", "attach", "detach", "forget", "found", "lacking", "resize"]

_SET_STATUS64: Final = 0x4C04
_GET_STATUS64: Final = 0x4C05
_CLR_FD: Final = 0x4C01
_SET_CAPACITY: Final = 0x4C07
_CONFIGURE: Final = 0x4C0A
_CTL_ADD: Final = 0x4C80
_CTL_REMOVE: Final = 0x4C81
_AUTOCLEAR: Final = 4
_DIRECT_IO: Final = 16
_INFO: Final = struct.Struct("<5Q4I64s64s32s2Q")
_CONFIG_HEAD: Final = struct.Struct("<II")
_RESERVED: Final = bytes(64)
_FLAGS: Final = 8
_CONTROL: Final = "/dev/loop-control"
_SYS: Final = Path("/sys/block")
_BLOCK: Final = 512
_ATTEMPTS: Final = 8
_APART: Final = 1 << 16
_MAJOR: Final = 7


class LoopSeen(NamedTuple):
    """A loop device that has a file."""

    path: str
    file: str
    """Of the file, as the kernel spells it now; a part of it is missing where its mount is gone."""
    identity: tuple[int, int] | None
    """Device (as the kernel encodes it) and inode of the file; None when the file does not answer."""
    size_bytes: int


def lacking() -> str:
    """Why loop devices cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "The satellite does not run as root."
    try:
        fd = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{_CONTROL} cannot be opened: {error.strerror}; load the kernel's module loop."
    os.close(fd)
    return ""


def found(part: str) -> Iterator[LoopSeen]:
    """Those whose file's path has this part."""
    for folder in _SYS.glob("loop*"):
        try:
            file = (folder / "loop/backing_file").read_text("utf-8", "surrogateescape").rstrip("\n")
        except OSError:
            continue  # it has none
        if part in file:
            path = f"/dev/{folder.name}"
            try:
                fd = _node(path, int(folder.name.removeprefix("loop")), os.O_RDONLY)
            except OSError:
                continue
            try:
                device, inode, *_ = _info(fd)
                identity = (device, inode)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    continue  # it was taken away meanwhile
                identity = None
            finally:
                os.close(fd)
            size_bytes = int((folder / "size").read_text()) * _BLOCK
            yield LoopSeen(path, file.removesuffix(" (deleted)"), identity, size_bytes)


def attach(number: int, file: str) -> tuple[str, int]:
    """Make a block device of a file, of this number if it is free; its path and its size in bytes.

    Direct I/O, blocks of 512 bytes.
    """
    backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            path = f"/dev/loop{number}"
            _control(_CTL_ADD, number, errno.EEXIST)
            fd = _node(path, number, os.O_RDWR)
            try:
                info = _INFO.pack(*(0,) * 8, _DIRECT_IO, b"bollard", b"", b"", 0, 0)
                fcntl.ioctl(fd, _CONFIGURE, _CONFIG_HEAD.pack(backing, _BLOCK) + info + _RESERVED)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                # Far from the numbers that others get who ask for any free one.
                number += _APART
                continue
            else:
                return path, os.lseek(fd, 0, os.SEEK_END)
            finally:
                os.close(fd)
    finally:
        os.close(backing)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), "/dev/loop*")


def detach(path: str) -> bool:
    """Take the file from the device, and the device away; False, and nothing done, while somebody uses it."""
    if not _clear(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            info = list(_INFO.unpack(fcntl.ioctl(fd, _GET_STATUS64, bytes(_INFO.size))))
            info[_FLAGS] &= ~_AUTOCLEAR
            fcntl.ioctl(fd, _SET_STATUS64, _INFO.pack(*info))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return True  # its last user has just gone
        finally:
            os.close(fd)
        return False
    return True


def forget(path: str) -> None:
    """Take it away now, or as soon as its last user goes."""
    _clear(path)


def resize(path: str) -> None:
    """Let it take its file's present size."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _SET_CAPACITY, 0)
    finally:
        os.close(fd)


def _clear(path: str) -> bool:
    """Whether it is free of its file now; otherwise it will be when its last user goes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENXIO):
            raise
        return True
    try:
        fcntl.ioctl(fd, _CLR_FD, 0)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    finally:
        os.close(fd)
    name = path.rpartition("/")[2]
    if (_SYS / name / "loop/backing_file").exists():
        return False
    _control(_CTL_REMOVE, int(name.removeprefix("loop")), errno.EBUSY, errno.ENODEV)
    return True


def _info(fd: int) -> tuple[int, int, int, int, int, int, int, int, int, bytes, bytes, bytes, int, int]:
    packed = fcntl.ioctl(fd, _GET_STATUS64, bytes(_INFO.size))
    return _INFO.unpack(packed)


def _node(path: str, number: int, flags: int) -> int:
    """Open the device; where nobody makes device files (a container's /dev), make it."""
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        os.mknod(path, 0o600 | 0o060000, os.makedev(_MAJOR, number))
        return os.open(path, flags | os.O_CLOEXEC)


def _control(command: int, number: int, *passed: int) -> int:
    fd = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(fd, command, number)
    except OSError as error:
        if error.errno not in passed:
            raise
        return number
    finally:
        os.close(fd)
