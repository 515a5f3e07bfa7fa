"""Carries out online verifies that a target asks for: one after the other over all pairs of volume and peer.

It runs on the diskful node with the lowest id. What is done is kept in memory only: the controller stops
asking once it has the report, and a satellite that restarts in between verifies once more.
"""

import msgspec

from bollard.domain.ids import Key
from bollard.domain.layers import ReplicationKind
from bollard.domain.seen import SeenVerify
from bollard.domain.targets import TargetReplication, TargetResource
from bollard.satellite.host.base import Engine, HostError
from bollard.satellite.tools.drbd_status import ConnectionStatus, PeerDeviceStatus, ResourceStatus
from bollard.wire.engine import Verify

__all__ = ["Verifying"]

_VERIFIES = frozenset({"VerifyS", "VerifyT"})

Pair = tuple[int, int]
"""Peer node id and volume number."""


class _Run(msgspec.Struct):
    """One request on its way."""

    request: int
    found_kib: dict[Pair, int] = {}
    """Of the pairs that are done."""
    started: dict[Pair, int] = {}
    """How many verifies a pair had done before ours."""


class Verifying:
    """The verifies of all resources, by key."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._runs: dict[Key, _Run] = {}

    async def advance(self, target: TargetResource | None, status: ResourceStatus | None) -> None:
        """Start what can be started now; a refusal is tried again by the next pass."""
        if target is None or not _is_ours(target):
            return
        assert target.replication is not None
        request = target.replication.verify_request
        run = self._runs.get(target.key)
        if run is None or run.request != request:
            run = self._runs[target.key] = _Run(request)
        if status is None:
            return
        for pair, device in _pairs(target, status):
            if pair in run.found_kib:
                continue
            before = run.started.get(pair)
            if device.replication_state in _VERIFIES:
                run.started.setdefault(pair, device.verifies_done)
            elif before is not None and device.verifies_done > before:
                run.found_kib[pair] = device.verify_out_of_sync
                continue
            elif device.replication_state == "Established":
                run.started[pair] = device.verifies_done
                await self._start(target.name, pair)
            return

    async def _start(self, name: str, pair: Pair) -> None:
        try:
            await self._engine.ask(Verify(name=name, volume=pair[1], peer=pair[0]))
        except HostError:
            return

    def seen(self, target: TargetResource, status: ResourceStatus | None) -> SeenVerify | None:
        """The report; None when nothing was asked for."""
        run = self._runs.get(target.key)
        if run is None or status is None or not _is_ours(target):
            return None
        pairs = _pairs(target, status)
        running = sum(
            device.percent_verify_done or 0.0 for pair, device in pairs if pair not in run.found_kib
        )
        percent = (100.0 * len(run.found_kib) + running) / max(1, len(pairs))
        return SeenVerify(
            request=run.request,
            finished=bool(pairs) and all(pair in run.found_kib for pair, _device in pairs),
            done_percent=round(min(percent, 100.0), 2),
            out_of_sync_kib=sum(run.found_kib.values()),
        )

    def pending(self, target: TargetResource | None, status: ResourceStatus | None) -> bool:
        """Whether there is more to start or to follow."""
        seen = self.seen(target, status) if target is not None else None
        return seen is not None and not seen.finished


def _is_ours(target: TargetResource) -> bool:
    replication = target.replication
    if replication is None or not replication.verify_request or not _has_disk(target):
        return False
    if replication.implementation is not ReplicationKind.USER:
        return False
    return all(peer.diskless or peer.node_id > replication.node_id for peer in replication.peers)


def _has_disk(target: TargetResource) -> bool:
    return any(volume.gross_kib is not None for volume in target.volumes)


def _pairs(target: TargetResource, status: ResourceStatus) -> list[tuple[Pair, PeerDeviceStatus]]:
    """Every volume towards every diskful peer, connected or not: a verify waits for those away."""
    assert target.replication is not None
    diskful = _diskful_ids(target.replication)
    return [
        ((connection.peer_node_id, device.volume), device)
        for connection in sorted(status.connections, key=_peer_id)
        if connection.peer_node_id in diskful
        for device in connection.peer_devices
    ]


def _diskful_ids(replication: TargetReplication) -> frozenset[int]:
    return frozenset(peer.node_id for peer in replication.peers if not peer.diskless)


def _peer_id(connection: ConnectionStatus) -> int:
    return connection.peer_node_id
