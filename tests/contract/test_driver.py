"""The verbs of every provider, real machine and simulated one alike: repeatable, safe for others' files."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bollard.domain.ids import ResourceName, Uuid
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.local import LocalBacking
from bollard.domain.steps import CreateBacking, GrowBacking, RemoveBacking
from bollard.domain.targets import TargetPool
from bollard.satellite.drivers import PROVIDERS, Provider
from bollard.satellite.host.base import Host, HostError, Marks
from bollard.satellite.host.local import LocalFiles
from bollard.sim.engine import Mesh
from bollard.sim.host import POOL_FOLDER, SimMachine

Body = Callable[[Provider, TargetPool, Host], Awaitable[None]]
WITH_STORAGE = [ProviderKind.FILE, ProviderKind.FILE_THIN]
LIFE, NEXT_LIFE = Uuid("11111111-aaaa"), Uuid("22222222-bbbb")
NAME = ResourceName("Data-1")


def _create(uuid: Uuid = LIFE, size_kib: int = 1024) -> CreateBacking:
    return CreateBacking(NAME, "pool", 0, uuid, size_kib)


def _remove(uuid: Uuid = LIFE) -> RemoveBacking:
    return RemoveBacking(NAME, "pool", 0, uuid)


@pytest.fixture(params=[(kind, where) for kind in WITH_STORAGE for where in ("local", "sim")], ids=str)
def use(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Body], None]:
    """Run a body with a provider, an empty pool and a host."""
    kind, where = request.param

    async def run(body: Body) -> None:
        machine = SimMachine("n1", Mesh())
        folder = str(tmp_path) if where == "local" else POOL_FOLDER
        host = machine.host()
        if where == "local":
            host = Host(LocalFiles(), host.runner, host.engine, host.nbd_socket)
        pool = TargetPool("pool", Uuid("p"), kind, {"StorDriver/StorPoolName": folder})
        await body(PROVIDERS[kind], pool, host)

    return lambda body: asyncio.run(run(body))


def test_create_is_repeatable_and_observed(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        assert await provider.create(_create(), pool, host)
        assert not await provider.create(_create(), pool, host)
        (seen,) = await provider.observe(pool, host)
        assert seen.local.volume_uuid == LIFE
        assert seen.local.size_kib == 1024
        assert not seen.local.metadata
        assert seen.path.endswith("/Data-1_00000.img")
        assert await provider.observe(pool, host, "dAtA-1") == (seen,)
        assert await provider.observe(pool, host, "data") == ()
        assert await provider.activate(seen, host) == seen.path

    use(body)


def test_grow_and_mark(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(_create(), pool, host)
        grow = GrowBacking(NAME, "pool", 0, LIFE, 2048)
        assert await provider.grow(grow, pool, host)
        assert not await provider.grow(grow, pool, host)
        (seen,) = await provider.observe(pool, host)
        await provider.mark(seen, pool, Marks(metadata=True), host)
        await provider.mark(seen, pool, Marks(made=(LayerKind.LUKS,)), host)
        (seen,) = await provider.observe(pool, host)
        local = seen.local
        assert (local.size_kib, local.metadata, local.made) == (2048, True, (LayerKind.LUKS,))

    use(body)


def test_a_tombstone_of_an_old_life_leaves_the_new_one(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(_create(NEXT_LIFE), pool, host)
        assert not await provider.remove(_remove(LIFE), pool, host)
        assert len(await provider.observe(pool, host)) == 1
        assert await provider.remove(_remove(NEXT_LIFE), pool, host)
        assert not await provider.remove(_remove(NEXT_LIFE), pool, host)
        assert await provider.observe(pool, host) == ()

    use(body)


def test_a_new_life_waits_for_nobody(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(_create(LIFE), pool, host)
        assert await provider.create(_create(NEXT_LIFE), pool, host)
        assert not await provider.create(_create(NEXT_LIFE), pool, host)
        old, new = await provider.observe(pool, host, NAME)
        if old.local.volume_uuid == NEXT_LIFE:
            old, new = new, old
        assert (old.local.volume_uuid, new.local.volume_uuid) == (LIFE, NEXT_LIFE)
        assert old.path.endswith("/Data-1_00000.img")
        assert new.path.endswith("/Data-1_00000.1.img")
        assert await provider.remove(_remove(LIFE), pool, host)
        assert await provider.observe(pool, host, NAME) == (new,)

    use(body)


def test_foreign_files_are_never_touched(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        path = f"{pool.props['StorDriver/StorPoolName']}/Data-1_00000.img"
        await host.files.allocate(path, 4096, thick=False)
        with pytest.raises(HostError) as caught:
            await provider.create(_create(), pool, host)
        assert caught.value.code == "foreign-file"
        assert not await provider.remove(_remove(), pool, host)
        assert await provider.observe(pool, host) == ()
        seen = await host.files.look(path)
        assert seen is not None
        assert seen.size_bytes == 4096

    use(body)


def test_a_lost_file_is_said_and_not_made_anew(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(_create(), pool, host)
        (seen,) = await provider.observe(pool, host)
        await host.files.remove(seen.path)
        with pytest.raises(HostError) as caught:
            await provider.grow(GrowBacking(NAME, "pool", 0, LIFE, 1024), pool, host)
        assert caught.value.code == "volume-missing"
        assert await host.files.look(seen.path) is None
        assert await provider.remove(_remove(), pool, host)
        assert await provider.observe(pool, host) == ()

    use(body)


def test_pool_facts_and_troubles(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        seen = await provider.observe_pool(pool, host)
        assert seen.problem is None
        assert 0 < seen.free_kib <= seen.total_kib
        for props in ({"StorDriver/StorPoolName": "/no/such/folder"}, {"StorDriver/FileDir": "rel"}, {}):
            broken = TargetPool("pool", Uuid("p"), pool.provider, props)
            with pytest.raises(HostError) as caught:
                await provider.observe_pool(broken, host)
            assert caught.value.code == "pool-missing"
            assert caught.value.correction

    use(body)


def test_create_can_be_cut_anywhere(tmp_path: Path) -> None:
    """After any prefix of effects a repeated create ends in the same, and a remove leaves nothing."""

    class Cut(BaseException):
        pass

    async def attempt(effects: int, kind: ProviderKind, verb: str) -> bool:
        left = [effects]

        async def pause() -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Cut

        machine = SimMachine("n1", Mesh(), pause)
        host, provider = machine.host(), PROVIDERS[kind]
        pool = TargetPool("pool", Uuid("p"), kind, {"StorDriver/StorPoolName": POOL_FOLDER})
        cut = False
        try:
            await provider.create(_create(), pool, host)
            if verb == "remove":
                await provider.remove(_remove(), pool, host)
        except Cut:
            cut = True
        left[0] = 0
        if verb == "create":
            await provider.create(_create(), pool, host)
            (seen,) = await provider.observe(pool, host)
            assert seen.local == LocalBacking("pool", 0, LIFE, 1024)
        await provider.remove(_remove(), pool, host)
        assert machine.disk.sizes == {}
        return cut

    for kind in WITH_STORAGE:
        for verb in ("create", "remove"):
            cuts = 0
            while asyncio.run(attempt(cuts + 1, kind, verb)):
                cuts += 1
            assert cuts > 5, "the test must have cut something"


def test_diskless_holds_nothing() -> None:
    async def run() -> None:
        host = SimMachine("n1", Mesh()).host()
        pool = TargetPool("DfltDisklessStorPool", Uuid("p"), ProviderKind.DISKLESS)
        provider = PROVIDERS[ProviderKind.DISKLESS]
        assert (await provider.observe_pool(pool, host)).free_kib == 2**63 - 1
        assert await provider.observe(pool, host) == ()
        assert not await provider.remove(_remove(), pool, host)
        with pytest.raises(HostError) as caught:
            await provider.create(_create(), pool, host)
        assert caught.value.code == "no-disk-in-pool"

    asyncio.run(run())
