"""Storage pools and their definitions on the public API."""

from typing import Any

import msgspec

from bollard.domain.layers import THIN_PROVIDERS, ProviderKind
from bollard.domain.nodes import StoragePool, StoragePoolDefinition
from bollard.domain.observed import NodeSeen
from bollard.domain.seen import SeenPool
from bollard.domain.units import UNLIMITED_KIB
from bollard.wire.rest import codes
from bollard.wire.rest.answers import ApiCallRc, iso
from bollard.wire.rest.bodies import Body, GivenProps, PropsModify
from bollard.wire.rest.codes import Mask


class PoolDefinitionBody(Body, frozen=True, kw_only=True):
    """Of a request to create a storage pool definition."""

    storage_pool_name: str | None = None
    props: GivenProps | None = None


class PoolDefinitionModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change a storage pool or its definition."""


class PoolBody(Body, frozen=True, kw_only=True):
    """Of a request to create a storage pool; members that only answers have are ignored."""

    storage_pool_name: str | None = None
    node_name: str | None = None
    provider_kind: str | None = None
    props: GivenProps | None = None
    static_traits: dict[str, str] | None = None
    free_capacity: int | None = None
    total_capacity: int | None = None
    free_space_mgr_name: str | None = None
    uuid: str | None = None
    reports: list[Any] | None = None
    supports_snapshots: bool | None = None
    shared_space: str | None = None
    external_locking: bool | None = None


class PoolDefinitionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A storage pool definition as clients see it."""

    storage_pool_name: str
    props: dict[str, str] = {}


class PoolView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A storage pool as clients see it."""

    storage_pool_name: str
    node_name: str
    provider_kind: str
    supports_snapshots: bool
    external_locking: bool
    props: dict[str, str] = {}
    static_traits: dict[str, str] = {}
    free_capacity: int | None = None
    total_capacity: int | None = None
    free_space_mgr_name: str = ""
    uuid: str = ""
    reports: tuple[ApiCallRc, ...] = ()
    shared_space: str = ""
    heard_at: int | None = None
    """Ours: when the node last reported, ms since the epoch."""


_SNAPSHOTS = frozenset(
    {
        ProviderKind.LVM_THIN,
        ProviderKind.ZFS,
        ProviderKind.ZFS_THIN,
        ProviderKind.FILE,
        ProviderKind.FILE_THIN,
        ProviderKind.EBS_TARGET,
    }
)


def pool_definition_view(definition: StoragePoolDefinition) -> PoolDefinitionView:
    """A storage pool definition; its uuid is not shown by the original either."""
    return PoolDefinitionView(definition.name, definition.props)


def pool_view(pool: StoragePool, node: NodeSeen, seen: SeenPool | None) -> PoolView:
    """A storage pool with what its node last said of it."""
    diskless = pool.provider is ProviderKind.DISKLESS
    free: int | None = UNLIMITED_KIB if diskless else None
    total = free
    if seen is not None and not diskless and seen.problem is None:
        free, total = seen.free_kib, seen.total_kib
    snapshots = pool.provider in _SNAPSHOTS
    props = dict(pool.props)
    if not diskless:
        props.setdefault("StorDriver/internal/AllocationGranularity", "1")
    return PoolView(
        storage_pool_name=pool.name,
        node_name=pool.node,
        provider_kind=pool.provider,
        supports_snapshots=snapshots,
        external_locking=pool.external_locking,
        props=props,
        static_traits=_traits(pool.provider, snapshots=snapshots),
        free_capacity=free,
        total_capacity=total,
        free_space_mgr_name=pool.shared_space or f"{pool.node};{pool.name}",
        uuid=pool.uuid,
        reports=_reports(pool, node, seen),
        shared_space=pool.shared_space or "",
        heard_at=node.heard_ms or None,
    )


def _traits(provider: ProviderKind, *, snapshots: bool) -> dict[str, str]:
    traits = {"SupportsSnapshots": "true" if snapshots else "false"}
    if provider is not ProviderKind.DISKLESS:
        traits["Provisioning"] = "Thin" if provider in THIN_PROVIDERS else "Fat"
    return traits


def _reports(pool: StoragePool, node: NodeSeen, seen: SeenPool | None) -> tuple[ApiCallRc, ...]:
    if not node.online:
        return (
            ApiCallRc(
                ret_code=codes.ret_code(Mask.WARN, "NOT_CONNECTED"),
                message=f"Node '{pool.node}' is not connected; what is shown is what it said last",
                created_at=iso(node.since_ms),
            ),
        )
    if seen is not None and seen.problem is not None:
        return (
            ApiCallRc(
                ret_code=codes.ret_code(Mask.ERROR, "STOR_POOL_CONFIGURATION_ERROR"),
                message=seen.problem.message,
                cause=seen.problem.cause,
                correction=seen.problem.correction,
                created_at=iso(node.heard_ms),
            ),
        )
    return tuple(
        ApiCallRc(
            ret_code=codes.ret_code(Mask.WARN, "STORAGE_ERROR"),
            message=one.message,
            cause=one.cause,
            correction=one.correction,
            created_at=iso(node.heard_ms),
        )
        for one in (seen.warnings if seen is not None else ())
    )
