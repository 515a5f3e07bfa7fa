"""One suite for block devices of served volumes: the kernel's and the simulated ones."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from bollard.domain.layers import AttachWay
from bollard.satellite.host import loop_devices
from bollard.satellite.host.base import BlockDevices, HostError
from bollard.satellite.host.block_devices import LocalBlockDevices
from bollard.sim.engine import Mesh
from bollard.sim.host import SimMachine
from bollard.wire import engine as wire
from replica_process import ReplicaProcess

MIB = 1 << 20
MINOR = 400_000
"""Far from what others on the machine use."""


class World(Protocol):
    devices: BlockDevices

    def configure(self, size_bytes: int, uuid: str = "u") -> None: ...
    def remove(self) -> None: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...
    def release(self, ops: int = -1) -> dict[str, Any]: ...
    def using(self, path: str) -> contextlib.AbstractContextManager[bool]:
        """A program has it open; whether it could read."""
        ...


class Simulated:
    """A machine of the simulator."""

    def __init__(self) -> None:
        self.machine = SimMachine("n0", Mesh())
        self.devices = self.machine.can_attach()

    def _ask(self, request: wire.Request) -> wire.Reply:
        assert self.machine.engine is not None
        return asyncio.run(self.machine.engine.ask(request))

    def configure(self, size_bytes: int, uuid: str = "u") -> None:
        self.machine.disk.sizes["/pool/img"] = 64 * MIB
        self._ask(wire.Configure(resource=_spec("/pool/img", size_bytes, uuid)))

    def remove(self) -> None:
        self._ask(wire.Remove(name="data"))

    def kill(self) -> None:
        self.machine.stop_engine()

    def start(self) -> None:
        self.machine.start_engine()

    def release(self, ops: int = -1) -> dict[str, Any]:
        result: dict[str, Any] = self._ask(wire.ReleaseDevice(name="data", volume=0, ops=ops)).result
        return result

    @contextlib.contextmanager
    def using(self, path: str) -> Iterator[bool]:
        yield self.devices.use(path, "a program")
        self.devices.leave(path, "a program")


class Real:
    """The kernel, and a data process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = ReplicaProcess(folder / "n", "--volumes", str(folder / "volumes"))
        self.process.start()
        self.files = self.process.control.must(wire.Version()).result["devices"]
        self.devices = LocalBlockDevices(lambda: self.files, str(folder / "links"))

    def configure(self, size_bytes: int, uuid: str = "u") -> None:
        path = self.folder / "img"
        path.touch()
        os.truncate(path, max(path.stat().st_size, size_bytes))
        self.process.control.must(wire.Configure(resource=_spec(str(path), size_bytes, uuid)))

    def remove(self) -> None:
        self.process.control.must(wire.Remove(name="data"))

    def kill(self) -> None:
        self.process.kill()

    def start(self) -> None:
        self.process.start()

    def release(self, ops: int = -1) -> dict[str, Any]:
        reply = self.process.control.must(wire.ReleaseDevice(name="data", volume=0, ops=ops))
        result: dict[str, Any] = reply.result
        return result

    @contextlib.contextmanager
    def using(self, path: str) -> Iterator[bool]:
        """By another program: our own descriptors do not count."""
        program = "import os, sys; fd = os.open(sys.argv[1], os.O_RDWR)\n"
        program += "try: os.pread(fd, 4096, 0); print('read', flush=True)\n"
        program += "except OSError: print('failed', flush=True)\n"
        program += "sys.stdin.read()"
        argv = [sys.executable, "-c", program, path]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            yield run.stdout.readline() == "read\n"

    def end(self) -> None:
        with contextlib.suppress(AssertionError):
            self.process.terminate()
        for device in asyncio.run(self.devices.seen()):
            asyncio.run(self.devices.forget(device))
        subprocess.run(["umount", "-l", str(self.folder / "volumes")], check=False, capture_output=True)
        print(self.process.log_path.read_text())  # noqa: T201  shown by pytest when the test fails


def _spec(backing: str, size_bytes: int, uuid: str) -> wire.ResourceSpec:
    volume = wire.VolumeSpec(number=0, minor=-1, size_bytes=size_bytes, backing=backing)
    return wire.ResourceSpec(name="data", uuid=uuid, kind=wire.Kind.PLAIN, volumes=(volume,))


