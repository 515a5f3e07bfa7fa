"""LVM in memory, for simulated nodes: the command lines that the satellite uses, on a simulated disk.

It refuses what the real tools refuse, in their words. It never touches the machine it runs on.
"""

import json
import posixpath
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from bollard.satellite.host.base import Cmd, Done, HostError
from bollard.satellite.host.runner import failed
from bollard.sim.command_line import split
from bollard.sim.files import Disk

__all__ = ["SimLvm"]

_PROGRAMS: Final = frozenset(
    {"dd", "lvchange", "lvcreate", "lvextend", "lvremove", "lvs", "pvs", "thin_check", "vgs"}
)
_EXTENT: Final = 4 << 20
_WITH_VALUE: Final = frozenset(
    {
        "--config", "--reportformat", "--units", "-o", "-S", "--sort", "--wipesignatures", "--zero", "--type",
        "--size", "--name", "--addtag", "--deltag", "--virtualsize", "--thinpool", "--setactivationskip",
        "--extents", "--activate",
    }
)  # fmt: skip
_FAILED: Final = 5


class _Volume(msgspec.Struct):
    group: str
    name: str
    size: int
    thin: str = ""
    origin: str = ""
    kind: str = "-"
    active: bool = True
    tags: dict[str, None] = {}

    @property
    def path(self) -> str:
        return f"/dev/{self.group}/{self.name}"


class _Refused(Exception):
    """In LVM's words."""


