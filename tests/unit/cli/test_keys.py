"""Where a token comes from: files that only their owner can read, never the arguments."""

from pathlib import Path

import pytest

from bollard.cli import keys
from bollard.cli.exits import Exit, Stop
from bollard.cli.main import run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_saved_token_is_found_again_and_is_private(home: Path) -> None:
    assert keys.token_of(None, None, {}) is None
    path = keys.save("abc")
    assert path == home / ".config" / "bollard" / "token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.token_of(None, None, {}) == "abc"
    assert keys.token_of(None, None, {}, files=False) is None
    assert keys.token_of("given", None, {}) == "given"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(home: Path, mode: int) -> None:
    file = home / "token"
    file.write_text("abc\n")
    file.chmod(mode)
    with pytest.raises(Stop, match="others"):
        keys.token_of(None, str(file), {})
    file.chmod(0o600)
    assert keys.token_of("given", str(file), {}) == "abc"
    assert keys.token_of(None, None, {"LS_BEARER_TOKEN_FILE": str(file)}) == "abc"


@pytest.mark.parametrize("text", ["", "two words", "two\nlines"])
def test_a_file_without_one_token_is_refused(home: Path, text: str) -> None:
    file = home / "token"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(Stop, match="one token"):
        keys.token_of(None, str(file), {})


@pytest.mark.parametrize("words", [["--auth-token", "secret", "n", "l"], ["--auth-token=secret", "n", "l"]])
def test_a_token_among_the_arguments_is_refused_and_not_repeated(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == Exit.USAGE
    said = capsys.readouterr()
    assert "LS_CLIENT_AUTH_TOKEN" in said.err
    assert "secret" not in said.err + said.out
