"""What a program can do on the controller-satellite link, by name. Pure: names and set arithmetic only.

There are no protocol numbers. A side asks for what it needs and uses what the other side offers; a name is
never given a new meaning. A release may drop a name only after the release before it has stopped needing it.
"""

from collections.abc import Iterable
from typing import Final

CONTROLLER_FEATURES: Final = ("target", "target-delta", "observation", "query")
"""What this controller speaks."""

SATELLITE_FEATURES: Final = ("target", "target-delta", "observation", "query")
"""What this satellite speaks."""

NEEDED: Final = frozenset({"target", "observation"})
"""Without these from the other side a link is of no use: the status is VERSION_MISMATCH."""


def missing(offered: Iterable[str]) -> tuple[str, ...]:
    """The names that the other side lacks and that a link cannot do without, sorted; empty: compatible."""
    return tuple(sorted(NEEDED - frozenset(offered)))
