"""What resync and users may discard of a volume in one piece: what its backing pools ask for, most first.

They are `DrbdOptions/Disk/rs-discard-granularity` and `.../discard-granularity` of the volume definition,
switched off by `DrbdOptions/auto-rs-discard-granularity` and `Linstor/Drbd/auto-discard-granularity`; and the
unit in which the pools allocate. Nothing changes while a pool has not said what it asks for.
"""

import math

import msgspec

from bollard.domain import props
from bollard.domain.props import Setting
from bollard.domain.resources import Resource, ResourceDefinition, VolumeDefinition
from bollard.domain.seen import SeenPool
from bollard.planning import effective, replicas
from bollard.planning.draft import Draft

__all__ = ["settle"]

Place = tuple[str, str]
"""Of a pool: its node and its name."""
_RESYNC_BYTES_MAX = 1 << 20
"""What DRBD takes."""


def settle(draft: Draft, definition: ResourceDefinition) -> None:
    """Set what the pools ask for."""
    resources = [one for one in draft.resources_of(definition.name) if one.diskful]
    volumes = tuple(_settled(draft, definition, resources, volume) for volume in definition.volumes)
    if volumes != definition.volumes:
        draft.put(msgspec.structs.replace(definition, volumes=volumes))


def _settled(
    draft: Draft, definition: ResourceDefinition, resources: list[Resource], volume: VolumeDefinition
) -> VolumeDefinition:
    pools = _pools(draft, resources, volume.number)
    if not pools:
        return volume
    units = [int(unit) for key, _ in pools if (unit := _unit_of(draft, key)).isdigit()]
    changed = volume.props | {props.ALLOCATION_UNIT.key: str(math.lcm(*(units or [1])))}
    asked = [seen.discard_bytes for _, seen in pools]
    if replicas.replicated(definition) and all(size is not None for size in asked):
        largest = max(size or 0 for size in asked) if all(asked) else 0
        maps = effective.volume_definition_maps(draft.cluster, definition, volume)
        if props.AUTO_RESYNC_DISCARD.truth(*maps, default=True):
            _put(changed, props.RESYNC_DISCARD, min(largest, _RESYNC_BYTES_MAX))
        if props.AUTO_DISCARD.truth(*maps, default=True):
            _put(changed, props.DISCARD, largest)
    return msgspec.structs.replace(volume, props=changed) if changed != volume.props else volume


def _put(changed: dict[str, str], setting: Setting, size_bytes: int) -> None:
    if size_bytes:
        changed[setting.key] = str(size_bytes)
    else:
        changed.pop(setting.key, None)


def _pools(draft: Draft, resources: list[Resource], number: int) -> list[tuple[Place, SeenPool]]:
    """The pools of this volume's disks; none while one of them has not been seen."""
    found: list[tuple[Place, SeenPool]] = []
    for resource in resources:
        for one in resource.volumes:
            if one.number != number:
                continue
            seen = draft.world.observed.pool(resource.node, one.pool)
            if seen is None or seen.problem is not None:
                return []
            found.append(((resource.node, one.pool), seen))
    return found


def _unit_of(draft: Draft, place: Place) -> str:
    pool = draft.pool(*place)
    return props.ALLOCATION_UNIT.text(pool.props) if pool is not None else ""
