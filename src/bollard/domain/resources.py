"""Resource groups, definitions, and what of them is on which node."""

from enum import StrEnum

import msgspec

from bollard.domain.ids import GroupName, Key, NodeName, ResourceName, Uuid, key_of
from bollard.domain.layers import LayerKind, ReplicationKind
from bollard.domain.nodes import Props


class SelectFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """What placement may choose from; None keeps what the group says, an empty tuple overrides it."""

    place_count: int | None = None
    additional_place_count: int | None = None
    node_names: tuple[str, ...] | None = None
    storage_pools: tuple[str, ...] | None = None
    storage_pools_diskless: tuple[str, ...] | None = None
    not_place_with: tuple[str, ...] | None = None
    not_place_with_regex: str | None = None
    replicas_on_same: tuple[str, ...] | None = None
    replicas_on_different: tuple[str, ...] | None = None
    x_replicas_on_different: dict[str, int] | None = None
    layer_stack: tuple[LayerKind, ...] | None = None
    providers: tuple[str, ...] | None = None
    diskless_on_remaining: bool | None = None
    diskless_type: str | None = None
    overprovision: float | None = None
    port_count: int | None = None

    def over(self, base: "SelectFilter") -> "SelectFilter":
        """Return this filter with what it leaves open taken from `base`."""
        fields = {
            name: mine if (mine := getattr(self, name)) is not None else getattr(base, name)
            for name in self.__struct_fields__
        }
        return SelectFilter(**fields)


class VolumeGroup(msgspec.Struct, frozen=True, omit_defaults=True):
    """Template of one volume of a resource group."""

    number: int
    uuid: Uuid
    props: Props = {}
    gross_size: bool = False


class ResourceGroup(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="group"):
    """Template and parent of resource definitions."""

    name: GroupName
    uuid: Uuid
    description: str = ""
    select_filter: SelectFilter = SelectFilter()
    props: Props = {}
    volume_groups: tuple[VolumeGroup, ...] = ()
    peer_slots: int | None = None

    @property
    def key(self) -> Key:
        """The store key."""
        return key_of(self.name)


class VolumePhase(StrEnum):
    """Where a volume definition is in its life."""

    NORMAL = "normal"
    RESIZING = "resizing"


class VolumeDefinition(msgspec.Struct, frozen=True, omit_defaults=True):
    """One volume of a resource, the same on every node."""

    number: int
    uuid: Uuid
    size_kib: int
    props: Props = {}
    minor: int | None = None
    current_gi: str | None = None
    """16 hex digits: the data generation that fresh thin replicas start with, so that they need no sync."""
    encrypted: bool = False
    gross_size: bool = False
    phase: VolumePhase = VolumePhase.NORMAL
    sealed_passphrase: str = ""
    """Of its LUKS layer, sealed with the master key; empty: none yet. Never shown in a view."""
    sealed_before: tuple[str, ...] = ()
    """Those that it replaces, until every node has changed its own."""
    initialized: bool = False
    """Whether some replica has been up to date once: replicas that come later must be synchronised."""


class DefinitionPhase(StrEnum):
    """Where a resource definition is in its life."""

    NORMAL = "normal"
    CLONING = "cloning"
    FAILED = "failed"
    RESTORE_TARGET = "restore-target"


class ResourceDefinition(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="definition"):
    """What a resource is, wherever it is."""

    name: ResourceName
    uuid: Uuid
    group: GroupName
    external_name: str | None = None
    props: Props = {}
    layer_stack: tuple[LayerKind, ...] = ()
    """Empty: decided when the first resource is made."""
    volumes: tuple[VolumeDefinition, ...] = ()
    phase: DefinitionPhase = DefinitionPhase.NORMAL
    drbd_secret: str | None = None
    """Never shown in a view."""
    peer_slots: int = 7
    drbd_port: int | None = None
    transport_type: str = "IP"
    verify_request: int = 0
    """Grows by one each time an online verify is asked for; a node verifies until it has done this one."""
    verify_finished: int = 0
    """The newest request that is done."""
    verify_out_of_sync_kib: int = 0
    """What that one found."""

    @property
    def key(self) -> Key:
        """The store key."""
        return key_of(self.name)

    def volume(self, number: int) -> VolumeDefinition | None:
        """The volume definition of that number."""
        return next((vol for vol in self.volumes if vol.number == number), None)


class DiskKind(StrEnum):
    """What a resource has on its node."""

    DISKFUL = "diskful"
    DISKLESS = "diskless"
    """Votes for quorum, may be Primary."""
    TIE_BREAKER = "tie-breaker"
    """Made by the controller for quorum; becomes diskless when someone uses it."""
    CLIENT = "client"
    """Has no vote."""
    NVME_INITIATOR = "nvme-initiator"
    """Uses the one disk that another node offers by NVMe; nothing is replicated."""


