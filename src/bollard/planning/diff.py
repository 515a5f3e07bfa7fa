"""Target against what is there: the steps that lead from one to the other, safe to cut after any prefix.

Used by the satellite to act and by the controller to preview. Nothing is removed that no tombstone names.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from bollard.domain.ids import Uuid
from bollard.domain.local import Local, LocalBacking, LocalEngine, LocalExport
from bollard.domain.resources import RestoreFrom, Tombstone
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
)
from bollard.domain.targets import TargetReplication, TargetResource, TargetVolume

__all__ = ["diff", "fingerprint", "finished"]


def diff(target: TargetResource | None, tombstones: Iterable[Tombstone], local: Local) -> tuple[Step, ...]:
    """The steps for one resource name on this node; none when all is as it should be.

    `tombstones` are those of this name. After any prefix, a new diff leads to the same end. Order: an old
    life's engine, then its backings, go before anything new is made; backings exist and have metadata before
    the engine runs on them; a backing grows before its layers, and they before the engine is told; an engine
    lets go of a backing, and its layers close, before it is destroyed.
    """
    buried = tuple(tombstones)
    steps: list[Step] = []
    engine = local.engine
    if engine is not None and _must_stop(target, buried, engine):
        steps.append(_stop(local, engine))
        engine = None
    doomed = _doomed(target, buried, local)
    held = _held(buried, engine)
    # Snapshots go before their volumes: some kinds of storage keep them in the volume.
    steps += [
        DropSnapshot(local.name, kept.pool, kept.number, kept.snapshot_uuid)
        for kept in local.snapshots
        if (kept.snapshot_uuid, kept.number) in _buried_snapshots(buried)
    ]
    steps += _destroy(local, [backing for backing in doomed if backing.volume_uuid not in held])
    if target is not None:
        foreign = engine is not None and engine.uuid != target.uuid
        steps += _build(target, local, None if foreign else engine)
    freed = [one for one in doomed if one.volume_uuid in held and _let_go(target, one)]
    return (*steps, *_destroy(local, freed))


def fingerprint(target: TargetResource) -> str:
    """A digest of all that the engine's configuration depends on (secrets included, but not readable).

    What only matters while something is made (the first generation, storage, layers, the snapshot it is made
    from), and what is a request rather than a configuration (an online verify, a snapshot), is left out.
    """
    volumes = tuple(
        msgspec.structs.replace(
            volume,
            current_gi=None,
            layers=(),
            storage={},
            filesystem={},
            zeroed=True,
            restore=None,
            metadata=volume.metadata and msgspec.structs.replace(volume.metadata, size_kib=0),
        )
        for volume in target.volumes
    )
    replication = target.replication
    if replication is not None:
        replication = msgspec.structs.replace(replication, verify_request=0)
    plain = msgspec.structs.replace(
        target, volumes=volumes, props={}, files=(), replication=replication, snapshot=None
    )
    encoded = msgspec.json.encode(plain, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:32]


def finished(tombstones: Iterable[Tombstone], local: Local) -> tuple[Uuid, ...]:
    """The `resource_uuid` of those tombstones of which nothing is left here: to be reported as removed."""
    there = {backing.volume_uuid for backing in local.backings}
    kept = {(one.snapshot_uuid, one.number) for one in local.snapshots}
    running = local.engine.uuid if local.engine is not None else None
    return tuple(
        stone.resource_uuid
        for stone in tombstones
        if stone.resource_uuid != running
        and not any(uuid in there for volume in stone.volumes for uuid in volume.uuids)
        and not kept & _buried_snapshots((stone,))
    )


def _buried_snapshots(buried: Iterable[Tombstone]) -> set[tuple[Uuid, int]]:
    return {(one.snapshot_uuid, one.number) for stone in buried for one in stone.snapshots}


def _must_stop(target: TargetResource | None, buried: tuple[Tombstone, ...], engine: LocalEngine) -> bool:
    """Whether the running engine belongs to a life that is over, or to a resource that shall not run."""
    if target is None or engine.uuid != target.uuid:
        return any(stone.resource_uuid == engine.uuid for stone in buried)
    if not target.active or engine.replicated is not (target.replication is not None):
        return True
    # Two implementations never share a disk: the old one lets go before the new one takes it.
    return engine.implementation is not target.runs_by


def _stop(local: Local, engine: LocalEngine) -> Step:
    if engine.replicated:
        return RemoveReplication(local.name, engine.uuid)
    return RemoveExport(local.name, engine.uuid)


def _doomed(target: TargetResource | None, buried: tuple[Tombstone, ...], local: Local) -> list[LocalBacking]:
    """Backings that a tombstone names and no target wants."""
    named = {uuid for stone in buried for volume in stone.volumes for uuid in volume.uuids}
    wanted = target.storage_uuids if target is not None else set()
    assert not named & wanted, "a volume cannot be both wanted and buried"
    return [backing for backing in local.backings if backing.volume_uuid in named]


def _held(buried: tuple[Tombstone, ...], engine: LocalEngine | None) -> set[Uuid]:
    """The marks of what the engine still uses, companions of its volumes' layers included."""
    served = {volume.volume_uuid for volume in engine.volumes} if engine is not None else set()
    volumes = [volume for stone in buried for volume in stone.volumes if volume.uuid in served]
    return {uuid for volume in volumes for uuid in volume.uuids}


