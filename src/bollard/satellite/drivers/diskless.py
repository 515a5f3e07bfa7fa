"""DISKLESS: the pool of resources without a disk. It holds nothing and never runs out."""

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
from bollard.domain.units import UNLIMITED_KIB
from bollard.satellite.host.base import BackingSeen, Host, HostError, Marks, SnapshotSeen

__all__ = ["Diskless"]


class Diskless:
    """See `drivers.Provider` for the verbs."""

    kind = ProviderKind.DISKLESS

    async def observe_pool(self, pool: TargetPool, _host: Host) -> SeenPool:
        return SeenPool(pool.name, pool.uuid, free_kib=UNLIMITED_KIB, total_kib=UNLIMITED_KIB)

    async def observe(
        self, _pool: TargetPool, _host: Host, _resource: str | None = None
    ) -> tuple[BackingSeen, ...]:
        """Never anything."""
        return ()

    async def create(self, step: CreateBacking, pool: TargetPool, _host: Host) -> bool:
        raise _no_disk(step.resource, step.number, pool)

    async def grow(self, step: GrowBacking, pool: TargetPool, _host: Host) -> bool:
        raise _no_disk(step.resource, step.number, pool)

    async def remove(self, _step: RemoveBacking, _pool: TargetPool, _host: Host) -> bool:
        """There is nothing to remove."""
        return False

    async def activate(self, backing: BackingSeen, _host: Host, *, block: bool = False) -> str:  # noqa: ARG002
        raise _no_disk(backing.resource, backing.local.number, None)

    async def deactivate(self, _backing: BackingSeen, _host: Host) -> bool:
        return False

    async def mark(self, backing: BackingSeen, pool: TargetPool, _marks: Marks, _host: Host) -> None:
        raise _no_disk(backing.resource, backing.local.number, pool)

    async def observe_snapshots(
        self, _pool: TargetPool, _host: Host, _resource: str | None = None
    ) -> tuple[SnapshotSeen, ...]:
        """Never any."""
        return ()

    async def snapshot(self, step: TakeSnapshot, pool: TargetPool, _host: Host) -> bool:
        raise _no_disk(step.resource, step.number, pool)

    async def remove_snapshot(self, _step: DropSnapshot, _pool: TargetPool, _host: Host) -> bool:
        """There is nothing to remove."""
        return False

    async def restore(self, step: RestoreBacking, pool: TargetPool, _host: Host) -> bool:
        raise _no_disk(step.resource, step.number, pool)


def _no_disk(resource: str, number: int, pool: TargetPool | None) -> HostError:
    return HostError(
        f"Volume {number} of '{resource}' cannot have a disk here",
        code="no-disk-in-pool",
        cause=f"Storage pool '{pool.name if pool else 'of the volume'}' is of kind DISKLESS.",
        correction="Choose a pool with storage.",
        name=resource,
    )
