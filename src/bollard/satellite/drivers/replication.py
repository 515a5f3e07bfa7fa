"""The DRBD layer as the data process serves it, and plain export: targets become its configurations.

Stateless: what runs is asked of the data process each time.
"""

from collections.abc import Mapping

import msgspec

from bollard.domain.layers import LayerKind, ReplicationKind
from bollard.domain.steps import CreateMetadata, ResizeReplication
from bollard.domain.targets import TargetResource
from bollard.domain.units import KIB
from bollard.satellite.host import attachments
from bollard.satellite.host.base import BackingSeen, Freeze, Host, HostError
from bollard.satellite.host.running import Running
from bollard.satellite.host.spec import spec_of
from bollard.satellite.tools.drbd_status import parse_status
from bollard.satellite.tools.paths import Paths
from bollard.wire.engine import (
    META_INTERNAL,
    Configure,
    CreateMd,
    Remove,
    Resize,
    ResourceSpec,
    ResumeIo,
    Show,
    Status,
    SuspendIo,
)

__all__ = ["Replication"]


class Replication:
    """See `drivers.Layer` for the verbs."""

    kind = LayerKind.DRBD
    implementation = ReplicationKind.USER

    async def format(self, step: CreateMetadata, path: str, meta: str, host: Host) -> bool:
        reply = await host.engine.ask(
            CreateMd(
                backing=path,
                meta=meta or META_INTERNAL,
                max_peers=step.peer_slots,
                node_id=step.node_id,
                size_bytes=step.size_kib * KIB,
                initial_uuid=step.current_gi,
                force=step.anew,
            )
        )
        return reply.changed

    async def open(
        self,
        target: TargetResource,
        backings: Mapping[int, BackingSeen],
        paths: Paths,
        host: Host,
    ) -> bool:
        spec = spec_of(target, backings, paths, node_name=host.facts.get("node", ""))
        # A volume that goes away takes the data of those with it who have its block device open.
        await attachments.detach_all(host, target.name, keep={volume.number for volume in spec.volumes})
        return (await host.engine.ask(Configure(resource=spec))).changed

    async def grow(self, step: ResizeReplication, name: str, host: Host) -> bool:
        reply = await host.engine.ask(
            Resize(
                name=name,
                volume=step.number,
                size_bytes=step.size_kib * KIB,
                assume_clean=step.assume_clean,
            )
        )
        return reply.changed

    async def close(self, name: str, host: Host) -> bool:
        await attachments.detach_all(host, name)
        return (await host.engine.ask(Remove(name=name))).changed

    async def observe(self, host: Host, name: str = "") -> tuple[Running, ...]:
        """Also what is served without replication. Names are taken as they are written."""
        specs = msgspec.convert(await _ask(host, Show(name=name)), list[ResourceSpec])
        statuses = parse_status(await _ask(host, Status(name=name))) if specs else []
        by_name = {status.name: status for status in statuses}
        return tuple(Running(self.implementation, spec, by_name.get(spec.name)) for spec in specs)

    async def freeze(self, name: str, token: str, deadline_ms: int, host: Host) -> Freeze:
        reply = await host.engine.ask(SuspendIo(name=name, token=token, deadline_ms=deadline_ms))
        return msgspec.convert(reply.result, Freeze)

    async def thaw(self, name: str, token: str, host: Host) -> Freeze:
        reply = await host.engine.ask(ResumeIo(name=name, token=token))
        return msgspec.convert(reply.result, Freeze)


async def _ask(host: Host, request: Show | Status) -> object:
    try:
        return (await host.engine.ask(request)).result
    except HostError as error:
        if error.code == "engine-not-found":
            return []
        raise
