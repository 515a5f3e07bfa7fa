"""A node that leaves the cluster: what goes with it."""

import msgspec

from bollard.domain.ids import key_of
from bollard.domain.nodes import Node
from bollard.domain.snapshots import SnapshotDefinition, SnapshotOnNode
from bollard.planning.draft import Draft
from bollard.planning.procedures import snapshot

__all__ = ["forget", "give_up_snapshots"]


def give_up_snapshots(draft: Draft, node: Node) -> bool:
    """Have a node remove what it keeps of snapshots; whether it had any. Those that nobody else keeps go."""
    had = False
    for found in draft.cluster.snapshots.values():
        part = found.on(node.name)
        if part is None:
            continue
        had = True
        snapshot.bury(draft, found, [part])
        _leave(draft, found, part)
    return had


def _leave(draft: Draft, found: SnapshotDefinition, part: SnapshotOnNode) -> None:
    rest = tuple(one for one in found.nodes if one != part)
    if rest:
        draft.put(msgspec.structs.replace(found, nodes=rest))
    else:
        draft.drop(found)


def forget(draft: Draft, node: Node) -> None:
    """Drop a node with its pools, connections and whatever was still to be removed there."""
    for stone in draft.cluster.tombstones_on(node.name):
        draft.drop(stone)
    for pool in draft.cluster.pools_on(node.name):
        draft.drop(pool)
    for found in draft.cluster.snapshots.values():
        part = found.on(node.name)
        if part is not None and draft.get(SnapshotDefinition, "snapshot", found.key) is not None:
            _leave(draft, found, part)
    for connection in draft.cluster.connections.values():
        if node.key in {key_of(connection.node_a), key_of(connection.node_b)}:
            draft.drop(connection)
    for procedure in draft.cluster.procedures.values():
        if procedure.node is not None and key_of(procedure.node) == node.key:
            draft.drop(procedure)
    draft.drop(node)
