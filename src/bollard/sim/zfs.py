"""ZFS in memory, for simulated nodes: the command lines that the satellite uses, on a simulated disk.

It refuses what the real tools refuse, in their words. It never touches the machine it runs on.
"""

import posixpath
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from bollard.satellite.host.base import Cmd, Done, HostError
from bollard.satellite.host.runner import failed
from bollard.sim.command_line import split
from bollard.sim.files import Disk

__all__ = ["SimZfs"]

_PROGRAMS: Final = frozenset({"stat", "zfs", "zpool"})
_BLOCK: Final = 8192
_FOLDER: Final = "/dev/zvol/"
_WITH_VALUE: Final = frozenset({"-o", "-t", "-V", "-b", "--format"})
_MARK: Final = "bollard:mark"


class _Dataset(msgspec.Struct):
    name: str
    type: str
    size: int = 0
    block: int = _BLOCK
    reserved: int = 0
    origin: str = ""
    doomed: bool = False
    born: int = 0
    written: bool = False
    volmode: str = "default"
    mark: str = ""
    content: str = ""

    @property
    def volume(self) -> str:
        return self.name.partition("@")[0]

    @property
    def path(self) -> str:
        return _FOLDER + self.name


class _Refused(Exception):
    """In ZFS's words."""


class SimZfs:
    """`host.base.Runner` with ZFS's programs only; zpools are added by the test."""

    def __init__(self, disk: Disk, pause: Callable[[], Awaitable[None]]) -> None:
        self._disk = disk
        self._pause = pause
        self._txg = 0
        self.pools: dict[str, int] = {}
        self.health: dict[str, str] = {}
        self.datasets: dict[str, _Dataset] = {}
        self.runs: list[str] = []

    def add_pool(self, name: str, size_bytes: int, *datasets: str) -> None:
        """A zpool, and file systems in it."""
        self.pools[name] = size_bytes
        self.health[name] = "ONLINE"
        for one in (name, *(f"{name}/{each}" for each in datasets)):
            self.datasets[one] = _Dataset(one, "filesystem")

    def path_of(self, program: str) -> str | None:
        assert "/" not in program, program
        return f"/sbin/{program}" if program in _PROGRAMS and self.pools else None

    async def run(self, cmd: Cmd) -> Done:
        program = cmd.argv[0]
        if self.path_of(program) is None:
            raise HostError(f"The program '{program}' is not installed", code="tool-missing")
        await self._pause()
        self.runs.append(cmd.shown())
        self._txg += 1
        if program == "stat":
            return self._stat(split(cmd.argv[1:], _WITH_VALUE)[1])
        options, words = split(cmd.argv[2:], _WITH_VALUE)
        try:
            output = getattr(self, f"_{program}_{cmd.argv[1]}")(options, words)
        except _Refused as refused:
            raise failed(cmd, 1, str(refused).encode()) from refused
        await self._pause()
        return Done(0, output.encode() if output else b"", b"")

    def _stat(self, words: list[str]) -> Done:
        there = [path for path in words if path in self._disk.sizes]
        names = sorted(self.datasets)
        lines = [f"e6:{names.index(path.removeprefix(_FOLDER)) * 16:x} {path}\n" for path in there]
        return Done(0 if there == words else 1, "".join(lines).encode(), b"")

    def _zpool_list(self, options: dict[str, list[str]], _words: list[str]) -> str:
        columns = options["-o"][0].split(",")
        lines = []
        for name, size in self.pools.items():
            used = size - self._free(name)
            row = {
                "name": name,
                "size": str(size),
                "capacity": str(used * 100 // size),
                "health": self.health[name],
                "readonly": "off",
            }
            lines.append("\t".join(row[column] for column in columns) + "\n")
        return "".join(lines)

    def _zfs_list(self, options: dict[str, list[str]], _words: list[str]) -> str:
        columns = options["-o"][0].split(",")
        rows = (self._row(one) for one in self.datasets.values())
        return "".join("\t".join(row[column] for column in columns) + "\n" for row in rows)

    def _row(self, one: _Dataset) -> dict[str, str]:
        kind = one.type
        above = self.datasets[one.volume]
        volume, kept = kind == "volume", kind == "snapshot"
        sized = str(one.size) if kind != "filesystem" else "-"
        return {
            "name": one.name,
            "type": kind,
            "volsize": sized,
            "volblocksize": str(one.block) if volume else "-",
            "used": "12288",
            "available": "-" if kept else str(self._free(one.name.partition("/")[0])),
            "referenced": "12288",
            "written": "12288" if one.written else "0",
            "quota": "0" if kind == "filesystem" else "-",
            "refreservation": "-" if kept else str(one.reserved),
            "origin": one.origin or "-",
            "volmode": "-" if kept else one.volmode,
            "defer_destroy": ("on" if one.doomed else "off") if kept else "-",
            "createtxg": str(one.born),
            # A snapshot shows what its volume has, where it has nothing of its own.
            _MARK: one.mark or above.mark or "-",
        }

    def _zfs_create(self, options: dict[str, list[str]], words: list[str]) -> None:
        (name,) = words
        given = dict(word.split("=", 1) for word in options.get("-o", []))
        blocks = given.get("volblocksize") or options.get("-b", [str(_BLOCK)])[0]
        block = int(blocks.removesuffix("K")) * (1024 if blocks.endswith("K") else 1)
        size = -(-int(options["-V"][0]) // block) * block
        self._need_absent(name)
        reserved = 0 if "-s" in options else size + size // 32
        self._need_room(name, reserved)
        self._put(_Dataset(name, "volume", size, block, reserved, mark=given.get(_MARK, "")))

    def _zfs_clone(self, options: dict[str, list[str]], words: list[str]) -> None:
        source, name = words
        kept = self._need(source)
        self._need_absent(name)
        given = dict(word.split("=", 1) for word in options.get("-o", []))
        made = _Dataset(name, "volume", kept.size, kept.block, origin=source, mark=given.get(_MARK, ""))
        made.content = kept.content
        self._put(made)

    def _zfs_snapshot(self, options: dict[str, list[str]], words: list[str]) -> None:
        (name,) = words
        volume = self._need(name.partition("@")[0])
        if name in self.datasets:
            raise _Refused(f"cannot create snapshot '{name}': dataset already exists")
        given = dict(word.split("=", 1) for word in options.get("-o", []))
        kept = _Dataset(name, "snapshot", volume.size, volume.block, mark=given.get(_MARK, ""))
        kept.content = self._disk.data.get(volume.path, "")
        kept.born = self._txg
        volume.written = False
        self.datasets[name] = kept

    def _zfs_set(self, _options: dict[str, list[str]], words: list[str]) -> None:
        *settings, name = words
        volume = self._need(name)
        given = dict(word.split("=", 1) for word in settings)
        if (size := int(given.get("volsize", 0))) != 0:
            if size % volume.block:
                raise _Refused(
                    f"cannot set property for '{name}': 'volsize' must be a multiple of volume block size"
                )
            followed = volume.reserved >= volume.size
            self._need_room(name, size - volume.size if followed else 0)
            volume.reserved = size + size // 32 if followed else volume.reserved
            volume.size = size
            self._disk.sizes[volume.path] = size
        match given.get("refreservation"):
            case "auto":
                self._need_room(name, volume.size + volume.size // 32 - volume.reserved)
                volume.reserved = volume.size + volume.size // 32
            case "none":
                volume.reserved = 0
        volume.mark = given.get(_MARK, volume.mark)
        if "volmode" in given:
            volume.volmode = given["volmode"]
            self._show(volume)

    def _zfs_destroy(self, options: dict[str, list[str]], words: list[str]) -> None:
        (name,) = words
        one = self._need(name)
        users = [each for each in self.datasets.values() if each.origin == name]
        if one.type == "snapshot":
            if users and "-d" not in options:
                raise _Refused(f"cannot destroy '{name}': snapshot has dependent clones")
            one.doomed = True
            if not users:
                del self.datasets[name]
            return
        if any(each.type == "snapshot" and each.volume == name for each in self.datasets.values()):
            raise _Refused(f"cannot destroy '{name}': volume has children")
        self._drop(one)
        source = self.datasets.get(one.origin)
        if (
            source is not None
            and source.doomed
            and not any(each.origin == source.name for each in self.datasets.values())
        ):
            del self.datasets[source.name]

    def _zfs_rename(self, _options: dict[str, list[str]], words: list[str]) -> None:
        old, new = words
        volume = self._need(old)
        self._need_absent(new)
        content = self._disk.data.get(volume.path, "")
        moved = [one for one in self.datasets.values() if one.volume == old]
        self._drop(volume)
        for one in moved:
            before, one.name = one.name, new + one.name[len(old) :]
            self.datasets.pop(before, None)
            self.datasets[one.name] = one
            for user in self.datasets.values():
                user.origin = one.name if user.origin == before else user.origin
        volume.content = content
        self._show(volume)

    def _zfs_rollback(self, _options: dict[str, list[str]], words: list[str]) -> None:
        kept = self._need(words[0])
        later = [one for one in self.datasets.values() if one.volume == kept.volume and one.born > kept.born]
        if later:
            raise _Refused(f"cannot rollback to '{kept.name}': more recent snapshots or bookmarks exist")
        volume = self.datasets[kept.volume]
        volume.written, volume.content = False, kept.content
        self._show(volume)

    def _need(self, name: str) -> _Dataset:
        found = self.datasets.get(name)
        if found is None:
            raise _Refused(f"cannot open '{name}': dataset does not exist")
        return found

    def _need_absent(self, name: str) -> None:
        if name in self.datasets:
            raise _Refused(f"cannot create '{name}': dataset already exists")
        if name.rpartition("/")[0] not in self.datasets:
            raise _Refused(f"cannot create '{name}': parent does not exist")

    def _need_room(self, name: str, size: int) -> None:
        if size > self._free(name.partition("/")[0]):
            raise _Refused(f"cannot create '{name}': out of space")

    def _free(self, pool: str) -> int:
        mine = (one for one in self.datasets.values() if one.name.partition("/")[0] == pool)
        return self.pools[pool] - sum(one.reserved for one in mine)

    def _put(self, volume: _Dataset) -> None:
        volume.born = self._txg
        self.datasets[volume.name] = volume
        self._show(volume)

    def _show(self, volume: _Dataset) -> None:
        if volume.volmode == "none":
            self._disk.sizes.pop(volume.path, None)
            return
        self._disk.folders.add(posixpath.dirname(volume.path))
        self._disk.sizes[volume.path] = volume.size
        self._disk.allocated[volume.path] = 0
        self._disk.data[volume.path] = volume.content

    def _drop(self, volume: _Dataset) -> None:
        del self.datasets[volume.name]
        disk = self._disk
        for table in (disk.sizes, disk.allocated, disk.contents, disk.metadata, disk.data):
            table.pop(volume.path, None)