def _let_go(target: TargetResource | None, backing: LocalBacking) -> bool:
    """Whether the new configuration, applied just before, no longer uses the backing."""
    return target is not None and all(volume.uuid != backing.volume_uuid for volume in target.volumes)


def _destroy(local: Local, backings: list[LocalBacking]) -> list[Step]:
    """Layers first: the companions that they use are among the backings."""
    return [
        *(_lower(local, backing) for backing in backings if backing.layers),
        *(
            RemoveBacking(local.name, backing.pool, backing.number, backing.volume_uuid)
            for backing in backings
        ),
    ]


def _lower(local: Local, backing: LocalBacking) -> Step:
    return LowerLayers(local.name, backing.pool, backing.number, backing.volume_uuid)


def _build(target: TargetResource, local: Local, engine: LocalEngine | None) -> list[Step]:
    there = {backing.volume_uuid: backing for backing in local.backings}
    served = {volume.number: volume for volume in engine.volumes} if engine is not None else {}
    steps: list[Step] = []
    for volume in target.volumes:
        steps += _companion_steps(target, volume, there)
        steps += _metadata_steps(target, volume, there)
        steps += _backing_steps(target, volume, there.get(volume.uuid), served.get(volume.number))
    if not target.active:
        mine = [backing for uuid, backing in there.items() if uuid in target.storage_uuids]
        idle = [one for one in mine if one.layers or (one.block and one.active)]
        return [*steps, *(_lower(local, backing) for backing in sorted(idle, key=_layers_first))]
    if target.remote is not None:
        return [*steps, *_connect_steps(target, engine)]
    if target.replication is None:
        return [*steps, *_export_steps(target, there, engine)]
    # The engine grows before it gets the new configuration, which names the new size.
    steps += [
        ResizeReplication(target.name, target.uuid, volume.number, volume.size_kib, volume.zeroed)
        for volume in target.volumes
        if (now := served.get(volume.number)) is not None and _too_small(volume, now)
    ]
    again = engine is None or engine.broken or any(isinstance(step, RaiseLayers) for step in steps)
    if again or engine is None or engine.fingerprint != fingerprint(target) or _serves_more(target, engine):
        steps.append(ConfigureReplication(target))
    return steps


def _layers_first(backing: LocalBacking) -> bool:
    return not backing.layers


def _serves_more(target: TargetResource, engine: LocalEngine) -> bool:
    """Whether the engine still holds a backing that the target does not name."""
    wanted = {volume.uuid for volume in target.volumes if volume.gross_kib is not None}
    return any(volume.volume_uuid not in wanted for volume in engine.volumes if volume.volume_uuid)


def _too_small(volume: TargetVolume, now: LocalExport) -> bool:
    same_disk = volume.gross_kib is not None and now.volume_uuid == volume.uuid
    return same_disk and 0 < now.size_kib < volume.size_kib


def _companion_steps(
    target: TargetResource, volume: TargetVolume, there: dict[Uuid, LocalBacking]
) -> list[Step]:
    """Storage that the volume's layers need beside its own; it never changes its size."""
    return [
        CreateBacking(
            resource=target.name,
            pool=layer.pool,
            number=volume.number,
            volume_uuid=layer.companion_uuid,
            size_kib=layer.companion_kib,
            suffix=f".{layer.kind.lower()}",
            options=volume.storage,
        )
        for layer in volume.layers
        if volume.gross_kib is not None and layer.companion_uuid and _to_make(there.get(layer.companion_uuid))
    ]


def _metadata_steps(
    target: TargetResource, volume: TargetVolume, there: dict[Uuid, LocalBacking]
) -> list[Step]:
    """Storage for DRBD's metadata alone; it grows before the volume does."""
    wanted = volume.metadata
    if wanted is None or volume.gross_kib is None:
        return []
    backing = there.get(wanted.uuid)
    if backing is None or _to_make(backing):
        return [
            CreateBacking(
                resource=target.name,
                pool=wanted.pool,
                number=volume.number,
                volume_uuid=wanted.uuid,
                size_kib=wanted.size_kib,
                suffix=".meta",
                options=volume.storage,
            )
        ]
    if backing.size_kib < wanted.size_kib:
        return [GrowBacking(target.name, backing.pool, volume.number, wanted.uuid, wanted.size_kib)]
    return []


def _to_make(backing: LocalBacking | None) -> bool:
    return backing is None or not backing.complete


