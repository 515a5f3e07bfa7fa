"""External files on this node: written where the settings allow it, and taken away when nobody wants them.

What it wrote is remembered on disk, with a hash; a file that someone else has changed since is not removed.
"""

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from bollard.domain.seen import Problem
from bollard.domain.targets import TargetFile

__all__ = ["FileKeeper", "NoFiles"]

_MODE: Final = 0o644

Wanted = Callable[[], Sequence[TargetFile] | None]
"""Every file that any target names; None while not all of them are known."""


class NoFiles:
    """A satellite that writes no files."""

    async def settle(self, wanted: Wanted, mine: Sequence[TargetFile]) -> Problem | None:  # noqa: ARG002
        """See FileKeeper: why `mine` cannot be here, if there are any."""
        return _forbidden(mine[0].path) if mine else None


class FileKeeper:
    """The files of this node. `allowed` are the folders in which files may be; their sub-folders are not."""

    def __init__(self, allowed: Iterable[str], memory: Path) -> None:
        self._allowed = frozenset(str(PurePosixPath(folder)) for folder in allowed)
        self._memory = memory
        self._turn = threading.Lock()
        self._written: dict[str, str] = _read(memory)
        """Hash of what was written, by actual path."""

    def allows(self, path: str) -> bool:
        """Whether this file may be written here."""
        plain = PurePosixPath(path)
        return str(plain) == path and ".." not in plain.parts and str(plain.parent) in self._allowed

    def status(self, path: str, suffixes: Iterable[str]) -> tuple[str, str]:
        """The actual path and the hash of what is there; empty when it is not there or may not be written."""
        if not self.allows(path):
            return "", ""
        for actual in (path, *(path + suffix for suffix in suffixes)):
            with contextlib.suppress(OSError):
                return actual, _hash(Path(actual).read_bytes())
        return "", ""

    async def settle(self, wanted: Wanted, mine: Sequence[TargetFile]) -> Problem | None:
        """Write `mine`, and remove what was written before and `wanted` does not name (None: remove nothing).

        The first thing that stands in the way, if any.
        """
        if not mine and not self._written:
            return None
        return await asyncio.to_thread(self._settle, wanted(), mine)

    def _settle(self, wanted: Sequence[TargetFile] | None, mine: Sequence[TargetFile]) -> Problem | None:
        with self._turn:
            if wanted is not None:
                self._clear(wanted)
            return self._put(mine)

    def _clear(self, files: Iterable[TargetFile]) -> None:
        wanted = {actual for file in files for actual in _variants(file)}
        gone = [path for path in self._written if path not in wanted]
        for path in gone:
            with contextlib.suppress(OSError):
                if _hash(Path(path).read_bytes()) == self._written[path]:
                    Path(path).unlink()
            del self._written[path]
        if gone:
            self._remember()

    def _put(self, files: Iterable[TargetFile]) -> Problem | None:
        for file in files:
            if not self.allows(file.path):
                return _forbidden(file.path)
            there = [path for path in _variants(file) if Path(path).exists()]
            if len(there) > 1:
                return Problem(
                    message=f"The file '{file.path}' cannot be written",
                    cause="More than one variant of it is there: " + ", ".join(there) + ".",
                    correction="Remove all but one of them.",
                    code="file-ambiguous",
                )
            actual, digest = (there or [file.path])[0], _hash(file.content)
            try:
                if not there or _hash(Path(actual).read_bytes()) != digest:
                    _write(Path(actual), file.content)
            except OSError as error:
                return Problem(
                    message=f"The file '{actual}' cannot be written",
                    cause=error.strerror or str(error),
                    correction="Make its folder writable for the satellite.",
                    code="file-unwritable",
                )
            if self._written.get(actual) != digest:
                self._written[actual] = digest
                self._remember()
        return None

    def _remember(self) -> None:
        self._memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(self._memory, msgspec.json.encode(self._written), mode=0o600)


def _variants(file: TargetFile) -> list[str]:
    return [file.path, *(file.path + suffix for suffix in file.alt_suffixes)]


def _forbidden(path: str) -> Problem:
    return Problem(
        message=f"The file '{path}' may not be written on this node",
        cause=f"'{PurePosixPath(path).parent}' is not among the satellite's 'allow_ext_files'.",
        correction="Add the folder there and restart the satellite, or detach the file.",
        code="file-forbidden",
    )


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes, *, mode: int = _MODE) -> None:
    """Replace the file; after a crash there is the old content or the new. Raises OSError."""
    partial = path.with_name(f".{path.name}.bollard-new")
    # Never through a link that someone has put there.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(partial, flags, mode)
    try:
        os.fchmod(fd, mode)
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    partial.replace(path)


def _read(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError):
        return {}
