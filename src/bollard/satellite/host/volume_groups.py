"""LVM on one machine: one shared look at all its volumes and groups, and changes, one at a time in a group.

A group whose tools hang fails at once for a while, so that resources elsewhere keep their turns.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from bollard.domain import props
from bollard.domain.errors import Subject
from bollard.domain.ids import Key, key_of
from bollard.domain.seen import Problem
from bollard.domain.targets import TargetPool
from bollard.satellite.host.base import Cmd, Done, Host, HostError
from bollard.satellite.tools import lvm
from bollard.satellite.tools.lvm import LogicalVolume, Tags, VolumeGroup

__all__ = [
    "LOOK",
    "Listing",
    "Place",
    "change",
    "group_of",
    "look",
    "place_of",
    "thin_pool_of",
    "warnings_of",
]

LOOK: Final = "lvm"
_GROUPS: Final = "lvm groups"
_ANY: Final = "any resource"
HUNG_S: Final = 60.0
_LVM_S: Final = 45.0
_WARN_PERCENT: Final = (90, 80, 70)


class Place(msgspec.Struct, frozen=True):
    """What a storage pool stands on."""

    pool: str
    group: str
    thin: str = ""
    """The thin pool's logical volume; empty for a pool of whole volumes."""


class Rows:
    """All logical volumes of the machine, at one moment."""

    def __init__(self, rows: tuple[LogicalVolume, ...]) -> None:
        self.volumes = {(row.vg_name, row.lv_name): row for row in rows}
        self.ours: dict[Key, list[tuple[LogicalVolume, Tags]]] = {}
        """By resource."""
        for row in rows:
            tags = lvm.decode_tags(row.lv_tags) if row.lv_tags else None
            if tags is not None:
                self.ours.setdefault(key_of(tags.resource), []).append((row, tags))


class Listing(msgspec.Struct, frozen=True):
    """All of LVM on the machine."""

    rows: Rows
    groups: Mapping[str, VolumeGroup]

    @property
    def volumes(self) -> Mapping[tuple[str, str], LogicalVolume]:
        """By group and name."""
        return self.rows.volumes

    @property
    def ours(self) -> Mapping[Key, list[tuple[LogicalVolume, Tags]]]:
        """What carries marks, by resource."""
        return self.rows.ours


def place_of(pool: TargetPool, *, thin: bool) -> Place:
    """By the pool's properties. HostError `pool-missing` when they name nothing that can be one."""
    name = props.STOR_DRIVER_NAME.found(pool.props) or ""
    group, slash, inner = name.partition("/")
    group = group or props.LVM_VG.found(pool.props) or ""
    inner = inner or (props.THIN_POOL.found(pool.props) or "" if not slash else "")
    if not group or bool(inner) is not thin or "/" in inner:
        wanted = "a volume group and its thin pool, as VG/POOL" if thin else "a volume group"
        raise HostError(
            f"Storage pool '{pool.name}' does not say what it stands on",
            code="pool-missing",
            cause=f"'{name}' is not {wanted}.",
            correction=f"Set {props.STOR_DRIVER_NAME.key} to {wanted}.",
            subject=Subject.POOL,
            name=pool.name,
        )
    return Place(pool.name, group, inner)


async def look(host: Host, resource: str | None = None) -> Listing:
    """LVM as it is, seen after the last change to this resource; None: after any change.

    For a resource the groups may be as they were some seconds ago: their room is nothing to it.
    """
    part, of_groups = (key_of(resource), _ANY) if resource else (None, None)
    rows = await host.shared.look(LOOK, lambda: _volumes(host), part)
    groups = await host.shared.look(_GROUPS, lambda: _groups(host), of_groups)
    return Listing(rows, groups)


async def _volumes(host: Host) -> Rows:
    argv = lvm.list_volumes(udev=await has_udev(host))
    try:
        return Rows(lvm.parse_volumes((await host.runner.run(Cmd(argv, timeout_s=_LVM_S))).stdout))
    except msgspec.MsgspecError as error:
        raise _unreadable("lvs", error) from error


async def _groups(host: Host) -> Mapping[str, VolumeGroup]:
    argv = lvm.list_groups(udev=await has_udev(host))
    try:
        groups = lvm.parse_groups((await host.runner.run(Cmd(argv, timeout_s=_LVM_S))).stdout)
    except msgspec.MsgspecError as error:
        raise _unreadable("vgs", error) from error
    return {group.vg_name: group for group in groups}


def _unreadable(program: str, error: Exception) -> HostError:
    return HostError(
        f"The report of '{program}' cannot be read",
        code="tool-failed",
        cause=str(error),
        correction="Install lvm2 2.03 or newer.",
        subject=Subject.COMMAND,
        name=program,
    )


