"""ZFS_THIN: a volume is a sparse zvol; a dataset of a zpool is the pool."""

from bollard.domain.layers import ProviderKind
from bollard.domain.seen import SeenPool
from bollard.domain.steps import (
    CreateBacking,
    DropSnapshot,
    GrowBacking,
    RemoveBacking,
    RestoreBacking,
    TakeSnapshot,
)
from bollard.domain.targets import TargetPool
from bollard.satellite.host import zfs_pools, zvols
from bollard.satellite.host.base import BackingSeen, Host, Marks, SnapshotSeen

__all__ = ["ZfsThin"]


class ZfsThin:
    """See `drivers.Provider` for the verbs."""

    kind = ProviderKind.ZFS_THIN

    async def observe_pool(self, pool: TargetPool, host: Host) -> SeenPool:
        return await zfs_pools.observe_pool(pool, host)

    async def observe(
        self, pool: TargetPool, host: Host, resource: str | None = None
    ) -> tuple[BackingSeen, ...]:
        return await zvols.observe(pool, host, resource, thin=True)

    async def create(self, step: CreateBacking, pool: TargetPool, host: Host) -> bool:
        return await zvols.create(step, pool, host, thin=True)

    async def grow(self, step: GrowBacking, pool: TargetPool, host: Host) -> bool:
        return await zvols.grow(step, pool, host, thin=True)

    async def remove(self, step: RemoveBacking, pool: TargetPool, host: Host) -> bool:
        return await zvols.remove(step, pool, host, thin=True)

    async def activate(self, backing: BackingSeen, host: Host, *, block: bool = False) -> str:  # noqa: ARG002
        """It is a block device anyway."""
        return await zvols.activate(backing, host)

    async def deactivate(self, backing: BackingSeen, host: Host) -> bool:
        return await zvols.deactivate(backing, host)

    async def mark(self, backing: BackingSeen, pool: TargetPool, marks: Marks, host: Host) -> None:
        await zvols.mark(backing, pool, marks, host, thin=True)

    async def observe_snapshots(
        self, pool: TargetPool, host: Host, resource: str | None = None
    ) -> tuple[SnapshotSeen, ...]:
        return await zvols.observe_snapshots(pool, host, resource, thin=True)

    async def snapshot(self, step: TakeSnapshot, pool: TargetPool, host: Host) -> bool:
        return await zvols.snapshot(step, pool, host, thin=True)

    async def remove_snapshot(self, step: DropSnapshot, pool: TargetPool, host: Host) -> bool:
        return await zvols.remove_snapshot(step, pool, host, thin=True)

    async def restore(self, step: RestoreBacking, pool: TargetPool, host: Host) -> bool:
        return await zvols.restore(step, pool, host, thin=True)
