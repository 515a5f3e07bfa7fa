"""The snapshot verbs of the file providers, on the real machine and the simulated one alike."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bollard.domain.ids import ResourceName, SnapshotName, Uuid
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.steps import CreateBacking, DropSnapshot, RestoreBacking, TakeSnapshot
from bollard.domain.targets import TargetPool
from bollard.satellite.drivers import PROVIDERS, Provider
from bollard.satellite.host.base import Host, HostError, Marks
from bollard.satellite.host.local import LocalFiles
from bollard.sim.engine import Mesh
from bollard.sim.files import SimFiles
from bollard.sim.host import POOL_FOLDER, SimMachine

Body = Callable[[Provider, TargetPool, Host], Awaitable[None]]
LIFE, NEXT_LIFE, SNAP = Uuid("11111111-aaaa"), Uuid("22222222-bbbb"), Uuid("33333333-cccc")
NAME, COPY = ResourceName("Data-1"), ResourceName("Copy")
CREATE = CreateBacking(NAME, "pool", 0, LIFE, 1024)
TAKE = TakeSnapshot(NAME, "pool", 0, LIFE, SnapshotName("s1"), SNAP)
DROP = DropSnapshot(NAME, "pool", 0, SNAP)
RESTORE = RestoreBacking(COPY, "pool", 0, NEXT_LIFE, 1024, NAME, SNAP)
KINDS = (ProviderKind.FILE, ProviderKind.FILE_THIN)


@pytest.fixture(params=[(kind, where) for kind in KINDS for where in ("local", "sim")], ids=str)
def use(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Body], None]:
    """Run a body with a provider, an empty pool and a host."""
    kind, where = request.param

    async def run(body: Body) -> None:
        host = SimMachine("n1", Mesh()).host()
        folder = str(tmp_path) if where == "local" else POOL_FOLDER
        if where == "local":
            host = Host(LocalFiles(), host.runner, host.engine, host.nbd_socket)
        pool = TargetPool("pool", Uuid("p"), kind, {"StorDriver/StorPoolName": folder})
        await body(PROVIDERS[kind], pool, host)

    return lambda body: asyncio.run(run(body))


def _fill(host: Host, path: str, word: str) -> None:
    """Write something over the whole of a volume."""
    if isinstance(host.files, SimFiles):
        host.files.disk.data[path] = word
        return
    with Path(path).open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        file.write((word.encode() * size)[:size])


def _content(host: Host, path: str) -> str:
    """What `_fill` wrote, from its first byte."""
    if isinstance(host.files, SimFiles):
        return host.files.disk.data.get(path, "")
    return Path(path).read_bytes()[:1].decode().strip("\0")


def test_a_snapshot_is_taken_once_and_seen(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(CREATE, pool, host)
        (volume,) = await provider.observe(pool, host)
        _fill(host, volume.path, "a")
        assert await provider.snapshot(TAKE, pool, host)
        _fill(host, volume.path, "b")
        assert not await provider.snapshot(TAKE, pool, host)
        (seen,) = await provider.observe_snapshots(pool, host, "dATA-1")
        assert (seen.resource, seen.local.number, seen.local.snapshot_uuid) == (NAME, 0, SNAP)
        assert (seen.local.size_kib, seen.local.complete) == (1024, True)
        assert seen.path.endswith("/Data-1_00000_s1.img")
        assert _content(host, seen.path) == "a"
        assert await provider.observe_snapshots(pool, host, "data") == ()
        assert await provider.observe(pool, host) == tuple(
            [one for one in await provider.observe(pool, host) if one.local.volume_uuid == LIFE]
        )

    use(body)


def test_what_is_restored_outlives_its_snapshot(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(CREATE, pool, host)
        (volume,) = await provider.observe(pool, host)
        _fill(host, volume.path, "a")
        await provider.mark(volume, pool, Marks(metadata=True, made=(LayerKind.LUKS,)), host)
        await provider.snapshot(TAKE, pool, host)
        _fill(host, volume.path, "b")
        assert await provider.restore(RESTORE, pool, host)
        assert not await provider.restore(RESTORE, pool, host)
        assert await provider.remove_snapshot(DROP, pool, host)
        assert not await provider.remove_snapshot(DROP, pool, host)
        assert await provider.observe_snapshots(pool, host) == ()
        (seen,) = await provider.observe(pool, host, COPY)
        assert (seen.local.volume_uuid, seen.local.metadata) == (NEXT_LIFE, False)
        assert seen.local.made == (LayerKind.LUKS,), "the content has its layers' headers"
        assert _content(host, seen.path) == "a"
        assert _content(host, volume.path) == "b"
        assert not await provider.restore(RESTORE, pool, host), "what was made needs no snapshot any more"

    use(body)


def test_a_rollback_stands_beside_the_life_that_is_over(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(CREATE, pool, host)
        await provider.snapshot(TAKE, pool, host)
        await provider.restore(RestoreBacking(NAME, "pool", 0, NEXT_LIFE, 1024, NAME, SNAP), pool, host)
        seen = await provider.observe(pool, host, NAME)
        assert {one.local.volume_uuid for one in seen} == {LIFE, NEXT_LIFE}

    use(body)


def test_half_a_copy_is_no_snapshot(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(CREATE, pool, host)
        marker = f"{pool.props['StorDriver/StorPoolName']}/Data-1_00000_s1.img.snapshot"
        await provider.snapshot(TAKE, pool, host)
        whole = await host.files.read(marker)
        assert whole is not None
        await host.files.write(marker, whole.replace(b',"made":true', b""))
        (seen,) = await provider.observe_snapshots(pool, host)
        assert not seen.local.complete
        with pytest.raises(HostError) as caught:
            await provider.restore(RESTORE, pool, host)
        assert caught.value.code == "snapshot-missing"
        assert await provider.observe(pool, host, COPY) == ()
        assert await provider.snapshot(TAKE, pool, host), "it is begun again"
        assert (await provider.observe_snapshots(pool, host))[0].local.complete

    use(body)


def test_a_restore_that_was_cut_is_begun_again(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(CREATE, pool, host)
        (volume,) = await provider.observe(pool, host)
        _fill(host, volume.path, "a")
        await provider.snapshot(TAKE, pool, host)
        await provider.restore(RESTORE, pool, host)
        (copy,) = await provider.observe(pool, host, COPY)
        marker = f"{copy.path}.owner"
        made = await host.files.read(marker)
        assert made is not None
        await host.files.write(marker, made.replace(b',"made":true', b""))
        _fill(host, copy.path, "x")
        assert await provider.restore(RESTORE, pool, host)
        assert _content(host, copy.path) == "a"

    use(body)


def test_what_lies_behind_the_content_reads_as_zeroes(tmp_path: Path) -> None:
    async def body() -> None:
        host = SimMachine("n1", Mesh()).host()
        host = Host(LocalFiles(), host.runner, host.engine, host.nbd_socket)
        provider = PROVIDERS[ProviderKind.FILE_THIN]
        pool = TargetPool("pool", Uuid("p"), provider.kind, {"StorDriver/StorPoolName": str(tmp_path)})
        await provider.create(CREATE, pool, host)
        (volume,) = await provider.observe(pool, host)
        _fill(host, volume.path, "a")
        await provider.snapshot(TAKE, pool, host)
        step = RestoreBacking(COPY, "pool", 0, NEXT_LIFE, 2048, NAME, SNAP, content_kib=1000)
        await provider.restore(step, pool, host)
        (copy,) = await provider.observe(pool, host, COPY)
        restored.append(copy.path)

    restored: list[str] = []
    asyncio.run(body())
    assert Path(restored[0]).read_bytes() == b"a" * 1000 * 1024 + bytes(1048 * 1024)


def test_without_a_volume_there_is_no_snapshot(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        with pytest.raises(HostError) as caught:
            await provider.snapshot(TAKE, pool, host)
        assert caught.value.code == "volume-missing"
        assert await provider.observe_snapshots(pool, host) == ()

    use(body)


def test_a_stranger_with_the_snapshots_name_stays(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(CREATE, pool, host)
        foreign = f"{pool.props['StorDriver/StorPoolName']}/Data-1_00000_s1.img"
        await host.files.write(foreign, b"mine")
        await provider.snapshot(TAKE, pool, host)
        (seen,) = await provider.observe_snapshots(pool, host)
        assert seen.path != foreign
        assert await host.files.read(foreign) == b"mine"

    use(body)
