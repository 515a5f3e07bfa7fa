"""Snapshots as files beside the volumes: the sequences that FILE and FILE_THIN share, safe to cut anywhere.

A marker is written before the copy begins and says only afterwards that it is whole: half a copy is never
taken for a snapshot, and a file without a marker is somebody else's.
"""

import itertools
import posixpath
from typing import Final

import msgspec

from bollard.domain.ids import Uuid, key_of
from bollard.domain.local import LocalSnapshot
from bollard.domain.steps import DropSnapshot, RestoreBacking, TakeSnapshot
from bollard.domain.targets import TargetPool
from bollard.domain.units import KIB
from bollard.satellite.host.base import Files, HostError, Marked, SnapshotSeen
from bollard.satellite.host.volume_files import extend, find, folder_of, free_path, observe, owner_of
from bollard.satellite.tools.backing_file import (
    SNAPSHOT_SUFFIX,
    Kept,
    Owner,
    decode_kept,
    encode_kept,
    encode_owner,
    marker_name,
    snapshot_file_name,
    snapshot_marker_name,
)

__all__ = ["observe_snapshots", "remove_snapshot", "restore", "snapshot"]

_NAMES_MAX: Final = 1000


async def observe_snapshots(
    files: Files, pool: TargetPool, resource: str | None = None
) -> tuple[SnapshotSeen, ...]:
    """Our snapshots in the pool, or only those of one resource, whole and half-made."""
    folder = folder_of(pool)
    found = []
    for marked in await files.marked(folder, SNAPSHOT_SUFFIX, prefix=f"{resource}_" if resource else ""):
        kept = decode_kept(marked.content)
        if kept is None or not marked.name.startswith(f"{kept.resource}_{kept.number:05d}_"):
            continue
        if resource is None or key_of(kept.resource) == key_of(resource):
            found.append(_seen(pool.name, folder, kept, marked))
    return tuple(found)


def _seen(pool: str, folder: str, kept: Kept, marked: Marked) -> SnapshotSeen:
    local = LocalSnapshot(
        pool=pool,
        number=kept.number,
        snapshot_uuid=Uuid(kept.snapshot_uuid),
        size_kib=kept.size_kib,
        complete=kept.made and marked.file is not None,
    )
    allocated = marked.file.allocated_bytes // KIB if marked.file is not None else 0
    return SnapshotSeen(kept.resource, posixpath.join(folder, marked.name), allocated, local, kept.layers)


async def snapshot(files: Files, pool: TargetPool, step: TakeSnapshot) -> bool:
    """Copy the volume's file, sharing its blocks where that can be. HostError `volume-missing`."""
    volume = await find(files, pool, step.resource, step.number, step.volume_uuid)
    there = await _find(files, pool, step.resource, step.number, step.snapshot_uuid)
    if there is not None and there.local.complete:
        return False
    path = there.path if there is not None else await _free_path(files, pool, step)
    size_kib = volume.local.size_kib
    layers = volume.local.made
    kept = Kept(step.resource, step.number, step.snapshot, step.snapshot_uuid, size_kib, layers=layers)
    await files.write(snapshot_marker_name(path), encode_kept(kept))
    await files.copy(volume.path, path, size_kib * KIB)
    await files.write(snapshot_marker_name(path), encode_kept(msgspec.structs.replace(kept, made=True)))
    return True


async def remove_snapshot(files: Files, pool: TargetPool, step: DropSnapshot) -> bool:
    """Remove the copy, then its marker."""
    there = await _find(files, pool, step.resource, step.number, step.snapshot_uuid)
    if there is None:
        return False
    await files.remove(there.path)
    await files.remove(snapshot_marker_name(there.path))
    return True


async def restore(files: Files, pool: TargetPool, step: RestoreBacking, *, thick: bool) -> bool:
    """Copy the snapshot to a new life of a volume, or begin again what was cut."""
    path, owner = "", Owner(step.resource, step.number, step.volume_uuid)
    for seen in await observe(files, pool, step.resource):
        if seen.local.volume_uuid == step.volume_uuid:
            path, owner = seen.path, await owner_of(files, seen.path)
    if not owner.made:
        source = await _find(files, pool, step.source, step.number, step.snapshot_uuid)
        if source is None or not source.local.complete:
            raise _missing(pool, step)
        if not path:
            path = await free_path(files, pool, step.resource, step.number)
            owner = msgspec.structs.replace(owner, layers=source.made)
            await files.write(marker_name(path), encode_owner(owner))
        content_kib = min(step.content_kib or source.local.size_kib, source.local.size_kib)
        await files.copy(source.path, path, content_kib * KIB)
    changed = await extend(files, path, owner, step.size_kib, thick=thick)
    return changed or not owner.made


async def _find(
    files: Files, pool: TargetPool, resource: str, number: int, uuid: Uuid
) -> SnapshotSeen | None:
    for seen in await observe_snapshots(files, pool, resource):
        if seen.local.number == number and seen.local.snapshot_uuid == uuid:
            return seen
    return None


async def _free_path(files: Files, pool: TargetPool, step: TakeSnapshot) -> str:
    """A name that nobody has: an older snapshot of the same name may still be on its way out."""
    folder = folder_of(pool)
    for again in itertools.count():
        suffix = f".{again}" if again else ""
        path = posixpath.join(folder, snapshot_file_name(step.resource, step.number, step.snapshot, suffix))
        if await files.look(path) is None and await files.look(snapshot_marker_name(path)) is None:
            return path
        assert again < _NAMES_MAX, path
    raise AssertionError(folder)


def _missing(pool: TargetPool, step: RestoreBacking) -> HostError:
    return HostError(
        f"Volume {step.number} of '{step.resource}' cannot be restored",
        code="snapshot-missing",
        cause=f"Storage pool '{pool.name}' has no finished snapshot of '{step.source}' "
        f"that is marked {step.snapshot_uuid}.",
        correction="Delete the resource on this node; it can be created again from another node's data.",
        name=step.resource,
    )
