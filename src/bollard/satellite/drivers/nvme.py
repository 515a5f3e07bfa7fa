"""NVMe between nodes: the one with the disk offers its volumes (a device layer), the others use them.

Names are LINSTOR's: `LS-NVMe_RESOURCE`, namespace = volume number + 1. Stateless: the kernel is asked.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from bollard.domain.layers import LayerKind, ReplicationKind
from bollard.domain.seen import Problem
from bollard.domain.steps import CreateMetadata, ResizeReplication
from bollard.domain.targets import TargetFabric, TargetLayer, TargetResource
from bollard.satellite.host import nvmet
from bollard.satellite.host.base import BackingSeen, Host, HostError, LayerMark, LayerSeen
from bollard.satellite.host.nvme_links import LIVE, Link, connect, disconnect, links, rescan
from bollard.satellite.host.nvmet import Export, Port
from bollard.satellite.host.running import Running
from bollard.satellite.tools.drbd_status import DeviceStatus, ResourceStatus
from bollard.satellite.tools.paths import Paths
from bollard.wire.engine import Kind, ResourceSpec, VolumeSpec

__all__ = ["NvmeInitiator", "NvmeTarget"]

_PREFIX: Final = "LS-NVMe_"
_HOST: Final = "nqn.2014-08.org.nvmexpress:uuid:"
_PATIENCE: Final = 25
_POLL_S: Final = 0.2


class NvmeTarget:
    """See `drivers.DeviceLayer` for the verbs. It makes nothing on the device that it offers."""

    kind = LayerKind.NVME

    async def observe(self, host: Host) -> tuple[LayerSeen, ...]:
        return tuple(_layer(one) for one in await nvmet.exports(host, _PREFIX))

    async def raise_(self, layer: TargetLayer, lower: str, mark: LayerMark, host: Host) -> str:
        fabric = _fabric(layer, mark)
        await nvmet.ready(host, "nvmet", f"nvmet_{fabric.transport}")
        await nvmet.offer(host, _wanted(fabric, lower, mark))
        return lower

    async def grow(self, layer: TargetLayer, seen: LayerSeen, mark: LayerMark, host: Host) -> bool:
        """Also lets other nodes in, and keeps others out."""
        await nvmet.offer(host, _wanted(_fabric(layer, mark), seen.path, mark))
        return True

    async def lower(self, _seen: LayerSeen, mark: LayerMark, host: Host) -> bool:
        number = mark.number + 1
        for one in await nvmet.exports(host, _PREFIX):
            if (one.number, one.uuid) == (number, mark.volume_uuid):
                return await nvmet.withdraw(host, one.subsystem, number, one.uuid)
        return False


def _fabric(layer: TargetLayer, mark: LayerMark) -> TargetFabric:
    if layer.fabric is None or not layer.fabric.address:
        raise HostError(
            f"Volume {mark.number} of '{mark.resource}' cannot be offered by NVMe",
            code="address-missing",
            cause="The controller knows no address of this node for it.",
            correction="Give the node a network interface.",
            name=mark.resource,
        )
    return layer.fabric


def _wanted(fabric: TargetFabric, path: str, mark: LayerMark) -> Export:
    return Export(
        subsystem=fabric.subsystem,
        number=mark.number + 1,
        path=path,
        uuid=mark.volume_uuid,
        device="",
        size_kib=0,
        hosts=tuple(sorted(fabric.hosts)),
        ports=(Port(fabric.transport, fabric.address, str(fabric.port)),),
    )


def _layer(export: Export) -> LayerSeen:
    return LayerSeen(
        kind=LayerKind.NVME,
        path=export.path,
        device=export.device,
        below=(export.device,),
        size_kib=export.size_kib,
        shown=_shown(export.ports[0], export.hosts) if len(export.ports) == 1 else "",
    )


def _shown(port: Port, hosts: tuple[str, ...]) -> str:
    """As TargetFabric.shown."""
    return " ".join((port.transport, port.address, port.service, *hosts))


class NvmeInitiator:
    """See `drivers.Layer` for the verbs. What it runs is a connection to the node that has the disk."""

    kind = LayerKind.NVME
    implementation = ReplicationKind.NVME

    async def format(self, step: CreateMetadata, _path: str, _meta: str, _host: Host) -> bool:
        raise _without_disk(step.resource)

    async def grow(self, step: ResizeReplication, _name: str, _host: Host) -> bool:
        raise _without_disk(step.resource)

    async def open(
        self,
        target: TargetResource,
        _backings: Mapping[int, BackingSeen],
        _paths: Paths,
        host: Host,
    ) -> bool:
        """Returns when all volumes are there. HostError `not-connected`, `volume-missing`, `engine-busy`."""
        remote = target.remote
        assert remote is not None, target.name
        if not remote.address:
            raise HostError(
                f"Nobody offers the volumes of '{target.name}'",
                code="not-connected",
                cause="No node has an active disk of it.",
                correction="Activate or create the resource on the node with the storage.",
                name=target.name,
            )
        port = Port(remote.transport, remote.address, str(remote.port))
        (nqn,) = remote.hosts
        for link in await links(host, _PREFIX, _HOST):
            if link.host == nqn and (link.port, link.subsystem) != (port, remote.subsystem):
                await disconnect(host, link)
        if await _link(host, nqn) is None:
            await connect(host, port, remote.subsystem, nqn, target.uuid)
        await _arrive(host, nqn, target, remote)
        return True

    async def close(self, name: str, host: Host) -> bool:
        found = [one for one in await links(host, _PREFIX, _HOST) if _resource(one).upper() == name.upper()]
        for link in found:
            await disconnect(host, link)
        return bool(found)

    async def observe(self, host: Host, name: str = "") -> tuple[Running, ...]:
        """Names are compared without their case."""
        if host.tree is None:
            return ()
        found = await links(host, _PREFIX, _HOST)
        return tuple(_running(one) for one in found if name.upper() in ("", _resource(one).upper()))


async def _link(host: Host, nqn: str) -> Link | None:
    return next((one for one in await links(host, _PREFIX, _HOST) if one.host == nqn), None)


async def _arrive(host: Host, nqn: str, target: TargetResource, remote: TargetFabric) -> None:
    """Wait for the volumes, as large as they should be."""
    marks = dict(remote.volumes)
    wanted = {one.number: (marks.get(one.number), one.size_kib) for one in target.volumes}
    missing = set(wanted)
    for attempt in range(_PATIENCE):
        link = await _link(host, nqn)
        if link is None or link.state != LIVE:
            break
        there = {one.number - 1: one for one in link.spaces}
        missing = {
            number
            for number, (uuid, size_kib) in wanted.items()
            if number not in there or there[number].uuid != uuid or there[number].size_kib < size_kib
        }
        if not missing:
            return
        if attempt == 0:
            await rescan(host, link)
        await asyncio.sleep(_POLL_S)
    raise HostError(
        f"Volumes of '{target.name}' are not offered yet: {', '.join(map(str, sorted(missing)))}",
        code="volume-missing",
        cause=f"{remote.address} does not show them, or not as large as they should be.",
        correction="It is tried again by itself. See that the node with the disk is online.",
        name=target.name,
    )


def _resource(link: Link) -> str:
    return link.subsystem.removeprefix(_PREFIX)


def _running(link: Link) -> Running:
    name = _resource(link)
    spec = ResourceSpec(
        name=name,
        uuid=link.host.removeprefix(_HOST),
        kind=Kind.PLAIN,
        volumes=tuple(
            VolumeSpec(number=one.number - 1, size_bytes=one.size_kib << 10, minor=0, backing=one.path)
            for one in link.spaces
        ),
    )
    devices = [
        DeviceStatus(volume=one.number - 1, disk_state="Created", size=one.size_kib, open=one.in_use)
        for one in link.spaces
    ]
    return Running(
        kind=ReplicationKind.NVME,
        spec=spec,
        status=ResourceStatus(name=name, devices=devices),
        fingerprint=_shown(link.port, (link.host,)),
        problem=None if link.state == LIVE else _lost(link),
    )


def _lost(link: Link) -> Problem:
    return Problem(
        message=f"The connection of '{_resource(link)}' to {link.port.address} is lost",
        cause=f"The kernel says: {link.state}. It tries to have it back; its users wait.",
        correction="See that the node with the disk is online.",
        code="not-connected",
    )


def _without_disk(resource: str) -> HostError:
    return HostError(
        f"'{resource}' has no disk on this node",
        code="no-disk-in-pool",
        cause="It uses another node's by NVMe.",
        name=resource,
    )