class ResourcePhase(StrEnum):
    """Where a resource on a node is in its life."""

    NORMAL = "normal"
    DISK_ADDING = "disk-adding"
    DISK_REMOVING = "disk-removing"
    INACTIVE = "inactive"
    EVACUATING = "evacuating"


class Companion(msgspec.Struct, frozen=True):
    """Storage beside a volume's own that one of its layers needs: a cache's data, or DRBD's metadata."""

    kind: LayerKind
    """The layer that it is for."""
    uuid: Uuid
    pool: str
    size_kib: int
    """Decided once: it does not follow the volume, but for DRBD's metadata, which grows with it."""


class RestoreFrom(msgspec.Struct, frozen=True, omit_defaults=True):
    """The snapshot that a volume's storage is made from, where it is not there yet."""

    source: ResourceName
    snapshot_uuid: Uuid
    content_kib: int = 0
    """So much of it is data; what lies behind reads as zeroes. 0: all of it is."""


class VolumeOnNode(msgspec.Struct, frozen=True, omit_defaults=True):
    """The node's part of one volume."""

    number: int
    uuid: Uuid
    pool: str
    """Of the disk; DfltDisklessStorPool without one."""
    props: Props = {}
    day0: bool = False
    """It may start in the definition's first data generation, without a sync.

    True from the creation of the first replicas until this one was seen up to date, so that a disk that is
    lost later is never taken as equal."""
    restore: RestoreFrom | None = None
    """Until it was seen complete: then its storage is never made from a snapshot again."""
    companions: tuple[Companion, ...] = ()

    @property
    def uuids(self) -> tuple[Uuid, ...]:
        """The marks of all storage of this volume here."""
        return (self.uuid, *(companion.uuid for companion in self.companions))

    @property
    def metadata(self) -> Companion | None:
        """Where DRBD's metadata is, if not beside the data."""
        return next((one for one in self.companions if one.kind is LayerKind.DRBD), None)


class Resource(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="resource"):
    """A resource on one node."""

    definition: ResourceName
    node: NodeName
    uuid: Uuid
    disk: DiskKind = DiskKind.DISKFUL
    phase: ResourcePhase = ResourcePhase.NORMAL
    props: Props = {}
    layer_stack: tuple[LayerKind, ...] = ()
    volumes: tuple[VolumeOnNode, ...] = ()
    drbd_node_id: int | None = None
    tcp_ports: tuple[int, ...] = ()
    peer_slots: int | None = None
    create_timestamp_ms: int = 0
    implementation: ReplicationKind = ReplicationKind.USER
    """What runs its DRBD layer."""
    made_by: str = "user"
    """user, autoplacer, auto-diskful or tie-breaker: what automatics may take away again."""

    @property
    def key(self) -> Key:
        """The store key."""
        return key_of(self.definition, self.node)

    @property
    def diskful(self) -> bool:
        """Whether it has a disk, or is getting one."""
        return self.disk is DiskKind.DISKFUL


class BuriedSnapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node has kept of one volume, to be removed."""

    number: int
    pool: str
    snapshot_uuid: Uuid


class Tombstone(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="tombstone"):
    """What a node still has to remove. It blocks nothing: the name is free at once.

    A node removes only what a tombstone names by its uuid, never what is merely absent from its target.
    """

    node: NodeName
    definition: ResourceName
    resource_uuid: Uuid
    """Of the resource that is gone; a fresh one when only volumes of a living resource go."""
    volumes: tuple[VolumeOnNode, ...] = ()
    """To be removed; each is found by its uuid alone."""
    create_timestamp_ms: int = 0
    tcp_ports: tuple[int, ...] = ()
    """Not given to others before the node has let go of them."""
    minors: tuple[int, ...] = ()
    """Likewise."""
    snapshots: tuple[BuriedSnapshot, ...] = ()
    """Whole or half-made; what was restored from them stays."""

    @property
    def key(self) -> Key:
        """The store key."""
        return key_of(self.node, self.definition, self.resource_uuid)


class Connection(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="connection"):
    """Properties of a pair of nodes, of one resource or of all (definition None)."""

    node_a: NodeName
    node_b: NodeName
    definition: ResourceName | None = None
    props: Props = {}

    @property
    def key(self) -> Key:
        """The store key; the order of the nodes does not matter."""
        first, second = sorted((self.node_a, self.node_b), key=str.upper)
        return key_of(self.definition or "", first, second)


class KeyValueStore(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="kvs"):
    """Free properties for clients."""

    name: str
    props: Props = {}

    @property
    def key(self) -> Key:
        """The store key."""
        return key_of(self.name)


class ControllerSettings(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="controller"):
    """Properties of the cluster as a whole; there is one."""

    cluster_uuid: Uuid
    props: Props = {}

    @property
    def key(self) -> Key:
        """The store key."""
        return Key("CONTROLLER")
