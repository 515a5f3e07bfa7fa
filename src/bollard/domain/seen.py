"""What a node holds, as observed by its satellite, with the time of the observation; never a wish."""

import msgspec

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import LayerKind, ProviderKind, ReplicationKind


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a node is not where it should be: cause, and the next step for a person."""

    message: str
    cause: str = ""
    correction: str = ""
    code: str = ""
    """A stable word, e.g. `no-space`, `pool-missing`, `port-taken`, `tool-missing`."""


class SeenPool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pool as it is."""

    name: str
    uuid: Uuid
    free_kib: int = 0
    total_kib: int = 0
    supports_snapshots: bool = False
    min_io_bytes: int = 0
    """The smallest write that its devices take; 0: not known."""
    discard_bytes: int | None = None
    """The smallest piece of a volume that can be discarded; 0: none can, None: not known."""
    problem: Problem | None = None
    """Why it cannot be used."""
    warnings: tuple[Problem, ...] = ()
    """What should be seen to, although it can be used."""


class SeenVolume(msgspec.Struct, frozen=True, omit_defaults=True):
    """A volume as it is."""

    number: int
    device_path: str = ""
    """To open it by: of its block device, else where it is served."""
    nbd_uri: str = ""
    """Where the data process serves it."""
    backing_path: str = ""
    size_kib: int = 0
    """Net size that users see."""
    allocated_kib: int = 0
    disk_state: str = "DUnknown"
    """DRBD's word; `Created` for plain storage."""
    quorum: bool = True
    problem: Problem | None = None


class SeenPeerVolume(msgspec.Struct, frozen=True, omit_defaults=True):
    """One volume towards a peer."""

    number: int
    replication_state: str = "Off"
    peer_disk_state: str = "DUnknown"
    done_percent: float | None = None
    out_of_sync_kib: int = 0
    resynced_kib: int = 0
    """Moved by the resync that runs, or by the last one."""


class SeenPeer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A connection as it is."""

    node: NodeName
    connection: str = "Connecting"
    """DRBD's word."""
    role: str = "Unknown"
    volumes: tuple[SeenPeerVolume, ...] = ()


class SeenVerify(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest online verify that this node started as its source."""

    request: int
    finished: bool = False
    done_percent: float = 0.0
    out_of_sync_kib: int = 0


class SeenSnapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far this node is with the snapshot that its target names."""

    uuid: Uuid
    stage: str
    """The last one that it has answered (targets.SnapshotStage)."""
    held: bool = True
    """Whether its data has not changed since it stood still, nor while it kept it, nor until now."""
    problem: Problem | None = None


class SeenResource(msgspec.Struct, frozen=True, omit_defaults=True):
    """A resource as it is."""

    name: ResourceName
    uuid: Uuid
    revision: int = 0
    """The target revision that the node had applied to this resource when it looked."""
    settled: bool = False
    """Whether nothing was left to do for that revision."""
    role: str = "Unknown"
    in_use: bool = False
    may_promote: bool = False
    suspended: str = ""
    volumes: tuple[SeenVolume, ...] = ()
    peers: tuple[SeenPeer, ...] = ()
    verify: SeenVerify | None = None
    snapshot: SeenSnapshot | None = None
    implementation: ReplicationKind = ReplicationKind.USER
    """What runs its DRBD layer now."""
    problem: Problem | None = None


class Capabilities(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node can do, by name."""

    version: str
    uname: str = ""
    providers: tuple[ProviderKind, ...] = ()
    layers: tuple[LayerKind, ...] = ()
    unsupported_providers: dict[str, list[str]] = {}
    unsupported_layers: dict[str, list[str]] = {}
    replication: tuple[ReplicationKind, ...] = (ReplicationKind.USER,)
    """What can run the DRBD layer here."""
    drbd_version: str = ""
    """Of the kernel's module, usable or not."""
    drbd_utils_version: str = ""
    drbd_reason: str = ""
    """Why the kernel's DRBD cannot be used; empty when it can."""
    features: tuple[str, ...] = ()
    """Protocol abilities that a controller may ask for; names, not numbers."""
    platform: str = "linux"
    os_variant: str = ""
    digests: tuple[str, ...] = ()
    attach: str = ""
    """How volumes of the data process become block devices here; empty: they do not."""
    attach_reasons: dict[str, str] = {}
    """Why the other ways cannot be gone, by way."""
    """Algorithms for comparing blocks, best first, by DRBD's names."""


class Observation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A report from a node: the whole (`complete`), or only what changed since the last one."""

    node: NodeName
    complete: bool = False
    revision: int = 0
    """The newest target revision that the node has received."""
    pools: tuple[SeenPool, ...] = ()
    resources: tuple[SeenResource, ...] = ()
    gone: tuple[ResourceName, ...] = ()
    """Resources that were reported before and are no longer there."""
    removed: tuple[Uuid, ...] = ()
    """Resource uuids of tombstones that are carried out."""
    leftovers: tuple[str, ...] = ()
    """Volumes of ours that no target or tombstone names."""
