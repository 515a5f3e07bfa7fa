"""Loop devices on backing files, for layers and kernels that need a block device. Seen by one shared look.

The marker of a file says that it may have one before it gets one, so that none is forgotten.
"""

from typing import Final

import msgspec

from bollard.domain.steps import GrowBacking, RemoveBacking
from bollard.domain.targets import TargetPool
from bollard.satellite.host.base import BackingSeen, Cmd, Host, HostError
from bollard.satellite.host.volume_files import LOOP, mark_loop, observe

__all__ = ["attach", "detach", "follow", "on_files", "release"]

_LOOK: Final = "loops"


class _Loop(msgspec.Struct, rename={"back_file": "back-file", "device": "maj:min"}):
    name: str
    back_file: str | None = None
    device: str = ""


class _Listing(msgspec.Struct):
    loopdevices: list[_Loop] = []


async def on_files(backings: tuple[BackingSeen, ...], host: Host) -> tuple[BackingSeen, ...]:
    """The same files with the loop devices that they have; nothing is looked for where none was ever made."""
    if not any(backing.device for backing in backings):
        return backings
    loops = await _loops(host)
    return tuple(_with_device(backing, loops) if backing.device == LOOP else backing for backing in backings)


def _with_device(backing: BackingSeen, loops: dict[str, _Loop]) -> BackingSeen:
    loop = loops.get(backing.path)
    return msgspec.structs.replace(backing, device=loop.device.strip() if loop is not None else "")


async def attach(host: Host, path: str) -> str:
    """The block device of a file; the one that it has, or a new one."""
    async with host.shared.lock(_LOOK):
        found = (await _loops(host)).get(path)
        if found is not None:
            return found.name
        await mark_loop(host.files, path)
        cmd = Cmd(("losetup", "--find", "--show", path))
        done = await host.shared.changing(_LOOK, "", host.runner.run(cmd))
        return done.stdout.decode().strip()


async def detach(host: Host, path: str) -> bool:
    """Take the block device of a file away; whether it had one. HostError `busy` when it is used."""
    async with host.shared.lock(_LOOK):
        found = (await _loops(host)).get(path)
        if found is None:
            return False
        await host.shared.changing(_LOOK, "", host.runner.run(Cmd(("losetup", "--detach", found.name))))
        # The kernel detaches a device that is in use when its last user goes, and says nothing of it.
        if path in await _loops(host):
            raise HostError(
                f"'{found.name}' is in use",
                code="busy",
                cause=f"Something has it open; its file is {path}.",
                correction="Unmount it or stop its user; it is tried again by itself.",
                name=path,
            )
        return True


async def follow(host: Host, pool: TargetPool, step: GrowBacking) -> bool:
    """Let the block device of a volume's file, if it has one, take the file's present size."""
    backing = await _of(host, pool, step)
    found = (await _loops(host)).get(backing.path) if backing is not None else None
    if found is not None:
        await host.runner.run(Cmd(("losetup", "--set-capacity", found.name)))
    return found is not None


async def release(host: Host, pool: TargetPool, step: RemoveBacking) -> None:
    """Take the block device of a volume's file away, if it has one, before the file goes."""
    backing = await _of(host, pool, step)
    if backing is not None:
        await detach(host, backing.path)


async def _of(host: Host, pool: TargetPool, step: GrowBacking | RemoveBacking) -> BackingSeen | None:
    """The file of a volume, if it may have a loop device."""
    for seen in await observe(host.files, pool, step.resource):
        if seen.local.volume_uuid == step.volume_uuid and seen.device == LOOP:
            return seen
    return None


async def _loops(host: Host) -> dict[str, _Loop]:
    listing = await host.shared.look(_LOOK, lambda: _list(host))
    return {loop.back_file: loop for loop in listing.loopdevices if loop.back_file}


async def _list(host: Host) -> _Listing:
    columns = "NAME,BACK-FILE,MAJ:MIN"
    done = await host.runner.run(Cmd(("losetup", "--list", "--json", "--output", columns)))
    if not done.stdout.strip():
        return _Listing()
    return msgspec.json.decode(done.stdout, type=_Listing)
