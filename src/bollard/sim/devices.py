"""Simulated block devices of one machine: what they stand on is its data process, who uses them is said.

Devices outlive the data process, as the kernel's do: they are then dead.
"""

from collections.abc import Awaitable, Callable, Mapping

from bollard.domain.layers import AttachWay
from bollard.satellite.host.base import DeviceSeen, HostError
from bollard.sim.engine import SimEngine

__all__ = ["SimBlockDevices"]

_APART = 1 << 16


class SimBlockDevices:
    """`host.base.BlockDevices`. `use` and `leave` are what programs on the machine do."""

    def __init__(self, engine: Callable[[], SimEngine | None], pause: Callable[[], Awaitable[None]]) -> None:
        self._engine = engine
        self._pause = pause
        self._known: dict[str, tuple[DeviceSeen, SimEngine, str]] = {}
        """By path, with what it stands on: a process, and a life of the resource in it."""
        self.users: dict[str, set[str]] = {}

    def usable(self) -> Mapping[AttachWay, str]:
        return {AttachWay.LOOP: "" if self._engine() is not None else "The data process is not there."}

    async def seen(self, resource: str = "") -> tuple[DeviceSeen, ...]:
        await self._pause()
        return tuple(
            DeviceSeen(path, one.resource, one.number, one.way, one.size_bytes, alive=self._alive(path))
            for path, (one, _, _) in sorted(self._known.items())
            if resource in ("", one.resource)
        )

    async def attach(self, resource: str, number: int, minor: int, way: AttachWay) -> DeviceSeen:
        await self._pause()
        engine = self._engine()
        size_bytes = engine.device_bytes(resource, number) if engine is not None else 0
        if engine is None or not size_bytes:
            raise HostError(f"The block device of '{resource}' could not be had", code="no-device")
        while f"/dev/loop{minor}" in self._known:
            minor += _APART
        path = f"/dev/loop{minor}"
        device = DeviceSeen(path, resource, number, way, size_bytes)
        self._known[path] = device, engine, engine.specs[resource].uuid
        return device

    async def detach(self, device: DeviceSeen) -> None:
        await self._pause()
        if users := self.users.get(device.path):
            raise HostError(
                f"The block device '{device.path}' of '{device.resource}' is in use",
                code="busy",
                cause="; ".join(sorted(users)),
                name=device.resource,
            )
        self._drop(device.path)

    async def forget(self, device: DeviceSeen) -> None:
        await self._pause()
        if not self.users.get(device.path):
            self._drop(device.path)

    async def follow(self, device: DeviceSeen) -> None:
        await self._pause()
        known, engine, life = self._known[device.path]
        size_bytes = engine.device_bytes(known.resource, known.number)
        grown = DeviceSeen(known.path, known.resource, known.number, known.way, size_bytes)
        self._known[device.path] = grown, engine, life

    async def unused(self, devices: tuple[DeviceSeen, ...]) -> tuple[DeviceSeen, ...]:
        await self._pause()
        return tuple(one for one in devices if not self.users.get(one.path))

    async def publish(self, device: DeviceSeen) -> None:
        """Nobody looks for names here."""

    # -- what programs do

    def use(self, path: str, user: str) -> bool:
        """Open a device and read from it; whether that could be read."""
        self.users.setdefault(path, set()).add(user)
        if not self._alive(path):
            return False
        device, engine, _ = self._known[path]
        return engine.device_use.request(device.resource, device.number)

    def leave(self, path: str, user: str) -> None:
        """Close it."""
        users = self.users.get(path, set())
        users.discard(user)
        if not users and path in self._known and not self._alive(path):
            self._drop(path)

    def _alive(self, path: str) -> bool:
        device, engine, life = self._known[path]
        spec = engine.specs.get(device.resource)
        return (
            engine is self._engine()
            and spec is not None
            and spec.uuid == life
            and bool(engine.device_bytes(device.resource, device.number))
        )

    def _drop(self, path: str) -> None:
        known = self._known.pop(path, None)
        if known is not None and known[1] is self._engine():
            known[1].device_use.close(known[0].resource, known[0].number)
