"""Reads the command lines of programs that are simulated. It knows none of them."""

from collections.abc import Container, Iterator

__all__ = ["split"]


def split(argv: tuple[str, ...], with_value: Container[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The values of each option, those in `with_value` having one each, and the other words."""
    options: dict[str, list[str]] = {}
    words: list[str] = []
    rest: Iterator[str] = iter(argv)
    for word in rest:
        if word in with_value:
            options.setdefault(word, []).append(next(rest))
        elif word.startswith("-"):
            options.setdefault(word, [])
        else:
            words.append(word)
    return options, words
