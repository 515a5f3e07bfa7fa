"""Where the API token of the command line comes from, and where it is kept: never from the arguments."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bollard.cli.exits import Exit, Stop

TOKEN_PATH = Path("~/.config/bollard/token")
_AUTHORITIES = (Path("~/.config/bollard/ca.crt"), Path("/etc/bollard/ca.crt"))
_OTHERS = 0o077


def refuse_in_arguments(words: Sequence[str]) -> None:
    """Raises Stop for a token among the words that everyone on this machine can read."""
    if any(word == "--auth-token" or word.startswith("--auth-token=") for word in words):
        raise Stop(
            Exit.USAGE,
            "Error: a token on the command line can be read by everyone on this machine.\n"
            "Put it into LS_CLIENT_AUTH_TOKEN, or into a file for --auth-token-file.",
        )


def token_of(
    given: str | None, file: str | None, environ: Mapping[str, str] = os.environ, *, files: bool = True
) -> str | None:
    """The token: of the file, of environment or configuration (`given`), of the saved one. Raises Stop."""
    named = file or environ.get("LS_BEARER_TOKEN_FILE")
    if named:
        return _read(Path(named).expanduser())
    if given:
        return given
    saved = TOKEN_PATH.expanduser()
    return _read(saved) if files and saved.is_file() else None


def save(token: str) -> Path:
    """Keep a token for the calls to come, readable by this user only. Raises Stop."""
    path = TOKEN_PATH.expanduser()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".new")
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as stream:
            os.fchmod(fd, 0o600)
            stream.write(token + "\n")
        partial.replace(path)
    except OSError as error:
        raise Stop(Exit.UNKNOWN, f"Error: the token cannot be kept in {path}: {error.strerror}") from error
    return path


def authority_of(given: str | None) -> str | None:
    """The file with the authority that signed the controller's certificate, if one is known."""
    found = (str(path.expanduser()) for path in _AUTHORITIES if path.expanduser().is_file())
    return given or next(found, None)


def _read(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(Exit.USAGE, f"Error: the token file {path} cannot be read: {error}") from error
    if mode & _OTHERS:
        raise Stop(
            Exit.USAGE,
            f"Error: the token file {path} can be read by others.\n"
            f"Say 'chmod 600 {path}', and replace the token.",
        )
    if not text or len(text.split()) != 1:
        raise Stop(Exit.USAGE, f"Error: the token file {path} does not hold one token.")
    return text
