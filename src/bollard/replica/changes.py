"""From two pictures of a resource to events2's words for what changed between them. Pure.

A picture maps an object's key (its kind and identifying fields) to its state fields, all as text.
"""

from collections.abc import Iterator

__all__ = ["Change", "Key", "Picture", "changes"]

Key = tuple[str, tuple[tuple[str, str], ...]]
"""(object kind, identifying fields in events2's order)."""

Picture = dict[Key, dict[str, str]]

Change = tuple[str, str, dict[str, str]]
"""(action, object kind, fields): create carries all fields, change only those that differ."""


def changes(old: Picture, new: Picture) -> Iterator[Change]:
    """Creations and changes in the order of `new`, then removals, children before parents."""
    for key, fields in new.items():
        kind, identity = key
        before = old.get(key)
        if before is None:
            yield "create", kind, {**dict(identity), **fields}
        elif before != fields:
            different = {name: value for name, value in fields.items() if before.get(name) != value}
            yield "change", kind, {**dict(identity), **different}
    for kind, identity in reversed(list(old)):
        if (kind, identity) not in new:
            yield "destroy", kind, dict(identity)
