"""The satellite's state folder: which cluster it belongs to, its keys. Nothing about resources is in it."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["StateFolder", "StateFolderError", "keep_token"]

_CLUSTER: Final = "cluster"


class StateFolderError(Exception):
    """The folder cannot be used; the sentence says why and what to do."""


class StateFolder:
    """One folder, one satellite. In it: cluster, tls/{key,cert,ca}.pem, replica/ (the data process's own)."""

    def __init__(self, path: Path) -> None:
        """Make the folder if needed and prove that it can be written. Raises StateFolderError."""
        self.path = path.absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path) as probe:
                probe.write(bytes(4096))
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            raise StateFolderError(
                f"the state folder {self.path} cannot be written: {error.strerror}. "
                "Free space on it, mount it writable, or name another with --state-dir."
            ) from error
        self._lock_fd = -1

    def lock(self) -> None:
        """Keep other satellites out until this process ends. Raises StateFolderError."""
        self._lock_fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StateFolderError(
                f"another satellite runs with the state folder {self.path}. Stop it, or use another folder."
            ) from None

    @property
    def replica(self) -> Path:
        """The data process's state folder."""
        return self.path / "replica"

    @property
    def key(self) -> Path:
        """The private key of this node."""
        return self.path / "tls" / "key.pem"

    @property
    def cert(self) -> Path:
        """The certificate that names this node."""
        return self.path / "tls" / "cert.pem"

    @property
    def ca(self) -> Path:
        """The certificate authority of the cluster."""
        return self.path / "tls" / "ca.pem"

    @property
    def files(self) -> Path:
        """Which external files were written."""
        return self.path / "files.json"

    def cluster(self) -> str | None:
        """The uuid of the cluster that the node belongs to."""
        try:
            return (self.path / _CLUSTER).read_text("ascii").strip() or None
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def join(self, cluster_uuid: str) -> None:
        """Belong to this cluster from now on. Raises OSError."""
        write_durably(self.path / _CLUSTER, cluster_uuid.encode("ascii", "replace") + b"\n")

    def leave(self) -> bool:
        """Belong to no cluster; whether it did."""
        there = self.cluster() is not None
        (self.path / _CLUSTER).unlink(missing_ok=True)
        return there


def keep_token(path: Path, token: str) -> None:
    """Keep this node's token for the API where programs of root find it. Raises ValueError."""
    if not token.isalnum():
        raise ValueError("there is no token to keep")
    try:
        write_durably(path, msgspec.json.encode({"token": token}) + b"\n")
    except OSError as error:
        raise ValueError(f"the token cannot be kept in {path}: {error.strerror}") from error


def write_durably(path: Path, content: bytes) -> None:
    """Replace a small file, 0600: after a crash there is the old content or the new. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    partial.replace(path)
