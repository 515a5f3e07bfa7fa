"""One step of a plan, carried out by the drivers that it concerns. It decides nothing and keeps nothing."""

from collections.abc import Mapping
from typing import assert_never

from bollard.domain.errors import Subject
from bollard.domain.ids import Key, Uuid, key_of
from bollard.domain.layers import LayerKind
from bollard.domain.steps import (
    ConfigureReplication,
    Connect,
    CreateBacking,
    CreateMetadata,
    DropSnapshot,
    ExportPlain,
    GrowBacking,
    GrowLayers,
    LowerLayers,
    MakeFileSystem,
    RaiseLayers,
    RemoveBacking,
    RemoveExport,
    RemoveReplication,
    ResizeReplication,
    RestoreBacking,
    ShrinkBacking,
    Step,
    TakeSnapshot,
)
from bollard.domain.targets import TargetMetadata, TargetPool, TargetResource
from bollard.satellite import layering
from bollard.satellite.drivers import PROVIDERS, REPLICATION, Provider
from bollard.satellite.host import filesystems
from bollard.satellite.host.base import BackingSeen, Host, HostError, Marks
from bollard.satellite.sight import Sight
from bollard.satellite.tools.paths import Paths

__all__ = ["apply", "pool_of"]

Pools = Mapping[Key, TargetPool]


async def apply(step: Step, pools: Pools, sight: Sight, host: Host) -> bool:
    """Carry out a step; whether anything changed. `sight` may lack backings: they are looked for.

    Raises HostError; then the step is done not at all, in part, or whole, and may be repeated.
    """
    running = sight.spec
    layer = REPLICATION[sight.kind]
    match step:
        case CreateBacking():
            pool, provider = pool_of(step.pool, pools)
            return await provider.create(step, pool, host)
        case GrowBacking():
            pool, provider = pool_of(step.pool, pools)
            return await provider.grow(step, pool, host)
        case RemoveBacking():
            pool, provider = pool_of(step.pool, pools)
            for seen in await layering.observe(provider, pool, host, step.resource):
                if seen.local.volume_uuid == step.volume_uuid:
                    await layering.wipe(seen, provider, host)
            return await provider.remove(step, pool, host)
        case TakeSnapshot() | DropSnapshot() | RestoreBacking():
            return await _snapshot_step(step, pools, host)
        case ShrinkBacking():
            raise HostError(
                f"Volume {step.number} of '{step.resource}' cannot be made smaller",
                code="unsupported",
                cause=f"Pools of the kind of '{step.pool}' only grow volumes.",
                name=step.resource,
            )
        case MakeFileSystem():
            return await _filesystem(step, pools, host)
        case RaiseLayers() | GrowLayers() | LowerLayers():
            return await _layer_step(step, pools, host)
        case CreateMetadata():
            pool, provider = pool_of(step.pool, pools)
            backing = await _backing(step.resource, step.pool, step.volume_uuid, pools, host)
            path = backing.top if backing.layers else await provider.activate(backing, host)
            meta = await _metadata(step.resource, step.metadata, pools, host)
            await REPLICATION[step.implementation].format(step, path, meta, host)
            await provider.mark(backing, pool, Marks(metadata=True), host)
            return True
        case ConfigureReplication() | ExportPlain() | Connect():
            return await _open(step.target, pools, sight, host)
        case ResizeReplication():
            if running is not None and running.uuid == step.uuid:
                return await layer.grow(step, running.name, host)
            return False
        case RemoveReplication() | RemoveExport():
            if running is not None and running.uuid == step.uuid:
                return await layer.close(running.name, host)
            return False
        case _:
            assert_never(step)


async def _snapshot_step(
    step: TakeSnapshot | DropSnapshot | RestoreBacking, pools: Pools, host: Host
) -> bool:
    pool, provider = pool_of(step.pool, pools)
    match step:
        case TakeSnapshot():
            return await provider.snapshot(step, pool, host)
        case DropSnapshot():
            return await provider.remove_snapshot(step, pool, host)
        case RestoreBacking():
            return await provider.restore(step, pool, host)
        case _:
            assert_never(step)


