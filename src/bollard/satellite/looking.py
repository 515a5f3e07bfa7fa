"""Looks at one resource name on this machine: its storage and what runs it. Changes nothing."""

import msgspec

from bollard.domain.ids import DISKLESS_POOL, Key, key_of
from bollard.domain.layers import ReplicationKind
from bollard.domain.targets import TargetResource
from bollard.satellite import layering
from bollard.satellite.apply import pool_of
from bollard.satellite.drivers import REPLICATION
from bollard.satellite.engine_watch import EngineWatch
from bollard.satellite.host.base import BackingSeen, Host, HostError, SnapshotSeen
from bollard.satellite.host.running import Running
from bollard.satellite.lost_disks import LostDisks, problem_of
from bollard.satellite.sight import NOTHING, Sight
from bollard.satellite.wishes import Wishes

__all__ = ["Looking"]


class Looking:
    """Sights by key. After `prime`, the first look at each key costs nothing."""

    def __init__(self, host: Host, wishes: Wishes, engine: EngineWatch, lost: LostDisks) -> None:
        self._host = host
        self._wishes = wishes
        self._engine = engine
        self._lost = lost
        self._primed: dict[Key, Sight] = {}

    async def prime(self, backings: tuple[BackingSeen, ...], unread: frozenset[Key] = frozenset()) -> None:
        """Take everything at one moment, before any pass has run; `backings` from all pools but `unread`."""
        by_key: dict[Key, list[BackingSeen]] = {}
        for seen in await layering.with_layers(backings, self._host):
            by_key.setdefault(key_of(seen.resource), []).append(seen)
        running: dict[Key, list[Running]] = {}
        for layer in REPLICATION.values():
            for one in await layer.observe(self._host):
                running.setdefault(key_of(one.spec.name), []).append(one)
        self._primed = {
            key: self._sight(key, tuple(by_key.get(key, ())), running.get(key, []))
            for key in self._wishes.keys()  # noqa: SIM118  # not a mapping
            if not self._snapshot_pools(key) and unread.isdisjoint(map(key_of, self._pools(key)))
        }

    async def at(self, key: Key) -> Sight:
        """Look now. HostError when a pool or the data process cannot be asked."""
        primed = self._primed.pop(key, None)
        if primed is not None:
            return primed
        name = self._wishes.name(key)
        backings: list[BackingSeen] = []
        for pool_name in self._pools(key):
            pool, provider = pool_of(pool_name, self._wishes.pools)
            backings += await layering.observe(provider, pool, self._host, name)
        snapshots: list[SnapshotSeen] = []
        for pool_name in self._snapshot_pools(key):
            pool, provider = pool_of(pool_name, self._wishes.pools)
            snapshots += await provider.observe_snapshots(pool, self._host, name)
        sight = self._sight(key, tuple(backings), await self._running(key, name))
        return msgspec.structs.replace(sight, snapshots=tuple(snapshots)) if snapshots else sight

    async def without_storage(self, key: Key) -> Sight:
        """What runs, where the storage below cannot be looked at: it goes on, maybe by its peers' data."""
        try:
            return self._sight(key, (), await self._running(key, self._wishes.name(key)))
        except HostError:
            return NOTHING

    async def _running(self, key: Key, name: str) -> list[Running]:
        found: list[Running] = []
        for kind, layer in REPLICATION.items():
            if kind is not ReplicationKind.USER:
                found += await layer.observe(self._host, name)
        target = self._wishes.resources.get(key)
        user = REPLICATION[ReplicationKind.USER]
        try:
            for known in sorted({*self._engine.names.get(key, ()), name}):
                found += await user.observe(self._host, known)
        except HostError as error:
            # What the kernel runs has no need of the data process.
            if error.code != "engine-away" or not any(_is_it(one, target) for one in found):
                raise
        return found

    def _sight(self, key: Key, backings: tuple[BackingSeen, ...], running: list[Running]) -> Sight:
        if not running:
            return Sight(backings)
        target = self._wishes.resources.get(key)
        # An earlier life under the name, in whatever case, or under another implementation goes first.
        one = next((one for one in running if target is None or not _is_it(one, target)), running[0])
        may_promote = one.may_promote or self._engine.may_promote(one.spec.name)
        return Sight(
            backings,
            one.spec,
            one.status,
            may_promote,
            kind=one.kind,
            fingerprint=one.fingerprint,
            broken=one.broken or self._lost.due(key, one),
            problem=one.problem or problem_of(one),
        )

    def _pools(self, key: Key) -> list[str]:
        target = self._wishes.resources.get(key)
        names = [volume.pool for volume in target.volumes if volume.gross_kib is not None] if target else []
        names += [layer.pool for volume in target.volumes for layer in volume.layers] if target else []
        names += [one.metadata.pool for one in target.volumes if one.metadata is not None] if target else []
        buried = [volume for stone in self._wishes.stones(key) for volume in stone.volumes]
        names += [volume.pool for volume in buried]
        names += [companion.pool for volume in buried for companion in volume.companions]
        by_key = {key_of(name): name for name in names}
        by_key.pop(key_of(DISKLESS_POOL), None)
        by_key.pop(key_of(""), None)
        return list(by_key.values())

    def _snapshot_pools(self, key: Key) -> list[str]:
        """Where snapshots are that are to be removed."""
        names = [one.pool for stone in self._wishes.stones(key) for one in stone.snapshots]
        return list({key_of(name): name for name in names}.values())


def _is_it(running: Running, target: TargetResource | None) -> bool:
    """Whether this is the target's resource, run by what shall run it."""
    if target is None or running.spec.uuid != target.uuid:
        return False
    return running.kind is target.runs_by
