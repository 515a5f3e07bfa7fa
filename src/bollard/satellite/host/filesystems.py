"""The first file system of a volume: ext4 or xfs, with an owner, never on a device that holds anything."""

import shlex
from collections.abc import Mapping
from typing import Final

from bollard.domain.errors import Subject
from bollard.satellite.host.base import Cmd, Host, HostError

__all__ = ["empty", "make"]

_MAKE_S: Final = 600.0
_NOTHING_FOUND: Final = 2
_PROTO: Final = "/run/bollard-mkfs-{owner}"


async def empty(host: Host, path: str) -> bool:
    """Whether no signature of any kind is on the device itself."""
    argv = ("blkid", "--probe", "--output", "value", "--match-tag", "TYPE", path)
    done = await host.runner.run(Cmd(argv, expect=(0, _NOTHING_FOUND, 8)))
    if done.code != _NOTHING_FOUND:
        return False
    # Of a partition table blkid names no TYPE.
    said = await host.runner.run(Cmd(("wipefs", "--noheadings", "--output", "TYPE", path)))
    return not said.stdout.strip()


async def make(host: Host, path: str, options: Mapping[str, str]) -> None:
    """Make it as the properties say: `Type`, `MkfsParams`, `User`, `Group`. HostError when it cannot be."""
    kind = options.get("Type", "")
    params = _words(options.get("MkfsParams", ""))
    user, group = options.get("User", ""), options.get("Group", "")
    owner = ""
    if user or group:
        owner = f"{await _id(host, 'passwd', user)}:{await _id(host, 'group', group)}"
    if kind == "ext4":
        extended = ",".join(["nodiscard", *([f"root_owner={owner}"] if owner else [])])
        argv = ("mkfs.ext4", "-q", "-F", "-E", extended, *params, path)
    elif kind == "xfs":
        argv = ("mkfs.xfs", "-q", "-f", "-K", *await _proto(host, owner), *params, path)
    else:
        raise _wrong(kind, f"'{kind}' is not a file system that volumes can get", "Choose ext4 or xfs.")
    await host.runner.run(Cmd(argv, timeout_s=_MAKE_S))


async def _proto(host: Host, owner: str) -> tuple[str, ...]:
    """For xfs the owner of the root is told by a file."""
    if not owner:
        return ()
    user, _, group = owner.partition(":")
    path = _PROTO.format(owner=owner.replace(":", "-"))
    await host.files.write(path, f"/\n0 0\nd--755 {user} {group}\n$\n".encode())
    return ("-p", path)


async def _id(host: Host, table: str, name: str) -> str:
    """The number of a user or group; 0 when none is named."""
    if not name or name.isdecimal():
        return name or "0"
    done = await host.runner.run(Cmd(("getent", table, name), expect=(0, _NOTHING_FOUND)))
    fields = done.stdout.decode("utf-8", "replace").split(":")
    if len(fields) < 3:
        raise _wrong(
            name, f"This node knows no '{name}' in its {table} table", "Create it, or give a number."
        )
    return fields[2]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise _wrong(text, "FileSystem/MkfsParams has an open quote", "Close it.") from error


def _wrong(name: str, message: str, correction: str) -> HostError:
    return HostError(
        message, code="bad-options", correction=correction, subject=Subject.PROPERTY, name=name[:80]
    )
