"""Log lines for machines and people: time, level, logger, then the message; one line an event, no secrets."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType

from bollard.domain.errors import DomainError

_SAFE = (OSError, DomainError, TimeoutError)
"""Errors whose words are made for people; those of others may quote records, and so secrets."""


class LineFormatter(logging.Formatter):
    """`2026-01-02T03:04:05.678Z INFO controller.service: text`; a traceback goes into the same line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        name = record.name.removeprefix("bollard.")
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += " | " + self.formatException(record.exc_info)
        folded = text.replace("\n", " | ")
        return f"{when.replace('+00:00', 'Z')} {record.levelname} {name}: {folded}"

    def formatException(  # noqa: N802  # the name is logging's
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """Class and places of an error; its words only when they cannot quote a record."""
        error = ei[1]
        if error is None:
            return ""
        said = f": {error}" if isinstance(error, _SAFE) else ""
        places = [
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(ei[2])
        ]
        return " < ".join([type(error).__name__ + said, *reversed(places)])


def set_up(level: str) -> None:
    """Log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(chatty).setLevel("WARNING")
