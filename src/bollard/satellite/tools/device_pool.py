"""Bare devices: which hold nothing, by lsblk's report, and the commands that make a pool of some. Pure."""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from bollard.wire.devices import DevicePoolSpec, FreeDevice

__all__ = [
    "LSBLK",
    "RAID_LEVELS",
    "SIZE_MIN_BYTES",
    "VDO_LVM",
    "Block",
    "Plan",
    "free",
    "lvm_version",
    "parse",
    "plan",
    "why_not",
]

SIZE_MIN_BYTES: Final = 1 << 30
"""Smaller devices are not offered: they are parts of something, or toys."""
LSBLK: Final = (
    "lsblk", "--json", "--bytes", "--paths", "--output",
    "NAME,TYPE,SIZE,ROTA,RO,FSTYPE,PTTYPE,MOUNTPOINTS,MODEL,SERIAL,WWN,MAJ:MIN",
)  # fmt: skip
RAID_LEVELS: Final = {"RAID0": "0", "RAID1": "1", "RAID4": "4", "RAID5": "5", "RAID6": "6", "RAID10": "10"}
_RAID_DEVICES: Final = {"RAID0": 2, "RAID1": 2, "RAID4": 3, "RAID5": 3, "RAID6": 4, "RAID10": 4}
_ZFS_LEVELS: Final = {
    "JBOD": "", "RAID0": "", "RAID1": "mirror", "RAID5": "raidz", "RAID6": "raidz2", "RAID10": "mirror",
}  # fmt: skip
_OURS: Final = frozenset({"147", "43", "1", "11", "2"})
"""Majors of DRBD, NBD, RAM disks, CD drives and floppies."""
_VDO_EXTENTS: Final = ("--extents", "98%FREE")
"""The thin pool's own metadata needs room beside it."""
VDO_LVM: Final = (2, 3, 24)
"""LVM before this version cannot put a thin pool on VDO."""


class Block(msgspec.Struct, frozen=True):
    """A row of lsblk, with what stands on it."""

    name: str
    type: str = ""
    size: int = 0
    rota: bool = False
    ro: bool = False
    fstype: str | None = None
    pttype: str | None = None
    mountpoints: list[str | None] = []
    model: str | None = None
    serial: str | None = None
    wwn: str | None = None
    number: str = msgspec.field(name="maj:min", default="")
    children: list["Block"] = []


class _Report(msgspec.Struct):
    blockdevices: list[Block] = []


class Plan(msgspec.Struct, frozen=True):
    """Commands in their order, and those that take back what an unfinished run has made, in theirs."""

    backing: str
    steps: tuple[tuple[str, ...], ...]
    undo: tuple[tuple[str, ...], ...]


