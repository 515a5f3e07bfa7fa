"""The desired configurations on disk, one 0600 file a resource, so that a restart comes back by itself.

It writes atomically (temporary file, fsync, rename, fsync of the directory) and decides nothing.
"""

import errno
import fcntl
import logging
import os
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from bollard.wire.engine import ResourceSpec, decode_spec, encode_spec

__all__ = ["StateDir", "StateDirError"]

_SUFFIX: Final = ".json"
_log = logging.getLogger(__name__)


class StateDirError(OSError):
    """A state directory that cannot be used; the text says which file, why, and the next step."""


class StateDir:
    """The directory of one data process, locked for it alone."""

    def __init__(self, path: str) -> None:
        """Creates (0700) and locks; raises StateDirError when read-only, full, or held by another process."""
        self.path = Path(path)
        self._resources = self.path / "resources"
        try:
            self._resources.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _explained(f"state directory {path} cannot be used", error) from error
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_fd)
            raise StateDirError(
                errno.EBUSY,
                f"state directory {path} is in use by another bollard-replica; stop that one or use another",
            ) from error
        try:
            os.ftruncate(self._lock_fd, 0)
            os.pwrite(self._lock_fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(self._lock_fd)
            raise _explained(f"state directory {path} cannot be written", error) from error

    def close(self) -> None:
        """Releases the lock."""
        os.close(self._lock_fd)

    def load(self) -> tuple[list[ResourceSpec], list[str]]:
        """The stored configurations, and a sentence for each file that could not be read."""
        specs: list[ResourceSpec] = []
        complaints: list[str] = []
        for file in sorted(self._resources.glob(f"*{_SUFFIX}")):
            try:
                specs.append(decode_spec(file.read_bytes()))
            except (OSError, msgspec.DecodeError) as error:
                complaints.append(f"{file}: {error}; configure the resource again to replace it")
        return specs, complaints

    def save(self, spec: ResourceSpec) -> None:
        """Replaces the stored configuration of one resource; raises StateDirError and leaves the old one."""
        try:
            self._replace(self._file(spec.name), encode_spec(spec))
        except OSError as error:
            raise _explained(f"configuration of resource {spec.name} cannot be saved", error) from error

    def _replace(self, target: Path, content: bytes) -> None:
        temporary = target.with_name(target.name + ".tmp")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(fd, "wb", closefd=False) as out:
                    out.write(content)
                os.fsync(fd)
            finally:
                os.close(fd)
            temporary.replace(target)
            self._sync_directory()
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def forget(self, name: str) -> None:
        """Removes one resource's configuration; unknown names are fine. Raises StateDirError."""
        try:
            self._file(name).unlink(missing_ok=True)
            self._sizes_file(name).unlink(missing_ok=True)
            self._sync_directory()
        except OSError as error:
            raise _explained(f"configuration of resource {name} cannot be removed", error) from error

    def last_sizes(self, name: str) -> dict[int, int]:
        """Where each volume's backing ended when it was last in use; empty when not known."""
        try:
            return msgspec.json.decode(self._sizes_file(name).read_bytes(), type=dict[int, int])
        except (OSError, msgspec.DecodeError):
            return {}

    def remember_size(self, name: str, number: int, size_bytes: int) -> None:
        """Keeps one backing's size. It is a help after a crash: failing to keep it is only logged."""
        sizes = {**self.last_sizes(name), number: size_bytes}
        try:
            self._replace(self._sizes_file(name), msgspec.json.encode(sizes))
        except OSError as error:
            _log.warning("size of volume %s/%d was not kept: %s", name, number, error.strerror)

    def _sizes_file(self, name: str) -> Path:
        return self._resources / (quote(name, safe="") + ".sizes")

    def _file(self, name: str) -> Path:
        return self._resources / (quote(name, safe="") + _SUFFIX)

    def _sync_directory(self) -> None:
        fd = os.open(self._resources, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _explained(what: str, error: OSError) -> StateDirError:
    hints = {
        errno.EROFS: "the file system is read-only; remount it or choose another --state-dir",
        errno.EACCES: "no permission; run as the owner of the directory or choose another --state-dir",
        errno.EPERM: "no permission; run as the owner of the directory or choose another --state-dir",
        errno.ENOSPC: "the disk is full; free space and try again",
        errno.EDQUOT: "the quota is used up; free space and try again",
        errno.ENOTDIR: "part of the path is not a directory; choose another --state-dir",
    }
    cause = hints.get(error.errno or 0, error.strerror or str(error))
    return StateDirError(error.errno, f"{what}: {cause}")
