"""Storage beside a new volume that its layers need: in which pool, and how large. Decides nothing else."""

from bollard.domain.errors import NotFound, Subject
from bollard.domain.layers import LayerKind
from bollard.domain.resources import Companion, Resource, ResourceDefinition, VolumeDefinition
from bollard.planning import effective
from bollard.planning.draft import Draft
from bollard.planning.layers import caches, drbd
from bollard.planning.layers.stack import levels
from bollard.planning.targets import layer_options

__all__ = ["companions_of"]

_WITH_COMPANION = frozenset({LayerKind.CACHE, LayerKind.WRITECACHE, LayerKind.BCACHE})


def companions_of(
    draft: Draft, definition: ResourceDefinition, resource: Resource, volume: VolumeDefinition, *, pool: str
) -> tuple[Companion, ...]:
    """Those of a volume that gets a disk in `pool`; a layer's own pool property goes before that pool.

    Raises NotFound when the node has no pool of the name that a property gives.
    """
    slots = resource.peer_slots or drbd.PEER_SLOTS_DEFAULT
    found = _metadata(draft, definition, resource, volume, slots)
    if not _WITH_COMPANION & set(resource.layer_stack):
        return tuple(found)
    options = layer_options(draft.cluster, definition, resource, volume)
    external = bool(found)
    for level in levels(
        volume.size_kib, resource.layer_stack, peer_slots=slots, options=options, external=external
    ):
        if level.kind not in _WITH_COMPANION:
            continue
        name = caches.pool_name(level.kind, options[level.kind]) or pool
        if draft.pool(resource.node, name) is None:
            raise NotFound(
                Subject.POOL,
                name,
                f"The node '{resource.node}' has no storage pool '{name}' for the {level.kind} layer",
                correction="Create it there, or change the layer's pool property.",
            )
        size_kib = caches.companion_kib(level.kind, level.size_kib, options[level.kind])
        found.append(Companion(level.kind, draft.world.draw.uuid(), name, size_kib))
    return tuple(found)


def _metadata(
    draft: Draft,
    definition: ResourceDefinition,
    resource: Resource,
    volume: VolumeDefinition,
    slots: int,
) -> list[Companion]:
    """A place of its own for DRBD's metadata, where a property wants that. Raises NotFound."""
    if LayerKind.DRBD not in resource.layer_stack:
        return []
    name = effective.metadata_pool(draft.cluster, definition, resource, volume)
    if not name:
        return []
    if draft.pool(resource.node, name) is None:
        raise NotFound(
            Subject.POOL,
            name,
            f"The node '{resource.node}' has no storage pool '{name}' for DRBD's metadata",
            correction="Create it there, or change the property StorPoolNameDrbdMeta.",
        )
    size_kib = drbd.external_kib(volume.size_kib, slots)
    return [Companion(LayerKind.DRBD, draft.world.draw.uuid(), name, size_kib)]
