"""Completion for bash and zsh, made from the grammar."""

from collections.abc import Sequence

from bollard.cli.grammar import Noun, Verb


def words_after(items: Sequence[Noun | Verb], before: Sequence[str]) -> list[str]:
    """What may follow these words: commands, or the options of the command they name."""
    for position, word in enumerate(before):
        chosen = next((item for item in items if word in item.names), None)
        if chosen is None:
            continue
        if isinstance(chosen, Verb):
            return sorted(name for row in chosen.args for name in row.names if name.startswith("-"))
        return words_after(chosen.verbs, before[position + 1 :])
    return sorted(name for item in items for name in item.names)


def names_wanted(items: Sequence[Noun | Verb], before: Sequence[str]) -> str | None:
    """The kind of objects whose names may come next, if the command takes some there."""
    for position, word in enumerate(before):
        chosen = next((item for item in items if word in item.names), None)
        if isinstance(chosen, Noun):
            return names_wanted(chosen.verbs, before[position + 1 :])
        if isinstance(chosen, Verb):
            return _names_for(chosen, before[position + 1 :])
    return None


def _names_for(verb: Verb, given: Sequence[str]) -> str | None:
    last = given[-1] if given else ""
    option = next((row for row in verb.args if last.startswith("-") and last in row.names), None)
    if option is not None and option.options.get("action") is None:
        return option.names_of or None
    places = [row for row in verb.args if not row.names[0].startswith("-")]
    count = sum(not word.startswith("-") for word in given)
    if not places:
        return None
    # A place that takes many words takes them to the end.
    return places[min(count, len(places) - 1)].names_of or None


def bash_script(prog: str) -> str:
    """A bash completion script: it asks the program itself, so that it never goes stale."""
    return f"""\
_{prog}_complete() {{
    local words
    words=$({prog} complete -- "${{COMP_WORDS[@]:1:COMP_CWORD-1}}" 2>/dev/null)
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -F _{prog}_complete {prog}
"""


def zsh_script(prog: str) -> str:
    """A zsh completion script, likewise."""
    return f"""\
#compdef {prog}
_{prog}() {{
    local -a found
    found=(${{(f)"$({prog} complete -- "${{(@)words[2,CURRENT-1]}}" 2>/dev/null)"}})
    compadd -a found
}}
_{prog} "$@"
"""
