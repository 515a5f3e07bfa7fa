"""A node's part of a snapshot: what is kept while everything stands still, and when it can prove nothing."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from bollard.domain.ids import ResourceName, SnapshotName, Uuid
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.resources import DiskKind
from bollard.domain.seen import SeenSnapshot
from bollard.domain.steps import CreateBacking
from bollard.domain.targets import SnapshotStage, TargetPool, TargetResource, TargetSnapshot, TargetVolume
from bollard.satellite.drivers import PROVIDERS
from bollard.satellite.host.base import SnapshotSeen
from bollard.satellite.standstill import Standstill
from bollard.sim.clock import VirtualLoop
from bollard.sim.engine import Mesh
from bollard.sim.host import POOL_FOLDER, SimMachine
from bollard.wire.engine import Configure, Kind, ResourceSpec, VolumeSpec

POOL = TargetPool("pool", Uuid("p"), ProviderKind.FILE_THIN, {"StorDriver/StorPoolName": POOL_FOLDER})
FREEZE, TAKE, PROVE, THAW = SnapshotStage
NAME = ResourceName("data")


class Bench:
    """One plain resource on a simulated machine, in use, and its standstill."""

    def __init__(self) -> None:
        self.machine = SimMachine("n1", Mesh())
        self.host = self.machine.host()
        self.still = Standstill(self.host, lambda: {POOL.name.upper(): POOL})  # type: ignore[dict-item]
        self.target = TargetResource(
            NAME,
            Uuid("r1"),
            DiskKind.DISKFUL,
            layer_stack=(LayerKind.STORAGE,),
            volumes=(TargetVolume(0, Uuid("v0"), 1024, "pool", gross_kib=1024),),
        )

    async def start(self) -> None:
        provider = PROVIDERS[POOL.provider]
        await provider.create(CreateBacking(NAME, "pool", 0, Uuid("v0"), 1024), POOL, self.host)
        (backing,) = await provider.observe(POOL, self.host)
        volume = VolumeSpec(number=0, size_bytes=1 << 20, minor=-1, backing=backing.path)
        spec = ResourceSpec(name=NAME, uuid="r1", kind=Kind.PLAIN, volumes=(volume,))
        await self.host.engine.ask(Configure(resource=spec))
        assert self.machine.engine is not None
        self.machine.engine.promote(NAME, primary=True)
        assert self.write("1")

    def write(self, word: str) -> bool:
        assert self.machine.engine is not None
        return self.machine.engine.write(NAME, 0, word)

    async def go(self, *stages: SnapshotStage, uuid: str = "s1", deadline_ms: int = 1000) -> SeenSnapshot:
        for stage in stages:
            wanted = TargetSnapshot(Uuid(uuid), SnapshotName("snap"), stage, deadline_ms, (0,))
            self.target = msgspec.structs.replace(self.target, snapshot=wanted)
            await self.still.advance(self.target.key, self.target)
        seen = self.still.seen(self.target)
        assert seen is not None
        return seen

    async def kept(self) -> tuple[SnapshotSeen, ...]:
        return await PROVIDERS[POOL.provider].observe_snapshots(POOL, self.host)


def live(body: Callable[[Bench], Awaitable[None]]) -> None:
    async def run() -> None:
        bench = Bench()
        await bench.start()
        await body(bench)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


def test_nothing_is_written_from_the_freeze_to_the_thaw() -> None:
    async def body(bench: Bench) -> None:
        assert await bench.go(FREEZE) == SeenSnapshot(Uuid("s1"), FREEZE)
        assert not bench.write("2")
        assert not await bench.kept()
        assert (await bench.go(TAKE)).held
        (kept,) = await bench.kept()
        assert kept.local.complete
        assert bench.machine.disk.data[kept.path] == "1"
        assert not bench.write("2")
        assert await bench.go(PROVE) == SeenSnapshot(Uuid("s1"), PROVE)
        assert not bench.write("2"), "others may not have said yet that nothing moved"
        assert await bench.go(THAW) == SeenSnapshot(Uuid("s1"), THAW)
        assert bench.write("2")

    live(body)


@pytest.mark.parametrize("late", [TAKE, PROVE])
def test_a_deadline_that_passes_proves_nothing_any_more(late: SnapshotStage) -> None:
    async def body(bench: Bench) -> None:
        await bench.go(FREEZE, *((TAKE,) if late is PROVE else ()))
        await asyncio.sleep(1.1)
        assert bench.write("2"), "it goes on by itself"
        assert not (await bench.go(late)).held

    live(body)


def test_a_data_process_that_is_started_anew_after_the_copy_proves_nothing() -> None:
    async def body(bench: Bench) -> None:
        await bench.go(FREEZE, TAKE)
        bench.machine.stop_engine()
        bench.machine.start_engine()
        assert not (await bench.go(PROVE)).held

    live(body)


def test_one_that_is_started_anew_before_the_copy_stands_still_again_for_it() -> None:
    """What counts is the time from the first copy to the proof: the copies are of an instant in it."""

    async def body(bench: Bench) -> None:
        await bench.go(FREEZE)
        bench.machine.stop_engine()
        bench.machine.start_engine()
        assert bench.machine.engine is not None
        bench.machine.engine.promote(NAME, primary=True)
        assert bench.write("2")
        assert (await bench.go(TAKE)).held
        assert not bench.write("3")
        assert (await bench.go(PROVE, THAW)).held
        (kept,) = await bench.kept()
        assert bench.machine.disk.data[kept.path] == "2"

    live(body)


@pytest.mark.parametrize("late", [TAKE, PROVE])
def test_a_satellite_that_was_started_anew_proves_nothing(late: SnapshotStage) -> None:
    async def body(bench: Bench) -> None:
        await bench.go(FREEZE, *((TAKE,) if late is PROVE else ()))
        bench.still = Standstill(bench.host, lambda: {POOL.name.upper(): POOL})  # type: ignore[dict-item]
        assert not (await bench.go(late)).held

    live(body)


def test_what_goes_wrong_is_in_the_report() -> None:
    async def body(bench: Bench) -> None:
        await bench.go(FREEZE)
        bench.machine.disk.read_only = True
        seen = await bench.go(TAKE)
        assert not seen.held
        assert seen.problem is not None
        assert seen.problem.code == "read-only"

    live(body)


def test_a_snapshot_that_nobody_wants_any_more_lets_go_at_once() -> None:
    async def body(bench: Bench) -> None:
        await bench.go(FREEZE)
        assert not bench.write("2")
        bench.target = msgspec.structs.replace(bench.target, snapshot=None)
        await bench.still.advance(bench.target.key, bench.target)
        assert bench.write("2")
        assert bench.still.seen(bench.target) is None

    live(body)


def test_another_snapshot_begins_anew() -> None:
    async def body(bench: Bench) -> None:
        assert (await bench.go(FREEZE, TAKE, PROVE, THAW)).held
        assert bench.write("2")
        assert (await bench.go(FREEZE, TAKE, PROVE, THAW, uuid="s2")).held
        contents = {one.local.snapshot_uuid: bench.machine.disk.data[one.path] for one in await bench.kept()}
        assert contents == {"s1": "1", "s2": "2"}

    live(body)
