"""The prompt: one command a line, with history and completion of words."""

import contextlib
import readline
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from bollard.cli.completion import words_after
from bollard.cli.nouns import NOUNS

PROMPT = "BOLLARD ==> "
_HISTORY = Path("~/.config/bollard/history")


def interact(run: Callable[[Sequence[str]], int]) -> int:
    """Read commands until `exit`, `quit` or the end of input; return the last command's exit code."""
    history = _HISTORY.expanduser()
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_completer(_complete)
    readline.parse_and_bind("tab: complete")
    code = 0
    try:
        while (line := _read()) is not None:
            try:
                words = shlex.split(line)
            except ValueError as error:
                print(f"Error: {error}")  # noqa: T201  # no command ran, so there is no output object yet
                continue
            if words and words[0] in {"exit", "quit"}:
                break
            if words:
                code = run(["--help"] if words[0] == "help" else words)
    finally:
        with contextlib.suppress(OSError):
            history.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(history)
    return code


def _read() -> str | None:
    try:
        return input(PROMPT)
    except (EOFError, KeyboardInterrupt):
        return None


def _complete(text: str, state: int) -> str | None:
    before = readline.get_line_buffer()[: readline.get_begidx()].split()
    found = [word + " " for word in words_after(NOUNS, before) if word.startswith(text)]
    return found[state] if state < len(found) else None
