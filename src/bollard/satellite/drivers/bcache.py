"""BCACHE: what is read and written often is kept on a fast companion, by bcache.

The uuid of the cache set is the volume's mark, in the superblocks of both devices. udev may open (register) a
device before the satellite does: either is fine. Its name is by the uuid, for numbers change with each boot.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from bollard.domain.layers import LayerKind
from bollard.domain.targets import TargetLayer
from bollard.domain.units import KIB
from bollard.satellite.host import companions, signatures
from bollard.satellite.host.base import Cmd, Host, HostError, LayerMark, LayerSeen
from bollard.satellite.tools import bcache

__all__ = ["Bcache"]

_LOOK: Final = "bcache"
_SYS: Final = "/sys/fs/bcache"
_BLOCK: Final = "/sys/block"
_APPEAR_S: Final = 30.0
_FLUSH_S: Final = 180.0
_POLL_S: Final = 0.1
_NONE_FOUND: Final = 2


class _Device(msgspec.Struct, frozen=True):
    """One that is open."""

    name: str
    uuid: str
    seen: LayerSeen


class Bcache:
    """See `drivers.DeviceLayer` for the verbs."""

    kind = LayerKind.BCACHE

    async def observe(self, host: Host) -> tuple[LayerSeen, ...]:
        return tuple(one.seen for one in await host.shared.look(_LOOK, lambda: _devices(host)))

    async def raise_(self, layer: TargetLayer, lower: str, mark: LayerMark, host: Host) -> str:
        if not mark.companion:
            raise companions.missing(mark, "BCache/PoolName")
        if not mark.made:
            await _make(layer, lower, mark, host)
        elif await _super(mark.companion, host) is None or await _super(lower, host) is None:
            raise _lost(lower, mark)
        try:
            # The cache first: a device whose writes it holds back does not come up without it.
            await _register(mark.companion, host)
            cache = f"{_SYS}/{mark.volume_uuid}"
            await _until(lambda: _there(cache, host), _APPEAR_S, _refused(mark))
            await _register(lower, host)
            device = await _appeared(lower, mark, host)
            await _attach(device, mark, host)
            mode = "writeback" if bcache.writeback(layer.options) else "writethrough"
            await _tell(f"{_BLOCK}/{device.name}/bcache/cache_mode", mode, host)
        finally:
            host.shared.changed(_LOOK)
        await _until(lambda: _there(device.seen.path, host), _APPEAR_S, _nameless(device, mark))
        return device.seen.path

    async def grow(self, _layer: TargetLayer, seen: LayerSeen, mark: LayerMark, _host: Host) -> bool:
        """The kernel's bcache has its size from the moment it is opened."""
        raise HostError(
            f"Volume {mark.number} of '{mark.resource}' takes its new size when it is opened again",
            code="grow-needs-reopen",
            cause=f"'{seen.path}' is open, and bcache does not grow what is open.",
            correction="Deactivate the resource on this node and activate it: "
            f"'bollard resource deactivate NODE {mark.resource}', then 'activate'.",
            name=mark.resource,
        )

    async def lower(self, seen: LayerSeen, mark: LayerMark, host: Host) -> bool:
        """What it holds back goes down first, so that the volume is whole without its cache."""
        found = [one for one in await _devices(host) if one.seen.device == seen.device]
        if not found:
            return False
        (device,) = found
        folder = f"{_BLOCK}/{device.name}/bcache"
        await _refuse_used(device, mark, host)
        try:
            await _tell(f"{folder}/cache_mode", "writethrough", host)
            for name in ("writeback_percent", "writeback_delay"):
                await _tell(f"{folder}/{name}", "0", host)
            await _until(lambda: _is_clean(folder, host), _FLUSH_S, _dirty(device, mark))
            await _tell(f"{folder}/stop", "1", host)
            await _until(lambda: _gone(f"{_BLOCK}/{device.name}", host), _APPEAR_S, _busy(device, mark))
            cache = f"{_SYS}/{mark.volume_uuid}"
            if not await _gone(cache, host):
                await _tell(f"{cache}/stop", "1", host)
                await _until(lambda: _gone(cache, host), _APPEAR_S, _busy(device, mark))
        finally:
            host.shared.changed(_LOOK)
        return True


