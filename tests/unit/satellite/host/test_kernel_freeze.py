"""A freeze of DRBD 8.4: what holds it, that its token never freezes twice, and who ends it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bollard.domain.layers import ReplicationKind
from bollard.satellite.drivers import REPLICATION, Suspends
from bollard.satellite.host.base import Cmd, Done, Freeze, Host, HostError, KernelFacts
from bollard.satellite.host.kernel_freeze import freeze, release, thaw
from bollard.satellite.tools.drbd_status import DeviceStatus, ResourceStatus
from bollard.sim.files import Disk, SimFiles
from bollard.sim.host import no_pause
from lab_host import NoEngine

FOLDER = "/drbd.d"
FILE = f"{FOLDER}/r.res.frozen"


class Kernel:
    """Suspends and resumes, and tells what it has written, as events2 of drbd-utils 9.22 does for 8.4."""

    def __init__(self) -> None:
        self.folder = FOLDER
        self.facts = KernelFacts(ReplicationKind.DRBD84, "8.4.11", "9.22.0")
        self.held = False
        self.written = 100
        self.pending = [0]
        """What is under way, one look after the other; the last one stays."""
        self.guards: list[tuple[str, str, tuple[int, ...], int]] = []
        self.fails = ""
        self.ran: list[str] = []

    async def status(self, name: str) -> ResourceStatus | None:
        devices = [DeviceStatus(0, 1000, "UpToDate"), DeviceStatus(1, 1001, "UpToDate")]
        return ResourceStatus(name, "Primary", devices=devices) if name == "r" else None

    def guard(self, path: str, token: str, minors: tuple[int, ...], deadline_ms: int) -> None:
        if self.fails == "guard":
            raise HostError("no", code="snapshots-not-supported")
        assert not self.held, "what ends it is there before it begins"
        self.guards.append((path, token, minors, deadline_ms))

    async def tool(self, cmd: Cmd, name: str) -> Done:
        self.ran.append(" ".join(cmd.argv[1:]))
        match cmd.argv[1]:
            case "suspend-io":
                self.held = True
            case "resume-io":
                self.held = False
        pending = self.pending.pop(0) if len(self.pending) > 1 else self.pending[0]
        suspended = "user" if self.held else "no"
        text = (
            f"exists resource name:{name} role:Primary suspended:{suspended}\n"
            f"exists device name:{name} volume:0 minor:1000 disk:UpToDate size:8 read:9 "
            f"written:{self.written} upper-pending:3 lower-pending:{pending}\n"
            f"exists device name:{name} volume:1 minor:1001 disk:UpToDate written:7 lower-pending:0\n"
            "exists -\n"
        )
        return Done(0, text.encode(), b"")


class Bench:
    def __init__(self) -> None:
        disk = Disk()
        disk.folders.add(FOLDER)
        self.kernel = Kernel()
        self.host = Host(SimFiles(disk, no_pause), None, NoEngine(), "/n", kernel=self.kernel)  # type: ignore[arg-type]

    async def freeze(self, token: str = "t", deadline_ms: int = 3000) -> Freeze:
        return await freeze("r", token, deadline_ms, self.host)


def run(body: Callable[[Bench], Awaitable[None]]) -> None:
    asyncio.run(body(Bench()))  # type: ignore[arg-type]


def test_it_is_held_until_it_is_thawed_and_counts_what_is_written() -> None:
    async def body(bench: Bench) -> None:
        assert await bench.freeze() == Freeze(held=True, changes=107, instance="t")
        assert bench.kernel.guards == [(FILE, "t", (1000, 1001), 3000)]
        bench.kernel.written += 8
        assert await bench.freeze() == Freeze(held=True, changes=115, instance="t")
        assert bench.kernel.ran.count("suspend-io 1000") == 1
        assert (await thaw("r", "t", bench.host)).held
        assert not bench.kernel.held
        assert not (await thaw("r", "t", bench.host)).held

    run(body)


def test_a_token_never_freezes_twice() -> None:
    async def body(bench: Bench) -> None:
        await bench.freeze()
        bench.kernel.held = False  # the guard, at the deadline
        assert not (await bench.freeze()).held
        assert bench.kernel.ran.count("suspend-io 1000") == 1
        await thaw("r", "t", bench.host)
        assert not (await bench.freeze()).held
        assert (await bench.freeze("next")).held

    run(body)


def test_what_is_under_way_is_waited_for() -> None:
    async def body(bench: Bench) -> None:
        bench.kernel.pending = [0, 0, 5, 3, 0]
        assert (await bench.freeze()).held
        looks = [one for one in bench.kernel.ran if one.startswith("events2")]
        assert len(looks) == 3

    run(body)


def test_without_a_guard_nothing_is_held() -> None:
    async def body(bench: Bench) -> None:
        bench.kernel.fails = "guard"
        with pytest.raises(HostError):
            await bench.freeze()
        assert bench.kernel.ran == []

    run(body)


def test_a_new_process_ends_what_the_one_before_it_had_begun() -> None:
    async def body(bench: Bench) -> None:
        await bench.freeze()
        await release(bench.host)
        assert not bench.kernel.held
        assert await bench.host.files.read(FILE) is None
        await release(bench.host)

    run(body)


def test_what_the_kernel_does_not_run_cannot_stand_still() -> None:
    async def body(bench: Bench) -> None:
        with pytest.raises(HostError) as caught:
            await freeze("other", "t", 1000, bench.host)
        assert caught.value.code == "snapshots-not-supported"

    run(body)


def test_only_84_is_held_this_way() -> None:
    assert isinstance(REPLICATION[ReplicationKind.DRBD84], Suspends)
    assert not isinstance(REPLICATION[ReplicationKind.DRBD9], Suspends)
