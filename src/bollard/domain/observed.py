"""Everything that the satellites have reported, with its age. In memory only: a restart asks again."""

import msgspec

from bollard.domain.ids import Key, Uuid, key_of
from bollard.domain.seen import Capabilities, Observation, SeenPool, SeenResource


class NodeSeen(msgspec.Struct):
    """What is known of one node. Changed only by its session."""

    status: str = "OFFLINE"
    """The API's connection status word."""
    since_ms: int = 0
    """When the status last changed."""
    heard_ms: int = 0
    """When the node last reported: the age of all that follows."""
    revision: int = 0
    message: str = ""
    capabilities: Capabilities | None = None
    pools: dict[Key, SeenPool] = {}
    resources: dict[Key, SeenResource] = {}
    leftovers: tuple[str, ...] = ()
    removed: set[Uuid] = set()
    """Resource uuids of tombstones that the node has carried out; forgotten when the tombstone is dropped."""

    @property
    def online(self) -> bool:
        """Whether its reports are current."""
        return self.status == "ONLINE"


class Observed:
    """The latest reports by node."""

    def __init__(self) -> None:
        self.nodes: dict[Key, NodeSeen] = {}

    def node(self, name: str) -> NodeSeen:
        """What is known of a node; an unknown node has never been online."""
        key = key_of(name)
        found = self.nodes.get(key)
        if found is None:
            found = self.nodes[key] = NodeSeen()
        return found

    def resource(self, definition: str, node: str) -> SeenResource | None:
        """The last report of a resource on a node, however old."""
        return self.node(node).resources.get(key_of(definition))

    def pool(self, node: str, name: str) -> SeenPool | None:
        """The last report of a pool on a node, however old."""
        return self.node(node).pools.get(key_of(name))

    def forget(self, name: str) -> None:
        """Drop what was known of a node that has left the cluster."""
        self.nodes.pop(key_of(name), None)

    def take(self, report: Observation, now_ms: int) -> None:
        """Take over a report: all of it, or what changed."""
        node = self.node(report.node)
        node.heard_ms = now_ms
        node.revision = max(node.revision, report.revision)
        if report.complete:
            node.pools = {}
            node.resources = {}
            node.leftovers = report.leftovers
        node.pools.update({key_of(pool.name): pool for pool in report.pools})
        node.resources.update({key_of(resource.name): resource for resource in report.resources})
        for name in report.gone:
            node.resources.pop(key_of(name), None)
        node.removed.update(report.removed)
