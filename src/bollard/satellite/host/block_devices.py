"""Block devices on this machine for volumes that the data process shows as files. Theirs is the name.

Which volume a device belongs to is read from the kernel each time; nothing is remembered.
"""

import asyncio
import errno
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from bollard.domain.layers import AttachWay
from bollard.satellite.host import loop_devices
from bollard.satellite.host.base import DeviceSeen, HostError
from bollard.satellite.host.device_users import Users

__all__ = ["LocalBlockDevices"]

_T = TypeVar("_T")
_THREADS: Final = 4
_PATIENCE_S: Final = 30.0


class LocalBlockDevices:
    """`host.base.BlockDevices` of this machine."""

    def __init__(self, folder: Callable[[], str], links: str = "") -> None:
        """`folder`: where the data process has files for devices now, of a name of its own; empty: nowhere.

        `links`: the folder of paths by name, RESOURCE/NUMBER in it; empty: none.
        """
        self._folder = folder
        self._links = links
        self._users = Users()
        self._pool = ThreadPoolExecutor(_THREADS, "bollard-devices")

    def usable(self) -> Mapping[AttachWay, str]:
        reason = loop_devices.lacking()
        if not reason and not self._folder():
            reason = "The data process shows no files; start bollard-replica with --volumes FOLDER."
        return {AttachWay.LOOP: reason}

    async def seen(self, resource: str = "") -> tuple[DeviceSeen, ...]:
        return await self._call(resource, self._seen, resource)

    async def attach(self, resource: str, number: int, minor: int, way: AttachWay) -> DeviceSeen:
        assert way is AttachWay.LOOP, way
        file = self._file(resource, number)
        path, size_bytes = await self._call(resource, loop_devices.attach, minor, file)
        return DeviceSeen(path, resource, number, way, size_bytes)

    async def detach(self, device: DeviceSeen) -> None:
        users = await self._call(device.resource, self._detach, device)
        if users:
            raise HostError(
                f"The block device '{device.path}' of '{device.resource}' is in use",
                code="busy",
                cause=f"{'; '.join(users)}.".capitalize(),
                correction="Unmount it or stop its user; it is tried again by itself.",
                name=device.resource,
            )

    async def forget(self, device: DeviceSeen) -> None:
        await self._call(device.resource, self._forget, device)

    async def follow(self, device: DeviceSeen) -> None:
        await self._call(device.resource, self._follow, device)

    async def unused(self, devices: tuple[DeviceSeen, ...]) -> tuple[DeviceSeen, ...]:
        return await self._call("", self._unused, devices)

    async def publish(self, device: DeviceSeen) -> None:
        if self._links:
            await self._call(device.resource, self._publish, device)

    # -- in threads

    def _seen(self, resource: str) -> tuple[DeviceSeen, ...]:
        folder = Path(self._folder())
        if not folder.name:
            return ()
        # Of a file whose mount is gone the kernel tells only the path within it.
        ours = re.compile(rf"/{re.escape(folder.name)}/([^/]+)/(\d+)$")
        found = []
        for loop in loop_devices.found(f"/{folder.name}/{resource}"):
            named = ours.search(loop.file)
            if named is None or (resource and named[1] != resource):
                continue
            name, number = named[1], int(named[2])
            alive = loop.identity is not None and loop.identity == _identity(self._file(name, number))
            found.append(DeviceSeen(loop.path, name, number, AttachWay.LOOP, loop.size_bytes, alive=alive))
        return tuple(sorted(found, key=lambda one: (one.resource, one.number, not one.alive)))

    def _file(self, resource: str, number: int) -> str:
        return f"{self._folder()}/{resource}/{number}"

    def _detach(self, device: DeviceSeen) -> tuple[str, ...]:
        """Who keeps it; empty when it is gone."""
        users = self._users.of(device.path, fresh=True)
        if not users and not loop_devices.detach(device.path):
            users = self._users.of(device.path, fresh=True) or ("it was opened just now",)
        if not users:
            self._withdraw(device)
        return users

    def _unused(self, devices: tuple[DeviceSeen, ...]) -> tuple[DeviceSeen, ...]:
        return tuple(device for device in devices if not self._users.of(device.path))

    def _forget(self, device: DeviceSeen) -> None:
        loop_devices.forget(device.path)
        self._withdraw(device)

    def _follow(self, device: DeviceSeen) -> None:
        # Older kernels take the size that was looked at last.
        os.stat(self._file(device.resource, device.number))  # noqa: PTH116
        loop_devices.resize(device.path)

    def _link(self, device: DeviceSeen) -> Path:
        return Path(self._links) / device.resource / str(device.number)

    def _publish(self, device: DeviceSeen) -> None:
        link = self._link(device)
        if link.is_symlink():
            known = str(link.readlink())
            if known == device.path or not known.startswith("/dev/loop"):
                return
        elif link.exists():
            return
        link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        partial = link.with_name(f".{link.name}.new")
        partial.unlink(missing_ok=True)
        partial.symlink_to(device.path)
        partial.replace(link)

    def _withdraw(self, device: DeviceSeen) -> None:
        if not self._links:
            return
        link = self._link(device)
        if link.is_symlink() and str(link.readlink()) == device.path:
            link.unlink(missing_ok=True)
            try:
                link.parent.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                    raise

    async def _call(self, resource: str, function: Callable[..., _T], *arguments: object) -> _T:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        except TimeoutError:
            raise _refused(resource, f"no answer within {_PATIENCE_S:g} s") from None
        except OSError as error:
            raise _refused(resource, f"{os.strerror(error.errno or errno.EIO)}") from error


def _identity(path: str) -> tuple[int, int] | None:
    """What the kernel tells of a loop device's file, of the file that is there now."""
    try:
        info = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    major, minor = os.major(info.st_dev), os.minor(info.st_dev)
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12), info.st_ino


def _refused(resource: str, cause: str) -> HostError:
    return HostError(
        f"The block device of '{resource}' could not be had" if resource else "Block devices cannot be seen",
        code="no-device",
        cause=f"The system said: {cause}.",
        correction="The volume is served over NBD meanwhile; see the kernel's log. It is tried again.",
        name=resource,
    )
