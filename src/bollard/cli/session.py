"""What the prompt remembers from one command to the next: resources that are to be created together."""

from typing import Any

__all__ = ["Session"]


class Session:
    """One run of the prompt."""

    def __init__(self) -> None:
        self.pending: dict[str, list[dict[str, Any]]] | None = None
        """By resource: what to create at the commit; None outside of a transaction."""
        self.ends_on_error = False

    @property
    def collecting(self) -> bool:
        """Whether a transaction is open."""
        return self.pending is not None

    def begin(self, *, ends_on_error: bool) -> None:
        """Open a transaction."""
        self.pending, self.ends_on_error = {}, ends_on_error

    def add(self, resource: str, bodies: list[dict[str, Any]]) -> None:
        """Put these off until the commit."""
        assert self.pending is not None
        self.pending.setdefault(resource, []).extend(bodies)

    def end(self) -> dict[str, list[dict[str, Any]]]:
        """Close the transaction; returns what was put off."""
        found, self.pending = self.pending or {}, None
        return found
