"""Which implementation of the DRBD layer runs a resource on a node: chosen when it is made, or pinned.

By default the kernel's DRBD 9 where every node with a disk has it and its pools are block devices, else the
data process; both speak one protocol and may stand in one resource. DRBD 8.4 only where it is asked for.
"""

from collections.abc import Iterable

from bollard.domain import props
from bollard.domain.errors import Conflict, Subject
from bollard.domain.layers import LayerKind, ProviderKind, ReplicationKind
from bollard.domain.nodes import StoragePool
from bollard.domain.resources import DiskKind, Resource, ResourceDefinition
from bollard.planning import sizes
from bollard.planning.draft import Draft

__all__ = ["check", "choose", "is_drbd84", "on_devices", "pinned", "runs_on"]

_K = ReplicationKind
NODES_84 = 2


def pinned(draft: Draft, definition: ResourceDefinition) -> ReplicationKind | None:
    """What a person has chosen for the definition; None where the cluster chooses."""
    maps = (definition.props, draft.group_of(definition).props, draft.controller_props())
    found = props.DRBD_IMPLEMENTATION.text(*maps)
    return None if found in {"", "auto"} else ReplicationKind(found)


def is_drbd84(resources: Iterable[Resource]) -> bool:
    """Whether one of these is run by DRBD 8.4, and all others therefore have to be."""
    return any(resource.implementation is _K.DRBD84 for resource in resources)


def choose(
    draft: Draft,
    definition: ResourceDefinition,
    node: str,
    disk: DiskKind,
    pools: Iterable[StoragePool],
) -> ReplicationKind:
    """For a resource that is about to be made. Raises Conflict for what cannot work, with the reason."""
    others = draft.resources_of(definition.name)
    wish = pinned(draft, definition)
    providers = {pool.provider for pool in pools} if disk is DiskKind.DISKFUL else set()
    if is_drbd84(others) or (wish is _K.DRBD84 and not others):
        _check_84(draft, definition, node, disk, others)
        _check_usable(draft, definition, node, _K.DRBD84, providers)
        return _K.DRBD84
    if wish is _K.DRBD84:
        raise _refused(
            definition,
            f"'{definition.name}' cannot be run by DRBD 8.4 on '{node}'",
            "Its other replicas have DRBD 9's metadata, which 8.4 does not read.",
        )
    if wish is _K.DRBD9 and disk is DiskKind.DISKFUL:
        _check_usable(draft, definition, node, _K.DRBD9, providers)
        return _K.DRBD9
    if wish is _K.USER or not runs_on(draft, node, _K.DRBD9):
        return _K.USER
    disks = [other for other in others if other.diskful]
    of_kernel = all(other.implementation is _K.DRBD9 for other in disks)
    return _K.DRBD9 if of_kernel and _are_devices(providers) else _K.USER


def check(draft: Draft, definition: ResourceDefinition) -> None:
    """Raises Conflict, with the reason, when the pinned implementation cannot run what is there."""
    wish = pinned(draft, definition)
    resources = [one for one in draft.resources_of(definition.name) if LayerKind.DRBD in one.layer_stack]
    for resource in resources if wish is not None else ():
        if (resource.implementation is _K.DRBD84) is not (wish is _K.DRBD84):
            raise _refused(
                definition,
                f"'{definition.name}' cannot be moved to or from DRBD 8.4",
                "Its disks have metadata of another version, and conversion is not supported.",
                "Make a new resource and copy the data.",
            )
        if wish is not None and resource.diskful:
            _check_usable(draft, definition, resource.node, wish, _providers(draft, resource))
    if wish is _K.DRBD84 or is_drbd84(resources):
        _check_quorum(draft, definition)


def _check_84(
    draft: Draft, definition: ResourceDefinition, node: str, disk: DiskKind, others: list[Resource]
) -> None:
    if disk is not DiskKind.DISKFUL:
        raise _refused(
            definition,
            f"'{definition.name}' cannot have a resource without a disk on '{node}'",
            "DRBD 8.4 runs it, which knows neither diskless nodes nor tie-breakers.",
        )
    if len(others) >= NODES_84:
        raise _refused(
            definition,
            f"'{definition.name}' cannot have a replica on '{node}' too",
            "DRBD 8.4 runs it, which replicates between exactly two nodes.",
        )
    _check_quorum(draft, definition)


def _check_quorum(draft: Draft, definition: ResourceDefinition) -> None:
    maps = (definition.props, draft.group_of(definition).props, draft.controller_props())
    if props.QUORUM.text(*maps) not in {"", "off"}:
        raise _refused(
            definition,
            f"'{definition.name}' cannot have quorum",
            "DRBD 8.4 runs it, which has none.",
            f"Delete {props.QUORUM.key}, or let DRBD 9 or the data process run it.",
        )


def _check_usable(
    draft: Draft,
    definition: ResourceDefinition,
    node: str,
    kind: ReplicationKind,
    providers: set[ProviderKind],
) -> None:
    if kind is _K.USER:
        return
    able = draft.world.observed.node(node).capabilities
    if able is not None and kind not in able.replication:
        raise _refused(
            definition,
            f"The kernel of '{node}' cannot run '{definition.name}'",
            f"{kind.value} is wanted; the node has "
            + (f"DRBD {able.drbd_version}. " if able.drbd_version else "no module. ")
            + able.drbd_reason,
        )
    if not _are_devices(providers):
        raise _refused(
            definition,
            f"The kernel of '{node}' cannot run '{definition.name}'",
            "A pool there keeps its volumes in plain files: "
            + ", ".join(sorted(one for one in providers if not sizes.block_device(one)))
            + ".",
            "Use a pool of LVM or ZFS.",
        )


def on_devices(draft: Draft, resource: Resource) -> bool:
    """Whether what it has on its node are block devices, as a kernel needs them."""
    return not resource.diskful or _are_devices(_providers(draft, resource))


def runs_on(draft: Draft, node: str, kind: ReplicationKind) -> bool:
    """Whether the node has said that it has this implementation."""
    able = draft.world.observed.node(node).capabilities
    return able is not None and kind in able.replication


def _providers(draft: Draft, resource: Resource) -> set[ProviderKind]:
    pools = [draft.pool(resource.node, volume.pool) for volume in resource.volumes]
    return {pool.provider for pool in pools if pool is not None}


def _are_devices(providers: set[ProviderKind]) -> bool:
    return all(sizes.block_device(provider) for provider in providers)


def _refused(definition: ResourceDefinition, message: str, cause: str, correction: str = "") -> Conflict:
    correction = correction or f"Choose another node, or another value of {props.DRBD_IMPLEMENTATION.key}."
    return Conflict(Subject.LAYER_STACK, definition.name, message, cause=cause.strip(), correction=correction)
