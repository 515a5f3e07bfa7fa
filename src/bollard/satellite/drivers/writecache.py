"""WRITECACHE: writes go to a fast companion first, and below in the background, by dm-writecache."""

from typing import Final

from bollard.domain.layers import LayerKind
from bollard.domain.targets import TargetLayer
from bollard.satellite.host import device_mapper
from bollard.satellite.host.base import Host, LayerMark, LayerSeen
from bollard.satellite.host.companions import ready, refuse_data, sectors_of
from bollard.satellite.host.device_mapper import DmDevice

__all__ = ["Writecache"]

_TARGET: Final = "writecache"
_BLOCK_BYTES: Final = "4096"
_FLUSH_LIMIT_S: Final = 180.0
_NUMBERS: Final = {
    "StartSector": "start_sector",
    "HighWatermark": "high_watermark",
    "LowWatermark": "low_watermark",
    "WritebackJobs": "writeback_jobs",
    "AutocommitBlocks": "autocommit_blocks",
    "AutocommitTime": "autocommit_time",
}


class Writecache:
    """See `drivers.DeviceLayer` for the verbs."""

    kind = LayerKind.WRITECACHE

    async def observe(self, host: Host) -> tuple[LayerSeen, ...]:
        return tuple(_seen(one) for one in await device_mapper.devices(host, _TARGET))

    async def raise_(self, layer: TargetLayer, lower: str, mark: LayerMark, host: Host) -> str:
        name = f"linstor_writecache_{mark.resource}_{mark.number:05d}"
        if not mark.made:
            for one in await device_mapper.devices(host, _TARGET):
                if one.name == name:  # cut before it was remembered: nothing was ever above it
                    await device_mapper.remove(host, one)
            await refuse_data(lower, mark, host)
        await ready(mark.companion, mark, host)
        sectors = await sectors_of(lower, host)
        words = ("s", lower, mark.companion, _BLOCK_BYTES, *_options(layer))
        return await device_mapper.create(host, name, device_mapper.table(sectors, _TARGET, *words))

    async def grow(self, _layer: TargetLayer, seen: LayerSeen, _mark: LayerMark, host: Host) -> bool:
        found = await device_mapper.at(host, seen.path)
        if found is None:
            return False
        await device_mapper.message(host, found.name, "flush", timeout_s=_FLUSH_LIMIT_S)
        await device_mapper.stretch(host, found, await sectors_of(f"/dev/block/{seen.below[0]}", host))
        return True

    async def lower(self, seen: LayerSeen, _mark: LayerMark, host: Host) -> bool:
        found = await device_mapper.at(host, seen.path)
        if found is None:
            return False
        await device_mapper.message(host, found.name, "flush", timeout_s=_FLUSH_LIMIT_S)
        await device_mapper.remove(host, found)
        return True


def _seen(device: DmDevice) -> LayerSeen:
    # writecache: p or s, device below, cache, block size, options
    return LayerSeen(
        kind=LayerKind.WRITECACHE,
        path=device.path,
        device=device.device,
        below=device.words[1:3],
        size_kib=device.size_kib,
    )


def _options(layer: TargetLayer) -> tuple[str, ...]:
    """The table's optional parameters, after their count. `Options/Fua` is for persistent memory alone."""
    words: list[str] = []
    for key, word in _NUMBERS.items():
        if (value := layer.options.get(f"Options/{key}", "")).isdecimal():
            words += [word, value]
    words += layer.options.get("Options/Additional", "").split()
    return (str(len(words)), *words)
