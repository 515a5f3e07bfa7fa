"""Log lines: one an event, with places of errors but not with what they quote."""

import logging

from bollard.controller.logs import LineFormatter


def line(error: Exception | None = None, message: str = "it\nbroke") -> str:
    try:
        if error is not None:
            raise error
    except Exception as caught:  # noqa: BLE001  # any error is formatted
        info = (type(caught), caught, caught.__traceback__)
    else:
        info = None
    record = logging.LogRecord("bollard.controller.x", logging.ERROR, "f.py", 1, message, (), info)
    record.created = 1_800_000_000.5
    return LineFormatter().format(record)


def test_one_line_with_the_time_in_utc() -> None:
    assert line() == "2027-01-15T08:00:00.500Z ERROR controller.x: it | broke"


def test_an_error_shows_its_place_and_not_what_it_quotes() -> None:
    text = line(KeyError("drbd_secret=hidden"))
    assert "\n" not in text
    assert "KeyError < test_logs.py:" in text
    assert "hidden" not in text


def test_errors_made_for_people_keep_their_words() -> None:
    assert "OSError: no space left" in line(OSError("no space left"))
