"""What a satellite finds on its own machine for one resource name: the other half of the diff."""

import msgspec

from bollard.domain.ids import ResourceName, Uuid
from bollard.domain.layers import LayerKind, ReplicationKind


class LocalLayer(msgspec.Struct, frozen=True):
    """A device layer that is open on a volume's storage."""

    kind: LayerKind
    size_kib: int
    """What it gives to the layer above."""
    shown: str = ""
    """Of NVME: to whom it is offered, as `TargetFabric.shown` says it."""


class LocalBacking(msgspec.Struct, frozen=True, omit_defaults=True):
    """A volume of storage that carries our mark, whoever it belongs to now."""

    pool: str
    number: int
    volume_uuid: Uuid
    """Of the VolumeOnNode it was made for: a backing is found, kept and removed by this alone."""
    size_kib: int
    metadata: bool = False
    """Whether DRBD metadata was written to it once, by a mark that lasts as long as the backing.

    It is not asked of the disk: metadata that cannot be found now (a grown device whose metadata has not
    moved yet, a damaged block) must never lead to fresh metadata over good data."""
    made: tuple[LayerKind, ...] = ()
    """The device layers that were made on it once, by such marks, the lowest first."""
    filesystem: bool = False
    """Whether it got its first file system, or was found to hold data, by such a mark."""
    layers: tuple[LocalLayer, ...] = ()
    """The device layers that are open on it now, the lowest first."""
    block: bool = False
    """Whether it is a block device, which can be used without being served."""
    active: bool = True
    """Whether its device is there to be opened."""
    unit_kib: int = 0
    """Sizes are rounded up to multiples of this by the pool."""
    complete: bool = True
    """False: its making was cut; what is in it means nothing."""


class LocalSnapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a volume under a snapshot's mark: known by `snapshot_uuid` and `number` together."""

    pool: str
    number: int
    snapshot_uuid: Uuid
    size_kib: int = 0
    """Of the storage when it was taken."""
    complete: bool = True
    """False: half-made, good for nothing but to be removed or begun again."""


class LocalExport(msgspec.Struct, frozen=True, omit_defaults=True):
    """One volume as the data process serves it."""

    number: int
    volume_uuid: Uuid | None
    """Of the backing under it; None: diskless."""
    size_kib: int


class LocalEngine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A resource as one implementation of the DRBD layer (the data process or the kernel) runs it."""

    uuid: Uuid
    """Of the resource it was configured for."""
    replicated: bool
    fingerprint: str = ""
    """planning.diff.fingerprint of the target that was applied last; empty: not known, apply it again."""
    volumes: tuple[LocalExport, ...] = ()
    implementation: ReplicationKind = ReplicationKind.USER
    """Which one; a plain export is the data process's."""
    broken: bool = False
    """Part of what was applied is missing (a volume, a link that gave up): apply it again."""


class Local(msgspec.Struct, frozen=True, omit_defaults=True):
    """All of one resource name on this machine."""

    name: ResourceName
    backings: tuple[LocalBacking, ...] = ()
    engine: LocalEngine | None = None
    snapshots: tuple[LocalSnapshot, ...] = ()
    """Only looked for when some are to be removed."""
