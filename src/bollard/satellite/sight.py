"""From what drivers saw of one resource name to the diff's input and to the report. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from bollard.domain.ids import ResourceName, Uuid
from bollard.domain.layers import ReplicationKind
from bollard.domain.local import Local, LocalEngine, LocalExport
from bollard.domain.resources import Tombstone
from bollard.domain.seen import Problem, SeenResource, SeenSnapshot, SeenVerify, SeenVolume
from bollard.domain.targets import TargetResource, TargetVolume
from bollard.domain.units import KIB
from bollard.satellite.host.base import BackingSeen, SnapshotSeen
from bollard.satellite.tools.drbd_status import DeviceStatus, ResourceStatus, seen_peers, suspended
from bollard.wire.engine import Kind, ResourceSpec

__all__ = ["NOTHING", "NOT_ATTACHED", "Attached", "Sight", "export_uri", "local_of", "problem_of", "seen_of"]

_UNKNOWN = Uuid("unknown")


class Sight(msgspec.Struct, frozen=True):
    """One resource name on this machine, at one moment."""

    backings: tuple[BackingSeen, ...] = ()
    spec: ResourceSpec | None = None
    """What runs under this name (in any case), without its secret."""
    status: ResourceStatus | None = None
    may_promote: bool = False
    kind: ReplicationKind = ReplicationKind.USER
    """What runs it."""
    fingerprint: str | None = None
    """Of the target that was applied last, where the implementation itself remembers it."""
    broken: bool = False
    """Part of what was applied is missing."""
    problem: Problem | None = None
    """What a person should know of it, though it runs."""
    snapshots: tuple[SnapshotSeen, ...] = ()
    """Only looked for when some are to be removed."""


NOTHING = Sight()


class Attached(msgspec.Struct, frozen=True):
    """The block devices of volumes of one resource that the data process serves, by number."""

    paths: Mapping[int, str] = {}
    problems: Mapping[int, Problem] = {}
    """Why there is none where there should be one, or one that should not be there."""


NOT_ATTACHED = Attached()


class _Way(NamedTuple):
    """To a volume, for its users."""

    device_path: str = ""
    nbd_uri: str = ""
    problem: Problem | None = None


def local_of(name: ResourceName, sight: Sight, fingerprint: str) -> Local:
    """The diff's view. `fingerprint` is of the target that was applied last, empty when not known."""
    return Local(
        name=name,
        backings=tuple(seen.local for seen in sight.backings),
        snapshots=tuple(seen.local for seen in sight.snapshots),
        engine=None if sight.spec is None else _engine(sight.spec, sight, fingerprint),
    )


def _engine(spec: ResourceSpec, sight: Sight, fingerprint: str) -> LocalEngine:
    owners = {seen.top: seen.local.volume_uuid for seen in sight.backings}
    devices = _devices(sight.status)
    exports = []
    for volume in spec.volumes:
        device = devices.get(volume.number)
        served_kib = device.size if device is not None else 0
        exports.append(
            LocalExport(
                number=volume.number,
                volume_uuid=None if volume.backing is None else owners.get(volume.backing, _UNKNOWN),
                size_kib=served_kib if served_kib and volume.backing else volume.size_bytes // KIB,
            )
        )
    return LocalEngine(
        uuid=Uuid(spec.uuid),
        replicated=spec.kind is Kind.REPLICATED,
        fingerprint=fingerprint if sight.fingerprint is None else sight.fingerprint,
        volumes=tuple(exports),
        implementation=sight.kind,
        broken=sight.broken,
    )


