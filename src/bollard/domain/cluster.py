"""The whole wish: every record by kind and key, with the indexes that decisions need.

Records are frozen; the cluster itself is changed in one place only, `apply`, which the owner calls with
the changes of a decision. Everyone else reads.
"""

from collections.abc import Iterable
from typing import Any, TypeVar, get_args

import msgspec

from bollard.domain.ids import Key, key_of
from bollard.domain.nodes import Node, StoragePool, StoragePoolDefinition
from bollard.domain.procedures import Procedure
from bollard.domain.resources import (
    Connection,
    ControllerSettings,
    KeyValueStore,
    Resource,
    ResourceDefinition,
    ResourceGroup,
    SnapshotDefinition,
    Tombstone,
)

Record = (
    ControllerSettings
    | Node
    | StoragePoolDefinition
    | StoragePool
    | ResourceGroup
    | ResourceDefinition
    | Resource
    | Tombstone
    | SnapshotDefinition
    | Procedure
    | Connection
    | KeyValueStore
)
RecordType = type[Record]
_T = TypeVar("_T")

KINDS: dict[str, RecordType] = {
    str(record_type.__struct_config__.tag): record_type for record_type in get_args(Record)
}
"""The stored kinds by tag."""


class Put(msgspec.Struct, frozen=True):
    """Create or replace a record."""

    record: Record


class Drop(msgspec.Struct, frozen=True):
    """Remove a record."""

    kind: str
    key: Key


Change = Put | Drop


def kind_of(record: Record) -> str:
    """The stored kind of a record."""
    tag = record.__struct_config__.tag
    assert isinstance(tag, str), record
    return tag


def drop(record: Record) -> Drop:
    """The change that removes this record."""
    return Drop(kind_of(record), record.key)


class Cluster:
    """All records, indexed. Reading is free of side effects; only `apply` changes anything."""

    def __init__(self, records: Iterable[Record] = (), revision: int = 0) -> None:
        self.revision = revision
        self.settings: ControllerSettings | None = None
        self.nodes: dict[Key, Node] = {}
        self.pool_definitions: dict[Key, StoragePoolDefinition] = {}
        self.pools: dict[Key, StoragePool] = {}
        self.groups: dict[Key, ResourceGroup] = {}
        self.definitions: dict[Key, ResourceDefinition] = {}
        self.resources: dict[Key, Resource] = {}
        self.tombstones: dict[Key, Tombstone] = {}
        self.snapshots: dict[Key, SnapshotDefinition] = {}
        self.procedures: dict[Key, Procedure] = {}
        self.connections: dict[Key, Connection] = {}
        self.kvs: dict[Key, KeyValueStore] = {}
        self._tables: dict[str, dict[Key, Any]] = {
            "node": self.nodes,
            "pool-definition": self.pool_definitions,
            "pool": self.pools,
            "group": self.groups,
            "definition": self.definitions,
            "resource": self.resources,
            "tombstone": self.tombstones,
            "snapshot": self.snapshots,
            "procedure": self.procedures,
            "connection": self.connections,
            "kvs": self.kvs,
        }
        self._resources_of: dict[Key, dict[Key, Resource]] = {}
        self._resources_on: dict[Key, dict[Key, Resource]] = {}
        self._pools_on: dict[Key, dict[Key, StoragePool]] = {}
        self._tombstones_on: dict[Key, dict[Key, Tombstone]] = {}
        self._snapshots_of: dict[Key, dict[Key, SnapshotDefinition]] = {}
        self._definitions_in: dict[Key, dict[Key, ResourceDefinition]] = {}
        self._minors: dict[int, int] = {}
        for record in records:
            self._put(record)

    def apply(self, changes: Iterable[Change]) -> None:
        """Take over committed changes; the revision grows by one."""
        for change in changes:
            if isinstance(change, Put):
                self._put(change.record)
            else:
                self._drop(change.kind, change.key)
        self.revision += 1

    def records(self) -> Iterable[Record]:
        """Every record, parents before children."""
        if self.settings is not None:
            yield self.settings
        for table in self._tables.values():
            yield from table.values()

    def resources_of(self, definition: str) -> list[Resource]:
        """The resources of a definition, by node key."""
        return _by_key(self._resources_of.get(key_of(definition)))

    def resources_on(self, node: str) -> list[Resource]:
        """The resources on a node, by definition key."""
        return _by_key(self._resources_on.get(key_of(node)))

    def pools_on(self, node: str) -> list[StoragePool]:
        """The pools of a node, by name."""
        return _by_key(self._pools_on.get(key_of(node)))

    def tombstones_on(self, node: str) -> list[Tombstone]:
        """What a node has still to remove."""
        return _by_key(self._tombstones_on.get(key_of(node)))

    def snapshots_of(self, definition: str) -> list[SnapshotDefinition]:
        """The snapshots of a definition, by name."""
        return _by_key(self._snapshots_of.get(key_of(definition)))

    def definitions_in(self, group: str) -> list[ResourceDefinition]:
        """The definitions of a group, by name."""
        return _by_key(self._definitions_in.get(key_of(group)))

    def minor_in_use(self, minor: int) -> bool:
        """Whether some volume definition has this minor."""
        return minor in self._minors

    def resource(self, definition: str, node: str) -> Resource | None:
        """The resource of that definition on that node."""
        return self.resources.get(key_of(definition, node))

    def pool(self, node: str, name: str) -> StoragePool | None:
        """The pool of that name on that node."""
        return self.pools.get(key_of(node, name))

    def props(self) -> dict[str, str]:
        """The controller's properties."""
        return self.settings.props if self.settings is not None else {}

    def _put(self, record: Record) -> None:
        if isinstance(record, ControllerSettings):
            self.settings = record
            return
        self._drop(kind_of(record), record.key)
        self._tables[kind_of(record)][record.key] = record
        match record:
            case Resource():
                self._resources_of.setdefault(key_of(record.definition), {})[record.key] = record
                self._resources_on.setdefault(key_of(record.node), {})[record.key] = record
            case StoragePool():
                self._pools_on.setdefault(key_of(record.node), {})[record.key] = record
            case Tombstone():
                self._tombstones_on.setdefault(key_of(record.node), {})[record.key] = record
            case SnapshotDefinition():
                self._snapshots_of.setdefault(key_of(record.definition), {})[record.key] = record
            case ResourceDefinition():
                self._definitions_in.setdefault(key_of(record.group), {})[record.key] = record
                self._count_minors(record, 1)
            case _:
                pass

    def _drop(self, kind: str, key: Key) -> None:
        record = self._tables[kind].pop(key, None)
        match record:
            case Resource():
                self._resources_of[key_of(record.definition)].pop(key)
                self._resources_on[key_of(record.node)].pop(key)
            case StoragePool():
                self._pools_on[key_of(record.node)].pop(key)
            case Tombstone():
                self._tombstones_on[key_of(record.node)].pop(key)
            case SnapshotDefinition():
                self._snapshots_of[key_of(record.definition)].pop(key)
            case ResourceDefinition():
                self._definitions_in[key_of(record.group)].pop(key)
                self._count_minors(record, -1)
            case _:
                pass

    def _count_minors(self, record: ResourceDefinition, step: int) -> None:
        for volume in record.volumes:
            if volume.minor is not None:
                count = self._minors.get(volume.minor, 0) + step
                if count:
                    self._minors[volume.minor] = count
                else:
                    self._minors.pop(volume.minor, None)


def _by_key(table: dict[Key, _T] | None) -> list[_T]:
    return [table[key] for key in sorted(table)] if table else []
