"""Resources that start with the content of a snapshot: what restores, rollbacks and clones have in common."""

import msgspec

from bollard.domain import props
from bollard.domain.errors import Conflict, Subject
from bollard.domain.layers import LayerKind
from bollard.domain.nodes import StoragePool
from bollard.domain.resources import (
    DiskKind,
    Resource,
    ResourceDefinition,
    RestoreFrom,
    VolumeDefinition,
    VolumeOnNode,
)
from bollard.domain.snapshots import SnapshotDefinition, SnapshotOnNode
from bollard.planning import replicas, sizes
from bollard.planning.draft import Draft

__all__ = ["WHOLE", "add", "content", "give_up_waiting", "restored", "waiting_for", "with_new_generation"]

WHOLE = frozenset({"UpToDate", "Consistent", "Created"})
"""Disk states of a restored volume that has all its content. A replica that is alone calls it Consistent."""
_OWN_DATA = frozenset({LayerKind.DRBD, LayerKind.STORAGE})
"""With these layers alone, what lies behind the net size in the storage is metadata, never data."""


def content(snapshot: SnapshotDefinition, number: int) -> RestoreFrom:
    """Where a volume of that number gets its content from."""
    volume = snapshot.volume(number)
    assert volume is not None, (snapshot.key, number)
    content_kib = 0
    if set(snapshot.layer_stack) <= _OWN_DATA:
        content_kib = sizes.net_of(volume, snapshot.layer_stack, peer_slots=snapshot.peer_slots)
    return RestoreFrom(snapshot.definition, snapshot.uuid, content_kib)


def with_new_generation(
    draft: Draft, definition: ResourceDefinition, volumes: tuple[VolumeDefinition, ...]
) -> ResourceDefinition:
    """The definition with these volumes, all in a data generation that no other data ever had."""
    fresh: list[VolumeDefinition] = []
    for volume in volumes:
        generation = draft.world.draw.hex16()
        own = {key: value for key, value in volume.props.items() if key != props.INITIAL_UP_TO_DATE_ON.key}
        fresh.append(
            msgspec.structs.replace(
                volume, current_gi=generation, props=own | {props.CURRENT_GI.key: generation}
            )
        )
    changed = msgspec.structs.replace(definition, volumes=tuple(fresh))
    draft.put(changed)
    return changed


def restored(
    volumes: tuple[VolumeOnNode, ...], snapshot: SnapshotDefinition, part: SnapshotOnNode | None
) -> tuple[VolumeOnNode, ...]:
    """These new volumes of a node: what it keeps is made from the snapshot, the rest is filled by peers."""
    kept = {one.number: one for one in part.volumes} if part is not None else {}
    return tuple(
        msgspec.structs.replace(
            volume,
            pool=kept[volume.number].pool,
            day0=True,
            restore=content(snapshot, volume.number),
        )
        if volume.number in kept
        else msgspec.structs.replace(volume, day0=False, restore=None)
        for volume in volumes
    )


def add(
    draft: Draft, definition: ResourceDefinition, snapshot: SnapshotDefinition, part: SnapshotOnNode
) -> Resource:
    """A new resource with a disk where a part of the snapshot is. Raises Exhausted."""
    pools: dict[int, StoragePool] = {}
    for one in part.volumes:
        pool = draft.pool(part.node, one.pool)
        if pool is not None and definition.volume(one.number) is not None:
            pools[one.number] = pool
    made = replicas.add(
        draft,
        msgspec.structs.replace(
            definition, volumes=tuple(one for one in definition.volumes if one.number in pools)
        ),
        draft.node(part.node),
        disk=DiskKind.DISKFUL,
        pools=pools,
        own=dict(part.resource_props),
        node_id=part.drbd_node_id,
    )
    changed = msgspec.structs.replace(made, volumes=restored(made.volumes, snapshot, part))
    draft.put(changed)
    return changed


def waiting_for(draft: Draft, snapshot_uuid: str) -> list[Resource]:
    """Resources with volumes that are still to be made from a snapshot."""
    found = [draft.resource(one.definition, one.node) for one in draft.cluster.resources.values()]
    return [one for one in found if one is not None and _waiting(one, snapshot_uuid)]


def give_up_waiting(draft: Draft, snapshot_uuid: str) -> None:
    """Disks that were to be made from a snapshot that goes are made anew, and filled by their peers.

    Raises Conflict when a volume would lose the only content that it can have.
    """
    for resource in waiting_for(draft, snapshot_uuid):
        mine = _waiting(resource, snapshot_uuid)
        others = [one for one in draft.resources_of(resource.definition) if one.key != resource.key]
        elsewhere = {number for one in others for number in replicas.complete_volumes(draft.world, one)}
        if not {volume.number for volume in mine} <= elsewhere:
            raise Conflict(
                Subject.RESOURCE_DEFINITION,
                resource.definition,
                f"'{resource.definition}' on '{resource.node}' is still being made from the snapshot",
                cause="No other copy of it is complete.",
                correction="Wait until it is there, or delete it first.",
            )
        replicas.bury_volumes(draft, resource, mine)
        volumes = tuple(
            msgspec.structs.replace(one, uuid=draft.world.draw.uuid(), restore=None, day0=False)
            if one in mine
            else one
            for one in resource.volumes
        )
        draft.put(msgspec.structs.replace(resource, volumes=volumes))


def _waiting(resource: Resource, snapshot_uuid: str) -> tuple[VolumeOnNode, ...]:
    return tuple(
        volume
        for volume in resource.volumes
        if volume.restore is not None and volume.restore.snapshot_uuid == snapshot_uuid
    )