def seen_of(
    target: TargetResource,
    sight: Sight,
    *,
    revision: int,
    settled: bool,
    nbd_socket: str,
    attached: Attached = NOT_ATTACHED,
    verify: SeenVerify | None = None,
    snapshot: SeenSnapshot | None = None,
    problem: Problem | None = None,
) -> SeenResource:
    """The report of a resource that the target names."""
    ours = sight.spec is not None and sight.spec.uuid == target.uuid
    status = sight.status if ours else None
    devices = _devices(status)
    backings = {seen.local.volume_uuid: seen for seen in sight.backings}
    return SeenResource(
        name=target.name,
        uuid=target.uuid,
        revision=revision,
        settled=settled,
        role=status.role if status is not None else "Unknown",
        in_use=status is not None and (status.role == "Primary" or any(one.open for one in status.devices)),
        may_promote=sight.may_promote and status is not None,
        suspended=suspended(status) if status is not None else "",
        volumes=tuple(
            _volume(target, volume, backings, devices, _way(target, volume, sight, nbd_socket, attached))
            for volume in target.volumes
        ),
        peers=seen_peers(status) if status is not None else (),
        verify=verify if status is not None else None,
        implementation=sight.kind,
        snapshot=snapshot,
        problem=problem,
    )


def _volume(
    target: TargetResource,
    volume: TargetVolume,
    backings: Mapping[Uuid, BackingSeen],
    devices: Mapping[int, DeviceStatus],
    way: _Way,
) -> SeenVolume:
    backing = backings.get(volume.uuid)
    device = devices.get(volume.number)
    if target.replication is None and target.remote is None:
        disk_state = "Created" if backing is not None and backing.local.complete else "DUnknown"
    else:
        disk_state = device.disk_state if device is not None else "DUnknown"
    if device is None:
        way = _Way()
    size_kib = device.size if device is not None else 0
    if target.replication is None and volume.device and backing is not None and _usable(volume, backing):
        way = _Way(backing.top)
        size_kib = backing.local.layers[-1].size_kib if backing.layers else backing.local.size_kib
    return SeenVolume(
        number=volume.number,
        device_path=way.device_path,
        nbd_uri=way.nbd_uri,
        backing_path=backing.path if backing is not None else "",
        size_kib=size_kib,
        allocated_kib=backing.allocated_kib if backing is not None else 0,
        disk_state=disk_state,
        quorum=device.quorum if device is not None else True,
        problem=(backing.problem if backing is not None else None) or way.problem,
    )


def _usable(volume: TargetVolume, backing: BackingSeen) -> bool:
    """Whether the block device that users open is there."""
    return backing.local.active and len(backing.layers) == len(volume.layers)


def _way(
    target: TargetResource, volume: TargetVolume, sight: Sight, nbd_socket: str, attached: Attached
) -> _Way:
    if sight.kind is ReplicationKind.NVME:
        known = sight.spec.volumes if sight.spec is not None else ()
        return _Way(next((one.backing or "" for one in known if one.number == volume.number), ""))
    if sight.kind is not ReplicationKind.USER:
        return _Way(f"/dev/drbd{volume.minor}")
    uri = export_uri(target.name, volume.number, nbd_socket)
    path = attached.paths.get(volume.number, uri)
    return _Way(path, uri, attached.problems.get(volume.number))


def problem_of(stone: Tombstone, problem: Problem, revision: int) -> SeenResource:
    """The report of a resource that should be gone and is not."""
    return SeenResource(
        name=stone.definition, uuid=stone.resource_uuid, revision=revision, settled=False, problem=problem
    )


def export_uri(resource: str, number: int, nbd_socket: str) -> str:
    """Where a volume is served, in the NBD project's form of a URI."""
    return f"nbd+unix:///{quote(resource)}/{number}?socket={quote(nbd_socket)}"


def leftovers(backings: Iterable[BackingSeen], named: frozenset[Uuid]) -> tuple[str, ...]:
    """What carries our mark and is named by no target and no tombstone, as `pool:path`."""
    return tuple(
        sorted(f"{seen.local.pool}:{seen.path}" for seen in backings if seen.local.volume_uuid not in named)
    )


def _devices(status: ResourceStatus | None) -> dict[int, DeviceStatus]:
    return {device.volume: device for device in status.devices} if status is not None else {}
