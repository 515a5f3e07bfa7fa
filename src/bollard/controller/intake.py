"""What comes from the nodes: reports and the state of their links. Kept, told, and those who wait woken."""

from bollard.controller.events import Events, MayPromote, NodeStatus, Reported
from bollard.controller.waiting import Waiting
from bollard.domain.cluster import Cluster
from bollard.domain.ids import Key
from bollard.domain.nodes import Node, NodePhase
from bollard.domain.observed import Observed
from bollard.domain.ports import Clock
from bollard.domain.seen import Capabilities, Observation


class Intake:
    """The only writer of Observed."""

    def __init__(self, observed: Observed, events: Events, waiting: Waiting, clock: Clock) -> None:
        self._observed = observed
        self._events = events
        self._waiting = waiting
        self._clock = clock
        self._set_aside: set[Key] = set()
        """Nodes that were not to be used at their last change."""

    def take(self, observation: Observation, cluster: Cluster) -> None:
        """Take over a node's report."""
        node = observation.node
        for new in observation.resources:
            old = self._observed.resource(new.name, node)
            if new.may_promote != (old is not None and old.may_promote):
                self._events.tell(MayPromote(definition=new.name, node=node, may_promote=new.may_promote))
        removed = [
            tombstone.definition
            for tombstone in (cluster.tombstones_on(node) if observation.removed else ())
            if tombstone.resource_uuid in observation.removed
        ]
        news = observation.revision > self._observed.node(node).revision
        self._observed.take(observation, self._clock.now_ms())
        if observation.complete:
            self._waiting.wake(node, None)
            self._events.tell(Reported(node=node))
            return
        named = dict.fromkeys([*(it.name for it in observation.resources), *observation.gone, *removed])
        pools = (it.name for it in observation.pools)
        self._waiting.wake(node, None if news else (*named, *pools))
        self._events.tell(Reported(node=node, definitions=tuple(named)))

    def node_status(self, node: str, status: str, message: str, capabilities: Capabilities | None) -> None:
        """Take over a session's word on its node."""
        seen = self._observed.node(node)
        old, seen.message = seen.status, message
        if capabilities is not None:
            seen.capabilities = capabilities
        if seen.online or status == "ONLINE":
            seen.away_since_ms = None
        if status != "ONLINE" and seen.away_since_ms is None:
            seen.away_since_ms = self._clock.now_ms()
        if old != status:
            self._observed.changes += 1
            seen.status, seen.since_ms = status, self._clock.now_ms()
            self._events.tell(NodeStatus(node=node, old=old, new=status, message=message))
        self._waiting.wake(node, None)

    def node_changed(self, node: Node) -> None:
        """How long a node is away counts anew when it is taken back from an evacuation or eviction."""
        seen = self._observed.node(node.name)
        if node.phase is not NodePhase.NORMAL:
            self._set_aside.add(node.key)
        elif node.key in self._set_aside:
            self._set_aside.discard(node.key)
            seen.away_since_ms = None if seen.online else self._clock.now_ms()

    def forget_finished(self, node: str, cluster: Cluster) -> None:
        """Forget reports of removals whose tombstones are dropped."""
        left = {tombstone.resource_uuid for tombstone in cluster.tombstones_on(node)}
        seen = self._observed.node(node)
        seen.removed &= left
