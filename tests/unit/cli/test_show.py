"""What is shown with its age."""

import re
import time

from bollard.cli.show import last_report


def test_an_age_is_counted_from_the_last_report() -> None:
    match = re.fullmatch(r" \(last report (\d+) s ago\)", last_report(round((time.time() - 90) * 1000)))
    assert match is not None
    assert 89 <= int(match.group(1)) <= 120


def test_without_a_report_there_is_no_age() -> None:
    assert last_report(None) == ""
