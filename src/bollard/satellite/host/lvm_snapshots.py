"""Snapshots of logical volumes, and volumes made from them: thin ones share, thick ones copy.

A thin snapshot is whole as soon as it exists. A restored volume says that it is unfinished until it is not.
"""

from typing import Final

import msgspec

from bollard.domain.ids import Uuid
from bollard.domain.local import LocalSnapshot
from bollard.domain.steps import DropSnapshot, GrowBacking, RestoreBacking, TakeSnapshot
from bollard.domain.targets import TargetPool
from bollard.domain.units import KIB
from bollard.satellite.host.base import Cmd, Host, HostError, SnapshotSeen
from bollard.satellite.host.logical_volumes import (
    ENDS_KIB,
    find,
    free_name,
    grow,
    node_of,
    rows_in,
    write_tags,
)
from bollard.satellite.host.volume_groups import change, group_of, has_udev, look, place_of
from bollard.satellite.tools import lvm
from bollard.satellite.tools.lvm import LogicalVolume, Tags

__all__ = ["observe_snapshots", "remove_snapshot", "restore", "snapshot"]

_SLOWEST_KIB_S: Final = 5 * 1024
_COPY_S: Final = 120.0


async def observe_snapshots(
    pool: TargetPool, host: Host, resource: str | None = None, *, thin: bool
) -> tuple[SnapshotSeen, ...]:
    """Our snapshots in the pool; a thick one whose space ran out is not complete."""
    place = place_of(pool, thin=thin)
    listing = await look(host, resource)
    group_of(listing, place)
    return tuple(
        SnapshotSeen(tags.resource, row.path, row.allocated_kib, _local(pool.name, row, tags), tags.layers)
        for row, tags in rows_in(listing, place, host, resource)
        if tags.snapshot
    )


def _local(pool: str, row: LogicalVolume, tags: Tags) -> LocalSnapshot:
    return LocalSnapshot(
        pool=pool,
        number=tags.number,
        snapshot_uuid=Uuid(tags.snapshot),
        size_kib=tags.size_kib,
        complete=not row.invalid,
    )


