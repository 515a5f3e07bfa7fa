"""How much may still be put into a pool, with oversubscription. Reads reports and wishes, decides nothing."""

from collections.abc import Mapping

import msgspec

from bollard.domain import props
from bollard.domain.cluster import Cluster
from bollard.domain.layers import THIN_PROVIDERS, LayerKind, ProviderKind
from bollard.domain.nodes import Props, StoragePool
from bollard.domain.resources import ResourceDefinition, VolumeDefinition
from bollard.domain.seen import SeenPool
from bollard.domain.units import UNLIMITED_KIB, align_up
from bollard.planning import effective
from bollard.planning.layers.stack import levels, net_kib
from bollard.planning.world import World

__all__ = [
    "THIN_RATIO_DEFAULT",
    "UNLIMITED",
    "Space",
    "block_device",
    "gross_of",
    "net_of",
    "peer_slots_of",
    "space_in",
    "space_seen",
    "storage_class",
    "zero_filled",
]

THIN_RATIO_DEFAULT = 20.0
EXTENT_KIB = {
    ProviderKind.LVM: 4096,
    ProviderKind.LVM_THIN: 64,
    ProviderKind.ZFS: 8,
    ProviderKind.ZFS_THIN: 8,
}
"""Allocation units where they are not 1 KiB."""

_BLOCK = frozenset({ProviderKind.LVM, ProviderKind.LVM_THIN, ProviderKind.ZFS, ProviderKind.ZFS_THIN})

_NOT_ZEROED = frozenset({ProviderKind.LVM, ProviderKind.STORAGE_SPACES, ProviderKind.EBS_INIT})


class Space(msgspec.Struct, frozen=True):
    """What a pool can still take."""

    usable_kib: int
    """With oversubscription."""
    free_kib: int
    total_kib: int
    problem: str = ""
    """Why nothing can be placed there, whatever the sizes."""


def zero_filled(provider: ProviderKind) -> bool:
    """Whether new volumes of this provider read as zeroes, so that replicas need no first sync."""
    return provider not in _NOT_ZEROED


def block_device(provider: ProviderKind) -> bool:
    """Whether volumes of this provider are block devices."""
    return provider in _BLOCK


def storage_class(provider: ProviderKind) -> str:
    """Providers of one class may stand in one resource; of different ones only where mixing is allowed."""
    match provider:
        case ProviderKind.ZFS | ProviderKind.ZFS_THIN:
            return "ZFS"
        case ProviderKind.FILE | ProviderKind.FILE_THIN:
            return "FILE"
        case _:
            return provider


UNLIMITED = Space(UNLIMITED_KIB, UNLIMITED_KIB, UNLIMITED_KIB)
"""Of a pool that holds nothing."""


def space_in(world: World, pool: StoragePool, overprovision: float | None = None) -> Space:
    """The space of a pool by its last report, less what is already wished for there."""
    if pool.provider is ProviderKind.DISKLESS:
        return UNLIMITED
    return space_seen(world.cluster, pool, world.observed.pool(pool.node, pool.name), overprovision)


def space_seen(
    cluster: Cluster, pool: StoragePool, seen: SeenPool | None, overprovision: float | None = None
) -> Space:
    """The same, for a pool with a disk and a report that is at hand."""
    if seen is None or seen.uuid != pool.uuid:
        return Space(0, 0, 0, "its size is not known yet")
    if seen.problem is not None:
        return Space(0, seen.free_kib, seen.total_kib, seen.problem.message)
    return Space(_usable_kib(cluster, pool, seen, overprovision), seen.free_kib, seen.total_kib)


def _usable_kib(cluster: Cluster, pool: StoragePool, seen: SeenPool, overprovision: float | None) -> int:
    thin = pool.provider in THIN_PROVIDERS
    if overprovision is not None and thin:
        free_ratio = total_ratio = overprovision
    else:
        maps = effective.pool_maps(cluster, pool)
        default = THIN_RATIO_DEFAULT if thin else 1.0
        ratio = props.OVERSUBSCRIPTION.number(*maps, default=default)
        free_ratio = props.FREE_OVERSUBSCRIPTION.number(*maps, default=ratio)
        total_ratio = props.TOTAL_OVERSUBSCRIPTION.number(*maps, default=ratio)
    by_free = seen.free_kib * free_ratio
    by_total = seen.total_kib * total_ratio - cluster.claimed_kib(pool.key)
    return max(0, int(min(by_free, by_total, UNLIMITED_KIB)))


def peer_slots_of(cluster: Cluster, definition: ResourceDefinition) -> int:
    """Bitmap slots that new replicas of a definition get."""
    found = props.PEER_SLOTS_NEW_RESOURCE.found(*effective.definition_maps(cluster, definition))
    return int(found) if found else definition.peer_slots


def gross_of(
    volume: VolumeDefinition,
    stack: tuple[LayerKind, ...],
    *,
    peer_slots: int,
    provider: ProviderKind = ProviderKind.FILE_THIN,
    size_kib: int | None = None,
    options: Mapping[LayerKind, Props] | None = None,
    external: bool = False,
) -> int:
    """What the lowest device of a volume must hold, in whole extents of the provider.

    `options` are those of the device layers, `external` as `planning.layers.stack` takes them.
    """
    size = volume.size_kib if size_kib is None else size_kib
    if stack and not volume.gross_size:
        size = levels(size, stack, peer_slots=peer_slots, options=options or {}, external=external)[
            -1
        ].size_kib
    return align_up(size, EXTENT_KIB.get(provider, 4))


def net_of(
    volume: VolumeDefinition,
    stack: tuple[LayerKind, ...],
    *,
    peer_slots: int,
    size_kib: int | None = None,
    options: Mapping[LayerKind, Props] | None = None,
    external: bool = False,
) -> int:
    """What users get of a volume."""
    size = volume.size_kib if size_kib is None else size_kib
    if volume.gross_size and any(kind is not LayerKind.STORAGE for kind in stack):
        return net_kib(size, stack, peer_slots=peer_slots, options=options or {}, external=external)
    return size
