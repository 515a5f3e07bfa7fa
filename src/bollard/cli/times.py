"""Moments as people write them: a date, or how long ago."""

import re
import time
from datetime import datetime, timedelta

from bollard.cli.exits import Exit, Stop

__all__ = ["WHEN", "ms_of"]

WHEN = "a date, 2030-12-31 or 2030-12-31T12:00, or how long ago: 3h, 1d10h"
_AGO = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?")


def ms_of(text: str | None) -> int | None:
    """Milliseconds since the epoch; None for None. Raises Stop for what is no moment."""
    if text is None:
        return None
    match = _AGO.fullmatch(text)
    if match is not None and any(match.groups()):
        days, hours, minutes = (int(part or 0) for part in match.groups())
        return int((time.time() - timedelta(days=days, hours=hours, minutes=minutes).total_seconds()) * 1000)
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except ValueError as error:
        raise Stop(Exit.USAGE, f"'{text}' is no moment: give {WHEN}.") from error