async def snapshot(step: TakeSnapshot, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Keep the volume as it is. HostError `volume-missing`, or `no-space` for a thick one."""
    kept = await _find(pool, host, step.resource, step.number, step.snapshot_uuid, thin=thin)
    if kept is not None and not kept[0].invalid:
        return False
    if kept is not None:
        await change(
            host, kept[0].vg_name, step.resource, lvm.remove(kept[0].path, udev=await has_udev(host))
        )
    found = await find(pool, host, step.resource, step.volume_uuid, thin=thin)
    if found is None:
        raise _missing(step.resource, step.number, pool, "volume-missing")
    row, tags = found
    listing = await look(host, step.resource)
    place = place_of(pool, thin=thin)

    def spell(again: int) -> str:
        return lvm.snapshot_name(lvm.volume_name(step.resource, step.number), step.snapshot, again=again)

    name = free_name(listing, place, spell)
    mine = Tags(
        node=node_of(host),
        resource=step.resource,
        number=step.number,
        snapshot=step.snapshot_uuid,
        snapshot_name=step.snapshot,
        size_kib=row.size_kib,
        layers=tags.layers,
    )
    options, udev = step.options.get("LvcreateSnapshotOptions", ""), await has_udev(host)
    if thin:
        argv = lvm.snapshot_thin(row.path, name, mine, active=False, options=options, udev=udev)
    else:
        argv = lvm.snapshot_thick(row.path, name, mine, options=options, udev=udev)
    await change(host, row.vg_name, step.resource, argv)
    return True


async def remove_snapshot(step: DropSnapshot, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Destroy it; volumes restored from it have all that they need."""
    found = await _find(pool, host, step.resource, step.number, step.snapshot_uuid, thin=thin)
    if found is None:
        return False
    row, _ = found
    await change(host, row.vg_name, step.resource, lvm.remove(row.path, udev=await has_udev(host)))
    return True


async def restore(step: RestoreBacking, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Make a volume from a snapshot, or finish making it."""
    found = await find(pool, host, step.resource, step.volume_uuid, thin=thin)
    if found is not None and not found[1].unfinished:
        return await _grown(step, pool, host, thin=thin)
    source = await _find(pool, host, step.source, step.number, step.snapshot_uuid, thin=thin)
    if source is None or source[0].invalid:
        raise _missing(step.resource, step.number, pool, "snapshot-missing")
    if found is None:
        await _begin(step, pool, host, source, thin=thin)
        found = await find(pool, host, step.resource, step.volume_uuid, thin=thin)
        assert found is not None, "made just now"
    await _fill(step, host, source, found, thin=thin)
    row, tags = found
    await write_tags(row, tags, msgspec.structs.replace(tags, unfinished=False), host)
    await _grown(step, pool, host, thin=thin)
    return True


async def _begin(
    step: RestoreBacking, pool: TargetPool, host: Host, source: tuple[LogicalVolume, Tags], *, thin: bool
) -> None:
    """The volume, unfinished: with the snapshot's content when thin, as large as that when thick."""
    row, tags = source
    place, listing, udev = place_of(pool, thin=thin), await look(host, step.resource), await has_udev(host)

    def spell(again: int) -> str:
        return lvm.volume_name(step.resource, step.number, again=again)

    name = free_name(listing, place, spell)
    mine = Tags(
        node=node_of(host),
        resource=step.resource,
        number=step.number,
        volume=step.volume_uuid,
        layers=tags.layers,
        unfinished=True,
    )
    if thin:
        argv = lvm.snapshot_thin(row.path, name, mine, active=True, udev=udev)
    else:
        size_kib = max(step.size_kib, tags.size_kib)
        argv = lvm.create_thick(place.group, name, size_kib, mine, options=step.options, udev=udev)
    await change(host, place.group, step.resource, argv)


async def _fill(
    step: RestoreBacking,
    host: Host,
    source: tuple[LogicalVolume, Tags],
    made: tuple[LogicalVolume, Tags],
    *,
    thin: bool,
) -> None:
    """Bring the content there, and zeroes where none of it counts."""
    kept, kept_tags = source
    row, _ = made
    udev = await has_udev(host)
    content_kib = min(step.content_kib or kept_tags.size_kib, kept_tags.size_kib)
    if not row.device:
        await change(host, row.vg_name, step.resource, lvm.activate(row.path, udev=udev))
    if not thin:
        if not kept.device:
            await change(host, kept.vg_name, step.source, lvm.activate(kept.path, udev=udev))
        await _copy(kept.path, row.path, content_kib, host)
        # A copy that an earlier satellite left running would write over what users write from now on:
        # nobody has the volume open when it can be deactivated.
        await change(host, row.vg_name, step.resource, lvm.deactivate(row.path, udev=udev))
        await change(host, row.vg_name, step.resource, lvm.activate(row.path, udev=udev))
    end_kib = kept_tags.size_kib if thin else row.size_kib
    start_kib = content_kib if thin else max(content_kib, end_kib - ENDS_KIB)
    if end_kib > start_kib:
        await host.files.zero(row.path, start_kib * KIB, (end_kib - start_kib) * KIB)


async def _copy(source: str, target: str, size_kib: int, host: Host) -> None:
    argv = (
        "dd", f"if={source}", f"of={target}", "bs=1M", f"count={size_kib * KIB}",
        "iflag=count_bytes,fullblock,direct", "oflag=direct", "conv=nocreat,fsync", "status=none",
    )  # fmt: skip
    await host.runner.run(Cmd(argv, timeout_s=_COPY_S + size_kib / _SLOWEST_KIB_S))


async def _grown(step: RestoreBacking, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    larger = GrowBacking(step.resource, step.pool, step.number, step.volume_uuid, step.size_kib)
    return await grow(larger, pool, host, thin=thin)


async def _find(
    pool: TargetPool, host: Host, resource: str, number: int, uuid: Uuid, *, thin: bool
) -> tuple[LogicalVolume, Tags] | None:
    place = place_of(pool, thin=thin)
    listing = await look(host, resource)
    group_of(listing, place)
    for row, tags in rows_in(listing, place, host, resource):
        if tags.snapshot == uuid and tags.number == number:
            return row, tags
    return None


def _missing(resource: str, number: int, pool: TargetPool, code: str) -> HostError:
    what = "storage" if code == "volume-missing" else "finished snapshot to restore"
    return HostError(
        f"Volume {number} of '{resource}' has no {what} in pool '{pool.name}'",
        code=code,
        cause="No logical volume there is tagged with its uuid.",
        correction="Delete the resource on this node; it can be created again from another node's data.",
        name=resource,
    )