def _backing_steps(
    target: TargetResource, volume: TargetVolume, backing: LocalBacking | None, now: LocalExport | None
) -> list[Step]:
    """Storage for one volume, large enough, with metadata; nothing for a volume without a disk."""
    if volume.gross_kib is None:
        return []
    name, gross = target.name, volume.gross_kib
    steps: list[Step] = []
    if volume.restore is not None and _to_make(backing):
        steps.append(_restore(target, volume, volume.restore))
    elif backing is None or _to_make(backing):
        steps.append(
            CreateBacking(name, volume.pool, volume.number, volume.uuid, gross, options=volume.storage)
        )
    elif backing.size_kib < gross:
        steps.append(GrowBacking(name, backing.pool, volume.number, volume.uuid, gross))
    elif backing.size_kib > gross and target.replication is None and _may_shrink(volume, backing):
        steps.append(ShrinkBacking(name, backing.pool, volume.number, volume.uuid, gross))
    if target.active:
        steps += _layer_steps(target, volume, backing)
    running = now is not None and now.volume_uuid == volume.uuid
    formatted = running or (backing is not None and backing.metadata)
    if target.replication is not None and not formatted and (target.active or not volume.layers):
        steps.append(_metadata(target, volume, target.replication))
    return steps


def _layer_steps(target: TargetResource, volume: TargetVolume, backing: LocalBacking | None) -> list[Step]:
    """The device layers of one volume, open and as large as they should be; an active device without any."""
    if backing is None:
        return [RaiseLayers(target, volume.number)] if volume.layers else []
    wanted = [layer.kind for layer in volume.layers]
    there = [layer.kind for layer in backing.layers]
    if not backing.active or there[: len(wanted)] != wanted:
        return [RaiseLayers(target, volume.number)]
    stale = any(
        now.size_kib < layer.size_kib or (layer.fabric is not None and now.shown != layer.fabric.shown)
        for now, layer in zip(backing.layers, volume.layers, strict=False)
    )
    return [GrowLayers(target, volume.number)] if stale else []


def _restore(target: TargetResource, volume: TargetVolume, restore: RestoreFrom) -> Step:
    return RestoreBacking(
        resource=target.name,
        pool=volume.pool,
        number=volume.number,
        volume_uuid=volume.uuid,
        size_kib=volume.gross_kib or volume.size_kib,
        source=restore.source,
        snapshot_uuid=restore.snapshot_uuid,
        # A layer's data is scattered over all of its device: none of it ends where the volume does.
        content_kib=0 if volume.layers else restore.content_kib,
        options=volume.storage,
    )


def _may_shrink(volume: TargetVolume, backing: LocalBacking) -> bool:
    """Rounding up by the provider is not a wish to shrink, and layers do not follow."""
    assert volume.gross_kib is not None, volume
    least_kib = max(_ROUNDING_KIB, backing.unit_kib)
    return not volume.layers and backing.size_kib - volume.gross_kib >= least_kib


_ROUNDING_KIB = 1024


def _metadata(target: TargetResource, volume: TargetVolume, replication: TargetReplication) -> Step:
    return CreateMetadata(
        resource=target.name,
        pool=volume.pool,
        number=volume.number,
        volume_uuid=volume.uuid,
        node_id=replication.node_id,
        peer_slots=replication.peer_slots,
        size_kib=volume.size_kib,
        current_gi=volume.current_gi,
        minor=volume.minor,
        implementation=replication.implementation,
        anew=volume.restore is not None,
        metadata=volume.metadata,
    )


def _connect_steps(target: TargetResource, engine: LocalEngine | None) -> list[Step]:
    """Connected, with every volume there and large enough, from where the target says."""
    assert target.remote is not None, target.name
    if engine is not None and not engine.broken and engine.fingerprint == target.remote.shown:
        served = {volume.number: volume.size_kib for volume in engine.volumes}
        if all(served.get(volume.number, 0) >= volume.size_kib for volume in target.volumes):
            return []
    return [Connect(target)]


def _export_steps(
    target: TargetResource, there: dict[Uuid, LocalBacking], engine: LocalEngine | None
) -> list[Step]:
    """A served volume for each; none where all are block devices, which are used as they are."""
    if target.volumes and all(volume.device for volume in target.volumes):
        mine = engine is not None and engine.uuid == target.uuid and not engine.replicated
        stop: list[Step] = [RemoveExport(target.name, target.uuid)] if mine else []
        return stop + [
            MakeFileSystem(target, volume.number)
            for volume in target.volumes
            if volume.filesystem and ((one := there.get(volume.uuid)) is None or not one.filesystem)
        ]
    served = {volume.number: volume for volume in engine.volumes} if engine is not None else {}
    changed = any(
        (now := served.get(volume.number)) is None
        or now.volume_uuid != volume.uuid
        or not volume.size_kib <= now.size_kib <= (volume.gross_kib or volume.size_kib)
        or volume.uuid not in there
        for volume in target.volumes
    )
    left = set(served) - {volume.number for volume in target.volumes}
    stale = engine is None or engine.fingerprint != fingerprint(target)
    return [ExportPlain(target)] if changed or left or stale else []
