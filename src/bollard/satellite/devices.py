"""Bare devices of this machine: lists those that hold nothing, and makes pools of them on request.

All is checked before the first command that destroys anything. What a failed attempt has made is undone.
"""

import asyncio
from typing import Final

import msgspec

from bollard.satellite.host.base import Cmd, Host, HostError
from bollard.satellite.tools import device_pool
from bollard.satellite.tools.device_pool import Plan
from bollard.wire.devices import DevicePoolDone, DevicePoolSpec, FreeDevice

__all__ = ["Devices"]

_KEPT: Final = 32
_MAKE_S: Final = 300.0
_UDEV_S: Final = 60
_WAIT_S: Final = 2.0
_LIST_S: Final = 8.0


class Devices:
    """Of one machine. Attempts go on when nobody asks; their ends are kept for a while."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._attempts: dict[str, asyncio.Task[DevicePoolDone]] = {}

    async def free(self) -> list[FreeDevice]:
        """Those that could become a pool. HostError when lsblk is missing or fails."""
        return device_pool.free(await self._blocks())

    async def make(self, spec: DevicePoolSpec) -> DevicePoolDone:
        """Begin, or say how far it is: an attempt is known by its request."""
        attempt = self._attempts.get(spec.request)
        if attempt is None:
            attempt = asyncio.create_task(self._make(spec))
            self._attempts[spec.request] = attempt
            for old in list(self._attempts)[:-_KEPT]:
                if self._attempts[old].done():
                    del self._attempts[old]
        await asyncio.wait([attempt], timeout=_WAIT_S)
        return attempt.result() if attempt.done() else DevicePoolDone(running=True)

    async def _make(self, spec: DevicePoolSpec) -> DevicePoolDone:
        try:
            plan = device_pool.plan(spec)
        except ValueError as error:
            return DevicePoolDone(error=f"The pool '{spec.name}' cannot be made", cause=str(error))
        async with self._host.shared.lock("devices"):
            try:
                await self._check(spec, plan)
            except HostError as error:
                return _failed(error)
            return await self._carry_out(plan)

    async def _check(self, spec: DevicePoolSpec, plan: Plan) -> None:
        """Nothing is destroyed by looking. HostError says what stands in the way."""
        for program in dict.fromkeys(argv[0] for argv in plan.steps):
            if self._host.runner.path_of(program) is None:
                raise HostError(
                    f"The program '{program}' is not installed",
                    code="tool-missing",
                    correction="Install the package that provides it.",
                )
        if spec.vdo:
            await self._check_vdo()
        if not spec.devices:
            raise HostError("No devices were given", code="no-devices")
        free = {device.path: device for device in await self.free()}
        for path in spec.devices:
            if path not in free:
                raise await self._refusal(path)
            await self._probe(path)
        group = plan.backing.partition("/")[0]
        if plan.steps[-1][0] == "zpool":
            what = "zpool"
            found = await self._run("zpool", "list", "-H", "-o", "name", group, expect=(0, 1))
        else:
            what = "volume group"
            found = await self._run("vgs", "--noheadings", "--options", "vg_name", group, expect=(0, 5))
        if found.strip():
            raise HostError(
                f"There is a {what} '{group}' already",
                code="group-exists",
                correction="Choose another name, or register it as a storage pool as it is.",
            )

    async def _check_vdo(self) -> None:
        if self._host.runner.path_of("vdoformat") is None:
            raise HostError(
                "The program 'vdoformat' is not installed",
                code="tool-missing",
                correction="Install the package vdo.",
            )
        version = device_pool.lvm_version(await self._run("lvm", "version"))
        if version < device_pool.VDO_LVM:
            raise HostError(
                "LVM is too old to put a thin pool on VDO",
                code="tool-missing",
                cause=f"It is {_lvm(version) or 'of no known version'}.",
                correction=f"Install lvm2 {_lvm(device_pool.VDO_LVM)} or newer, or do without VDO.",
            )

    async def _probe(self, path: str) -> None:
        """Look at the device itself: what lsblk says may be old."""
        said = await self._run("wipefs", "--noheadings", "--output", "TYPE", path)
        if said.strip():
            raise _unfit(path, f"it carries a signature of {', '.join(said.split())}")

    async def _refusal(self, path: str) -> HostError:
        blocks = await self._blocks()
        while blocks:
            for block in blocks:
                if block.name == path:
                    return _unfit(path, device_pool.why_not(block) or "it is part of another device")
            blocks = [child for block in blocks for child in block.children]
        return HostError(
            f"There is no block device '{path}'",
            code="device-missing",
            correction="'physical-storage list' shows those that can be used.",
        )

    async def _carry_out(self, plan: Plan) -> DevicePoolDone:
        for argv in plan.steps:
            try:
                await self._host.runner.run(Cmd(argv, timeout_s=_MAKE_S))
                if argv[:2] == ("mdadm", "--create"):
                    await self._appeared(argv[2])
            except HostError as error:
                for undo in plan.undo:
                    await self._try(undo)
                return _failed(error)
        for what in ("lvm", "lvm groups", "zfs", "zpools"):
            self._host.shared.changed(what)
        return DevicePoolDone(backing=plan.backing)

    async def _appeared(self, path: str) -> None:
        """A new array has its name when udev has seen it; mdadm waits for that some seconds only."""
        if await self._host.files.look("/run/udev/data") is not None:
            settle = ("udevadm", "settle", f"--exit-if-exists={path}", f"--timeout={_UDEV_S}")
            await self._host.runner.run(Cmd(settle, timeout_s=_UDEV_S + 10.0, expect=(0, 1)))

    async def _try(self, argv: tuple[str, ...]) -> None:
        """Of what is taken back, some was never there."""
        try:
            await self._host.runner.run(Cmd(argv))
        except HostError:
            return

    async def _blocks(self) -> list[device_pool.Block]:
        done = await self._host.runner.run(Cmd(device_pool.LSBLK, timeout_s=_LIST_S))
        try:
            return device_pool.parse(done.stdout)
        except msgspec.MsgspecError as error:
            raise HostError("lsblk's report cannot be read", code="tool-failed", cause=str(error)) from error

    async def _run(self, *argv: str, expect: tuple[int, ...] = (0,)) -> str:
        return (await self._host.runner.run(Cmd(argv, expect=expect))).stdout.decode("utf-8", "replace")


def _lvm(version: tuple[int, ...]) -> str:
    """As LVM writes it: 2.03.24."""
    return ".".join(f"{number:02}" if index else str(number) for index, number in enumerate(version))


def _unfit(path: str, why: str) -> HostError:
    return HostError(
        f"'{path}' cannot become part of a pool",
        code="device-in-use",
        cause=f"The device is not free: {why}.",
        correction="Choose another, or empty it yourself with 'wipefs --all' if nothing on it is needed.",
    )


def _failed(error: HostError) -> DevicePoolDone:
    return DevicePoolDone(error=error.message, cause=error.cause, correction=error.correction)
