"""DRBD metadata on real storage: create it, find it and read it whole; ordered durable writes of its pieces.

What the bytes mean is decided in `replica.metadata` and the protocol core.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from bollard.replica.disk import Backing, Buffer
from bollard.replica.loop import Loop
from bollard.replica.metadata import layout, superblock
from bollard.replica.metadata.al_block import INITIALISED_BLOCK
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.image import AL_BYTES_READ_MAX, AnySuperblock, encode_any
from bollard.replica.metadata.running import is_v08
from bollard.replica.metadata.superblock import DeviceFlag
from bollard.replica.metadata.superblock08 import decode08, fresh08
from bollard.replica.trouble import Trouble, from_os_error
from bollard.wire.engine import V08, V09, CreateMd, ErrorCode

__all__ = ["INTERNAL", "Disk", "MetaRead", "create_md", "end_of_metadata", "open_disk"]

INTERNAL: Final = "internal"
_PAGE: Final = layout.PAGE_BYTES
_SECTOR: Final = 512
_UUID_DIGITS: Final = 16
_NOT_ON_DISK: Final = superblock.UUID_JUST_CREATED


@dataclass(frozen=True)
class MetaRead:
    """What an attach reads: the superblock's place and the three areas, whole."""

    superblock_offset_bytes: int
    superblock: bytes
    activity_log: bytes
    bitmap: bytes


class Disk:
    """The storage of one replicated volume: its data device and its metadata's device (often the same)."""

    def __init__(self, data: Backing, meta: Backing) -> None:
        self.data = data
        self.meta = meta
        self._jobs = 0
        self._closing = False

    @property
    def internal(self) -> bool:
        return self.meta is self.data

    def close(self) -> None:
        """Closes once pool work has ended; nothing new may start."""
        self._closing = True
        if not self._jobs:
            self.data.close()
            if not self.internal:
                self.meta.close()

    def in_pool(self, work: Callable[[], None], done: Callable[[int], None]) -> None:
        """Runs work on both devices on the pool, then `done(errno)`; they stay open until it has ended."""
        self._jobs += 1

        def ended(code: int) -> None:
            self._jobs -= 1
            if self._closing:
                self.close()
            done(code)

        self.meta.in_pool(work, ended)

    def read_meta(self, last_size_bytes: int) -> MetaRead:
        """Finds and reads the metadata; blocking. Raises MetadataError or OSError.

        `last_size_bytes` (0 = unknown) is where the backing ended when it was last in use: internal metadata
        is there until a grown volume has been resized.
        """
        places = [_superblock_place(self.data.size_bytes)] if self.internal else [0]
        if self.internal and last_size_bytes and last_size_bytes < self.data.size_bytes:
            places.append(_superblock_place(last_size_bytes))
        problem: MetadataError | None = None
        for place in places:
            raw = bytes(self.meta.read(place, _PAGE))
            try:
                record = decode08(raw) if is_v08(raw) else superblock.decode(raw)
            except MetadataError as error:
                problem = problem or error
                continue
            return self._areas(place, raw, record)
        assert problem is not None, "a superblock was looked for"
        raise problem

    def _areas(self, place: int, raw: bytes, record: AnySuperblock) -> MetaRead:
        log_at = place + record.al_offset_sectors * _SECTOR
        bitmap_at = place + record.bitmap_offset_sectors * _SECTOR
        log_bytes = record.geometry.al_bytes
        if record.bitmap_offset_sectors < 0:
            bitmap_bytes = log_at - bitmap_at
        else:
            bitmap_bytes = place + record.md_size_sectors * _SECTOR - bitmap_at
        if log_bytes > AL_BYTES_READ_MAX:
            raise MetadataError(
                f"the activity log has {log_bytes} bytes, more than {AL_BYTES_READ_MAX}",
                where=f"superblock of {self.meta.path}",
                next_step="create the metadata anew with the default log of 32 KiB",
            )
        if min(log_at, bitmap_at, bitmap_bytes) < 0 or max(log_at, bitmap_at) > self.meta.size_bytes:
            raise MetadataError(
                "areas outside of the device",
                where=f"superblock of {self.meta.path}",
                next_step="restore the metadata from a dump, or create it anew and resync",
            )
        return MetaRead(
            superblock_offset_bytes=place,
            superblock=raw,
            activity_log=bytes(self.meta.read(log_at, log_bytes)),
            bitmap=bytes(self.meta.read(bitmap_at, bitmap_bytes)),
        )

    def write_meta(self, pieces: tuple[tuple[int, Buffer], ...], *, flush_data: bool) -> None:
        """Makes the data durable if asked, then the pieces; blocking. Raises OSError."""
        if flush_data:
            os.fdatasync(self.data.fd)
        for offset, piece in pieces:
            self.meta.write(offset, piece)
        os.fdatasync(self.meta.fd)


def open_disk(loop: Loop, backing: str, meta: str) -> Disk:
    """Opens and locks both devices; raises BackingError and leaves nothing open."""
    data = Backing(loop, backing)
    if meta == INTERNAL:
        return Disk(data, data)
    try:
        return Disk(data, Backing(loop, meta))
    except BaseException:
        data.close()
        raise


