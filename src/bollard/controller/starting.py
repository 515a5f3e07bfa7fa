"""What can go wrong before the controller serves, with exit codes and plain words; the choice of store."""

import errno
import importlib
import os
import tempfile
from enum import IntEnum
from pathlib import Path

from bollard.controller.config import Config
from bollard.controller.store.base import Store
from bollard.controller.store.memory import MemoryStore
from bollard.controller.store.sqlite import sqlite_store
from bollard.domain.errors import DomainError


class Exit(IntEnum):
    """How the program ends."""

    STOPPED = 0
    """As it was told to."""
    USAGE = 2
    """The command line or a setting is wrong."""
    ADDRESS = 20
    """An address cannot be listened on."""
    DATABASE = 21
    """The database is held by another controller, too new, or cannot be used."""
    STATE_DIR = 22
    """The state directory cannot be written."""
    OVERTAKEN = 23
    """Another controller has taken the database while this one ran."""
    REFUSED = 24
    """`ca` or `token`: refused, nothing was changed."""
    BUG = 70
    """An error of our own."""


class CannotStart(Exception):
    """The start failed; the sentence says why and what to do."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


def choose_store(config: Config) -> Store:
    """The store that the settings name; not open yet. Raises CannotStart."""
    url = config.database.url
    if url == "memory:":
        return MemoryStore()
    if not url:
        return sqlite_store(config.state / "controller.db")
    try:
        postgres = importlib.import_module("bollard.controller.store.postgres")
    except ImportError as error:
        raise CannotStart(Exit.DATABASE, "for a PostgreSQL database install bollard[postgres]") from error
    store: Store = postgres.postgres_store(url, config.state)
    return store


def check_state_dir(path: Path) -> None:
    """Make the directory and write to it once: what is full or read-only is said now."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(bytes(64 << 10))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        reasons = {
            errno.ENOSPC: "its file system is full; free some space",
            errno.EDQUOT: "the quota is used up; free some space",
            errno.EROFS: "its file system is read-only; mount it writable, or name another with --state-dir",
            errno.EACCES: "this user may not write there; change its owner, or name another with --state-dir",
            errno.EPERM: "this user may not write there; change its owner, or name another with --state-dir",
            errno.ENOTDIR: "it, or a part of its path, is no directory; name another with --state-dir",
            errno.EEXIST: "it is no directory; name another with --state-dir",
        }
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        raise CannotStart(Exit.STATE_DIR, f"the state directory {path} cannot be used: {reason}") from error


def kind_of_database(config: Config) -> str:
    """Kind and place of the database, without a password."""
    if config.database.url == "memory:":
        return "memory"
    return "postgresql" if config.database.url else f"sqlite:{config.state / 'controller.db'}"


def sentence(error: DomainError) -> str:
    return " ".join(text.rstrip(".") + "." for text in (error.message, error.cause, error.correction) if text)
