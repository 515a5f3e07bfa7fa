"""What a failed read or write of the local disk means: the disk is given up, or only that place is.

Flushes and metadata that fail always cost the disk: nobody could say what of it is still good.
"""

from typing import TYPE_CHECKING

from bollard.replica.protocol.config import OnIoError
from bollard.replica.protocol.model import Volume
from bollard.replica.protocol.states import DiskState

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource


class IoErrors:
    """The policy on-io-error of one resource."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core

    def policy(self, volume: Volume) -> OnIoError:
        return volume.on_io_error or self.core.options.on_io_error

    def at(self, volume: Volume, start: int, size_bytes: int) -> None:
        """The disk could not read or write these bytes; whoever asked for them sees to its own request."""
        if not volume.disk_open:
            return
        if self.policy(volume) is not OnIoError.PASS_ON or not self._passed_on(volume, start, size_bytes):
            self.r.disks.io_error(volume, "the disk failed to read or write")

    def unknown_place(self, volume: Volume) -> None:
        """A flush failed: any write since the last one may be lost."""
        if volume.disk_open:
            self.r.disks.io_error(volume, "the disk failed to make writes durable")

    def _passed_on(self, volume: Volume, start: int, size_bytes: int) -> bool:
        """The bytes count as different from everybody's. With a better copy in reach, all of ours does.

        Without one the disk keeps its state: it is the best there is, and only who asked for these bytes
        learns that they are gone.
        """
        bitmap = volume.bitmap
        if bitmap is None or volume.disk < DiskState.INCONSISTENT:
            return False
        core = self.core
        others = list(core.devices(volume))
        bitmap.mark([device.slot for device in others if device.slot >= 0], start, size_bytes)
        why = f"volume {volume.number}: the disk failed at {start}+{size_bytes}"
        core.log("error", f"{why}; the place is out of sync (on-io-error pass_on)")
        if any(device.peer.connected and device.disk is DiskState.UP_TO_DATE for device in others):
            volume.torn = True
            self.r.disks.set_disk(volume, min(volume.disk, DiskState.INCONSISTENT))
        if volume.writer is not None:
            volume.writer.save_bitmap(lambda: None)
        core.changed = True
        return True
