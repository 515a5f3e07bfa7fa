"""The kernel's own files, in sysfs and configfs: small texts that are commands, folders that are objects.

Nothing is renamed or synced here, as it is with ordinary files: a write is done when it returns.
"""

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from bollard.satellite.host.base import HostError

__all__ = ["LocalTree"]

_T = TypeVar("_T")
_GONE: Final = (FileNotFoundError, NotADirectoryError)
_ANSWER_BYTES: Final = 4096


class LocalTree:
    """`host.base.Tree` on this machine."""

    async def names(self, path: str) -> tuple[str, ...]:
        return await asyncio.to_thread(_names, path)

    async def read(self, path: str) -> str | None:
        return await asyncio.to_thread(_read, path)

    async def write(self, path: str, text: str) -> None:
        await asyncio.to_thread(_guarded, path, _write, path, text)

    async def make(self, path: str) -> bool:
        return await asyncio.to_thread(_guarded, path, _make, path)

    async def drop(self, path: str) -> bool:
        return await asyncio.to_thread(_guarded, path, _drop, path)

    async def link(self, path: str, to: str) -> bool:
        return await asyncio.to_thread(_guarded, path, _link, path, to)

    async def unlink(self, path: str) -> bool:
        return await asyncio.to_thread(_guarded, path, _unlink, path)

    async def ask(self, path: str, text: str) -> str:
        return await asyncio.to_thread(_guarded, path, _ask, path, text)

    async def device(self, path: str) -> str:
        return await asyncio.to_thread(_device, path)

    async def in_use(self, path: str) -> bool:
        return await asyncio.to_thread(_in_use, path)


def _guarded(path: str, call: Callable[..., _T], *arguments: str) -> _T:
    try:
        return call(*arguments)
    except OSError as error:
        busy = error.errno in (errno.EBUSY, errno.ENOTEMPTY)
        raise HostError(
            f"The kernel refused a change of '{path}'",
            code="busy" if busy else "kernel-refused",
            cause=f"It said: {error.strerror or error}.",
            name=path,
        ) from error


def _names(path: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in Path(path).iterdir()))
    except _GONE:
        return ()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        # An object that goes while it is read answers with one error or another.
        return None


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def _make(path: str) -> bool:
    try:
        Path(path).mkdir()
    except FileExistsError:
        return False
    return True


def _drop(path: str) -> bool:
    try:
        Path(path).rmdir()
    except _GONE:
        return False
    return True


def _link(path: str, to: str) -> bool:
    try:
        Path(path).symlink_to(to)
    except FileExistsError:
        return False
    return True


def _unlink(path: str) -> bool:
    try:
        Path(path).unlink()
    except _GONE:
        return False
    return True


def _ask(path: str, text: str) -> str:
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(handle, text.encode())
        return os.read(handle, _ANSWER_BYTES).decode("utf-8", "replace").strip()
    finally:
        os.close(handle)


def _device(path: str) -> str:
    try:
        seen = Path(path).stat()
    except OSError:
        return ""
    return f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}" if stat.S_ISBLK(seen.st_mode) else ""


def _in_use(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False
