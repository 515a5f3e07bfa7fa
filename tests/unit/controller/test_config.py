"""Settings: flags over file over defaults, and plain words for what is wrong."""

from pathlib import Path

import pytest

from bollard.controller.config import Config, ConfigError, address, duration_s, load, parse, settle


def settled(tmp_path: Path, text: str, *flags: str) -> Config:
    path = tmp_path / "controller.toml"
    path.write_text(text)
    return settle(parse(["--config", str(path), *flags]))


def test_defaults(tmp_path: Path) -> None:
    config = settled(tmp_path, "")
    assert (config.http.listen, config.http.port) == ("127.0.0.1", 3370)
    assert config.state == Path("/var/lib/bollard/controller")
    assert config.pki == Path("/var/lib/bollard/controller/pki")
    assert not config.https.enabled
    assert not config.link.insecure_plain


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    text = """
        state_dir = "/a"
        [http]
        port = 1
        [logging]
        level = "DEBUG"
        [database]
        url = "postgresql://u:p@h/db"
    """
    config = settled(tmp_path, text)
    assert (config.http.port, config.state_dir, config.logging.level) == (1, "/a", "DEBUG")
    flags = ("--state-dir", "/b", "--rest-bind", "[::1]:2", "--log-level", "error", "--memory-database")
    config = settled(tmp_path, text, *flags)
    assert (config.http.listen, config.http.port, config.state_dir) == ("::1", 2, "/b")
    assert (config.logging.level, config.database.url) == ("ERROR", "memory:")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[htp]", "htp"),
        ("[http]\nport = 'x'", "http.port"),
        ("[http]\nport = 70000", "http.port is 70000"),
        ("[http", "not TOML"),
        ("[logging]\nlevel = 'LOUD'", "LOUD"),
        ("[database]\nurl = 'mysql://x'", "database.url"),
        ("state_dir = ''", "state_dir is empty"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(tmp_path, text)
    assert "controller.toml" in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_is_an_error_only_when_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.toml")
    assert load(tmp_path / "none.toml", may_lack=True) == Config()


@pytest.mark.parametrize("url", ["postgresql://u:secret@h/db", "postgresql://h/db?password=secret"])
def test_a_password_on_the_command_line_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="must not hold a password") as caught:
        settled(tmp_path, "", "--database", url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("h", ("h", 9)),
        ("h:1", ("h", 1)),
        ("[::1]", ("::1", 9)),
        ("[::1]:2", ("::1", 2)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
    ],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert address(text, 9) == found


@pytest.mark.parametrize("text", ["", ":1", "h:x", "h:99999", "h/p", "u@h", "::1:x["])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError):
        address(text, 9)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1", "1.5h", "1w", "ten"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError):
        duration_s(text)


def test_the_command_line() -> None:
    assert parse([]).command == "run"
    assert parse(["--state-dir", "/x"]).command == "run"
    assert parse(["run"]).command == "run"
    assert parse(["ca", "init", "--host", "a", "--host", "b"]).host == ["a", "b"]
    assert parse(["token", "create", "--node", "n1", "--ttl", "2h"]).ttl == "2h"
    with pytest.raises(SystemExit) as caught:
        parse(["frobnicate"])
    assert caught.value.code == 2
