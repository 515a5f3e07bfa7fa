"""The newest target, by resource name: what was asked of this node. In memory only; acts on nothing."""

from collections.abc import Iterable

from bollard.domain.ids import Key, ResourceName, Uuid, key_of
from bollard.domain.resources import Tombstone
from bollard.domain.targets import Target, TargetDelta, TargetFile, TargetPool, TargetResource

__all__ = ["Wishes"]


class Wishes:
    """Changed only by `take_full` and `take_delta`; both say which names are to be looked at again."""

    def __init__(self) -> None:
        self.revision: int | None = None
        """None: no target was ever received."""
        self.pools: dict[Key, TargetPool] = {}
        self.resources: dict[Key, TargetResource] = {}
        self.revisions: dict[Key, int] = {}
        self._stones: dict[Key, tuple[Tombstone, ...]] = {}
        self._locked = False

    def stones(self, key: Key) -> tuple[Tombstone, ...]:
        """What is to be removed under this name."""
        return self._stones.get(key, ())

    def name(self, key: Key) -> ResourceName:
        """The name as it was written."""
        target = self.resources.get(key)
        if target is not None:
            return target.name
        stones = self.stones(key)
        return stones[0].definition if stones else ResourceName(key)

    def stone_uuids(self) -> set[Uuid]:
        """The resources that are to be removed."""
        return {stone.resource_uuid for stones in self._stones.values() for stone in stones}

    def volume_uuids(self) -> frozenset[Uuid]:
        """Every volume that a target or a tombstone names."""
        wanted = {uuid for target in self.resources.values() for uuid in target.storage_uuids}
        doomed = {
            uuid
            for stones in self._stones.values()
            for stone in stones
            for volume in stone.volumes
            for uuid in volume.uuids
        }
        return frozenset(wanted | doomed)

    def files(self) -> list[TargetFile] | None:
        """Every file that a target names; None while not all of them are known."""
        if self._locked:
            return None
        return [file for target in self.resources.values() for file in target.files]

    def keys(self) -> list[Key]:
        """Every name with a target or a tombstone."""
        return list(self.resources | dict.fromkeys(self._stones))

    def take_full(self, target: Target) -> tuple[list[Key], list[TargetResource]]:
        """Everything; the names to look at, and the targets that are gone."""
        named = {resource.key for resource in target.resources}
        gone = [self._drop(key) for key in list(self.resources) if key not in named]
        self.pools = {key_of(pool.name): pool for pool in target.pools}
        keys = self._put(target.resources, target.revision)
        keys |= self._put_stones(target.tombstones)
        self.revision = target.revision
        self._locked = target.locked
        return list(dict.fromkeys([*(one.key for one in gone), *keys])), gone

    def take_delta(self, delta: TargetDelta) -> tuple[list[Key], list[TargetResource]] | None:
        """A change; None, and nothing done, when it does not follow from what is here."""
        if delta.base != self.revision:
            return None
        gone = [self._drop(key) for key in map(key_of, delta.gone) if key in self.resources]
        if delta.pools is not None:
            self.pools = {key_of(pool.name): pool for pool in delta.pools}
        keys = self._put(delta.resources, delta.revision)
        if delta.tombstones is not None:
            keys |= self._put_stones(delta.tombstones)
        self.revision = delta.revision
        return list(dict.fromkeys([*(one.key for one in gone), *keys])), gone

    def _drop(self, key: Key) -> TargetResource:
        del self.revisions[key]
        return self.resources.pop(key)

    def _put(self, resources: Iterable[TargetResource], revision: int) -> dict[Key, None]:
        keys: dict[Key, None] = {}
        for resource in resources:
            self.resources[resource.key] = resource
            self.revisions[resource.key] = revision
            keys[resource.key] = None
        return keys

    def _put_stones(self, stones: Iterable[Tombstone]) -> dict[Key, None]:
        old, self._stones = self._stones, {}
        for stone in stones:
            key = key_of(stone.definition)
            self._stones[key] = (*self._stones.get(key, ()), stone)
        return {key: None for key in (*old, *self._stones) if old.get(key) != self._stones.get(key)}