def create_md(loop: Loop, request: CreateMd, done: Callable[[bool, Trouble | None], None]) -> None:
    """Writes fresh metadata on the pool, then `done(changed, trouble)`; raises Trouble for bad requests."""
    if request.version not in (V08, V09):
        raise Trouble(
            ErrorCode.INVALID,
            f"metadata of {request.backing} cannot be of version {request.version!r}",
            "",
            f"ask for {V09} or {V08}",
        )
    uuid = _initial_uuid(request)
    try:
        disk = open_disk(loop, request.backing, request.meta)
    except OSError as error:
        raise from_os_error(f"metadata of {request.backing} cannot be created", error) from error
    outcome: list[bool | Trouble] = []

    def work() -> None:
        try:
            outcome.append(_create(disk, request, uuid))
        except Trouble as trouble:
            outcome.append(trouble)
        except MetadataError as error:
            outcome.append(Trouble(ErrorCode.INVALID, f"metadata of {request.backing}", str(error)))
        except OSError as error:
            outcome.append(from_os_error(f"metadata of {request.backing} cannot be written", error))

    def ended(_code: int) -> None:
        disk.close()
        result = outcome[0] if outcome else Trouble(ErrorCode.INTERNAL, "metadata creation failed")
        if isinstance(result, Trouble):
            done(False, result)
        else:
            done(result, None)

    disk.in_pool(work, ended)


def _initial_uuid(request: CreateMd) -> int:
    if request.initial_uuid is None:
        return _NOT_ON_DISK
    digits = request.initial_uuid
    try:
        value = int(digits, 16) & ~1
    except ValueError:
        value = 0
    if len(digits) != _UUID_DIGITS or value <= _NOT_ON_DISK:
        raise Trouble(
            ErrorCode.INVALID,
            f"metadata of {request.backing} cannot start with that generation",
            "initial_uuid must be 16 hexadecimal digits and not 0 or 4",
            "derive one value for the volume and give it to every replica",
        )
    return value


def _create(disk: Disk, request: CreateMd, uuid: int) -> bool:
    v08 = request.version == V08
    geometry = layout.Geometry(max_peers=1 if v08 else request.max_peers)
    if disk.internal:
        place = layout.internal(disk.data.size_bytes, geometry)
    else:
        place = layout.external(disk.meta.size_bytes, geometry)
    usable = min(place.usable_bytes, disk.data.size_bytes)
    if request.size_bytes > usable:
        raise Trouble(
            ErrorCode.CONFLICT,
            f"metadata of {request.backing}: the volume of {request.size_bytes} bytes does not fit",
            f"{usable} bytes remain beside the metadata",
            "grow the backing",
        )
    if not request.force and _has_metadata(disk, place, v08=v08):
        return False
    record: AnySuperblock = fresh08(place) if v08 else superblock.fresh(place, node_id=request.node_id)
    if uuid != _NOT_ON_DISK:
        size = request.size_bytes or usable
        record = msgspec.structs.replace(
            record,
            current_uuid=uuid,
            effective_size_sectors=size // _SECTOR,
            flags=record.flags | DeviceFlag.CONSISTENT | DeviceFlag.WAS_UP_TO_DATE,
        )
    # The superblock comes last: metadata that was cut off half way is no metadata.
    disk.meta.zero_now(place.superblock_offset_bytes, _PAGE, may_unmap=False)
    disk.meta.zero_now(place.bitmap_offset_bytes, place.bitmap_bytes // _PAGE * _PAGE, may_unmap=True)
    log = INITIALISED_BLOCK * (place.al_bytes // _PAGE)
    disk.write_meta(((place.al_offset_bytes, log),), flush_data=False)
    disk.write_meta(((place.superblock_offset_bytes, encode_any(record)),), flush_data=False)
    return True


def _has_metadata(disk: Disk, place: layout.Layout, *, v08: bool) -> bool:
    raw = bytes(disk.meta.read(place.superblock_offset_bytes, _PAGE))
    try:
        found = decode08(raw) if is_v08(raw) else superblock.decode(raw)
    except MetadataError:
        return False
    if is_v08(raw) != v08:
        raise Trouble(
            ErrorCode.CONFLICT,
            f"{disk.meta.path} carries metadata of {'DRBD 8.4' if is_v08(raw) else 'DRBD 9'}",
            f"that of {'8.4' if v08 else '9'} was asked for",
            "convert it (bollard-replica convert-md), or create with force, which gives up its data",
        )
    if found.geometry.max_peers != place.geometry.max_peers:
        raise Trouble(
            ErrorCode.CONFLICT,
            f"{disk.meta.path} carries metadata for {found.geometry.max_peers} peers",
            f"{place.geometry.max_peers} peers were asked for",
            "use it as it is, or create with force (which gives up the old generation)",
        )
    return True


def end_of_metadata(superblock_offset_bytes: int) -> int:
    """The smallest size of a backing whose internal metadata has its superblock there."""
    return superblock_offset_bytes + _PAGE


def _superblock_place(device_bytes: int) -> int:
    return (device_bytes - _PAGE) & ~(_PAGE - 1)
