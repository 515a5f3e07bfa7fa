"""What has happened, as one ordered stream that any number of readers follow. It is told, never the truth.

A reader that is too slow loses the oldest events and is told how many.
"""

import msgspec

from bollard.domain.cluster import Change


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """The root of all events."""

    number: int = 0
    """Grows by one with each event of this process."""
    at_ms: int = 0


class Committed(Event, frozen=True, tag="committed"):
    """The wish has changed."""

    revision: int
    changes: tuple[Change, ...]


class NodeStatus(Event, frozen=True, tag="node-status"):
    """A node came, went or was refused."""

    node: str
    old: str
    new: str
    message: str = ""


class Reported(Event, frozen=True, tag="reported"):
    """A node has reported; these of its resource definitions (None: all) may look different now."""

    node: str
    definitions: tuple[str, ...] | None = None


class MayPromote(Event, frozen=True, tag="may-promote"):
    """Whether a resource could become Primary on a node has changed."""

    definition: str
    node: str
    may_promote: bool


class Missed(Event, frozen=True, tag="missed"):
    """This reader was too slow; so many events before this one are lost to it: read the whole again."""

    count: int
