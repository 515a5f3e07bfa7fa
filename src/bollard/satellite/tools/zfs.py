"""Command lines of ZFS's tools and their tables (`-Hp`): volumes, snapshots, the datasets they are in. Pure.

Whose something is stands in one user property, so that it changes whole or not at all. Snapshots inherit that
property of their volume: one of ours says so itself.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Final

import msgspec

from bollard.domain.units import KIB, align_up
from bollard.satellite.tools.tags import Tags, decode_tags, encode_tags

__all__ = [
    "Dataset",
    "Zpool",
    "block_kib",
    "change",
    "clone",
    "create",
    "destroy",
    "destroy_snapshot",
    "device_numbers",
    "list_datasets",
    "list_pools",
    "parse_datasets",
    "parse_numbers",
    "parse_pools",
    "rename",
    "roll_back",
    "snapshot",
    "snapshot_name",
    "volume_name",
]

Argv = tuple[str, ...]
MARK: Final = "bollard:mark"
BURIED: Final = "_deleted_"
DEVICES: Final = "/dev/zvol/"
_BLOCK_KIB: Final = 16
"""What sizes are multiples of where nothing is said: ZFS makes blocks of 8 KiB, since 2.2 of 16 KiB."""
_COLUMNS: Final = (
    "name", "type", "volsize", "volblocksize", "used", "available", "referenced", "written", "quota",
    "refreservation", "origin", "volmode", "defer_destroy", "createtxg", MARK,
)  # fmt: skip
_POOL_COLUMNS: Final = ("name", "size", "capacity", "health", "readonly")
_NONE: Final = "-"
_BLOCK_SIZE = re.compile(r"(?:^|\s)(?:-b\s*|(?:-o\s*)?volblocksize=)(\d+)([kKmM]?)")


class Dataset(msgspec.Struct, frozen=True):
    """A row of `zfs list`: a file system, volume or snapshot."""

    name: str
    type: str
    volsize: str = _NONE
    volblocksize: str = _NONE
    used: str = "0"
    available: str = _NONE
    referenced: str = "0"
    written: str = _NONE
    quota: str = _NONE
    refreservation: str = _NONE
    origin: str = _NONE
    volmode: str = _NONE
    defer_destroy: str = _NONE
    createtxg: str = "0"
    mark: str = _NONE

    @property
    def parent(self) -> str:
        """The dataset that a volume is in; of a snapshot, the one that its volume is in."""
        return self.volume.rpartition("/")[0]

    @property
    def volume(self) -> str:
        """What a snapshot is of; the name itself of anything else."""
        return self.name.partition("@")[0]

    @property
    def path(self) -> str:
        """Of its block device."""
        return DEVICES + self.name

    @property
    def size_kib(self) -> int:
        """Of a volume, or of the volume of a snapshot when it was taken."""
        return number(self.volsize) // KIB

    @property
    def unit_kib(self) -> int:
        """Of a volume: its size is a multiple of this."""
        return number(self.volblocksize) // KIB

    @property
    def reserved(self) -> bool:
        """Whether all of a volume has its room for sure."""
        return number(self.refreservation) >= number(self.volsize)

    @property
    def active(self) -> bool:
        """Whether a volume has a block device."""
        return self.volmode != "none"

    @property
    def doomed(self) -> bool:
        """Whether a snapshot is gone but for the volumes made from it."""
        return self.defer_destroy == "on"

    @property
    def tags(self) -> Tags | None:
        """Whose it is. None for what carries no mark of ours, or only that of what it is a snapshot of."""
        found = decode_tags(self.mark)
        fits = found is not None and bool(found.snapshot) is (self.type == "snapshot")
        return found if fits else None


class Zpool(msgspec.Struct, frozen=True):
    """A row of `zpool list`."""

    name: str
    size: str
    capacity: str
    health: str
    readonly: str

    @property
    def usable(self) -> bool:
        """Whether data in it can be read and written."""
        return self.health in {"ONLINE", "DEGRADED"}


def number(text: str) -> int:
    """A figure of a table; 0 where there is none."""
    return int(text) if text.isdecimal() else 0


def list_datasets() -> Argv:
    """All of the machine: one look for all volumes and snapshots."""
    return ("zfs", "list", "-H", "-p", "-t", "filesystem,volume,snapshot", "-o", ",".join(_COLUMNS))


def list_pools() -> Argv:
    """All of the machine."""
    return ("zpool", "list", "-H", "-p", "-o", ",".join(_POOL_COLUMNS))


def parse_datasets(output: bytes) -> tuple[Dataset, ...]:
    """The rows of `list_datasets`. ValueError when it is something else."""
    return tuple(Dataset(*row) for row in _rows(output, len(_COLUMNS)))


def parse_pools(output: bytes) -> tuple[Zpool, ...]:
    """The rows of `list_pools`. ValueError when it is something else."""
    return tuple(Zpool(*row) for row in _rows(output, len(_POOL_COLUMNS)))


def _rows(output: bytes, columns: int) -> list[list[str]]:
    rows = [line.split("\t") for line in output.decode("utf-8", "replace").splitlines() if line]
    for row in rows:
        if len(row) != columns:
            raise ValueError(f"a row of {len(row)} columns instead of {columns}: {row[0][:80]}")
    return rows


def device_numbers(paths: tuple[str, ...]) -> Argv:
    """The numbers of block devices behind links; what is not there is left out, with exit code 1."""
    return ("stat", "--dereference", "--format", "%t:%T %n", *paths)


def parse_numbers(output: bytes) -> dict[str, str]:
    """By path: `MAJOR:MINOR`."""
    found = {}
    for line in output.decode("utf-8", "replace").splitlines():
        numbers, _, path = line.partition(" ")
        major, _, minor = numbers.partition(":")
        found[path] = f"{int(major, 16)}:{int(minor, 16)}"
    return found


def block_kib(options: Mapping[str, str]) -> int:
    """What the size of a new volume is to be a multiple of, by the arguments that it is made with."""
    given = _BLOCK_SIZE.search(options.get("ZfscreateOptions", ""))
    if given is None:
        return _BLOCK_KIB
    unit = {"k": KIB, "m": KIB * KIB}.get(given.group(2).lower(), 1)
    return max(1, int(given.group(1)) * unit // KIB)


def create(name: str, size_kib: int, tags: Tags, *, options: Mapping[str, str]) -> Argv:
    """A volume that reads as zeroes, in whole blocks; its room is reserved unless it is thin."""
    sparse = ("-s",) if tags.thin else ()
    size = align_up(size_kib, block_kib(options)) * KIB
    extra = _extra(options.get("ZfscreateOptions", ""))
    return ("zfs", "create", *sparse, "-V", str(size), "-o", _mark(tags), *extra, name)


def change(name: str, tags: Tags | None = None, **properties: str) -> Argv:
    """Set its mark and other properties, all at once."""
    marks = (_mark(tags),) if tags is not None else ()
    return ("zfs", "set", *(f"{key}={value}" for key, value in properties.items()), *marks, name)


def snapshot(name: str, tags: Tags, *, options: Mapping[str, str]) -> Argv:
    """Keep a volume as it is, under `VOLUME@NAME`."""
    return ("zfs", "snapshot", *_extra(options.get("ZfsSnapshotOptions", "")), "-o", _mark(tags), name)


def clone(source: str, name: str, tags: Tags) -> Argv:
    """A volume with a snapshot's content, which it shares."""
    return ("zfs", "clone", "-o", _mark(tags), source, name)


