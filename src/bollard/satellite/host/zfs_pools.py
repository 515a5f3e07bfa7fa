"""ZFS on one machine: one shared look at all its volumes and pools, and changes with errors in plain words.

A pool whose tools hang fails at once for a while, so that resources elsewhere keep their turns.
"""

from collections.abc import Mapping
from typing import Final

from bollard.domain import props
from bollard.domain.errors import Subject
from bollard.domain.ids import Key, key_of
from bollard.domain.seen import Problem, SeenPool
from bollard.domain.targets import TargetPool
from bollard.domain.units import KIB
from bollard.satellite.host.base import Cmd, Done, Host, HostError
from bollard.satellite.tools import zfs
from bollard.satellite.tools.tags import Tags
from bollard.satellite.tools.zfs import Dataset, Zpool

__all__ = ["LOOK", "POOLS", "Listing", "change", "dataset_of", "look", "name_of", "observe_pool"]

LOOK: Final = "zfs"
POOLS: Final = "zpools"
_ZFS_S: Final = 45.0
_HUNG_S: Final = 60.0
_WARN_PERCENT: Final = (90, 80, 70)


class Listing:
    """All datasets of the machine, at one moment."""

    def __init__(self, rows: tuple[Dataset, ...]) -> None:
        self.by_name = {row.name: row for row in rows}
        self.ours: dict[Key, list[tuple[Dataset, Tags]]] = {}
        """What carries marks, by resource."""
        self.snapshots: dict[str, list[Dataset]] = {}
        """By volume, whoever took them, the oldest first."""
        for row in rows:
            if row.type == "snapshot":
                self.snapshots.setdefault(row.volume, []).append(row)
            tags = row.tags if row.mark != "-" else None
            if tags is not None:
                self.ours.setdefault(key_of(tags.resource), []).append((row, tags))
        for kept in self.snapshots.values():
            kept.sort(key=lambda row: zfs.number(row.createtxg))
        self.numbers: dict[str, str] = {}
        """`MAJOR:MINOR` by path, of those volumes of ours that layers stand on."""


def name_of(pool: TargetPool) -> str:
    """The dataset that a pool's properties name. HostError `pool-missing` when they name none."""
    name = next(
        (
            found
            for setting in (props.STOR_DRIVER_NAME, props.ZPOOL, props.ZPOOL_THIN)
            if (found := setting.found(pool.props))
        ),
        "",
    ).strip("/")
    if not name or "@" in name:
        raise HostError(
            f"Storage pool '{pool.name}' does not say what it stands on",
            code="pool-missing",
            cause=f"'{name}' is no zpool and no dataset of one.",
            correction=f"Set {props.STOR_DRIVER_NAME.key} to a zpool or to a dataset, as ZPOOL/DATASET.",
            subject=Subject.POOL,
            name=pool.name,
        )
    return name


async def look(host: Host, resource: str | None = None) -> Listing:
    """ZFS as it is, seen after the last change to this resource; None: after any change."""
    part = key_of(resource) if resource else None
    return await host.shared.look(LOOK, lambda: _datasets(host), part)


async def _datasets(host: Host) -> Listing:
    done = await host.runner.run(Cmd(zfs.list_datasets(), timeout_s=_ZFS_S))
    try:
        listing = Listing(zfs.parse_datasets(done.stdout))
    except ValueError as error:
        raise _unreadable("zfs", error) from error
    layered = [
        row.path
        for rows in listing.ours.values()
        for row, tags in rows
        if tags.layers and row.type == "volume" and row.active
    ]
    if layered:
        numbers = await host.runner.run(Cmd(zfs.device_numbers(tuple(layered)), expect=(0, 1)))
        listing.numbers = zfs.parse_numbers(numbers.stdout)
    return listing


async def _pools(host: Host) -> Mapping[str, Zpool]:
    done = await host.runner.run(Cmd(zfs.list_pools(), timeout_s=_ZFS_S))
    try:
        return {pool.name: pool for pool in zfs.parse_pools(done.stdout)}
    except ValueError as error:
        raise _unreadable("zpool", error) from error


def _unreadable(program: str, error: Exception) -> HostError:
    return HostError(
        f"The table of '{program}' cannot be read",
        code="tool-failed",
        cause=str(error),
        correction="Install OpenZFS 2.0 or newer.",
        subject=Subject.COMMAND,
        name=program,
    )


