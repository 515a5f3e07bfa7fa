"""What may be asked of the cluster. Each command is data: it can be logged, compared and replayed.

Names are as the caller wrote them: the decision validates them and finds the objects.
"""

import msgspec

from bollard.domain.encryption import MasterKey
from bollard.domain.nodes import Props
from bollard.domain.resources import SelectFilter


class Command(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag=True, tag_field="command"):
    """The root of all commands."""


class PropsChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """Set some, delete some, delete whole namespaces."""

    override: Props = {}
    delete: tuple[str, ...] = ()
    delete_namespaces: tuple[str, ...] = ()


class NewNetInterface(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A network interface as given by the caller."""

    name: str
    address: str
    satellite_port: int | None = None
    satellite_encryption: str | None = None
    is_active: bool | None = None


class CreateNode(Command, frozen=True):
    name: str
    type: str = "SATELLITE"
    net_interfaces: tuple[NewNetInterface, ...] = ()
    props: Props = {}


class ModifyNode(Command, frozen=True):
    node: str
    type: str | None = None
    props: PropsChange = PropsChange()


class DeleteNode(Command, frozen=True):
    node: str


class LoseNode(Command, frozen=True):
    """Remove a node that will never come back, with all that is on it."""

    node: str


class EvacuateNode(Command, frozen=True):
    """Move all replicas away, to these nodes, or to any but those."""

    node: str
    targets: tuple[str, ...] = ()
    not_targets: tuple[str, ...] = ()


class EvictNode(Command, frozen=True):
    """Give up a node that is away: its replicas are made again elsewhere."""

    node: str


class RestoreNode(Command, frozen=True):
    """Take a node back that is being evacuated or was evicted."""

    node: str
    delete_resources: bool = False
    """Without what is still on it."""


class CreateNetInterface(Command, frozen=True):
    node: str
    net_interface: NewNetInterface


class ModifyNetInterface(Command, frozen=True):
    node: str
    name: str
    address: str | None = None
    satellite_port: int | None = None
    satellite_encryption: str | None = None
    is_active: bool | None = None


class DeleteNetInterface(Command, frozen=True):
    node: str
    name: str


class CreatePoolDefinition(Command, frozen=True):
    name: str
    props: Props = {}


class ModifyPoolDefinition(Command, frozen=True):
    name: str
    props: PropsChange = PropsChange()


class DeletePoolDefinition(Command, frozen=True):
    name: str


class CreatePool(Command, frozen=True):
    node: str
    name: str
    provider: str
    props: Props = {}
    shared_space: str | None = None
    external_locking: bool = False


class ModifyPool(Command, frozen=True):
    node: str
    name: str
    props: PropsChange = PropsChange()


class DeletePool(Command, frozen=True):
    node: str
    name: str


class CreateGroup(Command, frozen=True):
    name: str
    description: str = ""
    select_filter: SelectFilter = SelectFilter()
    peer_slots: int | None = None


class ModifyGroup(Command, frozen=True):
    name: str
    description: str | None = None
    select_filter: SelectFilter | None = None
    props: PropsChange = PropsChange()
    peer_slots: int | None = None


class DeleteGroup(Command, frozen=True):
    name: str


class CreateVolumeGroup(Command, frozen=True):
    group: str
    number: int | None = None
    props: Props = {}
    gross_size: bool = False


class ModifyVolumeGroup(Command, frozen=True):
    group: str
    number: int
    props: PropsChange = PropsChange()
    flags: tuple[str, ...] = ()


class DeleteVolumeGroup(Command, frozen=True):
    group: str
    number: int


class SpawnResource(Command, frozen=True):
    group: str
    name: str | None = None
    external_name: str | None = None
    sizes_kib: tuple[int, ...] = ()
    select_filter: SelectFilter = SelectFilter()
    partial: bool = False
    definitions_only: bool = False
    peer_slots: int | None = None
    props: Props = {}
    passphrases: tuple[str, ...] = ()
    """Secret: one a volume, in order; empty ones are made up."""


class CreateDefinition(Command, frozen=True):
    name: str = ""
    external_name: str | None = None
    group: str | None = None
    props: Props = {}
    layer_stack: tuple[str, ...] = ()
    drbd_port: int | None = None
    drbd_secret: str | None = None
    peer_slots: int | None = None
    transport_type: str | None = None


class ModifyDefinition(Command, frozen=True):
    name: str
    props: PropsChange = PropsChange()
    group: str | None = None
    layer_stack: tuple[str, ...] = ()
    peer_slots: int | None = None
    drbd_port: int | None = None


class DeleteDefinition(Command, frozen=True):
    name: str


class VerifyDefinition(Command, frozen=True):
    """Compare all replicas online, once more."""

    name: str


class CreateVolumeDefinition(Command, frozen=True):
    definition: str
    size_kib: int
    number: int | None = None
    minor: int | None = None
    props: Props = {}
    flags: tuple[str, ...] = ()
    passphrase: str | None = None
    """Secret: of the LUKS layer, which comes with it; None: one is made up where there is that layer."""


class ModifyVolumeDefinition(Command, frozen=True):
    definition: str
    number: int
    size_kib: int | None = None
    props: PropsChange = PropsChange()
    flags: tuple[str, ...] = ()


class DeleteVolumeDefinition(Command, frozen=True):
    definition: str
    number: int


class NewResource(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A resource as given by the caller."""

    node: str
    flags: tuple[str, ...] = ()
    props: Props = {}
    layer_stack: tuple[str, ...] = ()
    drbd_node_id: int | None = None
    tcp_ports: tuple[int, ...] = ()
    client: bool = False


class CreateResources(Command, frozen=True):
    """All or none."""

    definition: str
    resources: tuple[NewResource, ...]


class ModifyResource(Command, frozen=True):
    definition: str
    node: str
    props: PropsChange = PropsChange()
    tie_breaker: bool | None = None
    """Make a diskless resource the tie-breaker, or an ordinary diskless one."""
    client: bool | None = None
    """Make a diskless resource one without a vote, or an ordinary diskless one."""


class DeleteResource(Command, frozen=True):
    definition: str
    node: str
    keep_tiebreaker: bool = False


class Autoplace(Command, frozen=True):
    definition: str
    select_filter: SelectFilter = SelectFilter()
    layer_stack: tuple[str, ...] = ()
    diskless_on_remaining: bool | None = None


class MakeAvailable(Command, frozen=True):
    definition: str
    node: str
    diskful: bool = False
    layer_stack: tuple[str, ...] = ()
    tcp_ports: tuple[int, ...] = ()


class UnmakeAvailable(Command, frozen=True):
    """Take back what MakeAvailable did, if it has no disk."""

    definition: str
    node: str


class ToggleDisk(Command, frozen=True):
    definition: str
    node: str
    to_diskful: bool
    pool: str | None = None
    migrate_from: str | None = None
    client: bool = False
    """With to_diskful false: without a vote."""


class ActivateResource(Command, frozen=True):
    definition: str
    node: str


class DeactivateResource(Command, frozen=True):
    definition: str
    node: str


class ModifyVolume(Command, frozen=True):
    definition: str
    node: str
    number: int
    props: PropsChange = PropsChange()


class NewSnapshot(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A snapshot as asked for."""

    definition: str
    name: str
    nodes: tuple[str, ...] = ()
    """Empty: all with a disk that can be reached."""
    props: Props = {}
    automatic: bool = False
    """Made by the schedule of automatic snapshots."""


class CreateSnapshots(Command, frozen=True):
    """Keep resources as they are, all at one instant."""

    snapshots: tuple[NewSnapshot, ...]


class ModifySnapshot(Command, frozen=True):
    definition: str
    snapshot: str
    props: PropsChange = PropsChange()


class DeleteSnapshot(Command, frozen=True):
    definition: str
    snapshot: str
    nodes: tuple[str, ...] = ()
    """Only what these keep; empty: all."""
    with_empty_definition: bool = False
    """Delete the resource definition too if nothing of it is left."""


class RestoreVolumeDefinitions(Command, frozen=True):
    """Copy a snapshot's volume definitions to another resource definition."""

    definition: str
    snapshot: str
    to: str


class RestoreResources(Command, frozen=True):
    """Make the resources of a definition from a snapshot, on the nodes that keep it or on some of them."""

    definition: str
    snapshot: str
    to: str
    nodes: tuple[str, ...] = ()
    pool_rename: Props = {}


class RollBack(Command, frozen=True):
    """Give a resource the content, and the volumes, that it had."""

    definition: str
    snapshot: str
    zfs_strategy: str = ""


class CloneDefinition(Command, frozen=True):
    """Copy a resource definition with its resources and their data."""

    source: str
    name: str | None = None
    external_name: str | None = None
    group: str | None = None
    layer_stack: tuple[str, ...] = ()
    props: PropsChange = PropsChange()
    passphrases: tuple[str, ...] = ()
    sizes_kib: tuple[int, ...] = ()
    """Of the volumes in their order, where they shall be larger than the source's."""


class ModifyController(Command, frozen=True):
    props: PropsChange = PropsChange()


class AdjustGroup(Command, frozen=True):
    """Place what is missing in every definition of a group (None: of all groups)."""

    group: str | None = None
    select_filter: SelectFilter = SelectFilter()


class ModifyConnection(Command, frozen=True):
    """Properties of a pair of nodes, of one resource or of all."""

    node_a: str
    node_b: str
    definition: str | None = None
    props: PropsChange = PropsChange()


class ModifyKeyValueStore(Command, frozen=True):
    name: str
    props: PropsChange = PropsChange()


class DeleteKeyValueStore(Command, frozen=True):
    name: str


class CreateToken(Command, frozen=True):
    """Keep the hash of a token; the token itself is known to its maker only."""

    digest: str
    description: str
    scope: str = "admin"
    expires_at: str | None = None
    """A date, or a time, by ISO 8601."""
    ip_filter: str | None = None
    node: str | None = None
    enable: bool = False
    """Also demand tokens from now on; nothing happens when they are demanded already."""


class ModifyToken(Command, frozen=True):
    number: int
    description: str | None = None
    ip_filter: str | None = None
    """Empty: any address."""
    active: bool | None = None
    scope: str | None = None


class RevokeToken(Command, frozen=True):
    """For good: a revoked token never works again."""

    number: int


class SetMasterKey(Command, frozen=True):
    """Store the sealed master key, the first or one that is sealed anew."""

    sealed: MasterKey
    replace: bool = False


class SetVolumePassphrase(Command, frozen=True):
    """Give an encrypted volume another passphrase."""

    definition: str
    number: int
    passphrase: str


class PutFile(Command, frozen=True):
    path: str
    content: bytes
    alt_suffixes: tuple[str, ...] | None = None
    """None: as they are."""


class DeleteFile(Command, frozen=True):
    """Also detaches it from all definitions."""

    path: str


class AttachFile(Command, frozen=True):
    """Write a file to all nodes of a definition, or no more."""

    definition: str
    path: str
    attached: bool = True


class Tick(Command, frozen=True):
    """Time has passed or a node has reported: automatics and procedures may go on."""

    definitions: tuple[str, ...] | None = None
    """Only these; None: all."""
    survey: bool = False
    """Also what concerns the cluster as a whole: nodes that are away for long, the order of resyncs."""
    balance: bool = False
    """Also whether each definition has as many replicas as its group wants."""
