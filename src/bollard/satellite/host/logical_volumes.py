"""Volumes as logical volumes: the sequences that LVM and LVM_THIN share, each safe to cut anywhere.

A volume carries its mark as tags from the moment it exists; what carries none is somebody else's and stays.
"""

import itertools
from collections.abc import Callable
from typing import Final

import msgspec

from bollard.domain.ids import Uuid, key_of
from bollard.domain.local import LocalBacking
from bollard.domain.seen import Problem, SeenPool
from bollard.domain.steps import CreateBacking, GrowBacking, RemoveBacking
from bollard.domain.targets import TargetPool
from bollard.domain.units import KIB
from bollard.satellite.host.base import BackingSeen, Cmd, Host, HostError, Marks
from bollard.satellite.host.volume_groups import (
    LOOK,
    Listing,
    Place,
    change,
    group_of,
    has_udev,
    look,
    place_of,
    thin_pool_of,
    warnings_of,
)
from bollard.satellite.tools import lvm
from bollard.satellite.tools.lvm import LogicalVolume, Tags

__all__ = [
    "ENDS_KIB",
    "activate",
    "create",
    "deactivate",
    "find",
    "free_name",
    "grow",
    "mark",
    "node_of",
    "observe",
    "observe_pool",
    "remove",
    "rows_in",
    "write_tags",
]

ENDS_KIB: Final = 1024
"""So much at both ends of a thick volume is wiped: no signature or metadata of a former life is found."""


async def observe_pool(pool: TargetPool, host: Host, *, thin: bool) -> SeenPool:
    """Room of the group, or of its thin pool, with warnings. HostError when it cannot be used."""
    place = place_of(pool, thin=thin)
    listing = await look(host)
    group = group_of(listing, place)
    row = thin_pool_of(listing, place) if thin else None
    if row is None:
        free_kib, total_kib = int(group.vg_free) // KIB, int(group.vg_size) // KIB
    else:
        total_kib = row.size_kib
        free_kib = int(total_kib * (100 - float(row.data_percent or 0)) / 100)
    min_io_bytes, discard_bytes = await _limits(host, row or _any_active(listing, place))
    return SeenPool(
        name=pool.name,
        uuid=pool.uuid,
        free_kib=free_kib,
        total_kib=total_kib,
        supports_snapshots=True,
        min_io_bytes=min_io_bytes,
        discard_bytes=discard_bytes,
        problem=_full(place, row) if row is not None else None,
        warnings=warnings_of(group, row),
    )


def _any_active(listing: Listing, place: Place) -> LogicalVolume | None:
    """Some volume of a group, all of which stand on the same devices."""
    rows = (row for (group, _), row in listing.volumes.items() if group == place.group)
    return next((row for row in rows if row.device), None)


async def _limits(host: Host, row: LogicalVolume | None) -> tuple[int, int | None]:
    """The smallest write and the smallest discard of a volume's device; 0 and None while there is none."""
    if row is None or not row.device:
        return 0, None
    queue = f"/sys/dev/block/{row.device}/queue"
    write, discard, most = [
        await host.files.read(f"{queue}/{name}")
        for name in ("logical_block_size", "discard_granularity", "discard_max_bytes")
    ]
    if write is None or discard is None or most is None:
        return 0, None
    return int(write), int(discard) if int(most) else 0


def _full(place: Place, thin: LogicalVolume) -> Problem | None:
    """A thin pool whose writes fail."""
    spent = [what for what in (thin.data_percent, thin.metadata_percent) if what and float(what) >= 100]
    if thin.lv_health_status != "out_of_data" and not spent:
        return None
    return Problem(
        message=f"Thin pool '{place.group}/{place.thin}' is full: writes to its volumes fail",
        cause=f"Data {thin.data_percent} %, metadata {thin.metadata_percent} %.",
        correction="Extend it with lvextend, or delete volumes or snapshots that are in it.",
        code="no-space",
    )


async def observe(
    pool: TargetPool, host: Host, resource: str | None = None, *, thin: bool
) -> tuple[BackingSeen, ...]:
    """Our volumes in the pool, or only those of one resource."""
    place = place_of(pool, thin=thin)
    listing = await look(host, resource)
    unit_kib = int(group_of(listing, place).vg_extent_size) // KIB
    return tuple(
        _backing(pool.name, row, tags, unit_kib)
        for row, tags in rows_in(listing, place, host, resource)
        if tags.volume
    )


def rows_in(
    listing: Listing, place: Place, host: Host, resource: str | None = None
) -> list[tuple[LogicalVolume, Tags]]:
    """What carries this node's mark in a pool, of one resource or of all: volumes and snapshots."""
    if resource is None:
        candidates = list(itertools.chain.from_iterable(listing.ours.values()))
    else:
        candidates = listing.ours.get(key_of(resource), [])
    node = node_of(host)
    return [
        (row, tags)
        for row, tags in candidates
        if row.vg_name == place.group and row.pool_lv == place.thin and tags.node == node
    ]


