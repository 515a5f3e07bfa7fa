"""A replicated resource's state in the shape of `drbdsetup status --json`; it reads the core only."""

from typing import Any, Final

from bollard.replica.protocol.model import Core, Peer, PeerDevice, Volume
from bollard.replica.protocol.states import DiskState, ReplState, name_of

__all__ = ["resource_status"]

_SECTOR: Final = 512
_SYNCING: Final = frozenset(
    {ReplState.SYNC_SOURCE, ReplState.SYNC_TARGET, ReplState.PAUSED_SYNC_S, ReplState.PAUSED_SYNC_T}
)
_VERIFYING: Final = frozenset({ReplState.VERIFY_S, ReplState.VERIFY_T})


def resource_status(core: Core, openers: dict[int, int]) -> dict[str, Any]:
    """`openers` counts clients by volume."""
    suspended = _suspended(core)
    return {
        "name": core.name,
        "node-id": core.node_id,
        "role": name_of(core.role),
        "suspended": any(suspended.values()),
        **{f"suspended-{reason}": on for reason, on in suspended.items()},
        "force-io-failures": core.fail_io,
        "write-ordering": "flush",
        "kind": "replicated",
        "devices": [
            _device(volume, openers.get(volume.number, 0)) for _, volume in sorted(core.volumes.items())
        ],
        "connections": [_connection(peer) for _, peer in sorted(core.peers.items())],
    }


def _suspended(core: Core) -> dict[str, bool]:
    return {
        "user": core.suspended_user,
        "fencing": bool(core.fencing),
        "quorum": any(not volume.quorum for volume in core.volumes.values()),
    }


def _device(volume: Volume, openers: int) -> dict[str, Any]:
    return {
        "volume": volume.number,
        "minor": volume.config.minor,
        "disk-state": name_of(volume.disk),
        "client": volume.config.diskless,
        "quorum": volume.quorum,
        "size": volume.size_bytes >> 10,
        "read": volume.read_bytes // _SECTOR,
        "written": volume.written_bytes // _SECTOR,
        "al-writes": volume.al_writes,
        "bm-writes": volume.bm_writes,
        "upper-pending": 0,
        "lower-pending": 0,
        "open": openers > 0,
    }


def _connection(peer: Peer) -> dict[str, Any]:
    return {
        "peer-node-id": peer.node_id,
        "name": peer.config.name,
        "connection-state": name_of(peer.cstate),
        "congested": False,
        "peer-role": name_of(peer.role),
        "ap-in-flight": 0,
        "rs-in-flight": 0,
        "peer_devices": [_peer_device(device) for _, device in sorted(peer.devices.items())],
        "paths": [
            {
                "this_host": peer.config.local_address,
                "remote_host": peer.config.address,
                "established": peer.connected,
            }
        ],
    }


def _peer_device(device: PeerDevice) -> dict[str, Any]:
    out_of_sync = _out_of_sync_bytes(device)
    size = device.volume.size_bytes
    return {
        "volume": device.volume.number,
        "replication-state": name_of(device.repl),
        "peer-disk-state": name_of(device.disk),
        "peer-client": device.peer.config.diskless and device.disk == DiskState.DISKLESS,
        "resync-suspended": "no",
        "received": 0,
        "sent": 0,
        "out-of-sync": out_of_sync >> 10,
        "pending": 0,
        "unacked": 0,
        "has-sync-details": device.repl in _SYNCING,
        "has-online-verify-details": device.repl in _VERIFYING,
        "percent-in-sync": round(100 - 100 * out_of_sync / size, 2) if size else 100.0,
        "last-resync": device.last_resync_bytes >> 10,
    }


def _out_of_sync_bytes(device: PeerDevice) -> int:
    bitmap, slot = device.volume.bitmap, device.slot
    if bitmap is None or slot < 0:
        return 0
    return bitmap.out_of_sync_bytes(slot)
