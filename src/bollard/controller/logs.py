"""Log lines for machines and people: time, level, logger, then the message; one line an event, no secrets."""

import logging
import sys
from datetime import UTC, datetime


class LineFormatter(logging.Formatter):
    """`2026-01-02T03:04:05.678Z INFO controller.service: text`; a traceback is folded into the same line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        name = record.name.removeprefix("bollard.")
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += " | " + self.formatException(record.exc_info)
        folded = text.replace("\n", " | ")
        return f"{when.replace('+00:00', 'Z')} {record.levelname} {name}: {folded}"


def set_up(level: str) -> None:
    """Log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(chatty).setLevel("WARNING")
