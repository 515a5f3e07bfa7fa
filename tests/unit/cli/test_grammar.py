"""The command grammar: every alias parses, every command has help, completion follows the words."""

from collections.abc import Iterator, Sequence

import pytest

from bollard.cli.completion import bash_script, words_after, zsh_script
from bollard.cli.grammar import Noun, Verb
from bollard.cli.main import parser, run
from bollard.cli.nouns import NOUNS


def _commands(items: Sequence[Noun | Verb], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for item in items:
        for name in item.names:
            if isinstance(item, Verb):
                yield (*before, name)
            else:
                yield from _commands(item.verbs, (*before, name))


@pytest.mark.parametrize("words", list(_commands(NOUNS)), ids=" ".join)
def test_every_command_has_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    assert "usage: bollard" in capsys.readouterr().out


def test_names_are_unique_at_each_level() -> None:
    def check(items: Sequence[Noun | Verb]) -> None:
        names = [name for item in items for name in item.names]
        assert len(names) == len(set(names))
        for item in items:
            if isinstance(item, Noun):
                check(item.verbs)

    check(NOUNS)


@pytest.mark.parametrize(
    "line",
    [
        "n c alpha 10.0.0.1",
        "node create alpha 10.0.0.1 --communication-type SSL",
        "sp c filethin alpha pool /srv/pool",
        "rg c grp --place-count 2 -s pool",
        "rg spawn grp res 10G",
        "rd c res --layer-list drbd,storage",
        "rd ap res --place-count +1",
        "vd c res 1.5G -n 3",
        "vd size res 0 2G",
        "r c alpha beta res -s pool",
        "r c res --auto-place 2",
        "r td alpha res --diskless",
        "r td alpha res --migrate-from beta",
        "n i c alpha fast 10.1.0.1",
        "c sp DrbdOptions/Net/protocol C",
        "err l",
    ],
)
def test_short_and_long_forms_parse(line: str) -> None:
    assert callable(parser().parse_args(line.split()).run)


@pytest.mark.parametrize("line", ["", "nope", "n nope", "n c", "vd c res x1", "--timeout soon n l"])
def test_bad_words_end_with_usage(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    assert "usage:" in capsys.readouterr().err


def test_completion_follows_the_words() -> None:
    assert "node" in words_after(NOUNS, [])
    assert "list" in words_after(NOUNS, ["n"])
    assert "--nodes" in words_after(NOUNS, ["node", "list"])
    assert "lvmthin" in words_after(NOUNS, ["sp", "c"])


def test_completion_scripts_ask_the_program() -> None:
    assert "bollard complete" in bash_script("bollard")
    assert "bollard complete" in zsh_script("bollard")


def test_curl_prints_the_call_and_makes_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--disable-config", "--controllers", "nowhere.invalid", "--curl", "rd", "d", "res"]) == 0
    assert "curl -X DELETE http://nowhere.invalid:3370/v1/resource-definitions/res" in capsys.readouterr().out


def test_no_controller_is_said_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--disable-config", "--controllers", "127.0.0.1:1", "n", "l"]) == 20
    error = capsys.readouterr().err
    assert "No controller can be reached" in error
    assert "--controllers" in error
