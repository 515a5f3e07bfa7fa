"""What must hold of a simulated cluster: always, in calm, and when all faults are over. It only reads."""

from collections import Counter
from collections.abc import Collection, Iterator

from bollard.domain.cluster import Cluster
from bollard.domain.ids import Key, key_of
from bollard.domain.layers import LayerKind
from bollard.domain.nodes import NodePhase
from bollard.domain.observed import Observed
from bollard.domain.resources import DefinitionPhase, Resource, ResourcePhase, VolumePhase
from bollard.domain.snapshots import SnapshotPhase
from bollard.satellite.tools.backing_file import (
    MARKER_SUFFIX,
    SNAPSHOT_SUFFIX,
    decode_kept,
    decode_owner,
)
from bollard.sim.host import SimMachine

__all__ = ["of_several_instants", "unconverged", "unfinished", "unrelated", "used_twice"]

USABLE = frozenset({"UpToDate", "Diskless", "TieBreaker", "Created"})


def used_twice(cluster: Cluster) -> Iterator[str]:
    """Ports of an address, minors, and node ids of a resource that two hold at once."""
    ports: Counter[tuple[str, int]] = Counter()
    for resource in cluster.resources.values():
        node = cluster.nodes.get(key_of(resource.node))
        address = (node.data_address() if node is not None else None) or resource.node
        ports.update((address, port) for port in resource.tcp_ports)
    yield from (f"port {port} of {address} is used twice" for (address, port), n in ports.items() if n > 1)
    minors = Counter(
        volume.minor
        for definition in cluster.definitions.values()
        for volume in definition.volumes
        if volume.minor is not None
    )
    yield from (f"minor {minor} is used twice" for minor, n in minors.items() if n > 1)
    for definition in cluster.definitions.values():
        ids = Counter(
            resource.drbd_node_id
            for resource in cluster.resources_of(definition.name)
            if resource.drbd_node_id is not None
        )
        yield from (
            f"node id {ident} of {definition.name} is used twice" for ident, n in ids.items() if n > 1
        )


def unrelated(cluster: Cluster, machines: dict[str, SimMachine]) -> Iterator[str]:
    """Volumes with complete disks that do not stem from the same first generation: one has lost its data."""
    found = {node: _generations(machine) for node, machine in machines.items()}
    for definition in cluster.definitions.values():
        resources = [one for one in cluster.resources_of(definition.name) if one.diskful]
        if len(resources) < 2:
            continue
        for volume in definition.volumes:
            told = {
                one.node: found[one.node][on_node.uuid]
                for one in resources
                for on_node in one.volumes
                if on_node.number == volume.number and on_node.uuid in found.get(one.node, {})
            }
            if len(set(told.values())) > 1:
                yield f"the complete copies of {definition.name}/{volume.number} are unrelated: {told}"


def of_several_instants(cluster: Cluster, machines: dict[str, SimMachine]) -> Iterator[str]:
    """Snapshots whose parts differ between nodes, or whose volumes are not of one instant.

    A growing number is written to volume 0 first and then to volume 1, of every resource that is in use.
    """
    for snapshot in cluster.snapshots.values():
        if snapshot.phase is not SnapshotPhase.SUCCESSFUL:
            continue
        found: dict[int, dict[str, str]] = {}
        for part in snapshot.nodes:
            machine = machines[part.node]
            for path in machine.disk.sizes:
                mark = snapshot_at(machine, path)
                if mark is not None and mark[0] == snapshot.uuid and not path.endswith(SNAPSHOT_SUFFIX):
                    found.setdefault(mark[1], {})[part.node] = machine.disk.data.get(path, "")
        replicated = LayerKind.DRBD in snapshot.layer_stack
        for number, contents in found.items():
            if replicated and len(set(contents.values())) > 1:
                yield f"the parts of {snapshot.key}, volume {number}, differ: {contents}"
        for node in found.get(0, {}):
            first = int(found[0][node] or 0)
            second = int(found.get(1, {}).get(node, "") or 0)
            if second and not second <= first <= second + 1:
                yield f"the volumes of {snapshot.key} on {node} are of two instants: {first}, {second}"


def snapshot_at(machine: SimMachine, path: str) -> tuple[str, int] | None:
    """The mark of the snapshot that a file, or its marker, belongs to."""
    content = machine.disk.contents.get(path.removesuffix(SNAPSHOT_SUFFIX) + SNAPSHOT_SUFFIX)
    kept = decode_kept(content) if content is not None else None
    return (kept.snapshot_uuid, kept.number) if kept is not None else None


def _generations(machine: SimMachine) -> dict[str, str | None]:
    """By the volume's uuid: the first generation of each complete disk."""
    found: dict[str, str | None] = {}
    for path, metadata in machine.disk.metadata.items():
        owner = decode_owner(machine.disk.contents.get(path + MARKER_SUFFIX, b""))
        if metadata.up_to_date and owner is not None:
            found[owner.volume_uuid] = metadata.generation
    return found