class SimLvm:
    """`host.base.Runner` with LVM's programs only; groups are added by the test."""

    def __init__(self, disk: Disk, pause: Callable[[], Awaitable[None]]) -> None:
        self._disk = disk
        self._pause = pause
        self.groups: dict[str, int] = {}
        self.volumes: dict[str, _Volume] = {}
        self.runs: list[str] = []

    def add_group(self, name: str, size_bytes: int, *, thin: str = "") -> None:
        """A volume group, with a thin pool of half its size if one is named."""
        self.groups[name] = size_bytes
        if thin:
            self._put(_Volume(name, thin, size_bytes // 2 // _EXTENT * _EXTENT, kind="t"))

    def path_of(self, program: str) -> str | None:
        assert "/" not in program, program
        return f"/sbin/{program}" if program in _PROGRAMS and self.groups else None

    async def run(self, cmd: Cmd) -> Done:
        program = cmd.argv[0]
        if self.path_of(program) is None:
            raise HostError(f"The program '{program}' is not installed", code="tool-missing")
        await self._pause()
        self.runs.append(cmd.shown())
        try:
            output = getattr(self, f"_{program}")(*split(cmd.argv[1:], _WITH_VALUE))
        except _Refused as refused:
            raise failed(cmd, _FAILED, str(refused).encode()) from refused
        await self._pause()
        return Done(0, output.encode() if output else b"", b"")

    def _lvs(self, _options: dict[str, list[str]], _words: list[str]) -> str:
        rows = [self._row(volume) for volume in self.volumes.values()]
        return json.dumps({"report": [{"lv": rows}]})

    def _row(self, volume: _Volume) -> dict[str, str]:
        state = "a" if volume.active else "-"
        minor = str(list(self.volumes).index(volume.path)) if volume.active else "-1"
        return {
            "vg_name": volume.group,
            "lv_name": volume.name,
            "lv_attr": f"{volume.kind}wi-{state}-----",
            "lv_size": str(volume.size),
            "pool_lv": volume.thin,
            "origin": volume.origin,
            "data_percent": "0.00" if volume.kind in "Vts" else "",
            "metadata_percent": "1.00" if volume.kind == "t" else "",
            "lv_kernel_major": "253" if volume.active else "-1",
            "lv_kernel_minor": minor,
            "lv_tags": ",".join(volume.tags),
        }

    def _vgs(self, _options: dict[str, list[str]], _words: list[str]) -> str:
        rows = [
            {
                "vg_name": name,
                "vg_attr": "wz--n-",
                "vg_size": str(size),
                "vg_free": str(self._free(name)),
                "vg_extent_size": str(_EXTENT),
                "vg_missing_pv_count": "0",
                "pv_count": "1",
            }
            for name, size in self.groups.items()
        ]
        return json.dumps({"report": [{"vg": rows}]})

    def _pvs(self, _options: dict[str, list[str]], _words: list[str]) -> str:
        return json.dumps({"report": [{"pv": [{"pv_name": "/dev/sim"}]}]})

    def _lvcreate(self, options: dict[str, list[str]], words: list[str]) -> None:
        tags = dict.fromkeys(options.get("--addtag", []))
        name = options["--name"][0]
        if "--thinpool" in options:
            group, pool = options["--thinpool"][0].split("/")
            if f"/dev/{group}/{pool}" not in self.volumes:
                raise _Refused(f"Pool {pool} not found in Volume group {group}.")
            made = _Volume(group, name, _extents(options["--virtualsize"][0]), pool, kind="V", tags=tags)
        elif "--snapshot" in options:
            source = self._need(words[0])
            kind = "V" if source.thin else "s"
            made = _Volume(source.group, name, source.size, source.thin, source.name, kind, tags=tags)
            made.active = options.get("--setactivationskip") != ["y"]
        else:
            made = _Volume(words[0], name, _extents(options["--size"][0]), tags=tags)
        if made.group not in self.groups:
            raise _Refused(f'Volume group "{made.group}" not found')
        if made.path in self.volumes:
            raise _Refused(f'Logical Volume "{name}" already exists in volume group "{made.group}"')
        self._need_room(made.group, 0 if made.thin else made.size)
        self._put(made)

    def _lvextend(self, options: dict[str, list[str]], words: list[str]) -> None:
        volume = self._need(words[0])
        size = _extents(options["--size"][0])
        if size <= volume.size:
            raise _Refused("New size given is not larger than existing size")
        self._need_room(volume.group, 0 if volume.thin else size - volume.size)
        volume.size = self._disk.sizes[volume.path] = size

    def _lvremove(self, _options: dict[str, list[str]], words: list[str]) -> None:
        volume = self._need(words[0])
        for other in list(self.volumes.values()):
            if not volume.thin and other.group == volume.group and other.origin == volume.name:
                self._drop(other)
        self._drop(volume)

    def _lvchange(self, options: dict[str, list[str]], words: list[str]) -> None:
        volume = self._need(words[0])
        for tag in options.get("--deltag", []):
            volume.tags.pop(tag, None)
        volume.tags |= dict.fromkeys(options.get("--addtag", []))
        if "--activate" in options:
            volume.active = options["--activate"] == ["y"]

    def _dd(self, _options: dict[str, list[str]], words: list[str]) -> None:
        given = dict(word.split("=", 1) for word in words)
        for path in (given["if"], given["of"]):
            if not self._need(path).active:
                raise _Refused(f"dd: failed to open '{path}': No such file or directory")

    def _need(self, path: str) -> _Volume:
        found = self.volumes.get(path)
        if found is None:
            group, name = path.split("/")[-2:]
            raise _Refused(f'Failed to find logical volume "{group}/{name}"')
        return found

    def _need_room(self, group: str, size: int) -> None:
        if size > self._free(group):
            raise _Refused(f'Volume group "{group}" has insufficient free space')

    def _free(self, group: str) -> int:
        used = sum(one.size for one in self.volumes.values() if one.group == group and not one.thin)
        return self.groups[group] - used

    def _put(self, volume: _Volume) -> None:
        self.volumes[volume.path] = volume
        self._disk.folders.add(posixpath.dirname(volume.path))
        self._disk.sizes[volume.path] = volume.size
        self._disk.allocated[volume.path] = 0

    def _drop(self, volume: _Volume) -> None:
        del self.volumes[volume.path]
        for table in (self._disk.sizes, self._disk.allocated, self._disk.contents, self._disk.metadata):
            table.pop(volume.path, None)


def _extents(text: str) -> int:
    assert text.endswith("k"), text
    return -(-int(text[:-1]) * 1024 // _EXTENT) * _EXTENT
