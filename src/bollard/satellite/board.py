"""What this node reports: the newest sight of every pool and resource, and what of it is not yet sent.

The loop writes, the link reads. One reader at a time; a new reader starts with the whole.
"""

import asyncio
from collections.abc import Iterable

from bollard.domain.ids import Key, NodeName, ResourceName, Uuid, key_of
from bollard.domain.seen import Observation, SeenPool, SeenResource

__all__ = ["Board"]


class Board:
    """In memory only. Putting what is there already sends nothing."""

    def __init__(self, node: NodeName) -> None:
        self.node = node
        self.revision = 0
        self.pools: dict[Key, SeenPool] = {}
        self.resources: dict[Key, SeenResource] = {}
        self.removed: dict[Uuid, None] = {}
        self.leftovers: tuple[str, ...] = ()
        self.filled = asyncio.Event()
        """Set once everything that a target names was looked at."""
        self._changed = asyncio.Event()
        self._pools_due: dict[Key, None] = {}
        self._resources_due: dict[Key, None] = {}
        self._gone_due: dict[Key, ResourceName] = {}
        self._removed_due: dict[Uuid, None] = {}
        self._whole_due = False

    def put_pool(self, pool: SeenPool) -> None:
        """Take over a look at a pool."""
        key = key_of(pool.name)
        if self.pools.get(key) != pool:
            self.pools[key] = pool
            self._pools_due[key] = None
            self._changed.set()

    def keep_pools(self, names: Iterable[str]) -> None:
        """Forget the pools that are no longer wanted."""
        kept = {key_of(name) for name in names}
        for key in [key for key in self.pools if key not in kept]:
            del self.pools[key]
            self._whole_due = True
            self._changed.set()

    def put_resource(self, resource: SeenResource) -> None:
        """Take over a look at a resource."""
        key = key_of(resource.name)
        if self.resources.get(key) != resource:
            self.resources[key] = resource
            self._resources_due[key] = None
            self._gone_due.pop(key, None)
            self._changed.set()

    def drop_resource(self, name: str) -> None:
        """A resource is no longer on this node."""
        key = key_of(name)
        resource = self.resources.pop(key, None)
        if resource is not None:
            self._resources_due.pop(key, None)
            self._gone_due[key] = resource.name
            self._changed.set()

    def put_removed(self, uuid: Uuid) -> None:
        """The tombstone of this resource is carried out."""
        if uuid not in self.removed:
            self.removed[uuid] = None
            self._removed_due[uuid] = None
            self._changed.set()

    def keep_removed(self, uuids: Iterable[Uuid]) -> None:
        """Forget the tombstones that the controller has taken back: it knows."""
        kept = set(uuids)
        for uuid in [uuid for uuid in self.removed if uuid not in kept]:
            del self.removed[uuid]
            self._removed_due.pop(uuid, None)

    def put_leftovers(self, names: Iterable[str]) -> None:
        """Volumes of ours that nothing names."""
        leftovers = tuple(sorted(names))
        if leftovers != self.leftovers:
            self.leftovers = leftovers
            self._whole_due = True
            self._changed.set()

    def put_revision(self, revision: int) -> None:
        """The newest target revision that was received."""
        if revision != self.revision:
            self.revision = revision
            self._changed.set()

    def whole(self) -> Observation:
        """Everything; what is due is thereby sent."""
        self._sent()
        return Observation(
            node=self.node,
            complete=True,
            revision=self.revision,
            pools=tuple(self.pools[key] for key in sorted(self.pools)),
            resources=tuple(self.resources[key] for key in sorted(self.resources)),
            removed=tuple(self.removed),
            leftovers=self.leftovers,
        )

    async def wait(self) -> None:
        """Until something is due."""
        await self._changed.wait()

    def due(self) -> Observation:
        """What changed since the last report."""
        if self._whole_due:
            return self.whole()
        report = Observation(
            node=self.node,
            revision=self.revision,
            pools=tuple(self.pools[key] for key in self._pools_due if key in self.pools),
            resources=tuple(self.resources[key] for key in self._resources_due),
            gone=tuple(self._gone_due.values()),
            removed=tuple(self._removed_due),
        )
        self._sent()
        return report

    def _sent(self) -> None:
        self._pools_due.clear()
        self._resources_due.clear()
        self._gone_due.clear()
        self._removed_due.clear()
        self._whole_due = False
        self._changed.clear()
