"""ZFS and ZFS_THIN: the same verbs on a simulated zpool and, where one may be played with, on a real one."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from bollard.domain.ids import ResourceName, SnapshotName, Uuid
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.steps import (
    CreateBacking,
    DropSnapshot,
    GrowBacking,
    RemoveBacking,
    RestoreBacking,
    TakeSnapshot,
)
from bollard.domain.targets import TargetPool
from bollard.satellite.drivers import PROVIDERS, Provider
from bollard.satellite.host.base import Cmd, Host, HostError, Marks
from bollard.satellite.host.local import LocalFiles
from bollard.satellite.host.runner import LocalRunner
from bollard.sim.engine import Mesh
from bollard.sim.host import SimMachine

Body = Callable[[Provider, TargetPool, Host], Awaitable[None]]
KINDS = (ProviderKind.ZFS, ProviderKind.ZFS_THIN)
LIFE, NEXT, SNAP = Uuid("11111111-aaaa"), Uuid("22222222-bbbb"), Uuid("33333333-cccc")
NAME, COPY = ResourceName("Data-1"), ResourceName("copy")
CREATE = CreateBacking(NAME, "pool", 0, LIFE, 5000)
TAKE = TakeSnapshot(NAME, "pool", 0, LIFE, SnapshotName("s1"), SNAP)
RESTORE = RestoreBacking(COPY, "pool", 0, NEXT, 9000, NAME, SNAP, content_kib=1024)
DROP = DropSnapshot(NAME, "pool", 0, SNAP)
REMOVE = RemoveBacking(NAME, "pool", 0, LIFE)
ROUNDED, GROWN = 5008, 9008
REAL = os.environ.get("BOLLARD_TEST_ZPOOL", "")
"""A zpool, or a dataset of one, that may be played with."""

real = pytest.mark.skipif(not REAL, reason="BOLLARD_TEST_ZPOOL names no zpool to test with")


def pool_of(kind: ProviderKind, dataset: str = "tank/bollard") -> TargetPool:
    return TargetPool("pool", Uuid("p"), kind, {"StorDriver/StorPoolName": dataset})


def machine() -> SimMachine:
    one = SimMachine("n1", Mesh())
    one.zfs.add_pool("tank", 4 << 30, "bollard")
    return one


CASES = [
    *(pytest.param((kind, "sim"), id=f"{kind}-sim") for kind in KINDS),
    *(pytest.param((kind, "real"), id=f"{kind}-real", marks=[pytest.mark.lab, real]) for kind in KINDS),
]


@pytest.fixture(params=CASES)
def use(request: pytest.FixtureRequest) -> Callable[[Body], None]:
    """Run a body with a provider and a pool that is empty before and after."""
    kind, where = request.param

    async def run(body: Body) -> None:
        host = machine().host()
        if where == "real":
            host = Host(LocalFiles(), LocalRunner(), host.engine, "", facts={"node": "n1"})
        pool, provider = pool_of(kind, REAL or "tank/bollard"), PROVIDERS[kind]
        try:
            await body(provider, pool, host)
        finally:
            await _clear(provider, pool, host)

    return lambda body: asyncio.run(run(body))


async def _clear(provider: Provider, pool: TargetPool, host: Host) -> None:
    """Everything goes, in the worst order: volumes first."""
    for seen in await provider.observe(pool, host):
        one = seen.local
        await provider.remove(
            RemoveBacking(ResourceName(seen.resource), "pool", one.number, one.volume_uuid), pool, host
        )
    for kept in await provider.observe_snapshots(pool, host):
        snap = kept.local
        await provider.remove_snapshot(
            DropSnapshot(ResourceName(kept.resource), "pool", snap.number, snap.snapshot_uuid), pool, host
        )
    assert await provider.observe(pool, host) == ()
    assert await _names(pool, host) == []


async def _names(pool: TargetPool, host: Host) -> list[str]:
    """All that is in the pool, whoever it belongs to."""
    dataset = pool.props["StorDriver/StorPoolName"]
    done = await host.runner.run(Cmd(("zfs", "list", "-H", "-t", "volume,snapshot", "-o", "name,type")))
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    return [name for name, kind in rows if kind != "filesystem" and name.startswith(dataset + "/")]


def _is_real(host: Host) -> bool:
    return isinstance(host.files, LocalFiles)


def _write(host: Host, path: str, word: bytes, at: int = 0) -> None:
    if _is_real(host):
        with Path(path).open("r+b") as file:
            file.seek(at)
            file.write(word)
            file.flush()
            os.fsync(file.fileno())


def _read(path: str, size: int, at: int = 0) -> bytes:
    with Path(path).open("rb") as file:
        file.seek(at)
        return file.read(size)


def test_a_life_from_creation_to_removal(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        assert await provider.create(CREATE, pool, host)
        assert not await provider.create(CREATE, pool, host)
        (seen,) = await provider.observe(pool, host, "dAtA-1")
        assert seen.path.endswith("/Data-1_00000")
        assert seen.local.size_kib == ROUNDED
        assert seen.local.unit_kib in {8, 16}
        assert (seen.local.complete, seen.local.block, seen.local.active) == (True, True, True)
        assert await provider.observe(pool, host, "data") == ()
        assert await provider.activate(seen, host) == seen.path
        if _is_real(host):
            assert _read(seen.path, 4096) == bytes(4096)
        grow = GrowBacking(NAME, "pool", 0, LIFE, 9000)
        assert await provider.grow(grow, pool, host)
        assert not await provider.grow(grow, pool, host)
        await provider.mark(seen, pool, Marks(made=(LayerKind.LUKS,)), host)
        await provider.mark(seen, pool, Marks(metadata=True, made=(LayerKind.LUKS, LayerKind.CACHE)), host)
        (seen,) = await provider.observe(pool, host)
        assert GROWN - 16 < seen.local.size_kib <= GROWN
        assert seen.local.metadata
        assert seen.local.made == (LayerKind.LUKS, LayerKind.CACHE)
        if _is_real(host):
            number = Path(seen.path).stat().st_rdev  # noqa: ASYNC240  # a test of one task
            assert seen.device == f"{os.major(number)}:{os.minor(number)}"
        assert await provider.deactivate(seen, host)
        (seen,) = await provider.observe(pool, host)
        assert (seen.local.active, seen.device) == (False, "")
        assert not await provider.deactivate(seen, host)
        assert await provider.activate(seen, host) == seen.path
        (seen,) = await provider.observe(pool, host)
        assert seen.local.active
        assert not await provider.remove(RemoveBacking(NAME, "pool", 0, NEXT), pool, host)
        assert await provider.remove(REMOVE, pool, host)
        assert not await provider.remove(REMOVE, pool, host)
        assert await _names(pool, host) == []

    use(body)


def test_a_new_life_waits_for_nobody(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(CREATE, pool, host)
        await provider.create(msgspec.structs.replace(CREATE, volume_uuid=NEXT), pool, host)
        paths = {seen.local.volume_uuid: seen.path for seen in await provider.observe(pool, host, NAME)}
        assert paths[NEXT] == paths[LIFE] + ".1"
        await provider.remove(REMOVE, pool, host)
        (seen,) = await provider.observe(pool, host, NAME)
        assert seen.local.volume_uuid == NEXT

    use(body)


def test_arguments_of_the_user_are_heeded(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        options = {"ZfscreateOptions": "-o volblocksize=64K"}
        await provider.create(msgspec.structs.replace(CREATE, options=options), pool, host)
        (seen,) = await provider.observe(pool, host, NAME)
        assert (seen.local.size_kib, seen.local.unit_kib) == (5056, 64)
        await provider.grow(GrowBacking(NAME, "pool", 0, LIFE, 9000), pool, host)
        (seen,) = await provider.observe(pool, host, NAME)
        assert seen.local.size_kib == 9024

    use(body)


def test_what_is_kept_is_restored_and_outlives_its_volume(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(CREATE, pool, host)
        (seen,) = await provider.observe(pool, host, NAME)
        await provider.activate(seen, host)
        _write(host, seen.path, b"before" * 100)
        _write(host, seen.path, b"metadata", at=1024 * 1024)
        await provider.mark(seen, pool, Marks(metadata=True, made=(LayerKind.LUKS,)), host)
        assert await provider.snapshot(TAKE, pool, host)
        assert not await provider.snapshot(TAKE, pool, host)
        _write(host, seen.path, b"after" * 100)
        (kept,) = await provider.observe_snapshots(pool, host, NAME)
        assert (kept.local.size_kib, kept.local.complete, kept.local.snapshot_uuid) == (ROUNDED, True, SNAP)
        assert kept.path.endswith("/Data-1_00000@s1")
        assert await provider.restore(RESTORE, pool, host)
        assert not await provider.restore(RESTORE, pool, host)
        (copy,) = await provider.observe(pool, host, COPY)
        assert (copy.local.complete, copy.local.metadata, copy.local.made) == (True, False, (LayerKind.LUKS,))
        assert GROWN - 16 < copy.local.size_kib <= GROWN
        await provider.activate(copy, host)
        if _is_real(host):
            assert _read(copy.path, 600) == b"before" * 100
            assert _read(copy.path, 8, at=1024 * 1024) == bytes(8)
        assert await provider.remove(REMOVE, pool, host)
        assert await provider.observe(pool, host, NAME) == ()
        assert len(await provider.observe_snapshots(pool, host, NAME)) == 1
        again = msgspec.structs.replace(RESTORE, resource=NAME, volume_uuid=LIFE)
        assert await provider.restore(again, pool, host)
        (back,) = await provider.observe(pool, host, NAME)
        assert back.path == seen.path, "the name was free again"
        assert await provider.remove_snapshot(DROP, pool, host)
        assert not await provider.remove_snapshot(DROP, pool, host)
        assert await provider.observe_snapshots(pool, host, NAME) == ()
        if _is_real(host):
            assert _read(copy.path, 600) == b"before" * 100
        with pytest.raises(HostError) as caught:
            await provider.restore(msgspec.structs.replace(RESTORE, volume_uuid=Uuid("z")), pool, host)
        assert caught.value.code == "snapshot-missing"

    use(body)


def test_snapshots_of_others_keep_what_they_are_in(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(CREATE, pool, host)
        (seen,) = await provider.observe(pool, host, NAME)
        volume = seen.path.removeprefix("/dev/zvol/")
        await host.runner.run(Cmd(("zfs", "snapshot", f"{volume}@s1")))
        host.shared.changed("zfs")
        assert await provider.observe_snapshots(pool, host) == (), "it has the volume's mark, not its own"
        await provider.snapshot(TAKE, pool, host)
        (kept,) = await provider.observe_snapshots(pool, host)
        assert kept.path.endswith("@s1.1")
        await provider.remove_snapshot(DROP, pool, host)
        assert await provider.remove(REMOVE, pool, host)
        buried, foreign = sorted(await _names(pool, host))
        assert "/_deleted_Data-1_00000" in buried
        assert foreign == f"{buried}@s1"
        await host.runner.run(Cmd(("zfs", "destroy", foreign)))
        host.shared.changed("zfs")
        await provider.create(CREATE, pool, host)
        (only,) = await _names(pool, host)
        assert only == volume, "what was buried is gone"

    use(body)


def test_a_buried_volume_gives_back_what_only_it_had() -> None:
    async def run() -> None:
        one = machine()
        provider, pool, host = PROVIDERS[ProviderKind.ZFS], pool_of(ProviderKind.ZFS), one.host()
        whole = (await provider.observe_pool(pool, host)).free_kib
        await provider.create(CREATE, pool, host)
        (seen,) = await provider.observe(pool, host)
        assert (await provider.observe_pool(pool, host)).free_kib <= whole - 5000
        await provider.snapshot(TAKE, pool, host)
        one.zfs.datasets[seen.path.removeprefix("/dev/zvol/")].written = True
        host.shared.changed("zfs")
        await provider.remove(REMOVE, pool, host)
        assert any(run.startswith("zfs rollback tank/bollard/_deleted_") for run in one.zfs.runs)
        assert (await provider.observe_pool(pool, host)).free_kib == whole

    asyncio.run(run())


def test_strangers_are_never_touched(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        name = pool.props["StorDriver/StorPoolName"] + "/Data-1_00000"
        await host.runner.run(Cmd(("zfs", "create", "-s", "-V", "4194304", name)))
        try:
            with pytest.raises(HostError) as caught:
                await provider.create(CREATE, pool, host)
            assert caught.value.code == "foreign-volume"
            assert not await provider.remove(REMOVE, pool, host)
            assert await provider.observe(pool, host) == ()
        finally:
            await host.runner.run(Cmd(("zfs", "destroy", name)))
            host.shared.changed("zfs")

    use(body)


def test_both_kinds_can_share_a_place(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        (other,) = (kind for kind in KINDS if kind is not provider.kind)
        beside = msgspec.structs.replace(pool, provider=other)
        await provider.create(CREATE, pool, host)
        assert await PROVIDERS[other].observe(beside, host) == ()
        assert not await PROVIDERS[other].remove(REMOVE, beside, host)
        assert len(await provider.observe(pool, host)) == 1

    use(body)


def test_pools_say_what_is_wrong_with_them(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        seen = await provider.observe_pool(pool, host)
        assert seen.problem is None
        assert 0 < seen.free_kib <= seen.total_kib
        assert seen.warnings == ()
        for name in ("nosuch", "tank/nosuch", "a@b", ""):
            broken = msgspec.structs.replace(pool, props={"StorDriver/StorPoolName": name})
            with pytest.raises(HostError) as caught:
                await provider.observe_pool(broken, host)
            assert caught.value.code == "pool-missing"
            assert caught.value.correction
        if provider.kind is ProviderKind.ZFS:
            with pytest.raises(HostError) as caught:
                await provider.create(msgspec.structs.replace(CREATE, size_kib=1 << 30), pool, host)
            assert caught.value.code == "no-space"

    use(body)


@pytest.mark.parametrize(("health", "code"), [("DEGRADED", "disk-missing"), ("SUSPENDED", "pool-damaged")])
def test_a_sick_zpool_is_named(health: str, code: str) -> None:
    async def run() -> str:
        one = machine()
        one.zfs.health["tank"] = health
        try:
            pool = pool_of(ProviderKind.ZFS)
            (warning,) = (await PROVIDERS[ProviderKind.ZFS].observe_pool(pool, one.host())).warnings
        except HostError as error:
            return error.code
        return warning.code

    assert asyncio.run(run()) == code


class Cut(BaseException):
    """The satellite dies."""


def test_every_verb_can_be_cut_anywhere() -> None:
    """After any prefix of effects the repeated verb ends in the same, and removing leaves nothing."""
    for kind in KINDS:
        for verb in ("create", "grow", "snapshot", "restore", "remove", "drop"):
            cuts = 0
            while asyncio.run(_attempt(kind, verb, cuts + 1)):
                cuts += 1
            assert cuts >= 4, (kind, verb, cuts)


async def _attempt(kind: ProviderKind, verb: str, effects: int) -> bool:
    left = [0]

    async def pause() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Cut

    one = SimMachine("n1", Mesh(), pause)
    one.zfs.add_pool("tank", 4 << 30, "bollard")
    provider, pool = PROVIDERS[kind], pool_of(kind)
    acts: dict[str, Callable[[Host], Awaitable[bool]]] = {
        "create": lambda host: provider.create(CREATE, pool, host),
        "grow": lambda host: provider.grow(GrowBacking(NAME, "pool", 0, LIFE, 9000), pool, host),
        "snapshot": lambda host: provider.snapshot(TAKE, pool, host),
        "restore": lambda host: provider.restore(RESTORE, pool, host),
        "remove": lambda host: provider.remove(REMOVE, pool, host),
        "drop": lambda host: provider.remove_snapshot(DROP, pool, host),
    }
    order = list(acts)
    for what in order[: order.index(verb)]:
        await acts[what](one.host())
    left[0] = effects
    cut = False
    try:
        await acts[verb](one.host())
    except Cut:
        cut = True
    left[0] = 0
    host = one.host()
    await acts[verb](host)
    seen = {backing.local.volume_uuid: backing.local for backing in await provider.observe(pool, host)}
    assert all(backing.complete for backing in seen.values())
    assert (LIFE in seen) is (verb not in {"remove", "drop"})
    assert (NEXT in seen) is (order.index(verb) >= order.index("restore"))
    assert len(await provider.observe_snapshots(pool, host)) == (verb in {"snapshot", "restore", "remove"})
    await _clear(provider, pool, host)
    return cut


def test_all_volumes_cost_two_processes() -> None:
    async def run() -> None:
        one = machine()
        provider, pool = PROVIDERS[ProviderKind.ZFS_THIN], pool_of(ProviderKind.ZFS_THIN)
        host = one.host()
        for number in range(200):
            step = CreateBacking(ResourceName(f"r{number}"), "pool", 0, Uuid(f"v{number}"), 4096)
            await provider.create(step, pool, host)
        host = one.host()
        one.zfs.runs.clear()
        seen = await asyncio.gather(*(provider.observe(pool, host, f"r{number}") for number in range(200)))
        assert all(len(one) == 1 for one in seen)
        await provider.observe_pool(pool, host)
        assert sorted(run.split()[0] for run in one.zfs.runs) == ["zfs", "zpool"]

    asyncio.run(run())