async def _devices(host: Host) -> tuple[_Device, ...]:
    blocks = bcache.parse_blocks((await host.runner.run(Cmd(bcache.LSBLK))).stdout)
    found = []
    for block in blocks.values():
        if not block.is_bcache:
            continue
        folder = f"{_BLOCK}/{block.kname}/bcache"
        below = blocks.get(await _text(f"{folder}/backing_dev_name", host))
        uuid = await _text(f"{folder}/backing_dev_uuid", host)
        if below is not None and uuid:
            path = f"/dev/bcache/by-uuid/{uuid}"
            number = (below.number.strip(),)
            seen = LayerSeen(LayerKind.BCACHE, path, block.number.strip(), number, block.size // KIB)
            found.append(_Device(block.kname, uuid, seen))
    return tuple(found)


async def _make(layer: TargetLayer, lower: str, mark: LayerMark, host: Host) -> None:
    """Both superblocks, the one that says that there is something on the volume's own device last.

    What carries our mark already was made by a pass that was cut, and nothing was ever above it.
    """
    there = await _super(lower, host)
    if there is None or there.set_ != mark.volume_uuid:
        found = await signatures.probe(lower, host)
        if found is not None:
            raise signatures.has_data(lower, found, mark.resource)
        there = None
    beside = await _super(mark.companion, host)
    if beside is None or beside.set_ != mark.volume_uuid:
        clear = (
            "dd",
            "if=/dev/zero",
            f"of={mark.companion}",
            "bs=1M",
            "count=1",
            "conv=fsync,notrunc,nocreat",
        )
        await host.runner.run(Cmd((*clear, "status=none")))
        await host.runner.run(Cmd(bcache.make_cache(mark.companion, mark.volume_uuid, layer.options)))
        await _sync(mark.companion, host)
    if there is None:
        await host.runner.run(Cmd(bcache.make_backing(lower, mark.volume_uuid, layer.options)))
        await _sync(lower, host)


async def _sync(path: str, host: Host) -> None:
    """What was written there outlives a power cut."""
    argv = ("dd", "if=/dev/null", f"of={path}", "count=0", "conv=fsync,notrunc,nocreat", "status=none")
    await host.runner.run(Cmd(argv))


async def _super(path: str, host: Host) -> bcache.Super | None:
    cmd = Cmd(("bcache-super-show", "-f", path), expect=(0, 1, _NONE_FOUND))
    return bcache.parse_super((await host.runner.run(cmd)).stdout.decode("utf-8", "replace"))


async def _register(path: str, host: Host) -> None:
    """Open a device, unless it is open already: the kernel says of both that the argument is invalid."""
    if await host.files.look(f"{_SYS}/register") is None:
        raise HostError(
            "The kernel has no bcache",
            code="module-missing",
            cause=f"There is no {_SYS}/register.",
            correction="Load the module: 'modprobe bcache'; it is tried again by itself.",
            name=path,
        )
    await _tell(f"{_SYS}/register", path, host, expect=(0, 1))


async def _appeared(lower: str, mark: LayerMark, host: Host) -> _Device:
    """The device that stands on `lower`, by its uuid."""
    there = await _super(lower, host)
    uuid = there.device if there is not None else ""
    found: list[_Device] = []

    async def there_now() -> bool:
        found[:] = [one for one in await _devices(host) if one.uuid == uuid]
        return bool(found)

    await _until(there_now, _APPEAR_S, _lost(lower, mark))
    return found[0]


async def _attach(device: _Device, mark: LayerMark, host: Host) -> None:
    """Let it use its cache, where the kernel has not done so by itself."""
    folder = f"{_BLOCK}/{device.name}/bcache"
    if await _text(f"{folder}/state", host) == "no cache":
        await _tell(f"{folder}/attach", mark.volume_uuid, host)


async def _refuse_used(device: _Device, mark: LayerMark, host: Host) -> None:
    """HostError `busy` when somebody has claimed it. It is opened as such a one would; nothing is written."""
    argv = ("wipefs", "--all", "--no-act", f"/dev/{device.name}")
    if (await host.runner.run(Cmd(argv, expect=(0, 1)))).code:
        raise _busy(device, mark)


async def _tell(path: str, word: str, host: Host, expect: tuple[int, ...] = (0,)) -> None:
    await host.runner.run(Cmd(("tee", path), stdin=word.encode() + b"\n", timeout_s=60.0, expect=expect))


async def _text(path: str, host: Host) -> str:
    return (await host.files.read(path) or b"").decode("utf-8", "replace").strip()


async def _is_clean(folder: str, host: Host) -> bool:
    return await _text(f"{folder}/state", host) in {"clean", "no cache"}


async def _there(path: str, host: Host) -> bool:
    return await host.files.look(path) is not None


async def _gone(path: str, host: Host) -> bool:
    return await host.files.look(path) is None


async def _until(holds: Callable[[], Awaitable[bool]], limit_s: float, error: HostError) -> None:
    """Wait for it, or raise the error."""
    for _ in range(int(limit_s / _POLL_S)):
        if await holds():
            return
        await asyncio.sleep(_POLL_S)
    raise error


def _refused(mark: LayerMark) -> HostError:
    return HostError(
        f"The kernel does not take the cache of volume {mark.number} of '{mark.resource}'",
        code="cache-refused",
        cause=f"No cache set came of '{mark.companion}'. It needs 1024 buckets or more.",
        correction="The kernel's log has the reason; a larger BCache/Size or a smaller BCache/Bucketsize "
        "(512 KiB unless set) helps where it is too small.",
        name=mark.resource,
    )


def _lost(lower: str, mark: LayerMark) -> HostError:
    return HostError(
        f"The cache of volume {mark.number} of '{mark.resource}' is lost",
        code="companion-lost",
        cause=f"'{mark.companion}' and '{lower}' do not come up together as they were made, and the cache "
        "may hold writes that the volume lacks.",
        correction="Bring the cache's device back, or create the resource anew on this node.",
        name=mark.resource,
    )


def _dirty(device: _Device, mark: LayerMark) -> HostError:
    return HostError(
        f"The cache of '{device.seen.path}' still holds writes back",
        code="cache-dirty",
        cause=f"It was not done after {_FLUSH_S:g} s.",
        correction="It is tried again by itself; look whether the device below is slow or failing.",
        name=mark.resource,
    )


def _busy(device: _Device, mark: LayerMark) -> HostError:
    return HostError(
        f"'{device.seen.path}' is in use",
        code="busy",
        cause=f"Something has volume {mark.number} of '{mark.resource}' (/dev/{device.name}) open.",
        correction="Unmount it or stop its user; it is tried again by itself.",
        name=mark.resource,
    )


def _nameless(device: _Device, mark: LayerMark) -> HostError:
    return HostError(
        f"'{device.seen.path}' of '{mark.resource}' does not appear",
        code="device-missing",
        cause=f"/dev/{device.name} is there, but udev has given it no name by its uuid.",
        correction="See that udev runs and has the rules of bcache-tools; it is tried again by itself.",
        name=mark.resource,
    )
