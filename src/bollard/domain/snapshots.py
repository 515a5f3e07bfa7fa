"""Snapshots: what is kept of a resource as it was at one instant, with copies of what a restore needs."""

from enum import StrEnum

import msgspec

from bollard.domain.ids import GroupName, Key, NodeName, ResourceName, SnapshotName, Uuid, key_of
from bollard.domain.layers import LayerKind
from bollard.domain.nodes import Props
from bollard.domain.resources import VolumeDefinition


class SnapshotPhase(StrEnum):
    """Where a snapshot is in its life."""

    TAKING = "taking"
    SUCCESSFUL = "successful"
    FAILED_DEPLOYMENT = "failed-deployment"
    """A node could not take it, or not while everything stood still."""
    FAILED_DISCONNECT = "failed-disconnect"
    """A node went away while it was taken."""


class SnapshotVolume(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node keeps of one volume. On the node it is marked with the snapshot's uuid and the number."""

    number: int
    uuid: Uuid
    """Of this part, for clients."""
    volume_uuid: Uuid
    """Of the volume that it was taken of."""
    pool: str


class SnapshotOnNode(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node keeps."""

    node: NodeName
    uuid: Uuid
    volumes: tuple[SnapshotVolume, ...] = ()
    resource_props: Props = {}
    create_timestamp_ms: int = 0
    drbd_node_id: int | None = None


class SnapshotDefinition(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="snapshot"):
    """A snapshot of a resource over its nodes."""

    definition: ResourceName
    name: SnapshotName
    uuid: Uuid
    nodes: tuple[SnapshotOnNode, ...] = ()
    """Those that keep something of it."""
    volumes: tuple[VolumeDefinition, ...] = ()
    """As they were."""
    props: Props = {}
    definition_props: Props = {}
    group: GroupName = GroupName("")
    layer_stack: tuple[LayerKind, ...] = ()
    peer_slots: int = 7
    create_timestamp_ms: int = 0
    phase: SnapshotPhase = SnapshotPhase.TAKING
    automatic: bool = False
    """Made by the schedule of automatic snapshots."""
    hidden: bool = False
    """Made by a clone for itself: no list shows it, and it goes with the clone's end."""
    message: str = ""
    """Why it failed, for people."""

    @property
    def key(self) -> Key:
        """The store key."""
        return key_of(self.definition, self.name)

    def on(self, node: str) -> SnapshotOnNode | None:
        """What that node keeps."""
        return next((one for one in self.nodes if key_of(one.node) == key_of(node)), None)

    def volume(self, number: int) -> VolumeDefinition | None:
        """The volume definition of that number, as it was."""
        return next((one for one in self.volumes if one.number == number), None)
