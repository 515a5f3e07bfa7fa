"""Where global options come from, and which wins."""

import pytest

from bollard.cli.main import parser
from bollard.cli.settings import controllers_of, with_defaults


def test_the_environment_stands_before_the_command_line() -> None:
    words = with_defaults(
        ["--disable-config", "--timeout", "5", "n", "l"],
        {"LS_CLIENT_TIMEOUT": "9", "LS_CLIENT_NO_COLOR": "yes"},
    )
    options = parser().parse_args(words)
    assert options.timeout == 5
    assert options.no_color


def test_a_flag_can_be_off_in_the_environment() -> None:
    words = with_defaults(["--disable-config", "n", "l"], {"LS_CLIENT_CURL": "no"})
    assert not parser().parse_args(words).curl


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        (None, {}, "localhost"),
        ("a", {}, "a"),
        (None, {"LS_CONTROLLERS": "b,c"}, "b,c"),
        ("a", {"LS_CONTROLLERS": "b"}, "a,b"),
    ],
)
def test_controllers(given: str | None, environ: dict[str, str], expected: str) -> None:
    assert controllers_of(given, environ) == expected
