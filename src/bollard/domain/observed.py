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
    away_since_ms: int | None = None
    """When it was last found not to be online, having been so or never yet; None while it is."""
    heard_ms: int = 0
    """When the node last reported: the age of all that follows."""
    revision: int = 0
    message: str = ""
    capabilities: Capabilities | None = None
    pools: dict[Key, SeenPool] = {}
    resources: dict[Key, SeenResource] = {}
    in_use_since: dict[Key, int] = {}
    """By resource that is in use: when that was first reported."""
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
        self.changes = 0
        """Grows whenever a resource or the state of a node is not what it was: for those who keep copies."""

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
        self.changes += 1
        self.nodes.pop(key_of(name), None)

    def take(self, report: Observation, now_ms: int) -> None:
        """Take over a report: all of it, or what changed."""
        node = self.node(report.node)
        node.heard_ms = now_ms
        node.revision = max(node.revision, report.revision)
        if report.complete or report.resources or report.gone:
            self.changes += 1
        if report.complete:
            node.pools = {}
            node.resources = {}
            node.leftovers = report.leftovers
        node.pools.update({key_of(pool.name): pool for pool in report.pools})
        node.resources.update({key_of(resource.name): resource for resource in report.resources})
        for name in report.gone:
            node.resources.pop(key_of(name), None)
        self._note_use(node, report, now_ms)

    def _note_use(self, node: NodeSeen, report: Observation, now_ms: int) -> None:
        if report.complete:
            for key in [key for key in node.in_use_since if key not in node.resources]:
                del node.in_use_since[key]
        for name in report.gone:
            node.in_use_since.pop(key_of(name), None)
        for resource in report.resources:
            key = key_of(resource.name)
            if resource.in_use:
                node.in_use_since.setdefault(key, now_ms)
            else:
                node.in_use_since.pop(key, None)
        node.removed.update(report.removed)
