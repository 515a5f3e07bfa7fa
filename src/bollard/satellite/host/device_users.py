"""Who uses a block device: what is mounted, stacked or swapped on it, and programs that have it open.

It reads /proc and /sys only, and never waits for another file system. All calls block.
"""

import errno
import os
import stat
import time
from pathlib import Path
from typing import Final

__all__ = ["Users"]

_PROC: Final = Path("/proc")
_FIELDS_MIN: Final = 6
_FRESH_S: Final = 0.05


class Users:
    """Remembers where it found a user: asked again, it looks there first."""

    def __init__(self) -> None:
        self._hints: dict[int, Path] = {}
        self._mounts: dict[str, list[str]] = {}
        self._read_at_s = float("-inf")

    def of(self, path: str, *, fresh: bool = False) -> tuple[str, ...]:
        """In words; empty only when nobody has it open. A device that is not there has no users.

        Unless `fresh`, who has just gone may still be named.
        """
        try:
            info = os.stat(path)  # noqa: PTH116
        except FileNotFoundError:
            return ()
        if not stat.S_ISBLK(info.st_mode):
            return ()
        mounted = self._mounted(info.st_rdev, fresh=fresh)
        if mounted:
            return tuple(f"it is mounted on {where}" for where in mounted)
        if _claimed(path):
            holders = _stacked(info.st_rdev)
            return tuple(f"{name} stands on it" for name in holders) or ("the kernel uses it",)
        hint = self._hints.get(info.st_rdev)
        if hint is not None and _is(hint, info.st_rdev):
            return (_who(hint),)
        opened = _opened(info.st_rdev)
        if opened is None:
            self._hints.pop(info.st_rdev, None)
            return ()
        self._hints[info.st_rdev] = opened
        return (_who(opened),)

    def _mounted(self, device: int, *, fresh: bool) -> list[str]:
        """Where, a moment ago: what is newer is found to be claimed, what is gone is found so later."""
        now_s = time.monotonic()
        if now_s - self._read_at_s > (0 if fresh else _FRESH_S):
            self._mounts.clear()
            self._read_at_s = now_s
            for fields in _mount_table():
                where = fields[4].encode().decode("unicode_escape")
                self._mounts.setdefault(fields[2], []).append(where)
        return self._mounts.get(f"{os.major(device)}:{os.minor(device)}", [])


def _claimed(path: str) -> bool:
    """Whether somebody has it for himself alone, in whatever name space: asked by trying the same."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        if error.errno in (errno.ENXIO, errno.ENOENT, errno.ENODEV):
            return False
        raise
    os.close(fd)
    return False


def _mount_table() -> list[list[str]]:
    lines = (_PROC / "self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    return [fields for line in lines if len(fields := line.split(" ")) >= _FIELDS_MIN]


def _stacked(device: int) -> list[str]:
    folder = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/holders")
    try:
        return sorted(one.name for one in folder.iterdir())
    except OSError:
        return []


def _opened(device: int) -> Path | None:
    """A descriptor of some program that is this device, opened by a path in /dev."""
    me = str(os.getpid())
    for process in os.listdir(_PROC):  # noqa: PTH208  # again and again
        if not process.isdecimal() or process == me:
            continue
        folder = f"/proc/{process}/fd"
        try:
            names = os.listdir(folder)  # noqa: PTH208
        except OSError:
            continue  # it has ended
        for name in names:
            link = f"{folder}/{name}"
            try:
                target = os.readlink(link)  # noqa: PTH115
            except OSError:
                continue
            # To look at every open file takes half a minute on a busy machine, or for ever with a remote one.
            if target.startswith("/dev/") and _is(Path(link), device):
                return Path(link)
    return None


def _is(link: Path, device: int) -> bool:
    try:
        info = link.stat()
    except OSError:
        return False
    return stat.S_ISBLK(info.st_mode) and info.st_rdev == device


def _who(link: Path) -> str:
    process = link.parts[2]
    try:
        name = (_PROC / process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        name = "a program"
    return f"{name} (process {process}) has it open"
