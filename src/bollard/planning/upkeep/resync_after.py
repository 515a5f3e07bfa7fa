"""The order in which volumes on one pool are resynchronised: each after the one with the next lower minor.

It is the property `DrbdOptions/Disk/resync-after` of the volume definition, `RESOURCE/NUMBER`. Switched off
by `DrbdOptions/auto-resync-after-disable`, as it is in a fresh cluster; what was set by it is removed then.
What a person has set stays.
"""

import msgspec

from bollard.domain import props
from bollard.domain.cluster import Cluster
from bollard.domain.ids import Key, key_of
from bollard.domain.resources import ResourceDefinition, VolumeDefinition
from bollard.planning import replicas
from bollard.planning.draft import Draft

__all__ = ["BY_CLUSTER", "settle"]

BY_CLUSTER = "linstor"
"""The mark of a value that this module has set."""


def settle(draft: Draft) -> None:
    """Bring all definitions in line; cheap while it is switched off."""
    enabled = not props.AUTO_RESYNC_AFTER_DISABLE.truth(draft.cluster.props(), default=True)
    wanted = _predecessors(draft.cluster) if enabled else {}
    for key, now in draft.cluster.definitions.items():
        if not enabled and not any(_mine(volume) for volume in now.volumes):
            continue
        definition = draft.definition(key)
        if definition is None or not replicas.replicated(definition):
            continue
        volumes = tuple(
            _with_order(volume, wanted.get((key, volume.number))) for volume in definition.volumes
        )
        if volumes != definition.volumes:
            draft.put(msgspec.structs.replace(definition, volumes=volumes))


def _mine(volume: VolumeDefinition) -> bool:
    return volume.props.get(props.RESYNC_AFTER_SET_BY.key) == BY_CLUSTER


def _with_order(volume: VolumeDefinition, after: str | None) -> VolumeDefinition:
    if props.RESYNC_AFTER.key in volume.props and not _mine(volume):
        return volume
    keys = {props.RESYNC_AFTER.key, props.RESYNC_AFTER_SET_BY.key}
    rest = {key: value for key, value in volume.props.items() if key not in keys}
    if after is not None:
        rest |= {props.RESYNC_AFTER.key: after, props.RESYNC_AFTER_SET_BY.key: BY_CLUSTER}
    return msgspec.structs.replace(volume, props=rest) if rest != volume.props else volume


def _predecessors(cluster: Cluster) -> dict[tuple[Key, int], str]:
    """By definition and number: the volume with the next lower minor on any of the same pools."""
    last: dict[Key, tuple[int, str]] = {}
    found: dict[tuple[Key, int], str] = {}
    for minor, definition, volume in sorted(_with_minors(cluster), key=lambda item: item[0]):
        pools = [
            key_of(resource.node, one.pool)
            for resource in cluster.resources_of(definition.name)
            if resource.diskful
            for one in resource.volumes
            if one.number == volume.number
        ]
        before = max((last[pool] for pool in pools if pool in last), default=None)
        if before is not None:
            found[definition.key, volume.number] = before[1]
        last.update(dict.fromkeys(pools, (minor, f"{definition.name}/{volume.number}")))
    return found


def _with_minors(cluster: Cluster) -> list[tuple[int, ResourceDefinition, VolumeDefinition]]:
    return [
        (volume.minor, definition, volume)
        for definition in cluster.definitions.values()
        if replicas.replicated(definition)
        for volume in definition.volumes
        if volume.minor is not None
    ]
