"""Replicas on storage that several nodes see: only one of them may be active at a time."""

from bollard.domain.ids import Key, key_of
from bollard.domain.resources import Resource, ResourcePhase
from bollard.planning.draft import Draft

__all__ = ["active_twin", "spaces_of"]


def spaces_of(draft: Draft, resource: Resource) -> set[Key]:
    """The shared spaces of a resource's disks, without those that do their own locking."""
    pools = [draft.pool(resource.node, volume.pool) for volume in resource.volumes]
    return {
        key_of(pool.shared_space)
        for pool in pools
        if pool is not None and pool.shared_space is not None and not pool.external_locking
    }


def active_twin(draft: Draft, resource: Resource) -> Resource | None:
    """The active replica on another node that stands on the same shared storage, if there is one."""
    spaces = spaces_of(draft, resource)
    for other in draft.resources_of(resource.definition) if spaces else ():
        active = other.key != resource.key and other.phase is not ResourcePhase.INACTIVE
        if active and spaces & spaces_of(draft, other):
            return other
    return None
