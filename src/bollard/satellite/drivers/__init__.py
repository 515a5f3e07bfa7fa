"""What this satellite can drive: one dict of providers, one of layers. Adding one is a file and a line here.

Verbs are repeatable and say whether they changed anything. None keeps state, reads a clock or knows another.
"""

from collections.abc import Mapping
from typing import Final, Protocol, runtime_checkable

from bollard.domain.layers import LayerKind, ProviderKind, ReplicationKind
from bollard.domain.seen import SeenPool
from bollard.domain.steps import (
    CreateBacking,
    CreateMetadata,
    DropSnapshot,
    GrowBacking,
    RemoveBacking,
    ResizeReplication,
    RestoreBacking,
    TakeSnapshot,
)
from bollard.domain.targets import TargetLayer, TargetPool, TargetResource
from bollard.satellite.drivers.bcache import Bcache
from bollard.satellite.drivers.cache import Cache
from bollard.satellite.drivers.diskless import Diskless
from bollard.satellite.drivers.drbd_kernel import Drbd9, Drbd84
from bollard.satellite.drivers.file import File
from bollard.satellite.drivers.file_thin import FileThin
from bollard.satellite.drivers.luks import Luks
from bollard.satellite.drivers.lvm import Lvm
from bollard.satellite.drivers.lvm_thin import LvmThin
from bollard.satellite.drivers.nvme import NvmeInitiator, NvmeTarget
from bollard.satellite.drivers.replication import Replication
from bollard.satellite.drivers.writecache import Writecache
from bollard.satellite.drivers.zfs import Zfs
from bollard.satellite.drivers.zfs_thin import ZfsThin
from bollard.satellite.host.base import BackingSeen, Freeze, Host, LayerMark, LayerSeen, Marks, SnapshotSeen
from bollard.satellite.host.running import Running
from bollard.satellite.tools.paths import Paths

__all__ = [
    "DEVICE_LAYERS",
    "LAYERS",
    "PROVIDERS",
    "REPLICATION",
    "DeviceLayer",
    "Freeze",
    "Layer",
    "Provider",
    "Suspends",
    "Wipes",
]


class Provider(Protocol):
    """A kind of storage pool. Every verb raises HostError with a stable code when the machine refuses."""

    @property
    def kind(self) -> ProviderKind:
        """As the API names it."""

    async def observe_pool(self, pool: TargetPool, host: Host, /) -> SeenPool:
        """Room and abilities; HostError says why it cannot be used."""

    async def observe(
        self, pool: TargetPool, host: Host, resource: str | None = None, /
    ) -> tuple[BackingSeen, ...]:
        """All that carries our mark, of one resource name (in any case) or of the whole pool."""

    async def create(self, step: CreateBacking, pool: TargetPool, host: Host, /) -> bool:
        """Make it, or finish making it; it reads as zeroes. What is not marked as this volume stays."""

    async def grow(self, step: GrowBacking, pool: TargetPool, host: Host, /) -> bool:
        """Make it at least this large."""

    async def remove(self, step: RemoveBacking, pool: TargetPool, host: Host, /) -> bool:
        """Destroy it if it carries this volume's mark; anything else stays."""

    async def activate(self, backing: BackingSeen, host: Host, /, *, block: bool = False) -> str:
        """Make it usable for the layer above; the path to open: of a block device when `block`."""

    async def deactivate(self, backing: BackingSeen, host: Host, /) -> bool:
        """The reverse."""

    async def mark(self, backing: BackingSeen, pool: TargetPool, marks: Marks, host: Host, /) -> None:
        """Remember, durably and on the storage itself, what the layers above have made; adds, never takes."""

    async def observe_snapshots(
        self, pool: TargetPool, host: Host, resource: str | None = None, /
    ) -> tuple[SnapshotSeen, ...]:
        """All snapshots that carry our mark, of volumes of one resource name or of the whole pool."""

    async def snapshot(self, step: TakeSnapshot, pool: TargetPool, host: Host, /) -> bool:
        """Keep the volume as it is now, durably; one that is there and complete stays as it is.

        HostError `snapshots-not-supported` when the pool cannot, `volume-missing` when there is no volume.
        """

    async def remove_snapshot(self, step: DropSnapshot, pool: TargetPool, host: Host, /) -> bool:
        """Destroy it, whole or half-made; volumes restored from it keep what they have."""

    async def restore(self, step: RestoreBacking, pool: TargetPool, host: Host, /) -> bool:
        """Make a volume from a snapshot of the pool, or finish making it; the snapshot stays.

        One that was made once is not made again: HostError `volume-missing` when it is lost.
        HostError `snapshot-missing` when the pool has no complete snapshot of that mark and number.
        """


