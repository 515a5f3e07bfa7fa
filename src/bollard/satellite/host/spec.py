"""From a target to the one record of a resource's configuration that all its implementations share. Pure."""

from collections.abc import Mapping

from bollard.domain.targets import TargetPeer, TargetResource
from bollard.domain.units import KIB
from bollard.satellite.host.base import BackingSeen, HostError
from bollard.satellite.tools.paths import Paths
from bollard.wire.engine import META_INTERNAL, Kind, PathSpec, PeerSpec, ResourceSpec, VolumeSpec

__all__ = ["spec_of"]


def spec_of(
    target: TargetResource, backings: Mapping[int, BackingSeen], paths: Paths, *, node_name: str
) -> ResourceSpec:
    """The data process's configuration of a target.

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
        if volume.number not in paths.data:
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
                backing=paths.data[volume.number],
                meta=paths.metadata.get(volume.number, META_INTERNAL),
                options={key.rpartition("/")[2]: value for key, value in volume.props.items()},
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
        node_id=peer.node_id,
        name=peer.node,
        address=peer.address,
        port=peer.port,
        diskless=peer.diskless,
        paths=tuple(PathSpec(address=one.address, peer_address=one.peer_address) for one in peer.paths),
    )


def _minor(minor: int | None) -> int:
    return -1 if minor is None else minor
