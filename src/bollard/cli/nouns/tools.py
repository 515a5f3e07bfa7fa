"""Commands that are not about an object: the demo, the simulator, completion."""

import argparse

from bollard.cli.completion import bash_script, words_after, zsh_script
from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import Noun, Verb, arg
from bollard.cli.sizes import parse_kib


def _demo(_context: Context, options: argparse.Namespace) -> int:
    from bollard.cli.demo.run import run  # noqa: PLC0415  # starts servers: not for every command

    return run(options)


def _sim(_context: Context, options: argparse.Namespace) -> int:
    from bollard.sim.main import run  # noqa: PLC0415  # loads the whole product: not for every command

    words = ["--steps", str(options.steps), "--histories", str(options.histories)]
    if options.seed is not None:
        words += ["--seed", str(options.seed)]
    return run([*words, *(["--wide"] if options.wide else ()), *(["--story"] if options.story else ())])


def _completion(context: Context, options: argparse.Namespace) -> int:
    script = bash_script if options.shell == "bash" else zsh_script
    context.show.line(script("bollard").rstrip())
    return Exit.OK


def _complete(context: Context, options: argparse.Namespace) -> int:
    from bollard.cli.nouns import NOUNS  # noqa: PLC0415  # this module is part of that table

    for word in words_after(NOUNS, options.words):
        context.show.line(word)
    return Exit.OK


TOOLS: tuple[Noun | Verb, ...] = (
    Verb(
        ("demo",),
        "a whole cluster on this machine: replicate, kill a node, lose nothing",
        _demo,
        (
            arg("--size", type=parse_kib, default="256M", help="of the volume (default 256M)"),
            arg("--keep", action="store_true", help="leave the cluster running and say how to use it"),
            arg("--mount", action="store_true", help="also put a file system on the volume (root)"),
            arg("--state-dir", help="where to keep everything (default: a temporary folder)"),
            arg("--seed", type=int, default=1, help="of the pattern that is written"),
        ),
    ),
    Verb(
        ("sim",),
        "histories of a simulated cluster with faults, from seeds",
        _sim,
        (
            arg("--seed", type=int, help="one history with this seed (default: fresh seeds)"),
            arg("--steps", type=int, default=40, help="commands and faults in a history"),
            arg("--histories", type=int, default=1, help="how many"),
            arg("--wide", action="store_true", help="also evacuate nodes, verify, and use thick files"),
            arg("--story", action="store_true", help="print all that happens"),
        ),
    ),
    Verb(("completion",), "print a completion script", _completion, (arg("shell", choices=("bash", "zsh")),)),
    Verb(("complete",), "print what may follow these words", _complete, (arg("words", nargs="*"),)),
)
