"""Backing files with their markers: the sequences that FILE and FILE_THIN share, each safe to cut anywhere.

The marker is written before the file and removed after it, so a file of ours always has one, and a file
without one is somebody else's and stays untouched.
"""

import itertools
import posixpath
from collections.abc import Iterator
from typing import Final

import msgspec

from bollard.domain.errors import Subject
from bollard.domain.ids import Uuid, key_of
from bollard.domain.local import LocalBacking
from bollard.domain.seen import SeenPool
from bollard.domain.steps import CreateBacking, GrowBacking, RemoveBacking
from bollard.domain.targets import TargetPool
from bollard.domain.units import KIB
from bollard.satellite.host.base import BackingSeen, Files, FileSeen, HostError, Marks
from bollard.satellite.tools.backing_file import (
    MARKER_SUFFIX,
    Owner,
    decode_owner,
    encode_owner,
    file_name,
    marker_name,
)

__all__ = [
    "create",
    "extend",
    "find",
    "folder_of",
    "free_path",
    "grow",
    "mark",
    "mark_loop",
    "observe",
    "observe_pool",
    "owner_of",
    "remove",
]

SECTOR_BYTES: Final = 512
"""The smallest write that a file takes: the kernel reads what else is in its block."""
LOOP: Final = "loop"
"""Stands for the device of a file that may have a loop device, until that is looked for."""
FOLDER_KEYS: Final = ("StorDriver/StorPoolName", "StorDriver/FileDir")


async def observe_pool(files: Files, pool: TargetPool) -> SeenPool:
    """Room and abilities of the pool. HostError when it cannot be used."""
    folder = folder_of(pool)
    space = await files.space(folder)
    if space.read_only:
        raise HostError(
            f"Storage pool '{pool.name}' is read-only",
            code="read-only",
            cause=f"The file system of '{folder}' is mounted read-only.",
            correction="Mount it writable; look for disk errors in the kernel's log first.",
            subject=Subject.POOL,
            name=pool.name,
        )
    return SeenPool(
        name=pool.name,
        uuid=pool.uuid,
        free_kib=space.free_bytes // KIB,
        total_kib=space.total_bytes // KIB,
        supports_snapshots=True,
        min_io_bytes=SECTOR_BYTES,
        discard_bytes=space.block_bytes,
    )


async def observe(files: Files, pool: TargetPool, resource: str | None = None) -> tuple[BackingSeen, ...]:
    """Our files in the pool, or only those of one resource; a marker without its file has size 0."""
    folder = folder_of(pool)
    seen = []
    for marked in await files.marked(folder, MARKER_SUFFIX, prefix=f"{resource}_" if resource else ""):
        owner = decode_owner(marked.content)
        if owner is None or not marked.name.startswith(f"{owner.resource}_{owner.number:05d}"):
            continue
        if resource is None or key_of(owner.resource) == key_of(resource):
            seen.append(_backing(pool.name, posixpath.join(folder, marked.name), owner, marked.file))
    return tuple(seen)


def _backing(pool: str, path: str, owner: Owner, file: FileSeen | None) -> BackingSeen:
    local = LocalBacking(
        pool=pool,
        number=owner.number,
        volume_uuid=Uuid(owner.volume_uuid),
        size_kib=file.size_bytes // KIB if file is not None else 0,
        complete=owner.made,
        metadata=owner.metadata,
        made=owner.layers,
        filesystem=owner.filesystem == "made",
    )
    allocated_kib = file.allocated_bytes // KIB if file is not None else 0
    return BackingSeen(
        owner.resource,
        path,
        allocated_kib,
        local,
        device=LOOP if owner.loop else "",
        filesystem=owner.filesystem,
    )


async def create(files: Files, pool: TargetPool, step: CreateBacking, *, thick: bool) -> bool:
    """Make the file, or finish making it. HostError `foreign-file` when the name is taken by a stranger.

    While another life of the volume still has the name, the new file gets the next one: it waits for nobody.
    """
    for seen in await observe(files, pool, step.resource):
        if seen.local.volume_uuid == step.volume_uuid:
            return await extend(
                files, seen.path, await owner_of(files, seen.path), step.size_kib, thick=thick
            )
    path = await free_path(files, pool, step.resource, step.number)
    owner = Owner(step.resource, step.number, step.volume_uuid)
    await files.write(marker_name(path), encode_owner(owner))
    return await extend(files, path, owner, step.size_kib, thick=thick)