def destroy(name: str) -> Argv:
    """A volume that nothing depends on; ZFS refuses others."""
    return ("zfs", "destroy", name)


def destroy_snapshot(name: str) -> Argv:
    """At once, or as soon as the last volume that was made from it is gone."""
    assert "@" in name, name
    return ("zfs", "destroy", "-d", name)


def rename(name: str, new: str) -> Argv:
    """With all that is in it."""
    return ("zfs", "rename", name, new)


def roll_back(name: str) -> Argv:
    """Let a volume be as in its newest snapshot."""
    assert "@" in name, name
    return ("zfs", "rollback", name)


def volume_name(dataset: str, resource: str, number: int, *, suffix: str = "", again: int = 0) -> str:
    """`<DATASET>/<RESOURCE><suffix>_<NNNNN>`, then `.1`, `.2` while older lives have the name."""
    assert 0 <= number <= 99999, number
    return f"{dataset}/{resource}{suffix}_{number:05d}" + (f".{again}" if again else "")


def snapshot_name(volume: str, snapshot: str, *, again: int = 0) -> str:
    """`<VOLUME>@<SNAPSHOT>`, then `.1`, `.2` while others have the name."""
    return f"{volume}@{snapshot}" + (f".{again}" if again else "")


def _mark(tags: Tags) -> str:
    return f"{MARK}={','.join(encode_tags(tags))}"


def _extra(text: str) -> Argv:
    try:
        return tuple(shlex.split(text))
    except ValueError:
        return tuple(text.split())
