"""Records whose parent is not stored (it is in quarantine, or a hand was at the database). Pure.

What cannot be worked with without its parent is named for quarantine too; where a parent can be stood in
for without guessing, a placeholder is made. Nodes remove nothing because of either.
"""

from collections.abc import Iterable, Sequence

import msgspec

from bollard.controller.store.base import Quarantined
from bollard.domain.cluster import Record, kind_of
from bollard.domain.ids import Key, key_of
from bollard.domain.nodes import Node, StoragePool
from bollard.domain.ports import Draw
from bollard.domain.resources import (
    Resource,
    ResourceDefinition,
    ResourceGroup,
    Tombstone,
)
from bollard.domain.snapshots import SnapshotDefinition


def orphans(records: Sequence[Record]) -> list[Quarantined]:
    """The records that name a node or a resource definition that is not there."""
    nodes = {record.key for record in records if isinstance(record, Node)}
    definitions = {record.key for record in records if isinstance(record, ResourceDefinition)}
    found = []
    for record in records:
        reason = _missing(record, nodes, definitions)
        if reason:
            body = msgspec.json.encode(record).decode()
            found.append(Quarantined(kind_of(record), record.key, body, reason))
    return found


def _missing(record: Record, nodes: set[Key], definitions: set[Key]) -> str:
    match record:
        case StoragePool(node=node) | Tombstone(node=node) if key_of(node) not in nodes:
            return f"its node '{node}' is not there"
        case Resource(node=node) if key_of(node) not in nodes:
            return f"its node '{node}' is not there"
        case Resource(definition=name) | SnapshotDefinition(definition=name) if (
            key_of(name) not in definitions
        ):
            return f"its resource definition '{name}' is not there"
        case _:
            return ""


def placeholders(records: Iterable[Record], draw: Draw) -> list[Record]:
    """Empty resource groups for the definitions whose group is not there."""
    kept = list(records)
    groups = {record.key for record in kept if isinstance(record, ResourceGroup)}
    wanted = {key_of(record.group): record.group for record in kept if isinstance(record, ResourceDefinition)}
    return [
        ResourceGroup(name, draw.uuid(), description="Stands in for a group that could not be read")
        for key, name in sorted(wanted.items())
        if key not in groups
    ]
