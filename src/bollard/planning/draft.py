"""A cluster as it would be after the changes decided so far; decisions write here and nowhere else."""

from typing import TypeVar, cast

from bollard.domain.cluster import Change, Drop, Put, Record, kind_of
from bollard.domain.errors import NotFound, Subject
from bollard.domain.ids import (
    Key,
    group_name,
    key_of,
    node_name,
    pool_name,
    resource_name,
)
from bollard.domain.nodes import Node, NodePhase, Props, StoragePool
from bollard.domain.resources import (
    Resource,
    ResourceDefinition,
    ResourceGroup,
    Tombstone,
    VolumeDefinition,
)
from bollard.domain.snapshots import SnapshotDefinition
from bollard.planning.world import World

__all__ = ["Draft"]

_T = TypeVar("_T")


class Draft:
    """An overlay over the world's cluster. It lives for one decision."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cluster = world.cluster
        self._over: dict[str, dict[Key, Record | None]] = {}

    def put(self, record: Record) -> None:
        """Create or replace a record."""
        self._over.setdefault(kind_of(record), {})[record.key] = record

    def drop(self, record: Record) -> None:
        """Remove a record."""
        self._over.setdefault(kind_of(record), {})[record.key] = None

    def changes(self) -> tuple[Change, ...]:
        """What differs from the cluster, in the order in which kinds were first touched."""
        found: list[Change] = []
        for kind, table in self._over.items():
            for key, record in table.items():
                before = self.cluster.find(kind, key)
                if record is not None and record != before:
                    found.append(Put(record))
                elif record is None and before is not None:
                    found.append(Drop(kind, key))
        return tuple(found)

    def touched_definitions(self) -> list[Key]:
        """Keys of the definitions that the changes concern and that are still there."""
        keys = dict.fromkeys(self._over.get("definition", {}))
        before_after = [
            cast("Resource", record)
            for key, after in self._over.get("resource", {}).items()
            for record in (after, self.cluster.resources.get(key))
            if record is not None
        ]
        keys.update(dict.fromkeys(key_of(record.definition) for record in before_after))
        return [key for key in keys if self._get("definition", key) is not None]

    def touched_resources(self) -> list[tuple[str, str, bool]]:
        """(definition, node, whether it is there afterwards) of all that the changes concern."""
        keys = dict.fromkeys(self._over.get("definition", {}))
        keys.update(
            (key_of(cast("Resource", record).definition), None)
            for key, after in self._over.get("resource", {}).items()
            for record in (after, self.cluster.resources.get(key))
            if record is not None
        )
        found: list[tuple[str, str, bool]] = []
        for key in keys:
            after = {one.key: one for one in self.resources_of(key)}
            before = {one.key: one for one in self.cluster.resources_of(key)}
            found += [(one.definition, one.node, one.key in after) for one in (before | after).values()]
        return found

    def find_node(self, name: str) -> Node:
        """The node of that name. Raises Invalid or NotFound."""
        node = self._get("node", key_of(node_name(name)))
        if node is None:
            raise NotFound(Subject.NODE, name, f"There is no node '{name}'", cause="It was never registered.")
        return cast("Node", node)

    def node(self, name: str) -> Node:
        """The node of a name that is known to exist."""
        node = self._get("node", key_of(name))
        assert node is not None, name
        return cast("Node", node)

    def get_node(self, name: str) -> Node | None:
        """The node of that name, if it is there."""
        return cast("Node | None", self._get("node", key_of(name)))

    def nodes_leaving(self) -> list[Node]:
        """Nodes that this draft takes away or puts out of use."""
        return [
            self.cluster.nodes[key]
            for key, node in self._over.get("node", {}).items()
            if key in self.cluster.nodes
            and (node is None or cast("Node", node).phase is not NodePhase.NORMAL)
        ]

    def find_group(self, name: str) -> ResourceGroup:
        """The resource group of that name. Raises Invalid or NotFound."""
        group = self._get("group", key_of(group_name(name)))
        if group is None:
            raise NotFound(
                Subject.GROUP, name, f"There is no resource group '{name}'", cause="It was never created."
            )
        return cast("ResourceGroup", group)

    def group_of(self, definition: ResourceDefinition) -> ResourceGroup:
        """The group that a definition belongs to."""
        group = self._get("group", key_of(definition.group))
        assert group is not None, definition.group
        return cast("ResourceGroup", group)

    def find_definition(self, name: str) -> ResourceDefinition:
        """The resource definition of that name. Raises Invalid or NotFound."""
        definition = self.definition(resource_name(name))
        if definition is None:
            raise NotFound(
                Subject.RESOURCE_DEFINITION,
                name,
                f"There is no resource definition '{name}'",
                cause="It was never created.",
            )
        return definition

    def definition(self, name: str) -> ResourceDefinition | None:
        """The resource definition of that name, if any."""
        return cast("ResourceDefinition | None", self._get("definition", key_of(name)))

    def find_volume_definition(self, definition: ResourceDefinition, number: int) -> VolumeDefinition:
        """The volume definition of that number. Raises NotFound."""
        volume = definition.volume(number)
        if volume is None:
            raise NotFound(
                Subject.VOLUME_DEFINITION,
                f"{definition.name}/{number}",
                f"The resource definition '{definition.name}' has no volume {number}",
                cause="Its volumes: " + (", ".join(str(vol.number) for vol in definition.volumes) or "none"),
            )
        return volume

    def find_resource(self, definition: str, node: str) -> Resource:
        """The resource on that node; checks definition and node first. Raises Invalid or NotFound."""
        name, host = self.find_definition(definition).name, self.find_node(node).name
        resource = self.resource(name, host)
        if resource is None:
            raise NotFound(
                Subject.RESOURCE,
                f"{name}/{host}",
                f"The resource '{name}' is not on the node '{host}'",
                cause="It was never placed there, or it was deleted.",
            )
        return resource

    def resource(self, definition: str, node: str) -> Resource | None:
        """The resource of that definition on that node, if any."""
        return cast("Resource | None", self._get("resource", key_of(definition, node)))

    def resources_of(self, definition: str) -> list[Resource]:
        """The resources of a definition, by node key."""
        over = self._over.get("resource")
        base = self.cluster.resources_of(definition)
        if not over:
            return base
        mine = key_of(definition)
        merged = {resource.key: resource for resource in base if resource.key not in over}
        for key, record in over.items():
            if record is not None and key_of(cast("Resource", record).definition) == mine:
                merged[key] = cast("Resource", record)
        return [merged[key] for key in sorted(merged)]

    def pool(self, node: str, name: str) -> StoragePool | None:
        """The pool of that name on that node, if any."""
        return cast("StoragePool | None", self._get("pool", key_of(node, name)))

    def find_pool(self, node: str, name: str) -> StoragePool:
        """The pool of that name on that node. Raises Invalid or NotFound."""
        pool = self.pool(node, pool_name(name))
        if pool is None:
            known = self._get("pool-definition", key_of(name)) is not None
            raise NotFound(
                Subject.POOL if known else Subject.POOL_DEFINITION,
                name,
                f"There is no storage pool '{name}' on the node '{node}'",
                cause="Other nodes have a pool of this name."
                if known
                else "No node has a pool of this name.",
                correction=f"Create the pool on '{node}' or name another one.",
            )
        return pool

    def get(self, record_type: type[_T], kind: str, key: Key) -> _T | None:
        """Any record by kind and key, if it is there."""
        record = self._get(kind, key)
        assert record is None or isinstance(record, record_type), record
        return record

    def snapshots_of(self, definition: str) -> list[SnapshotDefinition]:
        """The snapshots of a definition, by name."""
        base = {one.key: one for one in self.cluster.snapshots_of(definition)}
        for key, record in self._over.get("snapshot", {}).items():
            base.pop(key, None)
            if record is not None and key_of(cast("SnapshotDefinition", record).definition) == key_of(
                definition
            ):
                base[key] = cast("SnapshotDefinition", record)
        return [base[key] for key in sorted(base)]

    def controller_props(self) -> Props:
        """The controller's properties."""
        return self.cluster.props()

    def minors_taken(self) -> set[int]:
        """Minors of volume definitions that this draft has made."""
        return {
            volume.minor
            for record in self._over.get("definition", {}).values()
            if record is not None
            for volume in cast("ResourceDefinition", record).volumes
            if volume.minor is not None
        }

    def ports_taken(self, node: Node) -> set[int]:
        """TCP ports that are not free at any address of this node."""
        taken = self.cluster.ports_at(node.name)
        addresses = {net_if.address for net_if in node.net_interfaces}
        for kind in ("resource", "tombstone"):
            for record in self._over.get(kind, {}).values():
                if record is None:
                    continue
                other = cast("Resource | Tombstone", record)
                host = self._get("node", key_of(other.node))
                if other.tcp_ports and (
                    key_of(other.node) == node.key
                    or (
                        host is not None
                        and addresses & {nif.address for nif in cast("Node", host).net_interfaces}
                    )
                ):
                    taken.update(other.tcp_ports)
        return taken

    def _get(self, kind: str, key: Key) -> Record | None:
        table = self._over.get(kind)
        if table is not None and key in table:
            return table[key]
        return self.cluster.find(kind, key)
