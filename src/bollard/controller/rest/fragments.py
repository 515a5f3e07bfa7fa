"""Encoded pieces of the longest list, kept while nothing they are made of has changed.

A piece is found by its resource and is good as long as the very same records made it; records are frozen,
so that comparing identities is enough.
"""

from typing import Any

from bollard.domain.ids import Key


class Fragments:
    """A cache of encoded JSON by key, checked against what it was made of."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[tuple[Any, ...], bytes]] = {}
        self.hits = 0
        self.misses = 0

    def get(self, key: Key, sources: tuple[Any, ...]) -> bytes | None:
        """The piece, if exactly these objects made it."""
        found = self._known.get(key)
        if found is None:
            return None
        before = found[0]
        if len(before) == len(sources) and all(map(_same, before, sources)):
            self.hits += 1
            return found[1]
        return None

    def put(self, key: Key, sources: tuple[Any, ...], content: bytes) -> None:
        """Keep a piece; the sources are held, so that their identities stay theirs."""
        self.misses += 1
        self._known[key] = (sources, content)

    def keep_only(self, keys: set[Key]) -> None:
        """Forget the pieces of what is gone."""
        if len(self._known) > len(keys):
            for key in self._known.keys() - keys:
                del self._known[key]


def _same(left: Any, right: Any) -> bool:
    return left is right or (type(left) in {int, bool} and type(right) in {int, bool} and left == right)
