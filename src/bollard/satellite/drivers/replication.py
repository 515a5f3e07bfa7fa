"""The DRBD layer as the data process serves it, and plain export: targets become its configurations.

Stateless: what runs is asked of the data process each time.
"""

from collections.abc import Mapping

from bollard.domain.layers import LayerKind
from bollard.domain.steps import CreateMetadata, ResizeReplication
from bollard.domain.targets import TargetPeer, TargetResource
from bollard.domain.units import KIB
from bollard.satellite.host.base import BackingSeen, Host, HostError
from bollard.wire.engine import (
    Configure,
    CreateMd,
    Kind,
    PeerSpec,
    Remove,
    Resize,
    ResourceSpec,
    VolumeSpec,
)

__all__ = ["Replication", "spec_of"]


class Replication:
    """See `drivers.Layer` for the verbs."""

    kind = LayerKind.DRBD

    async def format(self, step: CreateMetadata, path: str, host: Host) -> bool:
        reply = await host.engine.ask(
            CreateMd(
                backing=path,
                max_peers=step.peer_slots,
                node_id=step.node_id,
                size_bytes=step.size_kib * KIB,
                initial_uuid=step.current_gi,
            )
        )
        return reply.changed

    async def open(
        self,
        target: TargetResource,
        backings: Mapping[int, BackingSeen],
        paths: Mapping[int, str],
        host: Host,
    ) -> bool:
        spec = spec_of(target, backings, paths, node_name=host.facts.get("node", ""))
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
        return (await host.engine.ask(Remove(name=name))).changed


def spec_of(
    target: TargetResource, backings: Mapping[int, BackingSeen], paths: Mapping[int, str], *, node_name: str
) -> ResourceSpec:
    """The data process's configuration of a target; `paths` has the opened backings by volume number.

    HostError `volume-missing` when a volume that needs a backing has none.
    """
    volumes = []
    for volume in target.volumes:
        size_bytes = volume.size_kib * KIB
        if volume.gross_kib is None:
            volumes.append(
                VolumeSpec(number=volume.number, size_bytes=size_bytes, minor=_minor(volume.minor))
            )
            continue
        if volume.number not in paths:
            raise HostError(
                f"Volume {volume.number} of '{target.name}' has no storage yet",
                code="volume-missing",
                cause=f"Nothing in storage pool '{volume.pool}' is marked as its own.",
                name=target.name,
            )
        if target.replication is None:
            size_bytes = min(size_bytes, backings[volume.number].local.size_kib * KIB)
        volumes.append(
            VolumeSpec(
                number=volume.number,
                size_bytes=size_bytes,
                minor=_minor(volume.minor),
                backing=paths[volume.number],
            )
        )
    replication = target.replication
    if replication is None:
        return ResourceSpec(name=target.name, uuid=target.uuid, kind=Kind.PLAIN, volumes=tuple(volumes))
    return ResourceSpec(
        name=target.name,
        uuid=target.uuid,
        kind=Kind.REPLICATED,
        volumes=tuple(volumes),
        node_id=replication.node_id,
        node_name=node_name,
        address=replication.address,
        port=replication.port,
        peers=tuple(_peer(peer) for peer in replication.peers),
        options={key.rpartition("/")[2]: value for key, value in replication.options.items()},
        shared_secret=replication.secret or "",
    )


def _peer(peer: TargetPeer) -> PeerSpec:
    return PeerSpec(
        node_id=peer.node_id, name=peer.node, address=peer.address, port=peer.port, diskless=peer.diskless
    )


def _minor(minor: int | None) -> int:
    return -1 if minor is None else minor
