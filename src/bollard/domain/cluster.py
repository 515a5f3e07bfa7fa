"""The whole wish: every record by kind and key, with the indexes that decisions need.

Records are frozen; the cluster itself is changed in one place only, `apply`, which the owner calls with
the changes of a decision. Everyone else reads.
"""

from collections.abc import Container, Iterable
from typing import Any, TypeVar, get_args

import msgspec

from bollard.domain.access import AuthToken
from bollard.domain.encryption import MASTER, MasterKey
from bollard.domain.files import ExternalFile
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
    Tombstone,
)
from bollard.domain.snapshots import SnapshotDefinition

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
    | AuthToken
    | MasterKey
    | ExternalFile
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
        self.tokens: dict[Key, AuthToken] = {}
        self.files: dict[Key, ExternalFile] = {}
        self._master_keys: dict[Key, MasterKey] = {}
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
            "token": self.tokens,
            "master-key": self._master_keys,
            "file": self.files,
        }
        self._resources_of: dict[Key, dict[Key, Resource]] = {}
        self._resources_on: dict[Key, dict[Key, Resource]] = {}
        self._pools_on: dict[Key, dict[Key, StoragePool]] = {}
        self._tombstones_on: dict[Key, dict[Key, Tombstone]] = {}
        self._snapshots_of: dict[Key, dict[Key, SnapshotDefinition]] = {}
        self._definitions_in: dict[Key, dict[Key, ResourceDefinition]] = {}
        self._minors: dict[int, int] = {}
        self._minor_hint = (0, 0)
        self._ports_on: dict[Key, dict[int, int]] = {}
        self._nodes_at: dict[str, dict[Key, Node]] = {}
        self._claims: dict[Key, tuple[tuple[Key, int], ...]] = {}
        self._claimed: dict[Key, int] = {}
        self._volumes_in: dict[Key, int] = {}
        self._tokens_by_digest: dict[str, Key] = {}
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

    def find(self, kind: str, key: Key) -> Record | None:
        """The record of a kind and key, or None."""
        if kind == "controller":
            return self.settings
        record: Record | None = self._tables[kind].get(key)
        return record

    def resources_of(self, definition: str) -> list[Resource]:
        """The resources of a definition, by node key."""
        return _by_key(self._resources_of.get(key_of(definition)))

    def resources_on(self, node: str) -> list[Resource]:
        """The resources on a node, by definition key."""
        return _by_key(self._resources_on.get(key_of(node)))

    def pools_on(self, node: str) -> list[StoragePool]:
        """The pools of a node, by name."""
        return _by_key(self._pools_on.get(key_of(node)))

    def pool_keys_on(self, node: Key) -> Iterable[tuple[Key, StoragePool]]:
        """The pools of a node with their keys, in no order: for those who rank them anyway."""
        return self._pools_on.get(node, {}).items()

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
        """Whether some volume has this minor, or a node has still to remove one that had it."""
        return minor in self._minors

    def first_free_minor(self, low: int, taken: Container[int] = ()) -> int:
        """The lowest minor from `low` on that is not in use and not in `taken`."""
        start = self._minor_hint[1] if self._minor_hint[0] == low else low
        while start in self._minors:
            start += 1
        self._minor_hint = (low, start)  # a memory of the search, not a change: what is below is in use
        while start in self._minors or start in taken:
            start += 1
        return start

    def ports_at(self, node: str) -> set[int]:
        """TCP ports in use by resources, or not yet released, at any address of this node."""
        mine = self.nodes.get(key_of(node))
        sharing = {key_of(node)}
        for net_if in mine.net_interfaces if mine is not None else ():
            sharing.update(self._nodes_at.get(net_if.address, ()))
        return {port for key in sharing for port in self._ports_on.get(key, ())}

    def claimed_kib(self, pool: Key) -> int:
        """Net sizes of all volumes that are in this pool by wish."""
        return self._claimed.get(pool, 0)

    def volume_count(self, pool: Key) -> int:
        """How many volumes are in this pool by wish."""
        return self._volumes_in.get(pool, 0)

    def resource_count(self, node: str) -> int:
        """How many resources are on a node."""
        return len(self._resources_on.get(key_of(node), ()))

    def resource(self, definition: str, node: str) -> Resource | None:
        """The resource of that definition on that node."""
        return self.resources.get(key_of(definition, node))

    def pool(self, node: str, name: str) -> StoragePool | None:
        """The pool of that name on that node."""
        return self.pools.get(key_of(node, name))

    @property
    def master_key(self) -> MasterKey | None:
        """The sealed master key, when a passphrase was set."""
        return self._master_keys.get(MASTER)

    def token_of(self, digest: str) -> AuthToken | None:
        """The token with this hash, usable or not."""
        key = self._tokens_by_digest.get(digest)
        return self.tokens[key] if key is not None else None

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
                self._count_ports(record.node, record.tcp_ports, 1)
                self._claim(record)
            case Node():
                for net_if in record.net_interfaces:
                    self._nodes_at.setdefault(net_if.address, {})[record.key] = record
            case StoragePool():
                self._pools_on.setdefault(key_of(record.node), {})[record.key] = record
            case Tombstone():
                self._tombstones_on.setdefault(key_of(record.node), {})[record.key] = record
                self._count_ports(record.node, record.tcp_ports, 1)
                self._count_minors(record.minors, 1)
            case SnapshotDefinition():
                self._snapshots_of.setdefault(key_of(record.definition), {})[record.key] = record
            case ResourceDefinition():
                self._definitions_in.setdefault(key_of(record.group), {})[record.key] = record
                self._count_minors(_minors_of(record), 1)
                for resource in self._resources_of.get(record.key, {}).values():
                    self._claim(resource)
            case AuthToken():
                self._tokens_by_digest[record.digest] = record.key
            case _:
                pass

    def _drop(self, kind: str, key: Key) -> None:
        record = self._tables[kind].pop(key, None)
        match record:
            case Resource():
                self._resources_of[key_of(record.definition)].pop(key)
                self._resources_on[key_of(record.node)].pop(key)
                self._count_ports(record.node, record.tcp_ports, -1)
                self._unclaim(key)
            case Node():
                for net_if in record.net_interfaces:
                    self._nodes_at[net_if.address].pop(key, None)
            case StoragePool():
                self._pools_on[key_of(record.node)].pop(key)
            case Tombstone():
                self._tombstones_on[key_of(record.node)].pop(key)
                self._count_ports(record.node, record.tcp_ports, -1)
                self._count_minors(record.minors, -1)
            case SnapshotDefinition():
                self._snapshots_of[key_of(record.definition)].pop(key)
            case ResourceDefinition():
                self._definitions_in[key_of(record.group)].pop(key)
                self._count_minors(_minors_of(record), -1)
                for resource in self._resources_of.get(record.key, ()):
                    self._unclaim(resource)
            case AuthToken():
                self._tokens_by_digest.pop(record.digest, None)
            case _:
                pass

    def _count_minors(self, minors: Iterable[int], step: int) -> None:
        for minor in minors:
            count = self._minors.get(minor, 0) + step
            if count:
                self._minors[minor] = count
            else:
                self._minors.pop(minor, None)
                low, start = self._minor_hint
                self._minor_hint = (low, min(start, max(low, minor)))

    def _count_ports(self, node: str, ports: tuple[int, ...], step: int) -> None:
        table = self._ports_on.setdefault(key_of(node), {})
        for port in ports:
            count = table.get(port, 0) + step
            if count:
                table[port] = count
            else:
                del table[port]

    def _claim(self, resource: Resource) -> None:
        self._unclaim(resource.key)
        definition = self.definitions.get(key_of(resource.definition))
        if definition is None or not resource.diskful:
            return
        sizes = {volume.number: volume.size_kib for volume in definition.volumes}
        claims = tuple(
            (key_of(resource.node, volume.pool), sizes.get(volume.number, 0)) for volume in resource.volumes
        )
        self._claims[resource.key] = claims
        for pool, size_kib in claims:
            self._claimed[pool] = self._claimed.get(pool, 0) + size_kib
            self._volumes_in[pool] = self._volumes_in.get(pool, 0) + 1

    def _unclaim(self, resource: Key) -> None:
        for pool, size_kib in self._claims.pop(resource, ()):
            self._claimed[pool] -= size_kib
            self._volumes_in[pool] -= 1


def _minors_of(record: ResourceDefinition) -> list[int]:
    return [volume.minor for volume in record.volumes if volume.minor is not None]


def _by_key(table: dict[Key, _T] | None) -> list[_T]:
    return [table[key] for key in sorted(table)] if table else []
