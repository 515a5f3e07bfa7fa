"""The block size that users of a volume see: the largest that one of its backing pools asks for.

It is the property `DrbdOptions/Disk/block-size` of the volume definition. Switched off by
`Linstor/Drbd/auto-block-size`; frozen by `Linstor/Drbd/freeze-block-size`, which is set once it was in use:
a file system that was made for one size does not survive another. What a person has set stays.
"""

import msgspec

from bollard.domain import props
from bollard.domain.resources import Resource, ResourceDefinition, VolumeDefinition
from bollard.planning import effective, replicas
from bollard.planning.draft import Draft

__all__ = ["BY_CLUSTER", "settle"]

BY_CLUSTER = "linstor"
"""The mark of a value that this module has set."""
_BYTES_MIN, _BYTES_MAX = 512, 4096


def settle(draft: Draft, definition: ResourceDefinition) -> None:
    """Set what the pools ask for, and freeze what is in use."""
    if not replicas.replicated(definition):
        return
    resources = draft.resources_of(definition.name)
    volumes = tuple(_settled(draft, definition, resources, volume) for volume in definition.volumes)
    if volumes != definition.volumes:
        draft.put(msgspec.structs.replace(definition, volumes=volumes))


def _settled(
    draft: Draft, definition: ResourceDefinition, resources: list[Resource], volume: VolumeDefinition
) -> VolumeDefinition:
    if props.FREEZE_BLOCK_SIZE.truth(volume.props):
        return volume
    size = _size_bytes(draft, resources, volume.number)
    if size is None:
        return volume
    maps = effective.volume_definition_maps(draft.cluster, definition, volume)
    changed = dict(volume.props)
    mine = volume.props.get(props.BLOCK_SIZE_SET_BY.key) == BY_CLUSTER
    if mine or props.BLOCK_SIZE.key not in volume.props:
        changed.pop(props.BLOCK_SIZE.key, None)
        changed.pop(props.BLOCK_SIZE_SET_BY.key, None)
        if props.AUTO_BLOCK_SIZE.truth(*maps, default=True):
            changed |= {props.BLOCK_SIZE.key: str(size), props.BLOCK_SIZE_SET_BY.key: BY_CLUSTER}
    if _in_use(draft, resources):
        changed[props.FREEZE_BLOCK_SIZE.key] = "true"
    return msgspec.structs.replace(volume, props=changed) if changed != volume.props else volume


def _size_bytes(draft: Draft, resources: list[Resource], number: int) -> int | None:
    """What the pools ask for; None when none of them has said so."""
    asked = [
        seen.min_io_bytes
        for resource in resources
        if resource.diskful
        for one in resource.volumes
        if one.number == number
        and (seen := draft.world.observed.pool(resource.node, one.pool)) is not None
        and seen.min_io_bytes > 0
    ]
    return min(max(*asked, _BYTES_MIN), _BYTES_MAX) if asked else None


def _in_use(draft: Draft, resources: list[Resource]) -> bool:
    return any(
        seen.in_use for one in resources if (seen := replicas.online_seen(draft.world, one)) is not None
    )
