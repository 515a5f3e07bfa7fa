"""Holds the I/O of a resource that the kernel's DRBD 8.4 runs, for a snapshot and no longer than said.

A file beside the resource's own names the freeze, so that its token never freezes twice. A process of its own
ends it at the deadline, whoever is alive then.
"""

import asyncio
import re
from typing import Final

import msgspec

from bollard.domain.errors import Subject
from bollard.satellite.host.base import Cmd, Freeze, Host, HostError, Kernel

__all__ = ["FROZEN", "Record", "freeze", "release", "thaw"]

FROZEN: Final = ".frozen"
_FILE: Final = ".res"
_DRAIN_POLLS: Final = 60
_POLL_S: Final = 0.1
_WRITTEN = re.compile(r"\bwritten:(\d+)")
_PENDING = re.compile(r"(?<![\w-])(?:lower-pending|pending|unacked):(\d+)")
"""On the way to the disks here and there. What 8.4 has not told its users of yet (upper-pending) stays while
it is suspended, and is on the disks."""


class Record(msgspec.Struct, frozen=True):
    """What the file says."""

    token: str
    minors: tuple[int, ...]
    over: bool = False


_DECODER: Final = msgspec.json.Decoder(Record)


class _Figures(msgspec.Struct, frozen=True):
    """What the kernel says of a resource."""

    held: bool
    written: int
    under_way: bool


async def freeze(name: str, token: str, deadline_ms: int, host: Host) -> Freeze:
    """Hold new requests and wait for running ones, or say how the freeze of this token does."""
    kernel = _kernel(host, name)
    path = _path(kernel, name)
    record = await _read(path, host)
    if record is None or record.token != token:
        if record is not None and not record.over:
            await _resume(name, record, kernel)
        record = Record(token, await _minors(name, kernel))
        await host.files.write(path, msgspec.json.encode(record))
        # Before anything is held: if that fails, nothing ever is.
        kernel.guard(path, token, record.minors, deadline_ms)
        for minor in record.minors:
            await kernel.tool(Cmd(("drbdsetup", "suspend-io", str(minor))), name)
    figures = await _figures(name, kernel)
    for _ in range(_DRAIN_POLLS):
        if not figures.held or not figures.under_way:
            break
        await asyncio.sleep(_POLL_S)
        figures = await _figures(name, kernel)
    held = figures.held and not figures.under_way and not record.over
    return Freeze(held=held, changes=figures.written, instance=token)


async def thaw(name: str, token: str, host: Host) -> Freeze:
    """End it; how it was until now. One that is not on was not held."""
    kernel = _kernel(host, name)
    path = _path(kernel, name)
    record = await _read(path, host)
    if record is None or record.token != token or record.over:
        return Freeze(held=False)
    figures = await _figures(name, kernel)
    await _resume(name, record, kernel)
    await host.files.write(path, msgspec.json.encode(msgspec.structs.replace(record, over=True)))
    return Freeze(held=figures.held, changes=figures.written, instance=token)


async def release(host: Host) -> None:
    """End every freeze that an earlier process has begun: nobody can prove anything of it any more."""
    kernel = host.kernel
    if kernel is None or await host.files.look(kernel.folder) is None:
        return
    for one in await host.files.marked(kernel.folder, _FILE + FROZEN):
        path = f"{kernel.folder}/{one.name}{_FILE}{FROZEN}"
        record = await _read(path, host)
        if record is not None and not record.over:
            await _resume(one.name, record, kernel)
        await host.files.remove(path)


async def _resume(name: str, record: Record, kernel: Kernel) -> None:
    if await kernel.status(name) is not None:
        for minor in record.minors:
            await kernel.tool(Cmd(("drbdsetup", "resume-io", str(minor))), name)


async def _minors(name: str, kernel: Kernel) -> tuple[int, ...]:
    status = await kernel.status(name)
    if status is None or not status.devices:
        raise HostError(
            f"'{name}' cannot stand still here",
            code="snapshots-not-supported",
            cause="The kernel does not run it now.",
            subject=Subject.RESOURCE,
            name=name,
        )
    return tuple(device.minor for device in status.devices)


async def _figures(name: str, kernel: Kernel) -> _Figures:
    argv = ("drbdsetup", "events2", "--now", "--statistics", name)
    said = (await kernel.tool(Cmd(argv), name)).stdout.decode("utf-8", "replace")
    return _Figures(
        held=any("suspended:user" in line for line in said.splitlines() if " resource " in f" {line} "),
        written=sum(map(int, _WRITTEN.findall(said))),
        under_way=any(map(int, _PENDING.findall(said))),
    )


def _kernel(host: Host, name: str) -> Kernel:
    assert host.kernel is not None, name
    return host.kernel


def _path(kernel: Kernel, name: str) -> str:
    return f"{kernel.folder}/{name}{_FILE}{FROZEN}"


async def _read(path: str, host: Host) -> Record | None:
    content = await host.files.read(path)
    try:
        return None if content is None else _DECODER.decode(content)
    except msgspec.DecodeError:
        return None
