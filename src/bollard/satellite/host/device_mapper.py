"""The device mapper's devices by `dmsetup`: one shared look at all of them, and changes of one.

It knows tables as words; what a target's words mean is the driver's business. Keys are never shown.
"""

import asyncio
from typing import Final

import msgspec

from bollard.domain.units import KIB, SECTOR_BYTES
from bollard.satellite.host.base import Cmd, Host, HostError

__all__ = [
    "DmDevice",
    "at",
    "create",
    "devices",
    "dirty_blocks",
    "look_again",
    "message",
    "parse",
    "reload",
    "remove",
    "stretch",
    "table",
    "unused",
]

_LOOK: Final = "device-mapper"
_COLUMNS: Final = "name,major,minor,open,suspended"
_FOLDER: Final = "/dev/mapper/"


class DmDevice(msgspec.Struct, frozen=True):
    """One device that has a single target in its table."""

    name: str
    device: str
    """`MAJOR:MINOR`."""
    sectors: int
    target: str
    words: tuple[str, ...]
    """The target's parameters; devices among them as `MAJOR:MINOR`, keys as zeroes."""
    users: int = 0
    """How many have it open."""
    suspended: bool = False

    @property
    def path(self) -> str:
        """To open it by."""
        return _FOLDER + self.name

    @property
    def size_kib(self) -> int:
        """Of the device."""
        return self.sectors * SECTOR_BYTES // KIB


async def devices(host: Host, target: str = "") -> tuple[DmDevice, ...]:
    """All of one kind of target, or all, by one look for everybody who asks at the same time."""
    found = await host.shared.look(_LOOK, lambda: _look(host))
    return tuple(one for one in found if target in ("", one.target))


async def at(host: Host, path: str) -> DmDevice | None:
    """The device that is opened by this path, if there is one."""
    return next((one for one in await devices(host) if one.path == path), None)


def look_again(host: Host) -> None:
    """Something else than this module has changed a device."""
    host.shared.changed(_LOOK)


async def _look(host: Host) -> tuple[DmDevice, ...]:
    info = await host.runner.run(
        Cmd(("dmsetup", "info", "--columns", "--noheadings", "--separator", "\t", "--options", _COLUMNS))
    )
    tables = await host.runner.run(Cmd(("dmsetup", "table")))
    return parse(info.stdout.decode(), tables.stdout.decode())


def parse(info: str, tables: str) -> tuple[DmDevice, ...]:
    """From what `dmsetup info -c` (tab-separated) and `dmsetup table` print; others' tables are left out."""
    lines: dict[str, list[list[str]]] = {}
    for line in tables.splitlines():
        name, _, rest = line.partition(": ")
        lines.setdefault(name, []).append(rest.split())
    found = []
    for line in info.splitlines():
        fields = line.strip().split("\t")
        if len(fields) != _COLUMNS.count(",") + 1:
            continue  # "No devices found"
        name, major, minor, users, suspended = fields
        segments = lines.get(name, [])
        if len(segments) != 1 or len(segments[0]) < _TARGET_WORDS:
            continue  # without a table, or in pieces: none of ours
        _, sectors, target, *words = segments[0]
        found.append(
            DmDevice(
                name=name,
                device=f"{major}:{minor}",
                sectors=int(sectors),
                target=target,
                words=tuple(words),
                users=int(users),
                suspended=suspended == "Suspended",
            )
        )
    return tuple(found)


_TARGET_WORDS: Final = 3


def table(sectors: int, target: str, *words: str) -> str:
    """A table of one target that begins at the device's start."""
    return " ".join(("0", str(sectors), target, *words))


async def create(host: Host, name: str, line: str) -> str:
    """Make a device with this table; its path. HostError when the kernel refuses."""
    await _change(host, ("dmsetup", "create", name, "--table", line))
    return _FOLDER + name


async def reload(host: Host, name: str, line: str) -> None:
    """Give a device another table; its users wait meanwhile, and go on with the old one if it is refused."""
    await _change(host, ("dmsetup", "suspend", name))
    try:
        await _change(host, ("dmsetup", "load", name, "--table", line))
    finally:
        await _change(host, ("dmsetup", "resume", name))


async def stretch(host: Host, device: DmDevice, sectors: int) -> None:
    """Give a device another length, and leave all else as it is."""
    await reload(host, device.name, table(sectors, device.target, *device.words))


async def message(host: Host, name: str, *words: str, timeout_s: float = 180.0) -> None:
    """Tell a device's target something, and wait until it has done it."""
    await _change(host, ("dmsetup", "message", name, "0", *words), timeout_s)


async def dirty_blocks(host: Host, name: str) -> int:
    """How many blocks of a cache the device below it lacks still."""
    done = await host.runner.run(Cmd(("dmsetup", "status", name)))
    return int(done.stdout.decode().split()[_DIRTY_WORD])


_DIRTY_WORD: Final = 13
"""After `start length cache block used/total block used/total`, 4 of hits and misses, and 2 of moves."""


async def unused(host: Host, device: DmDevice) -> bool:
    """Wait until nobody has a device open; False when it is gone. HostError `busy` when somebody keeps it so.

    Who only looks at it, as udev does at any time, is waited for, so that a look never passes for a user.
    """
    waited = 0
    while now := next((one for one in await _look(host) if one.name == device.name), None):
        if not now.users:
            return True
        if waited == _PATIENCE:
            raise _busy(now)
        waited += 1
        await asyncio.sleep(_POLL_S)
    return False


_PATIENCE: Final = 25
_POLL_S: Final = 0.2


async def remove(host: Host, device: DmDevice) -> bool:
    """Take a device away. HostError `busy` while somebody has it open; a short look by udev is waited for."""
    try:
        await _change(host, ("dmsetup", "remove", "--retry", device.name))
    except HostError as error:
        now = next((one for one in await _look(host) if one.name == device.name), None)
        if now is None:
            return False
        if error.code != "tool-failed" or not now.users:
            raise
        raise _busy(now) from None
    return True


def _busy(device: DmDevice) -> HostError:
    return HostError(
        f"'{device.path}' is in use",
        code="busy",
        cause=f"It is open {device.users} times.",
        correction="Unmount it or stop its user; it is tried again by itself.",
        name=device.name,
    )


async def _change(host: Host, argv: tuple[str, ...], timeout_s: float = 45.0) -> None:
    await host.shared.changing(_LOOK, "", host.runner.run(Cmd(argv, timeout_s=timeout_s)))