def parse(output: bytes) -> list[Block]:
    """The rows of `LSBLK`, those on top of others as their children. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(output, type=_Report).blockdevices


def free(blocks: Iterable[Block]) -> list[FreeDevice]:
    """Those that could become a pool, by path. RAID arrays count, what they are made of does not."""
    return sorted(
        (
            FreeDevice(
                path=block.name,
                size_bytes=block.size,
                rotational=block.rota,
                model=(block.model or "").strip(),
                serial=(block.serial or "").strip(),
                wwn=(block.wwn or "").strip(),
            )
            for block in _candidates(blocks)
            if not why_not(block)
        ),
        key=lambda device: device.path,
    )


def _candidates(blocks: Iterable[Block]) -> Iterable[Block]:
    seen: set[str] = set()
    for block in blocks:
        for one in (block, *(child for child in block.children if child.type.startswith("raid"))):
            if one.name not in seen:
                seen.add(one.name)
                yield one


def why_not(block: Block) -> str:
    """Why a device cannot become a pool, in words; empty when it can."""
    if block.children:
        return "it is used by " + ", ".join(child.name for child in block.children[:4])
    if any(block.mountpoints):
        return f"it is mounted on {', '.join(point for point in block.mountpoints if point)}"
    if block.fstype or block.pttype:
        return f"it carries a signature of {block.fstype or block.pttype}"
    if block.ro:
        return "it is read-only"
    if block.number.partition(":")[0].strip() in _OURS or block.type == "rom":
        return "devices of its kind are no disks"
    if block.size < SIZE_MIN_BYTES:
        return f"it has {block.size >> 20} MiB, and at least {SIZE_MIN_BYTES >> 20} MiB are needed"
    return ""


def lvm_version(output: str) -> tuple[int, ...]:
    """Of what `lvm version` prints; empty when it says none."""
    found = re.search(r"LVM version:\s*(\d+)\.(\d+)\.(\d+)", output)
    return tuple(int(word) for word in found.groups()) if found else ()


def plan(spec: DevicePoolSpec) -> Plan:
    """How to make it. ValueError with a sentence for what can never work."""
    level = spec.raid_level.upper()
    if level != "JBOD" and level not in RAID_LEVELS:
        raise ValueError(f"'{spec.raid_level}' is no RAID level: JBOD, {', '.join(RAID_LEVELS)}")
    if level in _RAID_DEVICES and len(spec.devices) < _RAID_DEVICES[level]:
        raise ValueError(f"{level} takes at least {_RAID_DEVICES[level]} devices")
    if spec.provider not in {"LVM", "LVM_THIN", "ZFS", "ZFS_THIN"}:
        raise ValueError(f"pools of the kind {spec.provider} cannot be made of devices here")
    if spec.vdo and spec.provider != "LVM_THIN":
        raise ValueError("VDO is made under a thin pool: the kind must be LVM_THIN")
    if spec.provider in {"ZFS", "ZFS_THIN"}:
        return _zpool(spec, level)
    thin = spec.provider == "LVM_THIN"
    group = f"linstor_{spec.name}" if thin else spec.name
    steps: list[tuple[str, ...]] = []
    undo: list[tuple[str, ...]] = []
    devices = spec.devices
    if level != "JBOD":
        array = f"/dev/md/{spec.name}"
        steps.append(
            ("mdadm", "--create", array, "--run", "--level", RAID_LEVELS[level],
             "--raid-devices", str(len(devices)), "--metadata", "1.2", "--homehost", "any", *devices)
        )  # fmt: skip
        undo = [("mdadm", "--stop", array), ("mdadm", "--zero-superblock", *devices)]
        devices = (array,)
    steps.append(("pvcreate", "--yes", *spec.pv_arguments, *devices))
    undo.insert(0, ("pvremove", "--yes", "--force", *devices))
    steps.append(("vgcreate", "--yes", *spec.vg_arguments, group, *devices))
    undo.insert(0, ("vgremove", "--yes", "--force", group))
    if spec.vdo:
        steps += _vdo(spec, group)
    elif thin:
        made = ("--extents", "100%FREE", "--type", "thin-pool", "--name", spec.name)
        steps.append(("lvcreate", "--yes", *made, *spec.lv_arguments, group))
    return Plan(f"{group}/{spec.name}" if thin else group, tuple(steps), tuple(undo))


def _zpool(spec: DevicePoolSpec, level: str) -> Plan:
    """ZFS has its own RAID. Sizes may differ (-f): that the devices are empty was looked at before."""
    kind, devices = _ZFS_LEVELS.get(level), spec.devices
    if kind is None:
        raise ValueError(f"ZFS has no {level}: RAID0, RAID1, RAID5, RAID6 and RAID10 it has")
    if level == "RAID10":
        if len(devices) % 2:
            raise ValueError("RAID10 of ZFS takes pairs of devices")
        pairs = zip(devices[::2], devices[1::2], strict=True)
        devices = tuple(word for pair in pairs for word in (kind, *pair))
    elif kind:
        devices = (kind, *devices)
    made = ("zpool", "create", "-f", "-m", "none", *spec.zpool_arguments, spec.name, *devices)
    # It is made whole or not at all: there is nothing to take back, and a name that is taken is not ours.
    return Plan(spec.name, (made,), ())


def _vdo(spec: DevicePoolSpec, group: str) -> list[tuple[str, ...]]:
    slab = ("--vdosettings", f"slab_size_mb={spec.vdo_slab_kib >> 10}") if spec.vdo_slab_kib else ()
    logical = ("--virtualsize", f"{spec.vdo_logical_kib}k") if spec.vdo_logical_kib else ()
    whole = ("lvcreate", "--yes", "--type", "vdo", *_VDO_EXTENTS, *logical, *slab, *spec.lv_arguments)
    return [
        (*whole, "--name", spec.name, f"{group}/vdopool0"),
        ("lvconvert", "--yes", "--type", "thin-pool", f"{group}/{spec.name}"),
    ]
