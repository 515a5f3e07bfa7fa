"""The resource in the words of DRBD's tools: `status --json` records, and events2 lines for what changed."""

from typing import TYPE_CHECKING, Any

from bollard.replica.protocol import actions as a
from bollard.replica.protocol.model import Peer, PeerDevice, Volume
from bollard.replica.protocol.states import DiskState, ReplState, Role, name_of

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

Fields = tuple[tuple[str, str], ...]


class Status:
    """Views of the present state; `emit_changes` compares with what was told last."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self._told: dict[tuple[str, ...], tuple[Fields, Fields]] = {}

    # -- events

    def emit_changes(self) -> None:
        """One Notify for each object that is new, gone or different."""
        current = {
            (kind, *(value for _, value in key)): (kind, key, values) for kind, key, values in self.lines()
        }
        for identity in [known for known in self._told if known not in current]:
            key, _ = self._told.pop(identity)
            self.core.out.append(a.Notify("destroy", identity[0], key))
        for identity, (kind, key, values) in current.items():
            before = self._told.get(identity)
            if before is not None and before[1] == values:
                continue
            self._told[identity] = (key, values)
            self.core.out.append(a.Notify("create" if before is None else "change", kind, key + values))

    def lines(self) -> list[tuple[str, Fields, Fields]]:
        """(object, identity keys, values) of everything, in the order of events2."""
        core = self.core
        name = ("name", core.name)
        found: list[tuple[str, Fields, Fields]] = [("resource", (name,), self._resource())]
        for peer in core.peers.values():
            key: Fields = (name, ("peer-node-id", str(peer.node_id)), ("conn-name", peer.config.name))
            found.append(("connection", key, self._connection(peer)))
        for volume in core.volumes.values():
            key = (name, ("volume", str(volume.number)), ("minor", str(volume.config.minor)))
            found.append(("device", key, self._device(volume)))
        for peer in core.peers.values():
            for device in peer.devices.values():
                key = (
                    name, ("peer-node-id", str(peer.node_id)), ("conn-name", peer.config.name),
                    ("volume", str(device.volume.number)),
                )  # fmt: skip
                found.append(("peer-device", key, self._peer_device(device)))
        return found

    def _resource(self) -> Fields:
        return (
            ("role", name_of(self.core.role)),
            ("suspended", ",".join(self.suspended()) or "no"),
            ("force-io-failures", _yes(self.core.fail_io)),
            ("may_promote", _yes(self.may_promote())),
            ("promotion_score", str(self.score())),
        )

    @staticmethod
    def _connection(peer: Peer) -> Fields:
        return (("connection", name_of(peer.cstate)), ("role", name_of(peer.role)))

    @staticmethod
    def _device(volume: Volume) -> Fields:
        return (
            ("backing_dev", volume.config.backing_name or "none"),
            ("disk", name_of(volume.disk)),
            ("client", _yes(volume.config.diskless)),
            ("open", _yes(volume.openers > 0)),
            ("quorum", _yes(volume.quorum)),
            ("size", str(volume.size_bytes >> 10)),
        )

    def _peer_device(self, device: PeerDevice) -> Fields:
        fields: tuple[tuple[str, str], ...] = (
            ("replication", name_of(device.repl)),
            ("peer-disk", name_of(device.disk)),
            ("peer-client", _yes(device.peer.config.diskless)),
            ("resync-suspended", "no"),
        )
        if device.repl in (ReplState.SYNC_SOURCE, ReplState.SYNC_TARGET):
            fields = (*fields, ("done", f"{self._done_percent(device):.2f}"))
        return fields

    # -- questions

    def suspended(self) -> list[str]:
        core = self.core
        primary = core.role is Role.PRIMARY
        reasons = []
        if core.suspended_user:
            reasons.append("user")
        if primary and any(v.no_data for v in core.volumes.values()) and core.options.on_no_data_suspend:
            reasons.append("no-data")
        if core.fencing:
            reasons.append("fencing")
        if primary and self._quorum_suspends():
            reasons.append("quorum")
        return reasons

    def _quorum_suspends(self) -> bool:
        policy = self.core.options.on_no_quorum.value
        return policy == "suspend-io" and not all(v.quorum for v in self.core.volumes.values())

    def may_promote(self) -> bool:
        core = self.core
        if core.role is Role.PRIMARY or core.primary_peers():
            return False
        return bool(core.volumes) and all(
            volume.quorum and self.r.membership.data_reachable(volume) for volume in core.volumes.values()
        )

    def score(self) -> int:
        """10000 with all disks, 100 for each UpToDate volume, plus the least number of UpToDate replicas."""
        core = self.core
        volumes = list(core.volumes.values())
        if not volumes or not all(self.r.membership.data_reachable(volume) for volume in volumes):
            return 0
        replicas = [
            (volume.disk == DiskState.UP_TO_DATE)
            + sum(d.peer.connected and d.disk == DiskState.UP_TO_DATE for d in core.devices(volume))
            for volume in volumes
        ]
        own = sum(volume.disk == DiskState.UP_TO_DATE for volume in volumes)
        base = 10000 if all(volume.disk >= DiskState.INCONSISTENT for volume in volumes) else 0
        return base + 100 * own + min(replicas)

    def _done_percent(self, device: PeerDevice) -> float:
        total = device.out_of_sync_total_bits
        if not total:
            return 100.0
        return 100.0 * (1 - min(self._out_of_sync_bits(device), total) / total)

    @staticmethod
    def _out_of_sync_bits(device: PeerDevice) -> int:
        bitmap = device.volume.bitmap
        return bitmap.count(device.slot) if bitmap is not None and device.slot >= 0 else 0

    # -- status --json

    def record(self) -> dict[str, Any]:
        """One element of `drbdsetup status --json`."""
        core = self.core
        reasons = self.suspended()
        return {
            "name": core.name,
            "node-id": core.node_id,
            "role": name_of(core.role),
            "suspended": bool(reasons),
            "suspended-user": "user" in reasons,
            "suspended-no-data": "no-data" in reasons,
            "suspended-fencing": "fencing" in reasons,
            "suspended-quorum": "quorum" in reasons,
            "force-io-failures": core.fail_io,
            "write-ordering": "flush",
            "devices": [self._device_record(volume) for volume in core.volumes.values()],
            "connections": [self._connection_record(peer) for peer in core.peers.values()],
        }

    @staticmethod
    def _device_record(volume: Volume) -> dict[str, Any]:
        return {
            "volume": volume.number,
            "minor": volume.config.minor,
            "disk-state": name_of(volume.disk),
            "client": volume.config.diskless,
            "open": volume.openers > 0,
            "quorum": volume.quorum,
            "size": volume.size_bytes >> 10,
            "read": volume.read_bytes >> 10,
            "written": volume.written_bytes >> 10,
            "al-writes": volume.al_writes,
            "bm-writes": volume.bm_writes,
            "upper-pending": 0,
            "lower-pending": volume.busy.count,
        }

    def _connection_record(self, peer: Peer) -> dict[str, Any]:
        return {
            "peer-node-id": peer.node_id,
            "name": peer.config.name,
            "connection-state": name_of(peer.cstate),
            "congested": False,
            "peer-role": name_of(peer.role),
            "ap-in-flight": len(peer.unacked),
            "rs-in-flight": 0,
            "peer_devices": [self._peer_device_record(device) for device in peer.devices.values()],
        }

    def _peer_device_record(self, device: PeerDevice) -> dict[str, Any]:
        bits = self._out_of_sync_bits(device)
        blocks = max(1, device.volume.size_bytes >> 12)
        record: dict[str, Any] = {
            "volume": device.volume.number,
            "replication-state": name_of(device.repl),
            "peer-disk-state": name_of(device.disk),
            "peer-client": device.peer.config.diskless,
            "resync-suspended": "no",
            "received": device.received_bytes >> 10,
            "sent": device.sent_bytes >> 10,
            "out-of-sync": bits << 2,
            "pending": 0,
            "unacked": 0,
            "has-sync-details": device.repl in (ReplState.SYNC_SOURCE, ReplState.SYNC_TARGET),
            "has-online-verify-details": device.verify is not None,
            "percent-in-sync": round(100.0 * (1 - min(bits / blocks, 1.0)), 2),
            "resynced": device.last_resync_bytes >> 10,
            "verify-out-of-sync": device.verify_out_of_sync_bytes >> 10,
        }
        record["verifies-done"] = device.verifies_done
        if device.verify is not None:
            record["percent-verify-done"] = round(
                100.0 * min((device.verify.next_byte >> 12) / blocks, 1.0), 2
            )
        if record["has-sync-details"]:
            record["percent-resync-done"] = round(self._done_percent(device), 2)
            record["rs-total"] = device.out_of_sync_total_bits << 3
        return record


def _yes(value: bool) -> str:
    return "yes" if value else "no"