def unfinished(cluster: Cluster, observed: Observed, nodes: Collection[str]) -> Iterator[str]:
    """What these nodes, which can be reached and have no fault of their own, have not done yet."""
    # With a node that was given up nobody talks before a person takes it back.
    given_up = {key for key, node in cluster.nodes.items() if node.phase is NodePhase.EVICTED}
    nodes = [node for node in nodes if key_of(node) not in given_up]
    reachable = {key_of(node) for node in nodes}
    for node in nodes:
        if key_of(node) in cluster.nodes and not observed.node(node).online:
            yield f"{node} is reachable but {observed.node(node).status}"
    for resource in cluster.resources.values():
        if key_of(resource.node) in reachable and not _held_up(resource, cluster, observed, reachable):
            yield from _unsettled(resource, observed)
    for stone in cluster.tombstones.values():
        if key_of(stone.node) in reachable:
            yield f"{stone.definition} on {stone.node} is still being deleted"


def _held_up(resource: Resource, cluster: Cluster, observed: Observed, reachable: Collection[Key]) -> bool:
    """Whether a volume cannot grow yet: a replica that the controller cannot reach may still replicate."""
    seen = observed.resource(resource.definition, resource.node)
    definition = cluster.definitions[key_of(resource.definition)]
    sizes = {volume.number: volume.size_kib for volume in seen.volumes} if seen is not None else {}
    growing = any(sizes.get(volume.number, 0) < volume.size_kib for volume in definition.volumes)
    return growing and any(
        key_of(other.node) not in reachable for other in cluster.resources_of(resource.definition)
    )


def _unsettled(resource: Resource, observed: Observed) -> Iterator[str]:
    what = f"{resource.definition} on {resource.node}"
    seen = observed.resource(resource.definition, resource.node)
    if seen is None or seen.uuid != resource.uuid:
        yield f"{what} was not made"
    elif seen.problem is not None:
        yield f"{what} has a problem: {seen.problem.message} {seen.problem.cause}"
    elif not seen.settled:
        yield f"{what} is not settled"


def unconverged(cluster: Cluster, observed: Observed, machines: dict[str, SimMachine]) -> Iterator[str]:
    """What is not yet as the wish says, after all faults are over."""
    yield from unfinished(cluster, observed, tuple(machines))
    yield from (f"procedure {procedure} is not over" for procedure in cluster.procedures)
    for definition in cluster.definitions.values():
        # A clone that failed is an end: a person looks at it and deletes it.
        if definition.phase not in {DefinitionPhase.NORMAL, DefinitionPhase.FAILED}:
            yield f"{definition.name} is in phase {definition.phase}"
        for volume in definition.volumes:
            if volume.phase is not VolumePhase.NORMAL:
                yield f"volume {definition.name}/{volume.number} is in phase {volume.phase}"
    for resource in cluster.resources.values():
        if resource.phase not in {ResourcePhase.NORMAL, ResourcePhase.INACTIVE}:
            yield f"{resource.definition} on {resource.node} is in phase {resource.phase}"
        yield from _unusable(resource, cluster, observed)
    for machine in machines.values():
        yield from _leftovers(machine, cluster)


def _unusable(resource: Resource, cluster: Cluster, observed: Observed) -> Iterator[str]:
    seen = observed.resource(resource.definition, resource.node)
    definition = cluster.definitions[key_of(resource.definition)]
    if seen is None or resource.phase is ResourcePhase.INACTIVE:
        return
    for volume in seen.volumes:
        what = f"volume {resource.definition}/{volume.number} on {resource.node}"
        wanted = definition.volume(volume.number)
        if volume.disk_state not in USABLE:
            yield f"{what} is {volume.disk_state}"
        if wanted is not None and resource.diskful and volume.size_kib != wanted.size_kib:
            yield f"{what} has {volume.size_kib} KiB, not {wanted.size_kib}"
    if LayerKind.DRBD in (resource.layer_stack or definition.layer_stack):
        for peer in seen.peers:
            if peer.connection != "Connected":
                yield f"{resource.definition} on {resource.node} is {peer.connection} to {peer.node}"


def _leftovers(machine: SimMachine, cluster: Cluster) -> Iterator[str]:
    here: set[Key] = {key_of(one.definition) for one in cluster.resources_on(machine.node)}
    diskful = {key_of(one.definition) for one in cluster.resources_on(machine.node) if one.diskful}
    kept = {
        (snapshot.uuid, volume.number)
        for snapshot in cluster.snapshots.values()
        for part in (snapshot.on(machine.node),)
        if part is not None
        for volume in part.volumes
    }
    for path in machine.disk.sizes:
        mark = snapshot_at(machine, path)
        if mark is not None:
            if mark not in kept:
                yield f"{machine.node} still has the snapshot {path}"
            continue
        name = path.rpartition("/")[2].rsplit("_", 1)[0]
        if key_of(name) not in diskful:
            yield f"{machine.node} still has the file {path}"
    for name in machine.stored:
        if key_of(name) not in here:
            yield f"{machine.node} still runs {name}"