def _lacking() -> str:
    return loop_devices.lacking() or ("" if Path("/dev/fuse").exists() else "the kernel has no FUSE")


@pytest.fixture(
    params=[
        "sim",
        pytest.param(
            "local", marks=[pytest.mark.root, pytest.mark.skipif(bool(_lacking()), reason=_lacking())]
        ),
    ]
)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "sim":
        yield Simulated()
        return
    real = Real(tmp_path)
    yield real
    real.end()


def _run(body: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await body()

    asyncio.run(whole())


def test_it_is_seen_by_name_has_its_size_and_grows(world: World) -> None:
    world.configure(4 * MIB)
    assert world.devices.usable() == {AttachWay.LOOP: ""}

    async def attach() -> None:
        made = await world.devices.attach("data", 0, MINOR, AttachWay.LOOP)
        assert made.path == f"/dev/loop{MINOR}"
        assert (made.resource, made.number, made.size_bytes, made.alive) == ("data", 0, 4 * MIB, True)
        assert await world.devices.seen() == (made,)
        assert await world.devices.seen("data") == (made,)
        assert await world.devices.seen("dat") == ()
        assert await world.devices.unused((made,)) == (made,)
        await world.devices.publish(made)

    async def follow() -> None:
        (device,) = await world.devices.seen()
        await world.devices.follow(device)
        (device,) = await world.devices.seen()
        assert device.size_bytes == 8 * MIB
        assert device.alive
        await world.devices.detach(device)
        assert await world.devices.seen() == ()
        await world.devices.detach(device)

    _run(attach)
    world.configure(8 * MIB)
    _run(follow)


def test_requests_open_the_volume_and_release_closes_it_when_nothing_came_since(world: World) -> None:
    world.configure(4 * MIB)
    made = asyncio.run(world.devices.attach("data", 0, MINOR, AttachWay.LOOP))
    assert not world.release()["open"]
    with world.using(made.path) as could:
        assert could
        before = world.release()
        assert before["open"]
    with world.using(made.path) as could:
        assert could
    # A second look at once: the kernel may still be putting the last user away.
    assert world.release(before["ops"])["open"], "a request came after that count"
    assert not world.release(world.release()["ops"])["open"]


def test_a_used_one_is_not_detached_and_its_user_named(world: World) -> None:
    world.configure(4 * MIB)
    made = asyncio.run(world.devices.attach("data", 0, MINOR, AttachWay.LOOP))
    with world.using(made.path):
        assert asyncio.run(world.devices.unused((made,))) == ()
        with pytest.raises(HostError) as refused:
            asyncio.run(world.devices.detach(made))
        assert refused.value.code == "busy"
        assert refused.value.cause
        assert asyncio.run(world.devices.seen()) == (made,)
    assert asyncio.run(world.devices.unused((made,))) == (made,)
    asyncio.run(world.devices.detach(made))
    assert asyncio.run(world.devices.seen()) == ()


def test_without_its_process_it_is_dead_and_goes_with_its_last_user(world: World) -> None:
    world.configure(4 * MIB)
    made = asyncio.run(world.devices.attach("data", 0, MINOR, AttachWay.LOOP))
    with world.using(made.path):
        world.kill()
        world.start()
        (dead,) = asyncio.run(world.devices.seen())
        assert not dead.alive
        asyncio.run(world.devices.forget(dead))
        again = asyncio.run(world.devices.attach("data", 0, MINOR, AttachWay.LOOP))
        assert again.path != made.path
        assert {one.alive for one in asyncio.run(world.devices.seen())} == {True, False}
    assert asyncio.run(world.devices.seen()) == (again,)
    with world.using(again.path) as could:
        assert could


def test_it_never_reaches_another_life_of_its_resource(world: World) -> None:
    world.configure(4 * MIB)
    made = asyncio.run(world.devices.attach("data", 0, MINOR, AttachWay.LOOP))
    world.remove()
    world.configure(4 * MIB, "another")
    (old,) = asyncio.run(world.devices.seen())
    assert not old.alive
    with world.using(made.path) as could:
        assert not could
    asyncio.run(world.devices.forget(old))
    assert asyncio.run(world.devices.seen()) == ()
