"""Volumes and snapshots of ZFS: the sequences that ZFS and ZFS_THIN share, each safe to cut anywhere.

A volume that goes while snapshots are in it is buried: renamed, emptied of what only it had, and destroyed
when the last of them is gone. Whatever carries no mark of ours stays.
"""

import asyncio
import itertools
from typing import Final

import msgspec

from bollard.domain.ids import Uuid, key_of
from bollard.domain.local import LocalBacking, LocalSnapshot
from bollard.domain.steps import (
    CreateBacking,
    DropSnapshot,
    GrowBacking,
    RemoveBacking,
    RestoreBacking,
    TakeSnapshot,
)
from bollard.domain.targets import TargetPool
from bollard.domain.units import KIB, align_up
from bollard.satellite.host.base import BackingSeen, Host, HostError, Marks, SnapshotSeen
from bollard.satellite.host.zfs_pools import LOOK, Listing, change, dataset_of, look, name_of
from bollard.satellite.tools import zfs
from bollard.satellite.tools.tags import Tags
from bollard.satellite.tools.zfs import Dataset

__all__ = [
    "activate",
    "create",
    "deactivate",
    "grow",
    "mark",
    "observe",
    "observe_snapshots",
    "remove",
    "remove_snapshot",
    "restore",
    "snapshot",
]

Found = tuple[Dataset, Tags]
_DEVICE_S: Final = 15.0
_POLL_S: Final = 0.05


def _in(
    listing: Listing, pool: TargetPool, host: Host, resource: str | None = None, *, thin: bool
) -> list[Found]:
    """What carries this node's mark in a pool, of one resource or of all: volumes and snapshots."""
    dataset = dataset_of(listing, pool).name
    if resource is None:
        candidates = list(itertools.chain.from_iterable(listing.ours.values()))
    else:
        candidates = listing.ours.get(key_of(resource), [])
    node = host.facts.get("node", "")
    return [
        (row, tags)
        for row, tags in candidates
        if row.parent == dataset and tags.thin is thin and tags.node == node
    ]


async def observe(
    pool: TargetPool, host: Host, resource: str | None = None, *, thin: bool
) -> tuple[BackingSeen, ...]:
    """Our volumes in the pool, or only those of one resource."""
    listing = await look(host, resource)
    return tuple(
        _backing(pool.name, row, tags, listing)
        for row, tags in _in(listing, pool, host, resource, thin=thin)
        if tags.volume and not tags.buried
    )


def _backing(pool: str, row: Dataset, tags: Tags, listing: Listing) -> BackingSeen:
    local = LocalBacking(
        pool=pool,
        number=tags.number,
        volume_uuid=Uuid(tags.volume),
        size_kib=row.size_kib,
        complete=not tags.unfinished,
        metadata=tags.metadata,
        made=tags.layers,
        filesystem=tags.filesystem == "made",
        block=True,
        active=row.active,
        unit_kib=row.unit_kib,
    )
    taken = zfs.number(row.referenced) // KIB if tags.thin else row.size_kib
    return BackingSeen(
        tags.resource,
        row.path,
        taken,
        local,
        device=listing.numbers.get(row.path, ""),
        filesystem=tags.filesystem,
    )


async def observe_snapshots(
    pool: TargetPool, host: Host, resource: str | None = None, *, thin: bool
) -> tuple[SnapshotSeen, ...]:
    """Our snapshots in the pool; those that only wait for the volumes made from them are gone."""
    listing = await look(host, resource)
    return tuple(
        SnapshotSeen(
            tags.resource,
            row.path,
            zfs.number(row.used) // KIB,
            LocalSnapshot(pool.name, tags.number, Uuid(tags.snapshot), row.size_kib),
            tags.layers,
        )
        for row, tags in _in(listing, pool, host, resource, thin=thin)
        if tags.snapshot and not row.doomed
    )


async def _find(pool: TargetPool, host: Host, resource: str, uuid: Uuid, *, thin: bool) -> Found | None:
    """The volume of this life."""
    for row, tags in _in(await look(host, resource), pool, host, resource, thin=thin):
        if tags.volume == uuid and not tags.buried:
            return row, tags
    return None


async def _kept(
    pool: TargetPool, host: Host, resource: str, number: int, uuid: Uuid, *, thin: bool
) -> Found | None:
    for row, tags in _in(await look(host, resource), pool, host, resource, thin=thin):
        if tags.snapshot == uuid and tags.number == number and not row.doomed:
            return row, tags
    return None


async def _needed(pool: TargetPool, host: Host, resource: str, uuid: Uuid, *, thin: bool) -> Found:
    found = await _find(pool, host, resource, uuid, thin=thin)
    if found is None:
        raise _missing(resource, f"Nothing there is marked with its uuid {uuid}.", pool, "volume-missing")
    return found


