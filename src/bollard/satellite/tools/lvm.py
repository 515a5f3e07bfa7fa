"""Command lines of LVM's tools and their JSON reports. Pure.

Sizes are asked for in bytes. A report has one row a volume: fields of segments are never asked for.
"""

import shlex
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from bollard.domain.units import KIB
from bollard.satellite.tools.tags import Tags, decode_tags, encode_tags

__all__ = [
    "LogicalVolume",
    "Tags",
    "VolumeGroup",
    "activate",
    "create_thick",
    "create_thin",
    "deactivate",
    "decode_tags",
    "encode_tags",
    "extend",
    "list_groups",
    "list_physical",
    "list_volumes",
    "parse_groups",
    "parse_physical",
    "parse_volumes",
    "remove",
    "retag",
    "snapshot_name",
    "snapshot_thick",
    "snapshot_thin",
    "volume_name",
]

Argv = tuple[str, ...]
_COMMON: Final = ("--reportformat", "json", "--units", "b", "--nosuffix")
_OTHERS: Final = (
    "r|^/dev/drbd|",
    "r|^/dev/nbd|",
    "r|^/dev/zd|",
    "r|^/dev/zvol/|",
    "r|^/dev/mapper/Linstor-|",
)
"""Devices on which users keep their own volume groups: those are not ours to scan."""
_CONFIG: Final = "devices{filter=[" + ",".join(f'"{rule}"' for rule in _OTHERS) + "]}"
_WITHOUT_UDEV: Final = " activation{udev_sync=0 udev_rules=0}"
_RESERVED_STARTS: Final = ("snapshot", "pvmove")
_RESERVED: Final = (
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_mimage", "_mlog", "_rimage", "_rmeta",
    "_tdata", "_tmeta", "_pmspare", "_vdata", "_vorigin", "_imeta", "_iorig",
)  # fmt: skip
"""LVM keeps names that begin with or contain these for itself."""
_VOLUME_FIELDS: Final = (
    "vg_name,lv_name,lv_attr,lv_size,pool_lv,origin,origin_size,data_percent,metadata_percent,"
    "lv_kernel_major,lv_kernel_minor,lv_health_status,lv_tags"
)
_GROUP_FIELDS: Final = "vg_name,vg_attr,vg_size,vg_free,vg_extent_size,vg_missing_pv_count,pv_count"


class LogicalVolume(msgspec.Struct, frozen=True):
    """A row of `lvs`, numbers as text as LVM writes them."""

    vg_name: str
    lv_name: str
    lv_attr: str = ""
    lv_size: str = "0"
    pool_lv: str = ""
    origin: str = ""
    origin_size: str = ""
    data_percent: str = ""
    metadata_percent: str = ""
    lv_kernel_major: str = "-1"
    lv_kernel_minor: str = "-1"
    lv_health_status: str = ""
    lv_tags: str = ""

    @property
    def path(self) -> str:
        """Of its device."""
        return f"/dev/{self.vg_name}/{self.lv_name}"

    @property
    def size_kib(self) -> int:
        """Its virtual size."""
        return int(self.lv_size) // KIB

    @property
    def device(self) -> str:
        """`MAJOR:MINOR`, empty while it is not active."""
        if int(self.lv_kernel_major) < 0:
            return ""
        return f"{self.lv_kernel_major}:{self.lv_kernel_minor}"

    @property
    def thin(self) -> bool:
        """Whether it is a volume of a thin pool."""
        return self.lv_attr.startswith("V")

    @property
    def allocated_kib(self) -> int:
        """What it takes of its pool or group."""
        if self.data_percent and (self.thin or self.lv_attr.startswith("s")):
            return int(self.size_kib * float(self.data_percent) / 100)
        return self.size_kib

    @property
    def invalid(self) -> bool:
        """Whether it is a snapshot whose space ran out: nothing can be read from it."""
        return self.lv_attr[4:5] in {"I", "S", "m", "M"}


class VolumeGroup(msgspec.Struct, frozen=True):
    """A row of `vgs`."""

    vg_name: str
    vg_attr: str = ""
    vg_size: str = "0"
    vg_free: str = "0"
    vg_extent_size: str = "0"
    vg_missing_pv_count: str = "0"
    pv_count: str = "0"

    @property
    def read_only(self) -> bool:
        """Whether nothing in it may be changed."""
        return self.vg_attr.startswith("r")

    @property
    def exported(self) -> bool:
        """Whether it was given away to another machine."""
        return self.vg_attr[2:3] == "x"


def volume_name(resource: str, number: int, *, suffix: str = "", again: int = 0) -> str:
    """`<RESOURCE><suffix>_<NNNNN>`, then `.1`, `.2` while older lives have the name."""
    assert 0 <= number <= 99999, number
    if resource.lower().startswith(_RESERVED_STARTS) or any(word in resource for word in _RESERVED):
        resource = "v-" + resource.replace("_", "-")
    return f"{resource}{suffix}_{number:05d}" + (f".{again}" if again else "")


def snapshot_name(volume: str, snapshot: str, *, again: int = 0) -> str:
    """`<VOLUME>_<SNAPSHOT>`, then `.1`, `.2` while older ones have the name."""
    kept = snapshot.replace("_", "-") if any(word in f"_{snapshot}" for word in _RESERVED) else snapshot
    return f"{volume}_{kept}" + (f".{again}" if again else "")


def list_volumes(*, udev: bool) -> Argv:
    """All logical volumes of the machine."""
    return _cmd("lvs", *_COMMON, "-o", _VOLUME_FIELDS, udev=udev)


def list_groups(*, udev: bool) -> Argv:
    """All volume groups of the machine."""
    return _cmd("vgs", *_COMMON, "-o", _GROUP_FIELDS, udev=udev)


