"""The disks of one replicated resource: carries out the core's disk actions and reports how they ended.

It opens, reads, writes and flushes; when and what is the core's decision.
"""

import errno
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from bollard.replica.disk import Buffer
from bollard.replica.loop import Loop
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadisk import Disk, MetaRead, end_of_metadata, open_disk
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.wire.engine import VolumeSpec

__all__ = ["Storage"]

_EIO: Final = errno.EIO


class Storage:
    """Open disks by volume number.

    Actions are carried out while the core's events are drained from `queue`: what ends at once goes there.
    `tell` takes events that come later.
    """

    def __init__(
        self,
        loop: Loop,
        tell: Callable[[e.Event], None],
        queue: deque[e.Event],
        *,
        last_sizes: dict[int, int],
        remember_size: Callable[[int, int], None],
    ) -> None:
        """`last_sizes` says where each backing ended when last in use; `remember_size` keeps it."""
        self._loop = loop
        self._tell = tell
        self._queue = queue
        self._last_sizes = last_sizes
        self._remember_size = remember_size
        self._specs: dict[int, VolumeSpec] = {}
        self.disks: dict[int, Disk] = {}
        self.changes = 0
        """Writes and zeroings of data that were begun, whoever asked for them."""
        self.actions: dict[type[Any], Callable[[Any], None]] = {
            a.ReadDisk: self._read_disk,
            a.WriteDisk: self._write_disk,
            a.ZeroDisk: self._zero_disk,
            a.FlushDisk: self._flush_disk,
            a.WriteMeta: self._write_meta,
            a.OpenDisk: self._open_disk,
            a.CloseDisk: self._close_disk,
            a.MetadataAt: self._metadata_at,
        }

    def place(self, volume: VolumeSpec) -> None:
        """Says where a volume's storage is; used by the next OpenDisk."""
        self._specs[volume.number] = volume

    def close(self) -> None:
        """Closes all; actions that still run end unheard."""
        for disk in self.disks.values():
            disk.close()
        self.disks.clear()

    def measure(self, number: int) -> e.BackingResized | None:
        """The present sizes of an open disk, as the event that tells the core."""
        disk = self.disks.get(number)
        if disk is None:
            return None
        data_bytes = disk.data.measure()
        meta_bytes = data_bytes if disk.internal else disk.meta.measure()
        return e.BackingResized(number, data_bytes, meta_bytes)

    def remember(self, number: int, superblock_offset_bytes: int) -> None:
        """Keeps where the metadata of a volume is now, for a start after an interrupted growth."""
        size = end_of_metadata(superblock_offset_bytes)
        if self._last_sizes.get(number) != size:
            self._last_sizes[number] = size
            self._remember_size(number, size)

    def _done(self, tag: int, code: int, data: Buffer = b"") -> None:
        self._tell(e.DiskDone(tag, code, data))

    def _read_disk(self, act: a.ReadDisk) -> None:
        disk = self.disks[act.volume].data
        try:
            data = disk.read_now(act.offset_bytes, act.length_bytes)
        except OSError as error:
            self._done(act.tag, error.errno or _EIO)
            return
        if data is None:
            disk.read_later(
                act.offset_bytes, act.length_bytes, lambda code, late: self._done(act.tag, code, late)
            )
        else:
            self._queue.append(e.DiskDone(act.tag, 0, data))

    def _write_disk(self, act: a.WriteDisk) -> None:
        self.changes += 1
        disk = self.disks[act.volume].data
        data = act.data
        try:
            if os.pwrite(disk.fd, data, act.offset_bytes) != len(data):
                disk.write(act.offset_bytes, data)
        except OSError as error:
            self._queue.append(e.DiskDone(act.tag, error.errno or _EIO))
            return
        if act.fua:
            disk.flush(lambda code: self._done(act.tag, code))
        else:
            self._queue.append(e.DiskDone(act.tag))

    def _zero_disk(self, act: a.ZeroDisk) -> None:
        self.changes += 1
        disk = self.disks[act.volume].data

        def zeroed(code: int) -> None:
            if act.fua and not code:
                disk.flush(lambda code: self._done(act.tag, code))
            else:
                self._done(act.tag, code)

        disk.zero(act.offset_bytes, act.length_bytes, may_unmap=act.may_unmap, done=zeroed)

    def _flush_disk(self, act: a.FlushDisk) -> None:
        self.disks[act.volume].data.flush(lambda code: self._done(act.tag, code))

    def _write_meta(self, act: a.WriteMeta) -> None:
        disk = self.disks[act.volume]
        disk.in_pool(
            lambda: disk.write_meta(act.pieces, flush_data=act.flush_data),
            lambda code: self._done(act.tag, code),
        )

    def _open_disk(self, act: a.OpenDisk) -> None:
        spec = self._specs[act.volume]
        assert spec.backing is not None, "only diskful volumes are attached"
        try:
            disk = open_disk(self._loop, spec.backing, spec.meta)
        except OSError as error:
            self._tell(e.DiskOpenFailed(act.volume, error.strerror or str(error)))
            return
        self.disks[act.volume] = disk
        outcome: list[MetaRead | str] = []
        last_size = self._last_sizes.get(act.volume, 0)

        def work() -> None:
            try:
                outcome.append(disk.read_meta(last_size))
            except MetadataError as error:
                outcome.append(f"no usable metadata on {disk.meta.path}: {error}")

        def ended(code: int) -> None:
            read = outcome[0] if outcome else f"metadata of {disk.meta.path}: error {code}"
            if self.disks.get(act.volume) is not disk:
                return
            if isinstance(read, str):
                disk.close()
                del self.disks[act.volume]
                self._tell(e.DiskOpenFailed(act.volume, read))
                return
            if disk.internal:
                self.remember(act.volume, read.superblock_offset_bytes)
            self._tell(
                e.DiskAttached(
                    act.volume,
                    disk.data.size_bytes,
                    disk.meta.size_bytes,
                    read.superblock_offset_bytes,
                    read.superblock,
                    read.activity_log,
                    read.bitmap,
                    disk.internal,
                )
            )

        disk.in_pool(work, ended)

    def _metadata_at(self, act: a.MetadataAt) -> None:
        disk = self.disks.get(act.volume)
        if disk is not None and disk.internal:
            self.remember(act.volume, act.superblock_offset_bytes)

    def _close_disk(self, act: a.CloseDisk) -> None:
        disk = self.disks.pop(act.volume, None)
        if disk is not None:
            disk.close()
