"""Snapshots, restores, rollbacks and clones on the public API."""

from typing import Any

import msgspec

from bollard.domain.snapshots import SnapshotDefinition, SnapshotPhase
from bollard.wire.rest.answers import ApiCallRc
from bollard.wire.rest.bodies import Body, GivenProps, PropsModify

__all__ = [
    "CloneBody",
    "CloneStarted",
    "CloneStatus",
    "MultiSnapshotBody",
    "RestoreBody",
    "RollbackBody",
    "SnapshotBody",
    "SnapshotModify",
    "SnapshotView",
    "snapshot_view",
]

_FLAGS = {
    SnapshotPhase.TAKING: (),
    SnapshotPhase.SUCCESSFUL: ("SUCCESSFUL",),
    SnapshotPhase.FAILED_DEPLOYMENT: ("FAILED_DEPLOYMENT",),
    SnapshotPhase.FAILED_DISCONNECT: ("FAILED_DISCONNECT",),
}


class SnapshotBody(Body, frozen=True, kw_only=True):
    """Of a request to take a snapshot."""

    name: str | None = None
    resource_name: str | None = None
    nodes: tuple[str, ...] | None = None
    props: GivenProps | None = None
    snapshot_definition_props: GivenProps | None = None
    resource_definition_props: GivenProps | None = None
    flags: tuple[str, ...] | None = None
    volume_definitions: tuple[dict[str, Any], ...] | None = None
    uuid: str | None = None
    snapshots: tuple[dict[str, Any], ...] | None = None


class MultiSnapshotBody(Body, frozen=True, kw_only=True):
    """Of a request to take several at one instant."""

    snapshots: tuple[SnapshotBody, ...] | None = None


class SnapshotModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change a snapshot's properties."""


class RestoreBody(Body, frozen=True, kw_only=True):
    """Of a request to restore a snapshot."""

    to_resource: str | None = None
    nodes: tuple[str, ...] | None = None
    stor_pool_rename: dict[str, str] | None = None


class RollbackBody(Body, frozen=True, kw_only=True):
    """Of a request to roll back."""

    zfs_rollback_strategy: str | None = None


class CloneBody(PropsModify, frozen=True, kw_only=True):
    """Of a request to clone a resource definition."""

    name: str | None = None
    external_name: str | None = None
    use_zfs_clone: bool | None = None
    layer_list: tuple[str, ...] | None = None
    volume_passphrases: tuple[str, ...] | None = None
    resource_group: str | None = None
    volume_sizes: tuple[int, ...] | None = None
    """In KiB, in the order of the volumes: how large the copies shall be at least."""


class CloneStarted(msgspec.Struct, frozen=True):
    """What a request to clone is answered with, also when it is refused."""

    location: str
    source_name: str
    clone_name: str
    messages: tuple[ApiCallRc, ...]


class CloneStatus(msgspec.Struct, frozen=True):
    """How a clone does: CLONING, COMPLETE or FAILED."""

    status: str


class SnapshotVolumeDefinitionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A volume as it was when the snapshot was taken."""

    volume_number: int
    size_kib: int
    snapshot_volume_definition_props: dict[str, str] = {}
    volume_definition_props: dict[str, str] = {}


class SnapshotVolumeView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node keeps of a volume."""

    uuid: str
    vlm_nr: int
    props: dict[str, str] = {}
    snapshot_volume_props: dict[str, str] = {}
    volume_props: dict[str, str] = {}


class SnapshotNodeView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node keeps."""

    snapshot_name: str
    node_name: str
    create_timestamp: int = 0
    flags: tuple[str, ...] = ()
    uuid: str = ""
    snapshot_props: dict[str, str] = {}
    resource_props: dict[str, str] = {}
    snapshot_volumes: tuple[SnapshotVolumeView, ...] = ()


class SnapshotView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A snapshot as clients see it."""

    name: str
    resource_name: str
    nodes: tuple[str, ...] = ()
    props: dict[str, str] = {}
    snapshot_definition_props: dict[str, str] = {}
    resource_definition_props: dict[str, str] = {}
    flags: tuple[str, ...] = ()
    volume_definitions: tuple[SnapshotVolumeDefinitionView, ...] = ()
    uuid: str = ""
    snapshots: tuple[SnapshotNodeView, ...] = ()
    message: str = ""
    """Ours: what it waits for while it is taken, or why it failed."""


def snapshot_view(snapshot: SnapshotDefinition, message: str = "") -> SnapshotView:
    """A snapshot; `message` says what it waits for while it is being taken."""
    flags = _FLAGS[snapshot.phase] + (("AUTO_SNAPSHOT",) if snapshot.automatic else ())
    parts = sorted(snapshot.nodes, key=lambda part: part.node.upper())
    return SnapshotView(
        name=snapshot.name,
        resource_name=snapshot.definition,
        nodes=tuple(part.node for part in parts),
        props=snapshot.definition_props | snapshot.props,
        snapshot_definition_props=snapshot.props,
        resource_definition_props=snapshot.definition_props,
        flags=flags,
        volume_definitions=tuple(
            SnapshotVolumeDefinitionView(volume.number, volume.size_kib, {}, volume.props)
            for volume in snapshot.volumes
        ),
        uuid=snapshot.uuid,
        snapshots=tuple(
            SnapshotNodeView(
                snapshot_name=snapshot.name,
                node_name=part.node,
                create_timestamp=part.create_timestamp_ms,
                uuid=part.uuid,
                resource_props=part.resource_props,
                snapshot_volumes=tuple(SnapshotVolumeView(one.uuid, one.number) for one in part.volumes),
            )
            for part in parts
        ),
        message=snapshot.message or message,
    )
