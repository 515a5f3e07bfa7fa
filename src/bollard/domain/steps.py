"""The words for change on one node: what the satellite carries out, one after the other, each repeatable.

A step names what it touches by uuid, so that a name that is used again can never hit its predecessor.
"""

import msgspec

from bollard.domain.ids import ResourceName, SnapshotName, Uuid
from bollard.domain.layers import ReplicationKind
from bollard.domain.nodes import Props
from bollard.domain.targets import TargetMetadata, TargetResource


class CreateBacking(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Make storage of `size_kib` that carries `volume_uuid` as its mark.

    It reads as zeroes, but for a pool whose kind is not `planning.sizes.zero_filled`: there its ends do.
    """

    resource: ResourceName
    pool: str
    number: int
    volume_uuid: Uuid
    size_kib: int
    suffix: str = ""
    """Follows the resource in the storage's name: empty for data, `.cache` and the like for a companion."""
    options: Props = {}
    """Effective properties `StorDriver/...` of the volume, keys without that namespace."""


class GrowBacking(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Make the storage at least `size_kib` large; what is added reads as zeroes."""

    resource: ResourceName
    pool: str
    number: int
    volume_uuid: Uuid
    size_kib: int


class ShrinkBacking(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Cut the storage to `size_kib`. Only ever planned for a volume without replication."""

    resource: ResourceName
    pool: str
    number: int
    volume_uuid: Uuid
    size_kib: int


class RemoveBacking(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Destroy storage that a tombstone names. Nothing serves it any more."""

    resource: ResourceName
    pool: str
    number: int
    volume_uuid: Uuid


class TakeSnapshot(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Keep the storage of a volume as it is now, under the mark `snapshot_uuid`, in the same pool.

    Nobody writes to the storage meanwhile. It is known by `snapshot_uuid` and `number` together: the volumes
    of a resource share the uuid. What a cut leaves half-made is begun again, never taken for a snapshot.
    """

    resource: ResourceName
    pool: str
    number: int
    volume_uuid: Uuid
    snapshot: SnapshotName
    snapshot_uuid: Uuid
    options: Props = {}
    """As of CreateBacking."""


class DropSnapshot(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Destroy what is kept under `snapshot_uuid`, whole or half-made. Volumes made from it live on."""

    resource: ResourceName
    pool: str
    number: int
    snapshot_uuid: Uuid


class RestoreBacking(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Make storage from a snapshot of its pool, at least `size_kib` large, marked `volume_uuid`.

    It carries no mark of DRBD metadata: the layer above writes its own anew. A rollback is this too: the
    volume starts a new life from the snapshot, and a tombstone names the life that is over.
    """

    resource: ResourceName
    pool: str
    number: int
    volume_uuid: Uuid
    size_kib: int
    source: ResourceName
    """The resource of the snapshot."""
    snapshot_uuid: Uuid
    """Of the volume with the same number there."""
    content_kib: int = 0
    """So much of the snapshot counts; what lies behind reads as zeroes. 0: all of it does."""
    options: Props = {}
    """As of CreateBacking."""


class RaiseLayers(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Activate a volume's storage, then make (where there are none yet) and open its device layers.

    The lowest first; what is open already stays as it is.
    """

    target: TargetResource
    number: int


class GrowLayers(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Let the open device layers of a volume adopt the storage that grew under them, and new users."""

    target: TargetResource
    number: int


class MakeFileSystem(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Give a volume without replication its first file system, unless its device holds anything."""

    target: TargetResource
    number: int


class LowerLayers(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Close the device layers of a volume, the highest first, then deactivate its storage: it is free."""

    resource: ResourceName
    pool: str
    number: int
    volume_uuid: Uuid


class CreateMetadata(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Write fresh DRBD metadata on a backing of this node that nothing serves yet."""

    resource: ResourceName
    pool: str
    number: int
    volume_uuid: Uuid
    node_id: int
    peer_slots: int
    size_kib: int
    """Net size."""
    current_gi: str | None = None
    """16 hex digits: start in this data generation, without a first sync; None: start inconsistent."""
    minor: int | None = None
    implementation: ReplicationKind = ReplicationKind.USER
    """Whose format it has."""
    anew: bool = False
    """Metadata that is found there belongs to another life: a snapshot has brought it along."""
    metadata: TargetMetadata | None = None
    """Where it is written, if not at the end of the volume's own storage."""


class ConfigureReplication(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Run the resource by its implementation as the target says: peers, options, disks. Keeps running I/O."""

    target: TargetResource


class ResizeReplication(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Let the engine adopt the grown backing of one volume."""

    resource: ResourceName
    uuid: Uuid
    number: int
    size_kib: int
    """Net size that users shall see."""
    assume_clean: bool = True
    """What was added reads as zeroes on every node: it needs no sync."""


class RemoveReplication(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Stop the engine's resource and forget its configuration. Backings and their metadata stay."""

    resource: ResourceName
    uuid: Uuid


class ExportPlain(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Serve the volumes of a resource without replication, with their present sizes."""

    target: TargetResource


class Connect(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Use the volumes of another node that `target.remote` names; what is connected already stays so."""

    target: TargetResource


class RemoveExport(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Stop serving a resource without replication, or using another node's. Its backings stay."""

    resource: ResourceName
    uuid: Uuid


Step = (
    CreateBacking
    | GrowBacking
    | ShrinkBacking
    | RemoveBacking
    | TakeSnapshot
    | DropSnapshot
    | RestoreBacking
    | RaiseLayers
    | GrowLayers
    | MakeFileSystem
    | LowerLayers
    | CreateMetadata
    | ConfigureReplication
    | ResizeReplication
    | RemoveReplication
    | ExportPlain
    | Connect
    | RemoveExport
)
"""Everything a plan may say."""
