"""One suite for every implementation of the DRBD layer: simulated, the data process, the kernel's."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from bollard.domain.layers import ReplicationKind
from bollard.domain.steps import ResizeReplication
from bollard.lab.cluster import Kernel, Lab, find_kernel
from bollard.lab.programs import LabError, need
from bollard.satellite.host.base import HostError
from layer_worlds import EngineWorld, KernelWorld, Pair, SimWorld, World, up_to_date

Body = Callable[[World], Awaitable[None]]
Use = Callable[[Body], None]


def _lab_lacks() -> str:
    if os.geteuid() != 0:
        return "the lab needs root"
    try:
        find_kernel()
        need("ip", "bridge", "nft", "mkfs.ext4", "drbdsetup", "dmsetup")
    except LabError as error:
        return str(error)
    return ""


_IN_LAB = [pytest.mark.lab, pytest.mark.skipif(bool(_lab_lacks()), reason=_lab_lacks())]
_NO_9 = "no kernel with DRBD 9: set BOLLARD_DRBD9_KERNEL and BOLLARD_DRBD9_MODULES to a User Mode Linux"
_IN_LAB_9 = [*_IN_LAB, pytest.mark.skipif("BOLLARD_DRBD9_KERNEL" not in os.environ, reason=_NO_9)]


@pytest.fixture(
    scope="module",
    params=[
        "sim",
        "engine",
        pytest.param("drbd84", marks=_IN_LAB),
        pytest.param("drbd9", marks=_IN_LAB_9),
    ],
)
def implementation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, KernelWorld | None]]:
    """Its name; with two booted nodes where it is the kernel's."""
    kind: str = request.param
    if not kind.startswith("drbd"):
        yield kind, None
        return
    with contextlib.ExitStack() as stack:
        kernel = None
        if kind == "drbd9":
            program, folder = os.environ["BOLLARD_DRBD9_KERNEL"], os.environ["BOLLARD_DRBD9_MODULES"]
            kernel = Kernel(Path(program), Path(folder))
        name = f"{kind[4:]}l{os.getpid() % 10**5}"
        modules = ("drbd", "dm-mod", *(("drbd_transport_tcp",) if kind == "drbd9" else ()))
        root = tmp_path_factory.mktemp("lab")
        lab = stack.enter_context(Lab(root, name=name, nodes=2, load=modules, kernel=kernel))
        lab.boot()
        yield kind, asyncio.run(KernelWorld(lab, ReplicationKind(kind)).begin())


@pytest.fixture
def use(implementation: tuple[str, KernelWorld | None], tmp_path_factory: pytest.TempPathFactory) -> Use:
    """Run a body in a world of the implementation."""

    @contextlib.asynccontextmanager
    async def world() -> AsyncIterator[World]:
        kind, kernel = implementation
        if kernel is not None:
            yield kernel
            await kernel.clear()
        elif kind == "engine":
            async with EngineWorld(tmp_path_factory.mktemp("engine")) as engine:
                yield engine
        else:
            yield SimWorld()

    async def run(body: Body) -> None:
        async with world() as one:
            await body(one)

    return lambda body: asyncio.run(run(body))


def test_two_fresh_replicas_are_equal_without_a_sync(use: Use) -> None:
    async def body(world: World) -> None:
        pair = await Pair(world, "fresh").make()
        assert await pair.open() == [True, True]
        await pair.until(up_to_date)
        for node in (0, 1):
            running = await pair.seen(node)
            assert running.kind is world.kind
            assert running.spec.uuid == "r1"
            assert running.spec.shared_secret == ""
            assert [(one.number, one.backing) for one in running.spec.volumes] == [
                (0, pair.backings[node].path)
            ]
            assert running.status.devices[0].size == pair.net_kib
            assert running.status.connections[0].name == f"node{2 - node}"
            assert running.problem is None
        assert await pair.open() == [False, False], "nothing was left to do"

    use(body)


def test_nothing_runs_under_another_name(use: Use) -> None:
    async def body(world: World) -> None:
        pair = await Pair(world, "lonely").make()
        assert await pair.seen(0) is None
        assert not await pair.close(0)
        await pair.open(0)
        assert await pair.seen(0) is not None
        assert await pair.layer.observe(world.hosts[0], "lone") == ()
        assert await pair.close(0)
        assert await pair.seen(0) is None
        assert not await pair.close(0)

    use(body)