async def has_udev(host: Host) -> bool:
    """Whether device nodes are made by udev here, so that LVM has to wait for it."""
    return await host.files.look("/run/udev/data") is not None


def group_of(listing: Listing, place: Place) -> VolumeGroup:
    """The volume group of a pool. HostError when it is not there, or cannot be written."""
    group = listing.groups.get(place.group)
    if group is None:
        raise _unusable(place, "is not there", "pool-missing", "LVM finds no volume group of that name.")
    if group.exported:
        raise _unusable(place, "is exported", "pool-missing", "It was given away by vgexport.")
    if group.read_only:
        raise _unusable(place, "is read-only", "read-only", "Its permission is read-only.")
    return group


def thin_pool_of(listing: Listing, place: Place) -> LogicalVolume:
    """The thin pool of a pool. HostError when it is not there, is no thin pool, or has failed."""
    group_of(listing, place)
    found = listing.volumes.get((place.group, place.thin))
    if found is None or not found.lv_attr.startswith("t"):
        cause = "There is no such volume." if found is None else "The volume of that name is no thin pool."
        raise _unusable(place, f"has no thin pool '{place.thin}'", "pool-missing", cause)
    if found.lv_health_status in {"failed", "metadata_read_only"}:
        raise _unusable(
            place,
            f"has a damaged thin pool '{place.thin}'",
            "pool-damaged",
            f"LVM calls it {found.lv_health_status}: its metadata cannot be written.",
            "Deactivate the pool's volumes and run 'lvconvert --repair' on it.",
        )
    return found


def warnings_of(group: VolumeGroup, thin: LogicalVolume | None) -> tuple[Problem, ...]:
    """What should be seen to before it stops the pool: fill at 70, 80 and 90 %, disks that are missing."""
    found = []
    if int(group.vg_missing_pv_count or "0"):
        found.append(
            Problem(
                message=f"Volume group '{group.vg_name}' lacks {group.vg_missing_pv_count} of its disks",
                correction="Bring the disk back, or remove it with 'vgreduce --removemissing'.",
                code="disk-missing",
            )
        )
    for what, percent in (
        (("data", thin.data_percent), ("metadata", thin.metadata_percent)) if thin is not None else ()
    ):
        level = next((one for one in _WARN_PERCENT if percent and float(percent) >= one), None)
        if level is not None and thin is not None:
            grow = "lvextend" if what == "data" else "lvextend --poolmetadatasize"
            found.append(
                Problem(
                    message=f"Thin pool '{group.vg_name}/{thin.lv_name}' has used more than {level} % "
                    f"of its {what} space",
                    cause=f"{float(percent):.1f} % are used; when it is full, writes fail.",
                    correction=f"Free space, or extend it with '{grow}'.",
                    code=f"thin-{what}-{level}",
                )
            )
    return tuple(found)


async def change(host: Host, group: str, resource: str, argv: lvm.Argv, *, timeout_s: float = _LVM_S) -> Done:
    """One change in a volume group, after the others there. HostError in LVM's words, with a stable code."""
    with host.shared.announced(LOOK):
        return await _change(host, group, resource, Cmd(argv, timeout_s=timeout_s))


async def _change(host: Host, group: str, resource: str, cmd: Cmd) -> Done:
    async with host.shared.lock(f"vg {group}"):
        host.shared.refuse_hung(group)
        try:
            return await host.shared.changing(LOOK, key_of(resource), host.runner.run(cmd))
        except HostError as error:
            if error.code == "tool-timeout":
                host.shared.mark_hung(group, error, HUNG_S)
            raise _understood(error, group) from error
        finally:
            host.shared.changed(_GROUPS, key_of(resource))


def _understood(error: HostError, group: str) -> HostError:
    said = error.said.lower()
    if any(
        words in said for words in ("nsufficient free space", "nsufficient suitable", "reached threshold")
    ):
        return HostError(
            f"There is no space in volume group '{group}'",
            code="no-space",
            cause=error.said,
            correction="Free space there, add a disk with vgextend, or use another storage pool.",
            subject=Subject.POOL,
            name=group,
        )
    if any(words in said for words in (" in use", "contains a filesystem", "open count")):
        return HostError(
            "A volume is in use",
            code="busy",
            cause=error.said,
            correction="Unmount it or stop its user; it is tried again by itself.",
            name=group,
        )
    return error


def _unusable(place: Place, what: str, code: str, cause: str, correction: str = "") -> HostError:
    return HostError(
        f"Volume group '{place.group}' of storage pool '{place.pool}' {what}",
        code=code,
        cause=cause,
        correction=correction or "Create it or bring its disks back, or change the storage pool's property.",
        subject=Subject.POOL,
        name=place.pool,
    )