def dataset_of(listing: Listing, pool: TargetPool) -> Dataset:
    """The file system that a pool stands on. HostError `pool-missing` when it is not there."""
    name = name_of(pool)
    found = listing.by_name.get(name)
    if found is None or found.type != "filesystem":
        what = "There is no such dataset." if found is None else f"It is a {found.type}."
        raise _unusable(pool, "is not there", "pool-missing", what)
    return found


async def observe_pool(pool: TargetPool, host: Host) -> SeenPool:
    """Room and health. The total is the zpool's size, or the dataset's quota where it has one."""
    dataset = dataset_of(await look(host), pool)
    pools = await host.shared.look(POOLS, lambda: _pools(host))
    zpool = pools.get(dataset.name.partition("/")[0])
    if zpool is None:
        raise _unusable(pool, "is not there", "pool-missing", "There is no such zpool.")
    if not zpool.usable:
        raise _unusable(pool, "has failed", "pool-damaged", f"ZFS calls the zpool {zpool.health}.")
    if zpool.readonly == "on":
        raise _unusable(pool, "is read-only", "read-only", "The zpool was imported read-only.")
    free_kib = zfs.number(dataset.available) // KIB
    total_kib = zfs.number(dataset.quota) // KIB or zfs.number(zpool.size) // KIB
    return SeenPool(
        name=pool.name,
        uuid=pool.uuid,
        free_kib=min(free_kib, total_kib),
        total_kib=total_kib,
        supports_snapshots=True,
        warnings=tuple(_warnings(zpool)),
    )


def _warnings(zpool: Zpool) -> list[Problem]:
    """What should be seen to before it stops the pool: fill at 70, 80 and 90 %, disks that are missing."""
    found = []
    if zpool.health != "ONLINE":
        found.append(
            Problem(
                message=f"Zpool '{zpool.name}' is {zpool.health}: a disk of it is missing or fails",
                correction=f"'zpool status {zpool.name}' names it; replace it with 'zpool replace'.",
                code="disk-missing",
            )
        )
    used = zfs.number(zpool.capacity)
    level = next((one for one in _WARN_PERCENT if used >= one), None)
    if level is not None:
        found.append(
            Problem(
                message=f"Zpool '{zpool.name}' has used more than {level} % of its space",
                cause=f"{used} % are used; when it is full, writes fail, and it is slow before.",
                correction="Free space, or add disks with 'zpool add'.",
                code=f"zpool-{level}",
            )
        )
    return found


async def change(host: Host, dataset: str, resource: str, argv: zfs.Argv) -> Done:
    """One change below a dataset. HostError in ZFS's words, with a stable code."""
    zpool = dataset.partition("/")[0].partition("@")[0]
    host.shared.refuse_hung(f"zpool {zpool}")
    try:
        return await host.shared.changing(
            LOOK, key_of(resource), host.runner.run(Cmd(argv, timeout_s=_ZFS_S))
        )
    except HostError as error:
        if error.code == "tool-timeout":
            host.shared.mark_hung(f"zpool {zpool}", error, _HUNG_S)
        raise _understood(error, zpool) from error


def _understood(error: HostError, zpool: str) -> HostError:
    said = error.said.lower()
    if any(words in said for words in ("out of space", "greater than available", "no space left")):
        return HostError(
            f"There is no space in zpool '{zpool}'",
            code="no-space",
            cause=error.said,
            correction="Free space there, add disks with 'zpool add', or use another storage pool.",
            subject=Subject.POOL,
            name=zpool,
        )
    if "is busy" in said:
        return HostError(
            "A volume is in use",
            code="busy",
            cause=error.said,
            correction="Unmount it or stop its user; it is tried again by itself.",
            name=zpool,
        )
    return error


def _unusable(pool: TargetPool, what: str, code: str, cause: str) -> HostError:
    return HostError(
        f"'{name_of(pool)}' of storage pool '{pool.name}' {what}",
        code=code,
        cause=cause,
        correction="Import or create it, bring its disks back, or change the storage pool's property.",
        subject=Subject.POOL,
        name=pool.name,
    )