def node_of(host: Host) -> str:
    """The node's name: machines that share a group leave each other's volumes alone."""
    return host.facts.get("node", "")


def _backing(pool: str, row: LogicalVolume, tags: Tags, unit_kib: int) -> BackingSeen:
    local = LocalBacking(
        pool=pool,
        number=tags.number,
        volume_uuid=Uuid(tags.volume),
        size_kib=tags.growing_kib or row.size_kib,
        complete=not tags.unfinished,
        metadata=tags.metadata,
        made=tags.layers,
        filesystem=tags.filesystem == "made",
        block=True,
        active=bool(row.device),
        unit_kib=unit_kib,
    )
    problem = None
    if row.lv_health_status not in {"", "metadata_read_only"}:
        problem = Problem(
            message=f"Logical volume '{row.vg_name}/{row.lv_name}' is not healthy",
            cause=f"LVM calls it {row.lv_health_status}.",
            correction="Look at its disks; 'lvs -a -o +devices,lv_health_status' shows them.",
            code="volume-damaged",
        )
    return BackingSeen(
        tags.resource,
        row.path,
        row.allocated_kib,
        local,
        device=row.device,
        problem=problem,
        filesystem=tags.filesystem,
    )


async def find(
    pool: TargetPool, host: Host, resource: str, uuid: Uuid, *, thin: bool
) -> tuple[LogicalVolume, Tags] | None:
    """The logical volume of this life of a volume."""
    place = place_of(pool, thin=thin)
    listing = await look(host, resource)
    group_of(listing, place)
    for row, tags in rows_in(listing, place, host, resource):
        if tags.volume == uuid:
            return row, tags
    return None


def free_name(listing: Listing, place: Place, spell: Callable[[int], str]) -> str:
    """The first name that nobody has; HostError `foreign-volume` when a stranger has it."""
    for again in itertools.count():
        name = spell(again)
        taken = listing.volumes.get((place.group, name))
        if taken is None:
            return name
        if lvm.decode_tags(taken.lv_tags) is None:
            raise HostError(
                f"'{taken.path}' is not Bollard's volume",
                code="foreign-volume",
                cause="It has the name that this volume needs, and no tag says that it is ours.",
                correction="Rename it with lvrename, or use another resource name.",
                name=taken.path,
            )
    raise AssertionError(place)


