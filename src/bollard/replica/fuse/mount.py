"""Mounting and unmounting of a FUSE file system by system calls. It knows nothing of what is in it."""

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

__all__ = ["MAX_IO_BYTES", "MountError", "mount", "unmount"]

MAX_IO_BYTES: Final = 1 << 20
"""The longest read or write of one request."""

_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_NOEXEC: Final = 8
_MNT_DETACH: Final = 2
_PR_SET_IO_FLUSHER: Final = 57
_DEVICE: Final = "/dev/fuse"
_libc = ctypes.CDLL(None, use_errno=True)


class MountError(OSError):
    """The file system cannot be mounted; the text says where, why, and what to do."""


def mount(folder: Path) -> int:
    """Mount on a folder (made when absent); the descriptor that requests come from. Needs root and FUSE.

    What a process that died has left mounted there is taken away first. Raises MountError.
    """
    while _unmounted(folder):
        pass
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _refused(folder, error.errno or errno.EIO, error.strerror or str(error)) from error
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,default_permissions,max_read={MAX_IO_BYTES}"
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    target = os.fsencode(folder)
    if _libc.mount(b"bollard", target, b"fuse.bollard", flags, options.encode()):
        code = ctypes.get_errno()
        os.close(fd)
        raise _refused(folder, code, os.strerror(code))
    # Memory that we ask for while the kernel writes through us must not wait for what it writes. Needs a
    # capability; without it all works as long as memory does not run out.
    _libc.prctl(_PR_SET_IO_FLUSHER, 1, 0, 0, 0)
    return fd


def _refused(folder: Path, code: int, words: str) -> MountError:
    return MountError(
        code, f"the volumes cannot be shown as files in {folder}: {words}; root and /dev/fuse are needed"
    )


def unmount(folder: Path) -> None:
    """Take the file system away; its users find nothing more in it. One that is not there is no mistake."""
    _unmounted(folder)


def _unmounted(folder: Path) -> bool:
    return bool(_libc.umount2(os.fsencode(folder), _MNT_DETACH) == 0)
