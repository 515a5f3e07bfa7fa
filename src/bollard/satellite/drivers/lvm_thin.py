"""LVM_THIN: a volume is a thin logical volume; the thin pool of a volume group is the pool."""

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
from bollard.satellite.host import logical_volumes, lvm_snapshots
from bollard.satellite.host.base import BackingSeen, Host, Marks, SnapshotSeen

__all__ = ["LvmThin"]


class LvmThin:
    """See `drivers.Provider` for the verbs."""

    kind = ProviderKind.LVM_THIN

    async def observe_pool(self, pool: TargetPool, host: Host) -> SeenPool:
        return await logical_volumes.observe_pool(pool, host, thin=True)

    async def observe(
        self, pool: TargetPool, host: Host, resource: str | None = None
    ) -> tuple[BackingSeen, ...]:
        return await logical_volumes.observe(pool, host, resource, thin=True)

    async def create(self, step: CreateBacking, pool: TargetPool, host: Host) -> bool:
        return await logical_volumes.create(step, pool, host, thin=True)

    async def grow(self, step: GrowBacking, pool: TargetPool, host: Host) -> bool:
        return await logical_volumes.grow(step, pool, host, thin=True)

    async def remove(self, step: RemoveBacking, pool: TargetPool, host: Host) -> bool:
        return await logical_volumes.remove(step, pool, host, thin=True)

    async def activate(self, backing: BackingSeen, host: Host, *, block: bool = False) -> str:  # noqa: ARG002
        """It is a block device anyway."""
        return await logical_volumes.activate(backing, host)

    async def deactivate(self, backing: BackingSeen, host: Host) -> bool:
        return await logical_volumes.deactivate(backing, host)

    async def mark(self, backing: BackingSeen, pool: TargetPool, marks: Marks, host: Host) -> None:
        await logical_volumes.mark(backing, pool, marks, host, thin=True)

    async def observe_snapshots(
        self, pool: TargetPool, host: Host, resource: str | None = None
    ) -> tuple[SnapshotSeen, ...]:
        return await lvm_snapshots.observe_snapshots(pool, host, resource, thin=True)

    async def snapshot(self, step: TakeSnapshot, pool: TargetPool, host: Host) -> bool:
        return await lvm_snapshots.snapshot(step, pool, host, thin=True)

    async def remove_snapshot(self, step: DropSnapshot, pool: TargetPool, host: Host) -> bool:
        return await lvm_snapshots.remove_snapshot(step, pool, host, thin=True)

    async def restore(self, step: RestoreBacking, pool: TargetPool, host: Host) -> bool:
        return await lvm_snapshots.restore(step, pool, host, thin=True)