async def free_path(files: Files, pool: TargetPool, resource: str, number: int) -> str:
    """Where a new life of the volume may have its file. HostError `foreign-file`."""
    taken = {seen.path for seen in await observe(files, pool, resource)}
    path = next(path for path in _paths(pool, resource, number) if path not in taken)
    if await files.look(path) is not None:
        raise HostError(
            f"'{path}' is not Bollard's file",
            code="foreign-file",
            cause="There is no marker beside it that says so.",
            correction="Move the file away, or use another resource name.",
            name=path,
        )
    return path


async def grow(files: Files, pool: TargetPool, step: GrowBacking, *, thick: bool) -> bool:
    """Make our file at least this large. HostError `volume-missing` when it is not there."""
    seen = await find(files, pool, step.resource, step.number, step.volume_uuid)
    return await extend(files, seen.path, await owner_of(files, seen.path), step.size_kib, thick=thick)


async def extend(files: Files, path: str, owner: Owner, size_kib: int, *, thick: bool) -> bool:
    """Make the file so large and remember that it is made. HostError `volume-missing` when it was lost."""
    if owner.made and await files.look(path) is None:
        raise HostError(
            f"The backing file of volume {owner.number} of '{owner.resource}' is lost",
            code="volume-missing",
            cause=f"{path} was there once and is not there now.",
            correction="Put the file back, or delete the resource on this node and create it again.",
            name=owner.resource,
        )
    changed = await files.allocate(path, size_kib * KIB, thick=thick)
    if not owner.made:
        await files.write(marker_name(path), encode_owner(msgspec.structs.replace(owner, made=True)))
    return changed


async def remove(files: Files, pool: TargetPool, step: RemoveBacking) -> bool:
    """Remove the file of this life of the volume; a file of another life or of somebody else stays."""
    for seen in await observe(files, pool, step.resource):
        if seen.local.volume_uuid == step.volume_uuid:
            await files.remove(seen.path)
            await files.remove(marker_name(seen.path))
            return True
    return False


async def mark(files: Files, backing: BackingSeen, marks: Marks) -> None:
    """Remember what the layers above have made, after they wrote it durably."""
    owner = await owner_of(files, backing.path)
    marked = marks.on(owner)
    if marked != owner:
        await files.write(marker_name(backing.path), encode_owner(marked))


async def mark_loop(files: Files, path: str) -> None:
    """Remember that the file may have a loop device, before it gets one."""
    owner = await owner_of(files, path)
    if not owner.loop:
        await files.write(marker_name(path), encode_owner(msgspec.structs.replace(owner, loop=True)))


async def find(files: Files, pool: TargetPool, resource: str, number: int, uuid: str) -> BackingSeen:
    """The file of this life of the volume. HostError `volume-missing`."""
    for seen in await observe(files, pool, resource):
        if seen.local.volume_uuid == uuid:
            return seen
    raise HostError(
        f"The backing file of volume {number} of '{resource}' is not there",
        code="volume-missing",
        cause=f"Nothing in the folder of storage pool '{pool.name}' is marked with its uuid {uuid}.",
        correction="Mount the pool's file system, or delete the resource here and create it again.",
        name=resource,
    )


async def owner_of(files: Files, path: str) -> Owner:
    """What the marker beside a file says. HostError `foreign-file` when it says nothing any more."""
    content = await files.read(marker_name(path))
    owner = decode_owner(content) if content is not None else None
    if owner is None:
        raise HostError(
            f"The marker of '{path}' has changed",
            code="foreign-file",
            cause="Somebody else works in the pool's folder.",
            name=path,
        )
    return owner


def _paths(pool: TargetPool, resource: str, number: int) -> Iterator[str]:
    """The names that a volume's file may have, the usual one first. HostError `pool-missing`."""
    folder = folder_of(pool)
    yield posixpath.join(folder, file_name(resource, number))
    for again in itertools.count(1):
        yield posixpath.join(folder, file_name(resource, number, f".{again}"))


def folder_of(pool: TargetPool) -> str:
    """The folder that is the pool. HostError `pool-missing` when none is set."""
    folder = next((pool.props[key] for key in FOLDER_KEYS if pool.props.get(key)), "")
    if not posixpath.isabs(folder):
        raise HostError(
            f"Storage pool '{pool.name}' has no folder",
            code="pool-missing",
            cause=f"'{folder}' is not an absolute path."
            if folder
            else f"The property {FOLDER_KEYS[0]} is not set.",
            correction=f"Set {FOLDER_KEYS[0]} to an existing folder on the node.",
            subject=Subject.POOL,
            name=pool.name,
        )
    return posixpath.normpath(folder)
