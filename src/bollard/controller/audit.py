"""The audit log: one JSON line for each call that changes something or was refused entry. Never a secret.

Lines are written by a thread of their own, so that a slow disk holds up nobody; the file is only appended
to, and turned when it is long.
"""

import logging
import os
import queue
import threading
from pathlib import Path
from typing import Final, Protocol

import msgspec

_WAITING_MAX: Final = 100_000
_log = logging.getLogger(__name__)
_journal = logging.getLogger("bollard.audit")


class Audited(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who did what to which object, and what came of it."""

    at: str
    who: str
    peer: str
    method: str
    path: str
    """With the names of objects in it, without the query."""
    status: int
    codes: tuple[int, ...] = ()
    """Return codes of the answer."""
    revision: int = 0
    """Of the cluster afterwards."""
    took_ms: int = 0


class Audit(Protocol):
    """Where audit lines go."""

    def note(self, line: Audited) -> None:
        """Keep a line; returns at once."""

    def close(self) -> None:
        """Write what is left."""


class NoAudit:
    """Keeps nothing."""

    def note(self, line: Audited) -> None:
        """See Audit."""

    def close(self) -> None:
        """See Audit."""


class JournalAudit:
    """Hands the lines to the program's log, where journald keeps them."""

    def note(self, line: Audited) -> None:
        """See Audit."""
        _journal.info("%s", msgspec.json.encode(line).decode())

    def close(self) -> None:
        """See Audit."""


class FileAudit:
    """An append-only file, 0600, with a number of older ones beside it: NAME.1 is the youngest of them."""

    def __init__(self, path: Path, *, bytes_max: int, keep: int) -> None:
        """Open the file. Raises OSError."""
        self._path = path
        self._bytes_max = bytes_max
        self._keep = keep
        self._lines: queue.Queue[bytes | None] = queue.Queue(_WAITING_MAX)
        self._lost = 0
        self._fd = self._open()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def note(self, line: Audited) -> None:
        """See Audit."""
        try:
            self._lines.put_nowait(msgspec.json.encode(line) + b"\n")
        except queue.Full:
            self._lost += 1
            if self._lost == 1:
                _log.error("the audit log %s cannot be written fast enough; lines are lost", self._path)

    def close(self) -> None:
        """See Audit."""
        self._lines.put(None)
        self._thread.join()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    # What follows runs in the thread.

    def _run(self) -> None:
        going = True
        while going:
            batch = [self._lines.get()]
            while not self._lines.empty():
                batch.append(self._lines.get())
            going = None not in batch
            self._write(b"".join(line for line in batch if line is not None))
        os.close(self._fd)

    def _write(self, text: bytes) -> None:
        try:
            if os.fstat(self._fd).st_size + len(text) > self._bytes_max:
                self._turn()
            os.write(self._fd, text)
        except OSError as error:
            _log.error("the audit log %s cannot be written: %s", self._path, error.strerror)

    def _turn(self) -> None:
        for number in range(self._keep, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            younger = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            if younger.exists():
                younger.replace(older)
        os.close(self._fd)
        self._fd = self._open()
