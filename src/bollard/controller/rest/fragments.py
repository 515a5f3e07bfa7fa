"""Encoded pieces of the longest list, kept while nothing they are made of has changed.

A piece is found by its object and is good as long as the very same records made it; records are frozen,
so that comparing identities is enough.
"""

from typing import Any

_SPARE = 1000
"""Pieces of what is gone that may stay before all are dropped."""

Sources = tuple[Any, Any, Any, int, int]
"""Three records, whether the node is online and the vault open, and since when the node is not heard of."""


class Fragments:
    """A cache of encoded JSON by uuid, checked against what it was made of."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Sources, bytes]] = {}
        self.hits = 0
        self.misses = 0

    def get(self, uuid: str, sources: Sources) -> bytes | None:
        """The piece, if exactly these objects made it."""
        found = self._known.get(uuid)
        if found is None:
            return None
        before = found[0]
        if (
            before[0] is sources[0]
            and before[1] is sources[1]
            and before[2] is sources[2]
            and before[3:] == sources[3:]
        ):
            self.hits += 1
            return found[1]
        return None

    def put(self, uuid: str, sources: Sources, content: bytes) -> None:
        """Keep a piece; the sources are held, so that their identities stay theirs."""
        self.misses += 1
        self._known[uuid] = (sources, content)

    def keep_within(self, count: int) -> None:
        """Start anew when there are many more pieces than objects: the rest is of what is gone."""
        if len(self._known) > count + _SPARE:
            self._known.clear()
