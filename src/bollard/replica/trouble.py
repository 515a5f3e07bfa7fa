"""Refusals of the data process as exceptions that carry a control-socket error.

Raised by whoever refuses, turned into a reply in one place.
"""

import errno

from bollard.wire.engine import EngineError, ErrorCode

__all__ = ["Trouble", "from_os_error"]


class Trouble(Exception):
    """A request that cannot be done; `error` is ready for the reply."""

    def __init__(self, code: ErrorCode, message: str, cause: str = "", correction: str = "") -> None:
        super().__init__(message)
        self.error = EngineError(code=code, message=message, cause=cause, correction=correction)


_CODES = {
    errno.ENOSPC: ErrorCode.EXHAUSTED,
    errno.EDQUOT: ErrorCode.EXHAUSTED,
    errno.ENOENT: ErrorCode.NOT_FOUND,
    errno.EBUSY: ErrorCode.BUSY,
    errno.EADDRINUSE: ErrorCode.BUSY,
    errno.EACCES: ErrorCode.DENIED,
    errno.EPERM: ErrorCode.DENIED,
    errno.EROFS: ErrorCode.DENIED,
    errno.EINVAL: ErrorCode.INVALID,
}


def from_os_error(what: str, error: OSError, correction: str = "") -> Trouble:
    """An operating system's refusal; the family follows from errno."""
    code = _CODES.get(error.errno or 0, ErrorCode.UNAVAILABLE)
    return Trouble(code, what, error.strerror or str(error), correction)
