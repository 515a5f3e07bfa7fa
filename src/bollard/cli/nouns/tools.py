"""Commands that are not about an object: the demo, the simulator, completion."""

import argparse
from collections.abc import Iterator, Sequence

from bollard.cli.completion import bash_script, names_wanted, words_after, zsh_script
from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import Noun, Verb, arg
from bollard.cli.listing import FROM_FILE, items_of
from bollard.cli.sizes import parse_kib
from bollard.client.rest import BadReply, NoController, TimedOut


def _demo(_context: Context, options: argparse.Namespace) -> int:
    from bollard.cli.demo.run import run  # noqa: PLC0415  # starts servers: not for every command

    return run(options)


def _sim(_context: Context, options: argparse.Namespace) -> int:
    from bollard.sim.main import run  # noqa: PLC0415  # loads the whole product: not for every command

    words = ["--steps", str(options.steps), "--histories", str(options.histories)]
    if options.seed is not None:
        words += ["--seed", str(options.seed)]
    return run([*words, *(["--wide"] if options.wide else ()), *(["--story"] if options.story else ())])


def _lab(_context: Context, options: argparse.Namespace) -> int:
    from bollard.lab.main import run  # noqa: PLC0415  # only root has a use for it

    return run(options.nodes, options.disks, options.disk_size >> 10, options.memory >> 10)


def _completion(context: Context, options: argparse.Namespace) -> int:
    script = bash_script if options.shell == "bash" else zsh_script
    context.show.line(script("bollard").rstrip())
    return Exit.OK


def _complete(context: Context, options: argparse.Namespace) -> int:
    from bollard.cli.nouns import NOUNS  # noqa: PLC0415  # this module is part of that table

    kind = names_wanted(NOUNS, options.words)
    for word in (*words_after(NOUNS, options.words), *(_names(context, kind) if kind else ())):
        context.show.line(word)
    return Exit.OK


_LISTS = {
    "nodes": ("/v1/nodes", "name"),
    "resource-definitions": ("/v1/resource-definitions", "name"),
    "resource-groups": ("/v1/resource-groups", "name"),
    "storage-pools": ("/v1/storage-pool-definitions", "storage_pool_name"),
}


def _names(context: Context, kind: str) -> list[str]:
    """Names of objects that are there; none when nobody can be asked: a shell waits for this."""
    path, member = _LISTS[kind]
    try:
        reply = context.client.get(path)
    except (NoController, TimedOut, BadReply):
        return []
    found = reply.body if reply.ok and isinstance(reply.body, list) else []
    return sorted(str(item[member]) for item in found if member in item)


def _help(context: Context, options: argparse.Namespace) -> int:
    from bollard.cli.main import parser  # noqa: PLC0415  # the parser is made from that table too

    try:
        parser(options.words).parse_args([*options.words, "--help"])
    except SystemExit as stop:
        return int(stop.code or 0)
    context.show.error("There is no such command.")
    return Exit.USAGE


def _list_commands(context: Context, options: argparse.Namespace) -> int:
    from bollard.cli.nouns import NOUNS  # noqa: PLC0415  # this module is part of that table

    for depth, path in commands_of(NOUNS):
        text = f"{'  ' * depth}{path[-1]}" if options.tree else " ".join(path)
        context.show.line(text)
    return Exit.OK


def commands_of(
    items: Sequence[Noun | Verb], above: tuple[str, ...] = ()
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Every group and command with its depth, parents first."""
    for item in items:
        path = (*above, item.names[0])
        yield len(above), path
        if isinstance(item, Noun):
            yield from commands_of(item.verbs, path)


def _at_the_prompt(_context: Context, _options: argparse.Namespace) -> int:
    return Exit.OK


def _interactive(_context: Context, _options: argparse.Namespace) -> int:
    from bollard.cli.interactive import interact  # noqa: PLC0415  # only where a person types
    from bollard.cli.main import run  # noqa: PLC0415  # the parser is made from that table too

    return interact(run)


def _space(context: Context, options: argparse.Namespace) -> int:
    found = items_of(context, options, "/v1/space-report")
    if not context.raw(found):
        context.show.line(found.get("reportText", "") if isinstance(found, dict) else str(found))
    return Exit.OK


def _zsh(context: Context, _options: argparse.Namespace) -> int:
    context.show.line(zsh_script("bollard").rstrip())
    return Exit.OK


TOOLS: tuple[Noun | Verb, ...] = (
    Noun(
        ("space-reporting", "spr"),
        "how much space is used",
        (Verb(("query", "qry"), "show the report", _space, (FROM_FILE,)),),
    ),
    Verb(
        ("help",),
        "explain a command",
        _help,
        (arg("words", nargs="*", metavar="COMMAND"),),
        in_transaction=True,
    ),
    Verb(
        ("list-commands", "commands", "list"),
        "name all commands",
        _list_commands,
        (arg("-t", "--tree", action="store_true"),),
        in_transaction=True,
    ),
    Verb(("interactive",), "read commands at a prompt", _interactive),
    Verb(("exit", "quit"), "leave the prompt", _at_the_prompt, in_transaction=True),
    Verb(("gen-zsh-completer",), "print a completion script for zsh", _zsh),
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
    Noun(
        ("lab",),
        "clusters of real kernels on this machine",
        (
            Verb(
                ("up",),
                "boot User Mode Linux nodes with satellites and a controller, until the input ends (root)",
                _lab,
                (
                    arg("--nodes", type=int, default=2, choices=range(1, 10), metavar="N"),
                    arg(
                        "--disks", type=int, default=2, choices=range(1, 10), metavar="N", help="of each node"
                    ),
                    arg("--disk-size", type=parse_kib, default="4G", help="of each disk, sparse"),
                    arg("--memory", type=parse_kib, default="512M", help="of each node"),
                ),
            ),
        ),
    ),
    Verb(("completion",), "print a completion script", _completion, (arg("shell", choices=("bash", "zsh")),)),
    Verb(("complete",), "print what may follow these words", _complete, (arg("words", nargs="*"),)),
)