async def _layer_step(step: RaiseLayers | GrowLayers | LowerLayers, pools: Pools, host: Host) -> bool:
    if isinstance(step, LowerLayers):
        _, provider = pool_of(step.pool, pools)
        backing = await _backing(step.resource, step.pool, step.volume_uuid, pools, host)
        return await layering.lower(backing, provider, host)
    (volume,) = (one for one in step.target.volumes if one.number == step.number)
    name = step.target.name
    pool, provider = pool_of(volume.pool, pools)
    backing = await _backing(name, volume.pool, volume.uuid, pools, host)
    if isinstance(step, GrowLayers):
        return await layering.grow(volume, backing, host)
    companions: dict[LayerKind, str] = {}
    for layer in volume.layers:
        if layer.companion_uuid is not None:
            _, keeper = pool_of(layer.pool, pools)
            beside = await _backing(name, layer.pool, layer.companion_uuid, pools, host)
            companions[layer.kind] = await keeper.activate(beside, host, block=True)
    await layering.raise_(volume, backing, companions, (provider, pool), host)
    return True


async def _filesystem(step: MakeFileSystem, pools: Pools, host: Host) -> bool:
    """What is marked as being made was cut; anything else that is found there is somebody's data."""
    (volume,) = (one for one in step.target.volumes if one.number == step.number)
    pool, provider = pool_of(volume.pool, pools)
    backing = await _backing(step.target.name, volume.pool, volume.uuid, pools, host)
    if len(backing.layers) < len(volume.layers):
        return False
    path = backing.top if backing.layers else await provider.activate(backing, host, block=True)
    if backing.filesystem == "making" or await filesystems.empty(host, path):
        await provider.mark(backing, pool, Marks(filesystem="making"), host)
        await filesystems.make(host, path, volume.filesystem)
    await provider.mark(backing, pool, Marks(filesystem="made"), host)
    return True


def pool_of(name: str, pools: Pools) -> tuple[TargetPool, Provider]:
    """The pool and what drives it. HostError `pool-missing` when the target has no such pool."""
    pool = pools.get(key_of(name))
    provider = PROVIDERS.get(pool.provider) if pool is not None else None
    if pool is None or provider is None:
        raise HostError(
            f"Storage pool '{name}' cannot be used on this node",
            code="pool-missing" if pool is None else "provider-missing",
            cause="The controller did not name it as a pool of this node."
            if pool is None
            else f"This satellite cannot drive {pool.provider}.",
            correction="Create the storage pool on this node, or choose another.",
            subject=Subject.POOL,
            name=name,
        )
    return pool, provider


async def _open(target: TargetResource, pools: Pools, sight: Sight, host: Host) -> bool:
    seen = {backing.local.volume_uuid: backing for backing in sight.backings}
    backings: dict[int, BackingSeen] = {}
    paths: dict[int, str] = {}
    metas: dict[int, str] = {}
    for volume in target.volumes:
        if volume.gross_kib is not None:
            _, provider = pool_of(volume.pool, pools)
            backing = seen.get(volume.uuid)
            if backing is None:
                backing = await _backing(target.name, volume.pool, volume.uuid, pools, host)
            backings[volume.number] = backing
            paths[volume.number] = backing.top if backing.layers else await provider.activate(backing, host)
            if volume.metadata is not None and target.replication is not None:
                metas[volume.number] = await _metadata(target.name, volume.metadata, pools, host)
    return await REPLICATION[target.runs_by].open(target, backings, Paths(paths, metas), host)


async def _metadata(resource: str, metadata: TargetMetadata | None, pools: Pools, host: Host) -> str:
    """The opened storage of DRBD's metadata; empty: it is beside the data."""
    if metadata is None:
        return ""
    _, provider = pool_of(metadata.pool, pools)
    return await provider.activate(await _backing(resource, metadata.pool, metadata.uuid, pools, host), host)


async def _backing(resource: str, pool_name: str, uuid: Uuid, pools: Pools, host: Host) -> BackingSeen:
    pool, provider = pool_of(pool_name, pools)
    for seen in await layering.observe(provider, pool, host, resource):
        if seen.local.volume_uuid == uuid:
            return seen
    raise HostError(
        f"A volume of '{resource}' has no storage in pool '{pool_name}'",
        code="volume-missing",
        cause=f"Nothing there is marked with its uuid {uuid}.",
        correction="Mount the pool's file system, or delete the resource here and create it again.",
        name=resource,
    )