async def create(step: CreateBacking, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Make it, or finish making it; a longer one than asked for stays."""
    place = place_of(pool, thin=thin)
    found = await find(pool, host, step.resource, step.volume_uuid, thin=thin)
    if found is not None:
        row, tags = found
        if tags.unfinished:
            await _finish(row, tags, host)
            return True
        return False
    try:
        await _make(step, place, host, thin=thin)
    except HostError as error:
        if "already exists" not in error.said:
            raise
        # Somebody made one of that name since the last look: look again, and say whose it is.
        host.shared.changed(LOOK)
        await _make(step, place, host, thin=thin)
    if not thin:
        row, tags = await _needed(pool, host, step.resource, step.volume_uuid, thin=thin)
        await _finish(row, tags, host)
    return True


async def _make(step: CreateBacking, place: Place, host: Host, *, thin: bool) -> None:
    """Under a free name, marked, and unfinished while it must be wiped."""
    listing = await look(host, step.resource)
    tags = Tags(node_of(host), step.resource, step.number, volume=step.volume_uuid, unfinished=not thin)
    udev = await has_udev(host)

    def spell(again: int) -> str:
        return lvm.volume_name(step.resource, step.number, suffix=step.suffix, again=again)

    name = free_name(listing, place, spell)
    if thin:
        thin_pool_of(listing, place)
        argv = lvm.create_thin(
            place.group, place.thin, name, step.size_kib, tags, options=step.options, udev=udev
        )
    else:
        physical = await _physical(listing, place, step, host, udev=udev)
        argv = lvm.create_thick(
            place.group, name, step.size_kib, tags, options=step.options, physical=physical, udev=udev
        )
    await change(host, place.group, step.resource, argv)


async def _physical(
    listing: Listing, place: Place, step: CreateBacking, host: Host, *, udev: bool
) -> tuple[str, ...]:
    """The disks to take space from, by the volume's property; the emptiest first where there are several."""
    chosen = step.options.get("LvcreatePvSelection", "")
    if not chosen and int(group_of(listing, place).pv_count or "1") < 2:
        return ()
    argv = lvm.list_physical(place.group, chosen or "--sort pv_used", udev=udev)
    return lvm.parse_physical((await host.runner.run(Cmd(argv))).stdout)


async def _finish(row: LogicalVolume, tags: Tags, host: Host) -> None:
    """Wipe both ends of a thick volume, then say that it is made."""
    if not row.device:
        await change(host, row.vg_name, tags.resource, lvm.activate(row.path, udev=await has_udev(host)))
    ends_kib = min(ENDS_KIB, row.size_kib)
    await host.files.zero(row.path, 0, ends_kib * KIB)
    await host.files.zero(row.path, (row.size_kib - ends_kib) * KIB, ends_kib * KIB)
    await write_tags(row, tags, msgspec.structs.replace(tags, unfinished=False), host)


async def grow(step: GrowBacking, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Make it at least this large. The new end of a thick volume is wiped before it counts."""
    row, tags = await _needed(pool, host, step.resource, step.volume_uuid, thin=thin)
    changed = False
    if not thin and not tags.growing_kib and row.size_kib < step.size_kib:
        tags = await write_tags(row, tags, msgspec.structs.replace(tags, growing_kib=row.size_kib), host)
    if row.size_kib < step.size_kib:
        argv = lvm.extend(row.path, step.size_kib, udev=await has_udev(host))
        await change(host, row.vg_name, step.resource, argv)
        changed = True
    if tags.growing_kib:
        row, tags = await _needed(pool, host, step.resource, step.volume_uuid, thin=thin)
        if not row.device:
            await change(host, row.vg_name, tags.resource, lvm.activate(row.path, udev=await has_udev(host)))
        start_kib = max(tags.growing_kib, row.size_kib - ENDS_KIB)
        if row.size_kib > start_kib:
            await host.files.zero(row.path, start_kib * KIB, (row.size_kib - start_kib) * KIB)
        await write_tags(row, tags, msgspec.structs.replace(tags, growing_kib=0), host)
        changed = True
    return changed


async def remove(step: RemoveBacking, pool: TargetPool, host: Host, *, thin: bool) -> bool:
    """Destroy this life of the volume. HostError `has-snapshots` while thick snapshots hang on it."""
    found = await find(pool, host, step.resource, step.volume_uuid, thin=thin)
    if found is None:
        return False
    row, _ = found
    listing = await look(host, step.resource if thin else None)
    users = [
        other.lv_name
        for other in listing.volumes.values()
        if not thin
        and other.vg_name == row.vg_name
        and other.origin == row.lv_name
        and other.lv_attr[:1] in "sS"
    ]
    if users:
        raise HostError(
            f"Volume {step.number} of '{step.resource}' cannot be removed yet",
            code="has-snapshots",
            cause=f"'{row.path}' carries the thick snapshots {', '.join(sorted(users)[:8])}, "
            "which would go with it.",
            correction="Delete those snapshots; the volume is removed then by itself.",
            name=step.resource,
        )
    await change(host, row.vg_name, step.resource, lvm.remove(row.path, udev=await has_udev(host)))
    return True


async def activate(backing: BackingSeen, host: Host) -> str:
    """Make its device, unless it is there."""
    if not backing.device:
        argv = lvm.activate(backing.path, udev=await has_udev(host))
        await change(host, _group(backing.path), backing.resource, argv)
    return backing.path


async def deactivate(backing: BackingSeen, host: Host) -> bool:
    """Take its device away. HostError `busy` while it is open."""
    if not backing.device:
        return False
    argv = lvm.deactivate(backing.path, udev=await has_udev(host))
    await change(host, _group(backing.path), backing.resource, argv)
    return True


async def mark(backing: BackingSeen, pool: TargetPool, marks: Marks, host: Host, *, thin: bool) -> None:
    """Remember what the layers above have made."""
    row, tags = await _needed(pool, host, backing.resource, backing.local.volume_uuid, thin=thin)
    await write_tags(row, tags, marks.on(tags), host)


async def write_tags(row: LogicalVolume, before: Tags, after: Tags, host: Host) -> Tags:
    """Change the mark, whole or not at all; what it is now."""
    if before != after:
        argv = lvm.retag(row.path, before, after, udev=await has_udev(host))
        await change(host, row.vg_name, after.resource, argv)
    return after


async def _needed(
    pool: TargetPool, host: Host, resource: str, uuid: Uuid, *, thin: bool
) -> tuple[LogicalVolume, Tags]:
    found = await find(pool, host, resource, uuid, thin=thin)
    if found is None:
        raise HostError(
            f"A volume of '{resource}' has no storage in pool '{pool.name}'",
            code="volume-missing",
            cause=f"No logical volume there is tagged with its uuid {uuid}.",
            correction="Delete the resource on this node and create it again.",
            name=resource,
        )
    return found


def _group(path: str) -> str:
    return path.split("/")[2]
