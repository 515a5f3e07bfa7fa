"""The prompt: one command a line, with history and completion of words."""

import contextlib
import readline
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from bollard.cli.completion import words_after
from bollard.cli.nouns import NOUNS
from bollard.cli.session import Session

PROMPT = "BOLLARD ==> "
IN_TRANSACTION = "BOLLARD (transaction) ==> "
_HISTORY = Path("~/.config/bollard/history")


def interact(run: Callable[[Sequence[str], Session], int]) -> int:
    """Read commands until `exit`, `quit` or the end of input; return the last command's exit code."""
    history = _HISTORY.expanduser()
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_completer(_complete)
    readline.parse_and_bind("tab: complete")
    code, session = 0, Session()
    try:
        while (line := _read(session)) is not None:
            try:
                words = shlex.split(line)
            except ValueError as error:
                print(f"Error: {error}")  # noqa: T201  # no command ran, so there is no output object yet
                continue
            if words and words[0] in {"exit", "quit"}:
                break
            if words and words[0] != "interactive":
                code = run(words, session)
            if code and session.collecting and session.ends_on_error:
                session.end()
                break
    finally:
        with contextlib.suppress(OSError):
            history.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(history)
    return code


def _read(session: Session) -> str | None:
    try:
        return input(IN_TRANSACTION if session.collecting else PROMPT)
    except (EOFError, KeyboardInterrupt):
        return None


def _complete(text: str, state: int) -> str | None:
    before = readline.get_line_buffer()[: readline.get_begidx()].split()
    found = [word + " " for word in words_after(NOUNS, before) if word.startswith(text)]
    return found[state] if state < len(found) else None