def list_physical(group: str, selection: str, *, udev: bool) -> Argv:
    """The physical volumes of a group, in the order and choice of `selection` (arguments of `pvs`)."""
    mine = ("-S", f"vg_name={group}")
    return _cmd("pvs", *_COMMON, "-o", "pv_name", *shlex.split(selection), *mine, udev=udev)


def create_thick(
    group: str,
    name: str,
    size_kib: int,
    tags: Tags,
    *,
    options: Mapping[str, str],
    physical: tuple[str, ...] = (),
    udev: bool,
) -> Argv:
    """A logical volume of its own space; old signatures at its start are wiped."""
    kind = options.get("LvcreateType", "")
    typed = ("--type", kind) if kind else ()
    return _cmd(
        "lvcreate", "--yes", "--wipesignatures", "y", "--zero", "y", *typed,
        "--size", f"{size_kib}k", "--name", name, *_add(encode_tags(tags)),
        *_extra(options.get("LvcreateOptions", "")), group, *physical,
        udev=udev,
    )  # fmt: skip


def create_thin(
    group: str, pool: str, name: str, size_kib: int, tags: Tags, *, options: Mapping[str, str], udev: bool
) -> Argv:
    """A volume of a thin pool: it reads as zeroes."""
    return _cmd(
        "lvcreate", "--yes", "--virtualsize", f"{size_kib}k", "--thinpool", f"{group}/{pool}",
        "--name", name, *_add(encode_tags(tags)), *_extra(options.get("LvcreateOptions", "")),
        udev=udev,
    )  # fmt: skip


def snapshot_thin(path: str, name: str, tags: Tags, *, active: bool, options: str = "", udev: bool) -> Argv:
    """A thin snapshot of a volume or of another snapshot; `active` makes it usable at once and at boot."""
    skip = ("--setactivationskip", "n" if active else "y")
    return _cmd(
        "lvcreate", "--yes", "--snapshot", *skip, "--name", name, *_add(encode_tags(tags)),
        *_extra(options), path,
        udev=udev,
    )  # fmt: skip


def snapshot_thick(path: str, name: str, tags: Tags, *, options: str = "", udev: bool) -> Argv:
    """A copy-on-write snapshot; its room is that of its volume when the options name none."""
    extra = _extra(options)
    sized = any(word.startswith(("-L", "-l", "--size", "--extents")) for word in extra)
    room = () if sized else ("--extents", "100%ORIGIN")
    return _cmd(
        "lvcreate", "--yes", "--snapshot", *room, "--name", name, *_add(encode_tags(tags)), *extra, path,
        udev=udev,
    )  # fmt: skip


def extend(path: str, size_kib: int, *, udev: bool) -> Argv:
    """Make it so large at least. One that is as large already is an error to LVM: look first."""
    return _cmd("lvextend", "--yes", "--size", f"{size_kib}k", path, udev=udev)


def remove(path: str, *, udev: bool) -> Argv:
    """Destroy it. Of a thick volume this destroys its snapshots too: look first."""
    return _cmd("lvremove", "--yes", "--force", path, udev=udev)


def activate(path: str, *, udev: bool) -> Argv:
    """Make its device, whatever its flag to be skipped says."""
    return _cmd("lvchange", "--yes", "--activate", "y", "--ignoreactivationskip", path, udev=udev)


def deactivate(path: str, *, udev: bool) -> Argv:
    """Take its device away; LVM refuses while it is open."""
    return _cmd("lvchange", "--yes", "--activate", "n", path, udev=udev)


def retag(path: str, before: Tags, after: Tags, *, udev: bool) -> Argv:
    """Replace its tags in one change of the group."""
    old, new = encode_tags(before), encode_tags(after)
    gone = tuple(word for tag in old if tag not in new for word in ("--deltag", tag))
    return _cmd("lvchange", *gone, *_add(tag for tag in new if tag not in old), path, udev=udev)


def parse_volumes(output: bytes) -> tuple[LogicalVolume, ...]:
    """The rows of `list_volumes`. Raises msgspec.MsgspecError when it is something else."""
    return tuple(row for part in msgspec.json.decode(output, type=_Lvs).report for row in part.lv)


def parse_groups(output: bytes) -> tuple[VolumeGroup, ...]:
    """The rows of `list_groups`. Raises msgspec.MsgspecError."""
    return tuple(row for part in msgspec.json.decode(output, type=_Vgs).report for row in part.vg)


def parse_physical(output: bytes) -> tuple[str, ...]:
    """The names that `list_physical` found. Raises msgspec.MsgspecError."""
    return tuple(row.pv_name for part in msgspec.json.decode(output, type=_Pvs).report for row in part.pv)


class _LvReport(msgspec.Struct):
    lv: list[LogicalVolume] = []


class _Lvs(msgspec.Struct):
    report: list[_LvReport]


class _VgReport(msgspec.Struct):
    vg: list[VolumeGroup] = []


class _Vgs(msgspec.Struct):
    report: list[_VgReport]


class _Pv(msgspec.Struct):
    pv_name: str


class _PvReport(msgspec.Struct):
    pv: list[_Pv] = []


class _Pvs(msgspec.Struct):
    report: list[_PvReport]


def _add(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for tag in tags for word in ("--addtag", tag))


def _extra(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:
        return tuple(text.split())


def _cmd(program: str, *arguments: str, udev: bool) -> Argv:
    """With our filter, unless the user's own arguments bring a configuration."""
    config = () if "--config" in arguments else ("--config", _CONFIG + ("" if udev else _WITHOUT_UDEV))
    return (program, *config, *arguments)
