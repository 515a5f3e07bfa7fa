"""What people type for the linstor client is understood here: every command, alias and option of its grammar.

`tests/golden/cli` has that grammar as a table of names; a line of it that is not understood must be listed
here with its reason, and one that is understood must not be.
"""

import argparse
import contextlib
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from bollard.cli.main import parser

TABLES = Path(__file__).parents[2] / "golden" / "cli"
MISSING: dict[str, str] = {
    "backup": "there are no backups",
    "remote": "there are no backups",
    "schedule": "there are no backups",
    "drbd-proxy": "there is no DRBD Proxy",
    "dm-migrate": "clusters of drbdmanage are not taken over",
}
"""Groups, commands and options that are not there, by their long names."""
VALUES = {
    "size": "1G",
    "volume_sizes": "1G",
    "--auto-place": "2",
    "--place-count": "+1",
    "REPLICA_COUNT": "2",
    "--since": "1d",
    "--to": "1d",
    "--time": "1d",
    "--x-replicas-on-different": "zone 2",
    "--diskless-on-remaining": "yes",
}
"""Values of what does not take just any word; numbers do else."""


def pieces(text: str) -> tuple[list[str], str, list[str], bool]:
    """The names, how many values, which values, and whether it is required."""
    required = text.endswith("!")
    text = text.rstrip("!")
    text, _, choices = text.partition("{")
    sign = "=" if text.startswith("-") else ":"
    names, _, count = text.partition(sign)
    return names.split("|"), count, choices.rstrip("}").split(",") if choices else [], required


def sample(name: str, choices: list[str]) -> list[str]:
    return (choices[0] if choices else VALUES.get(name, "1")).split(" ")


def lines_of(rows: list[str]) -> Iterator[tuple[str, list[str]]]:
    """What about the command is tried, and the words behind its name."""
    given = [pieces(row) for row in rows]
    words: list[str] = []
    for names, _, choices, required in given:
        if required:
            words += [names[0], *sample(names[0], choices)]
    for (name, *_), count, choices, _ in given:
        if not name.startswith("-") and count in {"1", "+"}:
            words += sample(name, choices)
    yield "", words
    for names, count, choices, required in given:
        optional = not names[0].startswith("-")
        if required or (optional and count in {"1", "+"}):
            continue
        for name in names:
            for value in choices or [VALUES.get(names[0], VALUES.get(names[-1], "1"))]:
                option = [] if optional else [name]
                if optional:
                    yield name, [*words, *value.split(" ")]
                elif count == "":
                    yield name, [*option, *words]
                else:
                    yield name, [*words, *option, *value.split(" ")]


def commands() -> dict[str, list[str]]:
    sets: dict[str, list[str]] = {}
    for line in (TABLES / "drbd-options.txt").read_text().splitlines():
        kind, _, text = line.partition(" ")
        name, brace, choices = text.partition("{")
        sets.setdefault(f"[{kind}]", []).append(f"{name}=1{brace}{choices}")
        sets[f"[{kind}]"].append(f"--unset-{name.removeprefix('--')}")
    found = {}
    for line in (TABLES / "commands.txt").read_text().splitlines():
        path, _, rest = line.partition("  ")
        rows = [row for part in rest.split("; ") if part for row in sets.get(part, [part])]
        found[path] = rows
    return found


def understood(whole: argparse.ArgumentParser, words: list[str]) -> bool:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            return callable(whole.parse_args(words).run)
        except SystemExit:
            return False


def failures() -> set[str]:
    """Long names of commands, other spellings of them, and options, that are not understood."""
    whole, failed = parser(), set[str]()
    for path, rows in commands().items():
        levels = [level.split("/") for level in path.split(" ")]
        long = [level[0] for level in levels]
        plain = next(lines_of(rows))[1]
        if not understood(whole, [*long, *plain]):
            failed.add(" ".join(long))
            continue
        others = (names for names in itertools.product(*levels) if list(names) != long)
        failed |= {" ".join(names) for names in others if not understood(whole, [*names, *plain])}
        for about, words in lines_of(rows):
            if about and not understood(whole, [*long, *words]):
                failed.add(f"{' '.join(long)} {about}")
    return failed


def under(text: str, names: Iterable[str]) -> str | None:
    return next((name for name in names if text == name or text.startswith(name + " ")), None)


@pytest.fixture(name="failed", scope="module")
def _failed() -> set[str]:
    return failures()


def test_everything_is_understood_but_what_is_listed(failed: set[str]) -> None:
    assert sorted(text for text in failed if not under(text, MISSING)) == []


def test_nothing_is_listed_that_is_understood(failed: set[str]) -> None:
    for name in MISSING:
        mine = {" ".join(level.split("/")[0] for level in path.split(" ")) for path in commands()}
        assert {path for path in mine if under(path, [name])} <= failed


def test_the_table_is_the_whole_grammar() -> None:
    assert len(commands()) == 183
    assert len(next(rows for path, rows in commands().items() if path.startswith("controller/c drbd"))) == 182
