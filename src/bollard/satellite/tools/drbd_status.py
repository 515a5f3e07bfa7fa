"""What DRBD says of itself: the JSON of `drbdsetup status` and the fields of `events2`, as records. Pure.

The data process and the kernel's tools speak the same words, so both are read here.
"""

from typing import Any

import msgspec

from bollard.domain.ids import NodeName
from bollard.domain.seen import SeenPeer, SeenPeerVolume

__all__ = ["DeviceStatus", "ResourceStatus", "busy", "parse_status", "seen_peers", "suspended"]

_MOVING = frozenset(
    {"SyncSource", "SyncTarget", "PausedSyncS", "PausedSyncT", "VerifyS", "VerifyT", "Ahead", "Behind"}
)


class DeviceStatus(msgspec.Struct, frozen=True, rename="kebab"):
    """A volume as the resource's own node sees it; `size` in KiB."""

    volume: int
    minor: int = -1
    disk_state: str = "DUnknown"
    client: bool = False
    quorum: bool = True
    size: int = 0
    open: bool = False


class PeerDeviceStatus(msgspec.Struct, frozen=True, rename="kebab"):
    """A volume towards a peer; amounts in KiB."""

    volume: int
    replication_state: str = "Off"
    peer_disk_state: str = "DUnknown"
    out_of_sync: int = 0
    percent_in_sync: float | None = None
    resynced: int = 0
    percent_resync_done: float | None = None
    percent_verify_done: float | None = None
    verifies_done: int = 0
    verify_out_of_sync: int = 0


class ConnectionStatus(msgspec.Struct, frozen=True, rename="kebab"):
    """A peer of the resource."""

    peer_node_id: int
    name: str
    connection_state: str = "Connecting"
    peer_role: str = "Unknown"
    peer_devices: list[PeerDeviceStatus] = msgspec.field(name="peer_devices", default_factory=list)


class ResourceStatus(msgspec.Struct, frozen=True, rename="kebab"):
    """A resource."""

    name: str
    role: str = "Unknown"
    suspended: bool = False
    suspended_user: bool = False
    suspended_no_data: bool = False
    suspended_fencing: bool = False
    suspended_quorum: bool = False
    may_promote: bool | None = None
    devices: list[DeviceStatus] = []
    connections: list[ConnectionStatus] = []


def parse_status(result: Any) -> list[ResourceStatus]:
    """The answer to a status request. Raises msgspec.ValidationError when it is something else."""
    return msgspec.convert(result, list[ResourceStatus])


def suspended(status: ResourceStatus) -> str:
    """Why I/O is suspended, as events2 says it; empty when it is not."""
    reasons = {
        "user": status.suspended_user,
        "no-data": status.suspended_no_data,
        "fencing": status.suspended_fencing,
        "quorum": status.suspended_quorum,
    }
    return ",".join(word for word, holds in reasons.items() if holds)


def busy(status: ResourceStatus) -> bool:
    """Whether something moves that no event announces (a resync's or a verify's progress)."""
    return any(
        volume.replication_state in _MOVING
        for connection in status.connections
        for volume in connection.peer_devices
    )


def seen_peers(status: ResourceStatus) -> tuple[SeenPeer, ...]:
    """The connections as reports carry them, by name."""
    return tuple(
        SeenPeer(
            node=NodeName(connection.name),
            connection=connection.connection_state,
            role=connection.peer_role,
            volumes=tuple(_peer_volume(volume) for volume in connection.peer_devices),
        )
        for connection in sorted(status.connections, key=lambda one: one.name.upper())
    )


def _peer_volume(volume: PeerDeviceStatus) -> SeenPeerVolume:
    return SeenPeerVolume(
        number=volume.volume,
        replication_state=volume.replication_state,
        peer_disk_state=volume.peer_disk_state,
        done_percent=_done_percent(volume),
        out_of_sync_kib=volume.out_of_sync,
        resynced_kib=volume.resynced,
    )


def _done_percent(volume: PeerDeviceStatus) -> float | None:
    """Of the resync or verify that runs; the share of blocks in sync when the source says no more."""
    if volume.replication_state not in _MOVING:
        return None
    for value in (volume.percent_resync_done, volume.percent_verify_done):
        if value is not None:
            return value
    return volume.percent_in_sync
