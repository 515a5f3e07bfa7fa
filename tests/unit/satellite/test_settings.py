"""Arguments and the configuration file of the satellite."""

from pathlib import Path

import pytest

from bollard.satellite.settings import SettingsError, parse


def test_arguments_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    config = tmp_path / "satellite.toml"
    config.write_text('node_name = "filed"\nport = 4000\nbind = "127.0.0.2"\n')
    settings = parse(["--config", str(config), "--port", "5000"])
    assert settings.node_name == "filed"
    assert settings.listen_at(tls=False) == ("127.0.0.2", 5000)
    assert parse(["--node-name", "alpha"]).listen_at(tls=False) == ("127.0.0.1", 3366)
    assert parse(["--node-name", "alpha"]).listen_at(tls=True) == ("0.0.0.0", 3367)


def test_plain_beyond_loopback_needs_a_word() -> None:
    with pytest.raises(SettingsError, match="--insecure-plain"):
        parse(["--node-name", "alpha", "--bind", "10.0.0.1"]).listen_at(tls=False)
    allowed = parse(["--node-name", "alpha", "--bind", "10.0.0.1", "--insecure-plain"])
    assert allowed.listen_at(tls=False) == ("10.0.0.1", 3366)
    assert parse(["--node-name", "alpha", "--bind", "::1"]).listen_at(tls=False) == ("::1", 3366)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("colour = 1", "'colour' is not a setting"),
        ('port = "x"', "'port' must be of type int"),
        ("port = true", "'port' must be of type int"),
        ("= 1", "cannot be read"),
        ("port = 70000", "is no port"),
        ('node_name = "a b"', "not a valid node name"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    config = tmp_path / "satellite.toml"
    config.write_text(content + "\n")
    with pytest.raises(SettingsError, match=said):
        parse(["--config", str(config)] + ([] if "node_name" in content else ["--node-name", "alpha"]))


def test_join_takes_its_token_from_a_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    settings = parse(
        ["--node-name", "alpha", "join", "--controller", "https://c:3371", "--token-file", str(token)]
    )
    assert settings.joining
    assert settings.token == "s3cret"
    with pytest.raises(SettingsError, match="token file"):
        parse(["--node-name", "alpha", "join", "--controller", "x", "--token-file", str(tmp_path / "no")])
    assert parse(["--node-name", "alpha", "leave"]).leaving