def _missing(resource: str, cause: str, pool: TargetPool, code: str) -> HostError:
    what = "storage" if code == "volume-missing" else "finished snapshot to restore"
    return HostError(
        f"A volume of '{resource}' has no {what} in pool '{pool.name}'",
        code=code,
        cause=cause,
        correction="Delete the resource on this node; it can be created again from another node's data.",
        name=resource,
    )


async def create(step: CreateBacking, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Make it; ZFS makes it with its mark or not at all, and it reads as zeroes."""
    if await _find(pool, host, step.resource, step.volume_uuid, thin=thin) is not None:
        return False
    try:
        await _make(step, pool, host, thin=thin)
    except HostError as error:
        if "already exists" not in error.said:
            raise
        # Somebody made one of that name since the last look: look again, and say whose it is.
        host.shared.changed(LOOK)
        await _make(step, pool, host, thin=thin)
    return True


async def _make(step: CreateBacking, pool: TargetPool, host: Host, *, thin: bool) -> None:
    listing = await look(host, step.resource)
    dataset = dataset_of(listing, pool).name
    name = _free_name(listing, dataset, step.resource, step.number, step.suffix)
    await _sweep(step.resource, pool, host, thin=thin)
    tags = Tags(_node(host), step.resource, step.number, volume=step.volume_uuid, thin=thin)
    await change(host, dataset, step.resource, zfs.create(name, step.size_kib, tags, options=step.options))


def _node(host: Host) -> str:
    """The node's name: what was received from another node with its mark is not this node's."""
    return host.facts.get("node", "")


def _free_name(listing: Listing, dataset: str, resource: str, number: int, suffix: str = "") -> str:
    """The first name that nobody has; HostError `foreign-volume` when a stranger has it."""
    for again in itertools.count():
        name = zfs.volume_name(dataset, resource, number, suffix=suffix, again=again)
        taken = listing.by_name.get(name)
        if taken is None:
            return name
        if taken.tags is None:
            raise HostError(
                f"'{name}' is not Bollard's volume",
                code="foreign-volume",
                cause="It has the name that this volume needs, and no mark says that it is ours.",
                correction="Rename it with 'zfs rename', or use another resource name.",
                name=name,
            )
    raise AssertionError(dataset)


async def grow(step: GrowBacking, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Make it at least this large; a thick one reserves its room, also one that was made from a snapshot."""
    row, _ = await _needed(pool, host, step.resource, step.volume_uuid, thin=thin)
    changed = False
    if row.size_kib < step.size_kib:
        size = align_up(step.size_kib, max(1, row.unit_kib)) * KIB
        await change(host, row.name, step.resource, zfs.change(row.name, volsize=str(size)))
        changed = True
    if thin:
        return changed
    row, _ = await _needed(pool, host, step.resource, step.volume_uuid, thin=thin)
    if not row.reserved:
        await change(host, row.name, step.resource, zfs.change(row.name, refreservation="auto"))
        changed = True
    return changed


async def remove(step: RemoveBacking, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Destroy this life of the volume, or bury it while snapshots are in it."""
    found = await _find(pool, host, step.resource, step.volume_uuid, thin=thin)
    if found is None:
        return False
    row, tags = found
    listing = await look(host, step.resource)
    if row.name in listing.snapshots:
        await _bury(row, tags, listing, host)
    else:
        await change(host, row.name, step.resource, zfs.destroy(row.name))
    await _sweep(step.resource, pool, host, thin=thin)
    return True


async def _bury(row: Dataset, tags: Tags, listing: Listing, host: Host) -> None:
    """Out of the way, and without what no snapshot has. That it is gone is said last: a cut is made good."""
    name, (dataset, _, last) = row.name, row.name.rpartition("/")
    if not last.startswith(zfs.BURIED):
        name = f"{dataset}/{zfs.BURIED}{last}_{tags.volume[:8]}"
        await change(host, row.name, tags.resource, zfs.rename(row.name, name))
    if zfs.number(row.written):
        newest = listing.snapshots[row.name][-1].name[len(row.name) :]
        await change(host, name, tags.resource, zfs.roll_back(name + newest))
    dead = msgspec.structs.replace(tags, buried=True)
    await change(host, name, tags.resource, zfs.change(name, dead, refreservation="none"))


async def _sweep(resource: str, pool: TargetPool, host: Host, *, thin: bool) -> None:
    """Destroy what is buried and has nothing in it any more; what cannot go now is tried again next time."""
    listing = await look(host, resource)
    for row, tags in _in(listing, pool, host, thin=thin):
        if tags.buried and row.type == "volume" and row.name not in listing.snapshots:
            try:
                await change(host, row.name, tags.resource, zfs.destroy(row.name))
            except HostError as error:
                if error.code not in {"tool-failed", "busy"}:
                    raise


async def activate(backing: BackingSeen, host: Host) -> str:
    """Have its block device, and wait until its name is there. HostError `device-missing`."""
    name = backing.path.removeprefix(zfs.DEVICES)
    if not backing.local.active:
        await change(host, name, backing.resource, zfs.change(name, volmode="dev"))
    await _wait_for(backing.path, backing.resource, host)
    return backing.path


async def _wait_for(path: str, resource: str, host: Host) -> None:
    for _ in range(int(_DEVICE_S / _POLL_S)):
        if await host.files.look(path) is not None:
            return
        await asyncio.sleep(_POLL_S)
    raise HostError(
        f"'{path}' of '{resource}' does not appear",
        code="device-missing",
        cause=f"The volume is there, but udev has made no device name for it within {_DEVICE_S:g} s.",
        correction="See that udev runs and has ZFS's rules (60-zvol.rules); it is tried again by itself.",
        name=resource,
    )


async def deactivate(backing: BackingSeen, host: Host) -> bool:
    """Take its block device away, so that nobody opens it."""
    if not backing.local.active:
        return False
    name = backing.path.removeprefix(zfs.DEVICES)
    await change(host, name, backing.resource, zfs.change(name, volmode="none"))
    return True


async def mark(backing: BackingSeen, pool: TargetPool, marks: Marks, host: Host, *, thin: bool) -> None:
    """Remember what the layers above have made."""
    row, tags = await _needed(pool, host, backing.resource, backing.local.volume_uuid, thin=thin)
    wanted = marks.on(tags)
    if wanted != tags:
        await change(host, row.name, backing.resource, zfs.change(row.name, wanted))


async def snapshot(step: TakeSnapshot, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Keep the volume as it is. HostError `volume-missing`."""
    if await _kept(pool, host, step.resource, step.number, step.snapshot_uuid, thin=thin) is not None:
        return False
    row, tags = await _needed(pool, host, step.resource, step.volume_uuid, thin=thin)
    listing = await look(host, step.resource)
    names = (zfs.snapshot_name(row.name, step.snapshot, again=again) for again in itertools.count())
    name = next(one for one in names if one not in listing.by_name)
    mine = Tags(
        node=_node(host),
        resource=step.resource,
        number=step.number,
        snapshot=step.snapshot_uuid,
        snapshot_name=step.snapshot,
        layers=tags.layers,
        thin=thin,
    )
    await change(host, row.name, step.resource, zfs.snapshot(name, mine, options=step.options))
    return True


async def remove_snapshot(step: DropSnapshot, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Destroy it, now or with the last volume that was made from it."""
    found = await _kept(pool, host, step.resource, step.number, step.snapshot_uuid, thin=thin)
    if found is None:
        return False
    row, _ = found
    await change(host, row.name, step.resource, zfs.destroy_snapshot(row.name))
    await _sweep(step.resource, pool, host, thin=thin)
    return True


async def restore(step: RestoreBacking, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Make a volume from a snapshot, whose blocks it shares, or finish making it."""
    found = await _find(pool, host, step.resource, step.volume_uuid, thin=thin)
    if found is not None and not found[1].unfinished:
        return await grow(_larger(step), pool, host, thin=thin)
    source = await _kept(pool, host, step.source, step.number, step.snapshot_uuid, thin=thin)
    if source is None:
        cause = f"Nothing there is marked with the snapshot's uuid {step.snapshot_uuid}."
        raise _missing(step.resource, cause, pool, "snapshot-missing")
    kept, kept_tags = source
    if found is None:
        listing = await look(host, step.resource)
        name = _free_name(listing, name_of(pool), step.resource, step.number)
        mine = Tags(
            node=_node(host),
            resource=step.resource,
            number=step.number,
            volume=step.volume_uuid,
            layers=kept_tags.layers,
            unfinished=True,
            thin=thin,
        )
        await change(host, name, step.resource, zfs.clone(kept.name, name, mine))
    row, tags = await _needed(pool, host, step.resource, step.volume_uuid, thin=thin)
    if 0 < step.content_kib < kept.size_kib:
        await _wait_for(row.path, step.resource, host)
        await host.files.zero(row.path, step.content_kib * KIB, (kept.size_kib - step.content_kib) * KIB)
    # Grown and reserved before it counts as made: a thick one that finds no room for that was never made.
    await grow(_larger(step), pool, host, thin=thin)
    done = msgspec.structs.replace(tags, unfinished=False)
    await change(host, row.name, step.resource, zfs.change(row.name, done))
    return True


def _larger(step: RestoreBacking) -> GrowBacking:
    return GrowBacking(step.resource, step.pool, step.number, step.volume_uuid, step.size_kib)
