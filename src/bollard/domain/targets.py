"""What a node should hold: all of it, and no more. Sent by the controller, worked towards by the satellite.

A target never says "do X". What is to be removed is named by tombstones; what is merely absent from the
target is left alone and reported as a leftover.
"""

from enum import StrEnum

import msgspec

from bollard.domain.ids import Key, NodeName, ResourceName, SnapshotName, Uuid, key_of
from bollard.domain.layers import LayerKind, ProviderKind, ReplicationKind
from bollard.domain.nodes import Props
from bollard.domain.resources import DiskKind, RestoreFrom, Tombstone


class TargetPool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pool the node should be able to use."""

    name: str
    uuid: Uuid
    provider: ProviderKind
    props: Props = {}


class TargetFabric(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where volumes are offered by NVMe, and to whom; alike for those who offer and those who use them."""

    subsystem: str
    """The NQN of what is offered."""
    transport: str
    address: str
    port: int
    hosts: tuple[str, ...] = ()
    """NQNs of those who may use it; of the user itself, its own."""
    volumes: tuple[tuple[int, Uuid], ...] = ()
    """Numbers and marks, as those who offer them know them."""

    @property
    def shown(self) -> str:
        """All that the one who offers it is set up by, as a word."""
        return " ".join((self.transport, self.address, str(self.port), *sorted(self.hosts)))


class TargetLayer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device layer between a volume's storage and what serves it (LUKS, caches, NVMe)."""

    kind: LayerKind
    size_kib: int
    """What it gives to the layer above."""
    secret: str | None = None
    """Secret: the passphrase of LUKS; only in the link and on standard inputs."""
    secrets_before: tuple[str, ...] = ()
    """Secret: passphrases that it replaces, newest last; what opens with one of them gets the new one."""
    pool: str = ""
    """Of the companion device (a cache's data); empty without one."""
    companion_uuid: Uuid | None = None
    """The mark of that companion, as a volume's own."""
    companion_kib: int = 0
    options: Props = {}
    """Effective properties of the layer, keys as in the catalogue without their namespace."""
    fabric: TargetFabric | None = None
    """Of NVME alone."""


class SnapshotStage(StrEnum):
    """How far all nodes together are with a snapshot."""

    FREEZE = "freeze"
    """Stand still."""
    TAKE = "take"
    """All stand still: keep what is there."""
    PROVE = "prove"
    """All have it: say whether nothing moved until now, and stand still until all have said so."""
    THAW = "thaw"
    """All have proven it, or one cannot: go on."""


class TargetSnapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """The snapshot that is being taken of a resource."""

    uuid: Uuid
    name: SnapshotName
    stage: SnapshotStage
    deadline_ms: int
    """How long the resource may stand still; then it goes on by itself, whoever is alive."""
    numbers: tuple[int, ...] = ()
    """Volumes to be kept on this node; none where it only has to stand still."""


class TargetMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """Storage for DRBD's metadata alone."""

    pool: str
    uuid: Uuid
    """Its mark, as a volume's own."""
    size_kib: int


class TargetVolume(msgspec.Struct, frozen=True, omit_defaults=True):
    """A volume on this node."""

    number: int
    uuid: Uuid
    size_kib: int
    """Net: what the user gets."""
    pool: str
    gross_kib: int | None = None
    """What the lowest device must hold, with the metadata of the layers above it; None without a disk."""
    minor: int | None = None
    current_gi: str | None = None
    """The data generation a fresh replica starts with; None: it must be synchronised."""
    restore: RestoreFrom | None = None
    """Where storage that is not there yet gets its content from; None: zeroes."""
    layers: tuple[TargetLayer, ...] = ()
    """Device layers above the storage, the lowest first; STORAGE and DRBD are not among them."""
    block: bool = False
    """Whether the pool's storage is a block device: without replication it is used as it is, not served."""
    zeroed: bool = True
    """Whether what its storage grows by reads as zeroes on every node, so that it needs no sync."""
    storage: Props = {}
    """Effective properties `StorDriver/...`, keys without that namespace: for when storage is made."""
    filesystem: Props = {}
    """Effective properties `FileSystem/...`, likewise, of a plain block device that shall get one once."""
    metadata: TargetMetadata | None = None
    """Where DRBD's metadata is; None: at the end of the device that holds the data."""
    props: Props = {}

    @property
    def device(self) -> bool:
        """Whether the layer above gets a block device."""
        return self.gross_kib is not None and (self.block or bool(self.layers))


