"""Whether a command can be taken back: only what it made, only while nothing stands on it. Pure."""

from collections.abc import Sequence

from bollard.domain.answers import Decision
from bollard.domain.cluster import Change, Cluster, Drop, Put, Record, kind_of
from bollard.domain.ids import key_of
from bollard.domain.nodes import StoragePool


def undo_of(decision: Decision, head: Cluster) -> Sequence[Change]:
    """The changes that take a decision back; empty when someone has built on it since."""
    for change in decision.changes:
        if isinstance(change, Put) and head.find(kind_of(change.record), change.record.key) != change.record:
            return ()
    for change in decision.undo_if_failed:
        if isinstance(change, Drop) and _in_use(head.find(change.kind, change.key), head):
            return ()
    return decision.undo_if_failed


def _in_use(record: Record | None, head: Cluster) -> bool:
    if not isinstance(record, StoragePool):
        return False
    pool = key_of(record.name)
    return any(
        key_of(volume.pool) == pool
        for resource in head.resources_on(record.node)
        for volume in resource.volumes
    )
