"""The records of a fresh cluster: default properties, default group, default pool definitions."""

from bollard.domain.cluster import Record
from bollard.domain.ports import Draw

__all__ = ["initial_records"]


def initial_records(draw: Draw) -> tuple[Record, ...]:
    """What an empty store is filled with before the first command."""
    raise NotImplementedError