def test_what_is_in_use_is_not_closed(use: Use) -> None:
    async def body(world: World) -> None:
        pair = await Pair(world, "used").make()
        await pair.open()
        await pair.until(up_to_date)
        async with world.hold(0, pair.name):
            with pytest.raises(HostError) as caught:
                await pair.close(0)
            assert caught.value.code == "engine-busy"
            assert (await pair.seen(0)).status.role == "Primary"
        await pair.until(lambda status: status.role == "Secondary", 0)
        assert await pair.close(0)

    use(body)


def test_a_grown_backing_is_adopted(use: Use) -> None:
    async def body(world: World) -> None:
        pair = await Pair(world, "grown").make()
        await pair.open()
        await pair.until(up_to_date)
        old, pair.net_kib = pair.net_kib, pair.net_kib * 2
        for node in (0, 1):
            await world.grow_disk(node, pair.name, pair.gross_kib)
        step = ResizeReplication(pair.name, pair.target(0).uuid, 0, pair.net_kib)

        async def grown(node: int) -> bool:
            # Repeated as the loop does: a node may not have noticed yet that the other's disk has grown.
            with contextlib.suppress(HostError):
                await pair.layer.grow(step, pair.name, world.hosts[node])
            return (await pair.seen(node)).status.devices[0].size == pair.net_kib

        async with asyncio.timeout(60):
            while not all([await grown(node) for node in (0, 1)]):  # noqa: ASYNC110  # two machines
                await asyncio.sleep(0.05)
        await pair.until(lambda status: status.devices[0].size == pair.net_kib and up_to_date(status))
        await pair.open()
        assert old < pair.net_kib
        await pair.until(up_to_date)
        assert await pair.open() == [False, False]

    use(body)


def test_data_outlives_closing_and_opening(use: Use) -> None:
    async def body(world: World) -> None:
        pair = await Pair(world, "data").make()
        await pair.open()
        await pair.until(up_to_date)
        if world.has_data:
            await world.write(0, pair.name, 40960, b"0123456789abcdef" * 256)
        assert await pair.close(0)
        assert await pair.close(1)
        await pair.open()
        await pair.until(up_to_date)
        if world.has_data:
            assert await world.read(1, pair.name, 40960, 4096) == b"0123456789abcdef" * 256

    use(body)


def test_only_what_changed_is_moved_to_a_peer_that_was_away(use: Use) -> None:
    async def body(world: World) -> None:
        if not world.has_data:
            return
        pair = await Pair(world, "away").make()
        await pair.open()
        await pair.until(up_to_date)
        assert await pair.close(1)
        await world.write(0, pair.name, 0, b"newer..." * 512)
        await pair.until(lambda status: status.connections[0].peer_devices[0].out_of_sync == 4, 0)
        await pair.open(1)
        await pair.until(up_to_date)
        assert await world.read(1, pair.name, 0, 4096) == b"newer..." * 512

    use(body)


def test_a_replica_of_no_generation_is_synchronised(use: Use) -> None:
    async def body(world: World) -> None:
        pair = await Pair(world, "synced", generation=None).make()
        await pair.open(0)
        await pair.until(lambda status: status.devices[0].disk_state == "UpToDate", 0)
        if world.has_data:
            await world.write(0, pair.name, 81920, b"first..." * 512)
        await pair.open(1)
        await pair.until(up_to_date)
        if world.has_data:
            assert await world.read(1, pair.name, 81920, 4096) == b"first..." * 512

    use(body)


def test_options_change_while_it_runs(use: Use) -> None:
    async def body(world: World) -> None:
        pair = await Pair(world, "tuned").make()
        await pair.open()
        await pair.until(up_to_date)
        pair.options |= {"Net/ping-int": "7", "Net/after-sb-0pri": "discard-zero-changes"}
        assert await pair.open() == [True, True]
        await pair.until(up_to_date)
        assert await pair.open() == [False, False]

    use(body)
