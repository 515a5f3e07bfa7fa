"""Giving up a node that has been away for long: its replicas are made again on other nodes.

Off unless `DrbdOptions/AutoEvictAllowEviction` is true for the node. It stands down while more than
`AutoEvictMaxDisconnectedNodes` percent of the nodes are away (then the network is ill, not a node), while a
peer still has a replication link to the node, and before `AutoEvictAfterTime` minutes have passed. Invariant:
it takes no replica away; the procedure that it starts does, one by one, when enough complete ones are
elsewhere.
"""

from bollard.domain import props
from bollard.domain.cluster import Cluster
from bollard.domain.ids import key_of
from bollard.domain.nodes import Node, NodePhase
from bollard.planning.draft import Draft
from bollard.planning.procedures import evacuate
from bollard.planning.world import World

__all__ = ["due_at_ms", "settle", "stand_down"]

_MINUTE_MS = 60_000


def settle(draft: Draft) -> None:
    """Evict the nodes whose time has come, unless there is a reason to wait."""
    world = draft.world
    due = [
        node
        for _, node in sorted(world.cluster.nodes.items())
        if (at_ms := due_at_ms(world, node)) is not None and at_ms <= world.now_ms
    ]
    for node in due:
        if not stand_down(world, node):
            evacuate.evict(draft, node)


def due_at_ms(world: World, node: Node) -> int | None:
    """When the node is to be evicted if it stays away, in ms since the epoch; None: never."""
    seen = world.observed.node(node.name)
    controller = world.cluster.props()
    if not node.holds_storage or node.phase is not NodePhase.NORMAL or seen.online:
        return None
    # Deleted, the property means no, whatever the catalogue calls its default.
    if (props.AUTO_EVICT.found(node.props, controller) or "").lower() not in {"true", "yes"}:
        return None
    if seen.away_since_ms is None:
        return None
    return seen.away_since_ms + int(props.AUTO_EVICT_AFTER.number(node.props, controller) * _MINUTE_MS)


def stand_down(world: World, node: Node) -> str:
    """Why this node is not evicted now, in words; empty when nothing speaks against it."""
    nodes = _storage_nodes(world.cluster)
    away = sum(1 for one in nodes if not world.observed.node(one.name).online)
    most = props.AUTO_EVICT_MAX_AWAY.number(world.cluster.props())
    if away * 100 > most * len(nodes):
        return f"{away} of {len(nodes)} nodes are away, more than {most:g} percent"
    for other in nodes:
        seen = world.observed.node(other.name)
        if seen.online and other.key != node.key:
            for resource in seen.resources.values():
                if any(
                    key_of(peer.node) == node.key and peer.connection == "Connected"
                    for peer in resource.peers
                ):
                    return f"'{resource.name}' on '{other.name}' is still connected to it"
    return ""


def _storage_nodes(cluster: Cluster) -> list[Node]:
    return [
        node for node in cluster.nodes.values() if node.holds_storage and node.phase is not NodePhase.DELETING
    ]
