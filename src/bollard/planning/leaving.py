"""A node that leaves the cluster: what goes with it."""

from bollard.domain.ids import key_of
from bollard.domain.nodes import Node
from bollard.planning.draft import Draft

__all__ = ["forget"]


def forget(draft: Draft, node: Node) -> None:
    """Drop a node with its pools, connections and whatever was still to be removed there."""
    for stone in draft.cluster.tombstones_on(node.name):
        draft.drop(stone)
    for pool in draft.cluster.pools_on(node.name):
        draft.drop(pool)
    for connection in draft.cluster.connections.values():
        if node.key in {key_of(connection.node_a), key_of(connection.node_b)}:
            draft.drop(connection)
    for procedure in draft.cluster.procedures.values():
        if procedure.node is not None and key_of(procedure.node) == node.key:
            draft.drop(procedure)
    draft.drop(node)
