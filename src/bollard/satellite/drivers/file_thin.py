"""FILE_THIN: a volume is a sparse file that takes room as it is written. The folder is the pool."""

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
from bollard.satellite.host import loops, snapshot_files, volume_files
from bollard.satellite.host.base import BackingSeen, Host, Marks, SnapshotSeen

__all__ = ["FileThin"]


class FileThin:
    """See `drivers.Provider` for the verbs."""

    kind = ProviderKind.FILE_THIN

    async def observe_pool(self, pool: TargetPool, host: Host) -> SeenPool:
        return await volume_files.observe_pool(host.files, pool)

    async def observe(
        self, pool: TargetPool, host: Host, resource: str | None = None
    ) -> tuple[BackingSeen, ...]:
        return await loops.on_files(await volume_files.observe(host.files, pool, resource), host)

    async def create(self, step: CreateBacking, pool: TargetPool, host: Host) -> bool:
        return await volume_files.create(host.files, pool, step, thick=False)

    async def grow(self, step: GrowBacking, pool: TargetPool, host: Host) -> bool:
        changed = await volume_files.grow(host.files, pool, step, thick=False)
        return await loops.follow(host, pool, step) or changed

    async def remove(self, step: RemoveBacking, pool: TargetPool, host: Host) -> bool:
        await loops.release(host, pool, step)
        return await volume_files.remove(host.files, pool, step)

    async def activate(self, backing: BackingSeen, host: Host, *, block: bool = False) -> str:
        """A file is opened as it is; a block device is made of it where one is needed."""
        return await loops.attach(host, backing.path) if block else backing.path

    async def deactivate(self, backing: BackingSeen, host: Host) -> bool:
        """Nothing holds a file but its user, and the block device that was made of it."""
        return await loops.detach(host, backing.path) if backing.device else False

    async def mark(self, backing: BackingSeen, _pool: TargetPool, marks: Marks, host: Host) -> None:
        await volume_files.mark(host.files, backing, marks)

    async def observe_snapshots(
        self, pool: TargetPool, host: Host, resource: str | None = None
    ) -> tuple[SnapshotSeen, ...]:
        return await snapshot_files.observe_snapshots(host.files, pool, resource)

    async def snapshot(self, step: TakeSnapshot, pool: TargetPool, host: Host) -> bool:
        return await snapshot_files.snapshot(host.files, pool, step)

    async def remove_snapshot(self, step: DropSnapshot, pool: TargetPool, host: Host) -> bool:
        return await snapshot_files.remove_snapshot(host.files, pool, step)

    async def restore(self, step: RestoreBacking, pool: TargetPool, host: Host) -> bool:
        return await snapshot_files.restore(host.files, pool, step, thick=False)