class DeviceLayer(Protocol):
    """A layer that makes one block device of another. Verbs raise HostError, as a provider's do."""

    @property
    def kind(self) -> LayerKind:
        """As the API names it."""

    async def observe(self, host: Host, /) -> tuple[LayerSeen, ...]:
        """All of this kind that are open on the machine, by one shared look (`host.shared.look`)."""

    async def raise_(self, layer: TargetLayer, lower: str, mark: LayerMark, host: Host, /) -> str:
        """Open it on the device at `lower`, and make it before if it never was; the path of its device.

        With `mark.made` what is there is opened, whatever it looks like. Without, the device is probed
        first: what carries this mark already is finished and opened; HostError `device-has-data` when it
        carries anything else. One that is open already stays as it is.
        """

    async def grow(self, layer: TargetLayer, seen: LayerSeen, mark: LayerMark, host: Host, /) -> bool:
        """Take all of the device below, which has grown; whether it changed."""

    async def lower(self, seen: LayerSeen, mark: LayerMark, host: Host, /) -> bool:
        """Write out what it holds back and close it; HostError `busy` while somebody uses it."""


@runtime_checkable
class Wipes(Protocol):
    """A device layer whose content can be made unreadable for good before its storage is given back."""

    async def wipe(self, path: str, size_kib: int, host: Host, /) -> None:
        """What is at `path` (a device or a file), which is closed, can never be opened again. Repeatable."""


class Layer(Protocol):
    """An implementation of the layer that serves a resource."""

    @property
    def kind(self) -> LayerKind:
        """As the API names it."""

    @property
    def implementation(self) -> ReplicationKind:
        """Which one it is."""

    async def observe(self, host: Host, name: str = "", /) -> tuple[Running, ...]:
        """All it has been told to run, of one resource name or of the whole node."""

    async def format(self, step: CreateMetadata, path: str, meta: str, host: Host, /) -> bool:
        """Write metadata, if there is none: on the storage `meta`, or (empty) at the end of `path`."""

    async def open(
        self,
        target: TargetResource,
        backings: Mapping[int, BackingSeen],
        paths: Paths,
        host: Host,
        /,
    ) -> bool:
        """Run the resource as the target says; keeps running I/O."""

    async def grow(self, step: ResizeReplication, name: str, host: Host, /) -> bool:
        """Adopt a grown backing."""

    async def close(self, name: str, host: Host, /) -> bool:
        """Stop it and forget its configuration; storage stays. HostError `engine-busy` while in use."""


@runtime_checkable
class Suspends(Protocol):
    """A layer whose input and output can stand still for a snapshot, for a limited time."""

    async def freeze(self, name: str, token: str, deadline_ms: int, host: Host, /) -> Freeze:
        """Hold new requests and wait for running ones, or say how the freeze of this token does.

        It ends by itself at the deadline, whoever is alive; a token never freezes twice.
        """

    async def thaw(self, name: str, token: str, host: Host, /) -> Freeze:
        """End it; how it was until now. One that is not on was not held."""


PROVIDERS: Final[Mapping[ProviderKind, Provider]] = {
    driver.kind: driver for driver in (Diskless(), File(), FileThin(), Lvm(), LvmThin(), Zfs(), ZfsThin())
}
REPLICATION: Final[Mapping[ReplicationKind, Layer]] = {
    driver.implementation: driver for driver in (Replication(), Drbd9(), Drbd84(), NvmeInitiator())
}
LAYERS: Final[Mapping[LayerKind, Layer]] = {LayerKind.DRBD: REPLICATION[ReplicationKind.USER]}
DEVICE_LAYERS: Final[Mapping[LayerKind, DeviceLayer]] = {
    driver.kind: driver for driver in (Luks(), Cache(), Writecache(), Bcache(), NvmeTarget())
}