class TargetPath(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way between this node and a peer, by address; the ports are those of the resource."""

    name: str
    address: str
    peer_address: str


class TargetPeer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Another node's part of a replicated resource."""

    node: NodeName
    node_id: int
    address: str
    port: int
    diskless: bool = False
    tie_breaker: bool = False
    votes: bool = True
    options: Props = {}
    paths: tuple[TargetPath, ...] = ()
    """Where some are named they replace the plain addresses. DRBD 9 uses them all, others one at a time."""


class TargetReplication(msgspec.Struct, frozen=True, omit_defaults=True):
    """The DRBD layer of a resource on this node."""

    node_id: int
    address: str
    port: int
    secret: str | None = None
    """Secret: only in the link and the engine's control socket."""
    peers: tuple[TargetPeer, ...] = ()
    peer_slots: int = 7
    verify_request: int = 0
    """Online verify to have done, by number (0: none). The lowest diskful node id runs it."""
    options: Props = {}
    """Effective DrbdOptions of this node, keys as in the catalogue without the `DrbdOptions/` prefix."""
    implementation: ReplicationKind = ReplicationKind.USER
    """What runs it on this node."""


class TargetFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of another program that the node should have while it has the resource."""

    path: str
    content: bytes
    alt_suffixes: tuple[str, ...] = ()
    """Where path + suffix is there instead of path, that is the one."""


class TargetResource(msgspec.Struct, frozen=True, omit_defaults=True):
    """A resource on this node."""

    name: ResourceName
    uuid: Uuid
    disk: DiskKind
    active: bool = True
    layer_stack: tuple[LayerKind, ...] = ()
    volumes: tuple[TargetVolume, ...] = ()
    replication: TargetReplication | None = None
    snapshot: TargetSnapshot | None = None
    props: Props = {}
    attach: str = ""
    """How volumes of the data process become block devices: a way, `none`, or empty for the best there is."""
    files: tuple[TargetFile, ...] = ()
    remote: TargetFabric | None = None
    """Where its volumes are, if it has no disk and uses another node's by NVMe."""

    @property
    def runs_by(self) -> ReplicationKind:
        """What serves it on this node."""
        if self.replication is not None:
            return self.replication.implementation
        return ReplicationKind.USER if self.remote is None else ReplicationKind.NVME

    @property
    def key(self) -> Key:
        """The key of the satellite's queue."""
        return key_of(self.name)

    @property
    def storage_uuids(self) -> set[Uuid]:
        """The marks of all storage that it names: its volumes and their layers' companions."""
        layers = (layer for volume in self.volumes for layer in volume.layers)
        beside = {layer.companion_uuid for layer in layers if layer.companion_uuid is not None}
        metadata = {volume.metadata.uuid for volume in self.volumes if volume.metadata is not None}
        return {volume.uuid for volume in self.volumes} | beside | metadata


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything for one node, as of one revision."""

    node: NodeName
    cluster_uuid: Uuid
    revision: int
    pools: tuple[TargetPool, ...] = ()
    resources: tuple[TargetResource, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()
    locked: bool = False
    """Whether resources are left out for now, because they are encrypted and the passphrase is not known."""


class TargetDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What changed from revision `base` to `revision`; a node that is not at `base` asks for the whole."""

    node: NodeName
    base: int
    revision: int
    pools: tuple[TargetPool, ...] | None = None
    resources: tuple[TargetResource, ...] = ()
    """New or changed."""
    gone: tuple[ResourceName, ...] = ()
    """No longer part of the target (removal is by tombstone)."""
    tombstones: tuple[Tombstone, ...] | None = None
