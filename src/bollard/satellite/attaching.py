"""Sees to it that volumes which the data process serves here are block devices, where that is possible.

A device that cannot be had is a problem of its volume and holds nothing else up.
"""

import zlib
from collections.abc import Mapping
from typing import Final

from bollard.domain.ids import Key
from bollard.domain.layers import AttachWay, ReplicationKind
from bollard.domain.resources import DiskKind
from bollard.domain.seen import Problem
from bollard.domain.targets import TargetResource, TargetVolume
from bollard.domain.units import KIB
from bollard.satellite.host import attachments
from bollard.satellite.host.base import DeviceSeen, Host, HostError
from bollard.satellite.idling import Idling
from bollard.satellite.sight import NOT_ATTACHED, Attached, Sight

__all__ = ["RETRY_S", "Attaching"]

RETRY_S: Final = 10.0
_AUTO: Final = frozenset({"", "auto"})
_NONE: Final = "none"
_PLAIN_FROM: Final = 1 << 19
_PLAIN_COUNT: Final = 1 << 15


class Attaching:
    """Of one machine. The newest result by key is kept for reports."""

    def __init__(self, host: Host, idling: Idling) -> None:
        self._host = host
        self._idling = idling
        self._known: dict[Key, Attached] = {}

    def engine_changed(self) -> None:
        """The data process came or went: what stood on it is dead."""
        self._host.shared.changed(attachments.LOOK)

    async def sweep(self) -> None:
        """Clear away what a data process that died has left behind. HostError."""
        if self._host.devices is not None:
            for device in await self._host.devices.seen():
                if not device.alive:
                    await attachments.drop(self._host, device)

    def seen(self, key: Key) -> Attached:
        """As the last pass left it."""
        return self._known.get(key, NOT_ATTACHED)

    async def advance(self, key: Key, target: TargetResource | None, sight: Sight) -> None:
        """Attach what should be, take away what should not; never raises for what goes wrong."""
        self._known.pop(key, None)
        if self._host.devices is None or target is None or not _is_ours(target, sight):
            return
        wanted = _wanted(target, sight)
        paths: dict[int, str] = {}
        problems: dict[int, Problem] = {}
        try:
            present = await self._clean(target, wanted, problems)
            way = self._way(target) if wanted.keys() - present.keys() else None
        except HostError as error:
            self._known[key] = Attached({}, dict.fromkeys(wanted, error.problem()))
            return
        for number, (minor, size_bytes) in wanted.items():
            device = present.get(number)
            try:
                if device is None and way is not None:
                    device = await attachments.attach(self._host, target.name, number, minor, way)
                elif device is not None and device.size_bytes != size_bytes:
                    await attachments.follow(self._host, device)
            except HostError as error:
                problems[number] = error.problem()
            if device is not None:
                paths[number] = device.path
        self._known[key] = Attached(paths, problems)
        self._watch(sight, present)

    async def _clean(
        self, target: TargetResource, wanted: Mapping[int, object], problems: dict[int, Problem]
    ) -> dict[int, DeviceSeen]:
        """What is there and may stay. Dead ones, second ones and those that nobody wants go."""
        present: dict[int, DeviceSeen] = {}
        unwanted = target.attach == _NONE
        for device in await attachments.of(self._host, target.name):
            if device.alive and device.number in wanted and device.number not in present and not unwanted:
                present[device.number] = device
                continue
            try:
                await attachments.drop(self._host, device)
            except HostError as error:
                problems[device.number] = error.problem()
                present[device.number] = device
        return present

    def _way(self, target: TargetResource) -> AttachWay | None:
        """How to make a device; None: not at all. HostError when the way asked for cannot be gone."""
        assert self._host.devices is not None
        usable = self._host.devices.usable()
        if target.attach == _NONE:
            return None
        if target.attach in _AUTO:
            return next((way for way, reason in usable.items() if not reason), None)
        way = next((way for way in usable if way == target.attach), None)
        reason = usable[way] if way is not None else f"This satellite does not know '{target.attach}'."
        if way is None or reason:
            raise HostError(
                f"'{target.name}' cannot be attached by '{target.attach}' here",
                code="no-device",
                cause=reason,
                correction="Mend that, or set Bollard/Attach to auto.",
                name=target.name,
            )
        return way

    def _watch(self, sight: Sight, present: Mapping[int, DeviceSeen]) -> None:
        """What is open may have been opened through its device, whose last user says nothing when he goes."""
        opened = {one.volume for one in sight.status.devices if one.open} if sight.status else set()
        for number, device in present.items():
            if number in opened:
                self._idling.watch(device)


def _is_ours(target: TargetResource, sight: Sight) -> bool:
    return sight.kind is ReplicationKind.USER and sight.spec is not None and sight.spec.uuid == target.uuid


def _wanted(target: TargetResource, sight: Sight) -> dict[int, tuple[int, int]]:
    """Minor and size in bytes of the volumes that can be used here, by number. A tie-breaker has none."""
    if target.disk is DiskKind.TIE_BREAKER or not target.active or sight.status is None:
        return {}
    sizes = {device.volume: device.size * KIB for device in sight.status.devices}
    return {
        volume.number: (_number(volume), sizes[volume.number])
        for volume in target.volumes
        if sizes.get(volume.number)
    }


def _number(volume: TargetVolume) -> int:
    """Of the device, always the same for a volume: DRBD's minor, else one that is far from all of those."""
    if volume.minor is not None:
        return volume.minor
    return _PLAIN_FROM + zlib.crc32(volume.uuid.encode()) % _PLAIN_COUNT
