"""CACHE: what is read and written often is kept on a fast companion, by dm-cache.

The companion holds the cache's metadata first and the cache after it, as two linear devices of their own.
"""

import asyncio
from typing import Final

from bollard.domain.layers import LayerKind
from bollard.domain.targets import TargetLayer
from bollard.domain.units import KIB, SECTOR_BYTES, align_up
from bollard.satellite.host import device_mapper
from bollard.satellite.host.base import Host, HostError, LayerMark, LayerSeen
from bollard.satellite.host.companions import ready, refuse_data, sectors_of
from bollard.satellite.host.device_mapper import DmDevice

__all__ = ["Cache"]

_TARGET: Final = "cache"
_BLOCK_SECTORS: Final = 4096
_BLOCK_STEP: Final = 64
_BLOCK_MAX: Final = 2097152
_META_KIB: Final = 12288
_MODES: Final = ("writeback", "writethrough", "passthrough")
_DEFAULT_MODE: Final = "writethrough"
_POLICIES: Final = {"smq": "smq", "mq": "smq", "cleaner": "cleaner"}
"""The kernel's old name mq means smq."""
_FLUSH_LIMIT_MS: Final = 180000
_POLL_S: Final = 0.25


class Cache:
    """See `drivers.DeviceLayer` for the verbs."""

    kind = LayerKind.CACHE

    async def observe(self, host: Host) -> tuple[LayerSeen, ...]:
        return tuple(_seen(one) for one in await device_mapper.devices(host, _TARGET))

    async def raise_(self, layer: TargetLayer, lower: str, mark: LayerMark, host: Host) -> str:
        name = f"linstor_cache_{mark.resource}_{mark.number:05d}"
        if not mark.made:
            await _clear_away(name, host)
            await refuse_data(lower, mark, host)
        await ready(mark.companion, mark, host)
        meta, data = await _split(name, mark, host)
        sectors = await sectors_of(lower, host)
        words = (meta, data, lower, *_features(layer))
        return await device_mapper.create(host, name, device_mapper.table(sectors, _TARGET, *words))

    async def grow(self, _layer: TargetLayer, seen: LayerSeen, _mark: LayerMark, host: Host) -> bool:
        found = await device_mapper.at(host, seen.path)
        if found is None:
            return False
        await device_mapper.stretch(host, found, await sectors_of(f"/dev/block/{seen.below[0]}", host))
        return True

    async def lower(self, seen: LayerSeen, _mark: LayerMark, host: Host) -> bool:
        """What is dirty goes down first, so that the volume is whole without its cache."""
        found = await device_mapper.at(host, seen.path)
        if found is None:
            return False
        if "writeback" in found.words and await device_mapper.unused(host, found):
            await _clean(found, host)
        await device_mapper.remove(host, found)
        await _clear_away(found.name, host)
        return True


def _seen(device: DmDevice) -> LayerSeen:
    # cache: metadata, cache, device below, block size, features, policy
    meta, data, below = device.words[:3]
    return LayerSeen(
        kind=LayerKind.CACHE,
        path=device.path,
        device=device.device,
        below=(below, data, meta),
        size_kib=device.size_kib,
    )


async def _split(name: str, mark: LayerMark, host: Host) -> tuple[str, str]:
    """The two pieces of the companion, as devices; those that a pass that was cut has made are kept."""
    there = {one.name for one in await device_mapper.devices(host, "linear")}
    whole = await sectors_of(mark.companion, host)
    meta_sectors = _meta_sectors(whole)
    paths = []
    for suffix, start, sectors in (("_meta", 0, meta_sectors), ("_data", meta_sectors, whole - meta_sectors)):
        line = device_mapper.table(sectors, "linear", mark.companion, str(start))
        piece = name + suffix
        path = f"/dev/mapper/{piece}"
        paths.append(path if piece in there else await device_mapper.create(host, piece, line))
    return paths[0], paths[1]


def _meta_sectors(companion_sectors: int) -> int:
    """How much of a companion is metadata: by its size alone, which never changes, so that it is found again.

    The kernel asks for 4 MiB and 16 bytes a block; blocks of 32 KiB are the smallest.
    """
    least = _META_KIB * KIB // SECTOR_BYTES
    return least + align_up(companion_sectors // 2048, _BLOCK_STEP)


def _features(layer: TargetLayer) -> tuple[str, ...]:
    given = layer.options.get("Blocksize", "")
    block = int(given) if given.isdecimal() else _BLOCK_SECTORS
    if block % _BLOCK_STEP or not _BLOCK_STEP <= block <= _BLOCK_MAX:
        raise HostError(
            f"A cache cannot have blocks of {block} sectors",
            code="bad-option",
            cause=f"The kernel takes multiples of {_BLOCK_STEP} up to {_BLOCK_MAX}.",
            correction="Change the property Cache/Blocksize.",
        )
    mode = layer.options.get("OpMode", _DEFAULT_MODE).lower()
    policy = _POLICIES.get(layer.options.get("Policy", "smq").lower(), "smq")
    return (str(block), "1", mode if mode in _MODES else _DEFAULT_MODE, policy, "0")


async def _clean(device: DmDevice, host: Host) -> None:
    """Let the cache write down all it holds back. HostError `cache-dirty` when that takes too long."""
    words = device.words[:4]
    await device_mapper.reload(
        host, device.name, device_mapper.table(device.sectors, _TARGET, *words, "0", "cleaner", "0")
    )
    for _ in range(int(_FLUSH_LIMIT_MS / 1000 / _POLL_S)):
        if await device_mapper.dirty_blocks(host, device.name) == 0:
            return
        await asyncio.sleep(_POLL_S)
    raise HostError(
        f"The cache '{device.path}' still holds writes back",
        code="cache-dirty",
        cause=f"It was not done after {_FLUSH_LIMIT_MS // 1000} s.",
        correction="It is tried again by itself; look whether the device below is slow or failing.",
        name=device.name,
    )


async def _clear_away(name: str, host: Host) -> None:
    """Take away the pieces of a companion that no cache uses."""
    wanted = {name, f"{name}_meta", f"{name}_data"}
    for one in sorted(await device_mapper.devices(host), key=lambda device: len(device.name)):
        if one.name in wanted:
            await device_mapper.remove(host, one)
