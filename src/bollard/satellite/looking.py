"""Looks at one resource name on this machine: its storage and what the data process runs. Changes nothing."""

import msgspec

from bollard.domain.ids import DISKLESS_POOL, Key, key_of
from bollard.satellite import layering
from bollard.satellite.apply import pool_of
from bollard.satellite.engine_watch import EngineWatch
from bollard.satellite.host.base import BackingSeen, Host, HostError
from bollard.satellite.sight import Sight
from bollard.satellite.tools.drbd_status import ResourceStatus, parse_status
from bollard.satellite.wishes import Wishes
from bollard.wire.engine import ResourceSpec, Show, Status

__all__ = ["Looking"]


class Looking:
    """Sights by key. After `prime`, the first look at each key costs nothing."""

    def __init__(self, host: Host, wishes: Wishes, engine: EngineWatch) -> None:
        self._host = host
        self._wishes = wishes
        self._engine = engine
        self._primed: dict[Key, Sight] = {}

    async def prime(self, backings: tuple[BackingSeen, ...]) -> None:
        """Take everything at one moment, before any pass has run; `backings` from all pools."""
        specs = await self._specs("")
        statuses = {status.name: status for status in await self._statuses("")}
        by_key: dict[Key, list[BackingSeen]] = {}
        for seen in await layering.with_layers(backings, self._host):
            by_key.setdefault(key_of(seen.resource), []).append(seen)
        specs_by_key: dict[Key, list[ResourceSpec]] = {}
        for spec in specs:
            specs_by_key.setdefault(key_of(spec.name), []).append(spec)
        self._primed = {
            key: self._sight(key, tuple(by_key.get(key, ())), specs_by_key.get(key, []), statuses)
            for key in self._wishes.keys()  # noqa: SIM118  # not a mapping
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
        specs: list[ResourceSpec] = []
        statuses: dict[str, ResourceStatus] = {}
        for known in sorted({*self._engine.names.get(key, ()), name}):
            found = await self._specs(known)
            specs += found
            if found:
                statuses |= {status.name: status for status in await self._statuses(known)}
        return self._sight(key, tuple(backings), specs, statuses)

    def _sight(
        self,
        key: Key,
        backings: tuple[BackingSeen, ...],
        specs: list[ResourceSpec],
        statuses: dict[str, ResourceStatus],
    ) -> Sight:
        if not specs:
            return Sight(backings)
        target = self._wishes.resources.get(key)
        # An earlier life under the name, in whatever case, goes before anything else happens to it.
        spec = next((one for one in specs if target is None or one.uuid != target.uuid), specs[0])
        return Sight(backings, spec, statuses.get(spec.name), self._engine.may_promote(spec.name))

    def _pools(self, key: Key) -> list[str]:
        target = self._wishes.resources.get(key)
        names = [volume.pool for volume in target.volumes if volume.gross_kib is not None] if target else []
        names += [layer.pool for volume in target.volumes for layer in volume.layers] if target else []
        buried = [volume for stone in self._wishes.stones(key) for volume in stone.volumes]
        names += [volume.pool for volume in buried]
        names += [companion.pool for volume in buried for companion in volume.companions]
        by_key = {key_of(name): name for name in names}
        by_key.pop(key_of(DISKLESS_POOL), None)
        by_key.pop(key_of(""), None)
        return list(by_key.values())

    async def _specs(self, name: str) -> list[ResourceSpec]:
        return msgspec.convert(await self._ask(Show(name=name)), list[ResourceSpec])

    async def _statuses(self, name: str) -> list[ResourceStatus]:
        return parse_status(await self._ask(Status(name=name)))

    async def _ask(self, request: Show | Status) -> object:
        try:
            return (await self._host.engine.ask(request)).result
        except HostError as error:
            if error.code == "engine-not-found":
                return []
            raise
