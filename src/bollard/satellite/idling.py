"""Closes volumes whose block device has lost its last user: a replicated one is then Secondary again.

The kernel tells nobody when a device is closed, so those that are open are looked at ten times a second.
"""

import asyncio
import logging
from typing import Any, Final

import msgspec

from bollard.domain.ports import Clock
from bollard.satellite.host.base import DeviceSeen, Host, HostError
from bollard.wire.engine import ReleaseDevice

__all__ = ["LOOK_S", "Idling"]

LOOK_S: Final = 0.1
_log = logging.getLogger(__name__)


class _Watched(msgspec.Struct):
    device: DeviceSeen
    ops: int = -1
    """Requests that had come at the last look."""
    used: bool = False
    """Whether somebody had it open then."""


class Idling:
    """The open devices of one machine."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._watched: dict[tuple[str, int], _Watched] = {}
        self._more = asyncio.Event()

    def watch(self, device: DeviceSeen) -> None:
        """Its volume is open: look after it until it is closed."""
        known = self._watched.get((device.resource, device.number))
        if known is None or known.device.path != device.path:
            self._watched[device.resource, device.number] = _Watched(device)
            self._more.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._more.clear()
            if not self._watched:
                await self._more.wait()
            await self._clock.sleep(LOOK_S)
            try:
                await self._round()
            except HostError as error:
                _log.debug("open devices cannot be looked after now: %s", error.cause)
                if error.code == "engine-away":
                    # What stood on that process is dead; passes tell of what the next one has.
                    self._watched.clear()

    async def _round(self) -> None:
        quiet = [one for one in self._watched.values() if not one.used]
        for watched in await self._left([one for one in self._watched.values() if one.used]):
            watched.used = False
            opened, watched.ops = await self._ask(watched.device, -1)
            await self._close(watched, opened=opened)
        for watched in quiet:
            # Between the programs that make a file system and use it there is nobody for a moment.
            opened, ops = await self._ask(watched.device, -1)
            if not opened or ops == watched.ops:
                await self._close(watched, opened=opened)
            watched.ops = ops

    async def _close(self, watched: _Watched, *, opened: bool) -> None:
        """Close the volume if nobody uses its device and no request has come since `ops` was read.

        Whoever opens the device between our looks reads or writes before he relies on anything. That is a
        request, and the data process then refuses to close.
        """
        device = watched.device
        if opened and not await self._left([watched]):
            watched.used = True
            return
        if opened:
            opened, _ = await self._ask(device, watched.ops)
            if not opened:
                _log.info("%s has no user any more: %s is closed", device.path, device.resource)
        if not opened and self._watched.get((device.resource, device.number)) is watched:
            del self._watched[device.resource, device.number]

    async def _left(self, among: list[_Watched]) -> list[_Watched]:
        """Those that nobody uses."""
        devices = self._host.devices
        assert devices is not None
        if not among:
            return []
        free = await devices.unused(tuple(one.device for one in among))
        return [one for one in among if one.device in free]

    async def _ask(self, device: DeviceSeen, ops: int) -> tuple[bool, int]:
        request = ReleaseDevice(name=device.resource, volume=device.number, ops=ops)
        try:
            result: dict[str, Any] = (await self._host.engine.ask(request)).result or {}
        except HostError as error:
            if error.code != "engine-not-found":
                raise
            return False, 0
        return bool(result.get("open")), int(result.get("ops", 0))
