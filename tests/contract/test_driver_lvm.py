"""LVM and LVM_THIN: the same verbs on a simulated group and, inside a lab's node, on a real one."""

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
from bollard.satellite.host.base import Cmd, Done, Host, HostError, Marks
from bollard.satellite.host.local import LocalFiles
from bollard.satellite.host.runner import LocalRunner
from bollard.sim.engine import Mesh
from bollard.sim.host import SimMachine

Body = Callable[[Provider, TargetPool, Host], Awaitable[None]]
KINDS = (ProviderKind.LVM, ProviderKind.LVM_THIN)
LIFE, NEXT, SNAP = Uuid("11111111-aaaa"), Uuid("22222222-bbbb"), Uuid("33333333-cccc")
NAME, COPY = ResourceName("Data-1"), ResourceName("copy")
CREATE = CreateBacking(NAME, "pool", 0, LIFE, 5000)
TAKE = TakeSnapshot(NAME, "pool", 0, LIFE, SnapshotName("s1"), SNAP)
RESTORE = RestoreBacking(COPY, "pool", 0, NEXT, 9000, NAME, SNAP, content_kib=1024)
REAL = os.environ.get("BOLLARD_TEST_VG", "")
"""`VG/THINPOOL` of a machine whose volume group may be played with."""

real = pytest.mark.skipif(not REAL, reason="BOLLARD_TEST_VG names no volume group to test with")


def pool_of(kind: ProviderKind, group: str = "vg/tp") -> TargetPool:
    name = group if kind is ProviderKind.LVM_THIN else group.partition("/")[0]
    return TargetPool("pool", Uuid("p"), kind, {"StorDriver/StorPoolName": name})


def machine() -> SimMachine:
    one = SimMachine("n1", Mesh())
    one.lvm.add_group("vg", 4 << 30, thin="tp")
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
        pool, provider = pool_of(kind, REAL or "vg/tp"), PROVIDERS[kind]
        try:
            await body(provider, pool, host)
        finally:
            await _clear(provider, pool, host)

    return lambda body: asyncio.run(run(body))


async def _clear(provider: Provider, pool: TargetPool, host: Host) -> None:
    for kept in await provider.observe_snapshots(pool, host):
        one = kept.local
        await provider.remove_snapshot(
            DropSnapshot(ResourceName(kept.resource), "pool", one.number, one.snapshot_uuid), pool, host
        )
    for seen in await provider.observe(pool, host):
        one = seen.local
        await provider.remove(
            RemoveBacking(ResourceName(seen.resource), "pool", one.number, one.volume_uuid), pool, host
        )
    assert await provider.observe(pool, host) == ()


def _is_real(host: Host) -> bool:
    return isinstance(host.files, LocalFiles)


def _write(host: Host, path: str, word: bytes, at: int = 0) -> None:
    if _is_real(host):
        with Path(path).open("r+b") as file:
            file.seek(at)
            file.write(word)
            file.flush()
            os.fsync(file.fileno())


def _read(host: Host, path: str, size: int, at: int = 0) -> bytes:
    with Path(path).open("rb") as file:
        file.seek(at)
        return file.read(size)


def test_a_life_from_creation_to_removal(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        assert await provider.create(CREATE, pool, host)
        assert not await provider.create(CREATE, pool, host)
        (seen,) = await provider.observe(pool, host, "dAtA-1")
        assert seen.path.endswith("/Data-1_00000")
        assert (seen.local.size_kib, seen.local.unit_kib) == (8192, 4096)
        assert (seen.local.complete, seen.local.block, seen.local.active) == (True, True, True)
        assert await provider.observe(pool, host, "data") == ()
        if _is_real(host):
            assert _read(host, seen.path, 4096) == bytes(4096)
            number = Path(seen.path).stat().st_rdev  # noqa: ASYNC240  # a test of one task
            assert seen.device == f"{os.major(number)}:{os.minor(number)}"
        grow = GrowBacking(NAME, "pool", 0, LIFE, 9000)
        assert await provider.grow(grow, pool, host)
        assert not await provider.grow(grow, pool, host)
        await provider.mark(seen, pool, Marks(made=(LayerKind.LUKS,)), host)
        await provider.mark(seen, pool, Marks(metadata=True, made=(LayerKind.LUKS, LayerKind.CACHE)), host)
        (seen,) = await provider.observe(pool, host)
        assert (seen.local.size_kib, seen.local.metadata) == (12288, True)
        assert seen.local.made == (LayerKind.LUKS, LayerKind.CACHE)
        assert await provider.deactivate(seen, host)
        (seen,) = await provider.observe(pool, host)
        assert (seen.local.active, seen.device) == (False, "")
        assert await provider.activate(seen, host) == seen.path
        (seen,) = await provider.observe(pool, host)
        assert seen.local.active
        assert not await provider.remove(RemoveBacking(NAME, "pool", 0, NEXT), pool, host)
        assert await provider.remove(RemoveBacking(NAME, "pool", 0, LIFE), pool, host)
        assert not await provider.remove(RemoveBacking(NAME, "pool", 0, LIFE), pool, host)

    use(body)


def test_a_new_life_waits_for_nobody(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(CREATE, pool, host)
        await provider.create(msgspec.structs.replace(CREATE, volume_uuid=NEXT), pool, host)
        paths = {seen.local.volume_uuid: seen.path for seen in await provider.observe(pool, host, NAME)}
        assert paths[NEXT] == paths[LIFE] + ".1"
        await provider.remove(RemoveBacking(NAME, "pool", 0, LIFE), pool, host)
        (seen,) = await provider.observe(pool, host, NAME)
        assert seen.local.volume_uuid == NEXT

    use(body)


def test_what_is_kept_is_restored_and_outlives_its_volume(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        await provider.create(CREATE, pool, host)
        (seen,) = await provider.observe(pool, host, NAME)
        _write(host, seen.path, b"before" * 100)
        _write(host, seen.path, b"metadata", at=1024 * 1024)
        await provider.mark(seen, pool, Marks(metadata=True, made=(LayerKind.LUKS,)), host)
        assert await provider.snapshot(TAKE, pool, host)
        assert not await provider.snapshot(TAKE, pool, host)
        _write(host, seen.path, b"after" * 100)
        (kept,) = await provider.observe_snapshots(pool, host, NAME)
        assert (kept.local.size_kib, kept.local.complete, kept.local.snapshot_uuid) == (8192, True, SNAP)
        assert kept.path.endswith("/Data-1_00000_s1")
        assert await provider.restore(RESTORE, pool, host)
        assert not await provider.restore(RESTORE, pool, host)
        (copy,) = await provider.observe(pool, host, COPY)
        assert (copy.local.complete, copy.local.metadata, copy.local.made) == (True, False, (LayerKind.LUKS,))
        assert copy.local.size_kib == 12288
        if _is_real(host):
            assert _read(host, copy.path, 600) == b"before" * 100
            assert _read(host, copy.path, 8, at=1024 * 1024) == bytes(8)
        drop = DropSnapshot(NAME, "pool", 0, SNAP)
        if provider.kind is ProviderKind.LVM:
            with pytest.raises(HostError) as caught:
                await provider.remove(RemoveBacking(NAME, "pool", 0, LIFE), pool, host)
            assert caught.value.code == "has-snapshots"
        else:
            assert await provider.remove(RemoveBacking(NAME, "pool", 0, LIFE), pool, host)
            again = msgspec.structs.replace(RESTORE, volume_uuid=LIFE)
            assert await provider.restore(again, pool, host)
        assert await provider.remove_snapshot(drop, pool, host)
        assert not await provider.remove_snapshot(drop, pool, host)
        if _is_real(host):
            assert _read(host, copy.path, 600) == b"before" * 100
        with pytest.raises(HostError) as caught:
            await provider.restore(msgspec.structs.replace(RESTORE, volume_uuid=Uuid("z")), pool, host)
        assert caught.value.code == "snapshot-missing"

    use(body)


def test_strangers_are_never_touched(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        group = pool.props["StorDriver/StorPoolName"].partition("/")[0]
        await host.runner.run(Cmd(("lvcreate", "--size", "4096k", "--name", "Data-1_00000", group)))
        try:
            with pytest.raises(HostError) as caught:
                await provider.create(CREATE, pool, host)
            assert caught.value.code == "foreign-volume"
            assert not await provider.remove(RemoveBacking(NAME, "pool", 0, LIFE), pool, host)
            assert await provider.observe(pool, host) == ()
        finally:
            await host.runner.run(Cmd(("lvremove", "--yes", f"{_dev(group)}/Data-1_00000")))
            host.shared.changed("lvm")

    use(body)


def _dev(group: str) -> str:
    return f"/dev/{group}"


def test_pools_say_what_is_wrong_with_them(use: Callable[[Body], None]) -> None:
    async def body(provider: Provider, pool: TargetPool, host: Host) -> None:
        seen = await provider.observe_pool(pool, host)
        assert seen.problem is None
        assert 0 < seen.free_kib <= seen.total_kib
        assert seen.warnings == ()
        thin = provider.kind is ProviderKind.LVM_THIN
        names = ["nosuch/tp" if thin else "nosuch", "vg" if thin else "vg/tp", "a/b/c", ""]
        if thin:
            names.append(pool.props["StorDriver/StorPoolName"].partition("/")[0] + "/nosuch")
        for name in names:
            broken = TargetPool("pool", Uuid("p"), provider.kind, {"StorDriver/StorPoolName": name})
            with pytest.raises(HostError) as caught:
                await provider.observe_pool(broken, host)
            assert caught.value.code == "pool-missing"
            assert caught.value.correction
        if not thin:
            with pytest.raises(HostError) as caught:
                await provider.create(msgspec.structs.replace(CREATE, size_kib=1 << 40), pool, host)
            assert caught.value.code == "no-space"

    use(body)


class Cut(BaseException):
    """The satellite dies."""


def test_every_verb_can_be_cut_anywhere() -> None:
    """After any prefix of effects the repeated verb ends in the same, and removing leaves nothing."""
    for kind in KINDS:
        for verb in ("create", "grow", "snapshot", "restore"):
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
    one.lvm.add_group("vg", 4 << 30, thin="tp")
    provider, pool = PROVIDERS[kind], pool_of(kind)

    async def act(host: Host, what: str) -> None:
        match what:
            case "create":
                await provider.create(CREATE, pool, host)
            case "grow":
                await provider.grow(GrowBacking(NAME, "pool", 0, LIFE, 9000), pool, host)
            case "snapshot":
                await provider.snapshot(TAKE, pool, host)
            case _:
                await provider.restore(RESTORE, pool, host)

    order = ["create", "grow", "snapshot", "restore"]
    before = order[: order.index(verb)]
    for what in before:
        await act(one.host(), what)
    left[0] = effects
    cut = False
    try:
        await act(one.host(), verb)
    except Cut:
        cut = True
    left[0] = 0
    host = one.host()
    await act(host, verb)
    seen = {backing.local.volume_uuid: backing.local for backing in await provider.observe(pool, host)}
    assert all(backing.complete for backing in seen.values())
    assert seen[LIFE].size_kib == (8192 if verb == "create" else 12288)
    assert (NEXT in seen) is (verb == "restore")
    await _clear(provider, pool, host)
    assert [name for name in one.lvm.volumes if not name.endswith("/tp")] == []
    return cut


def test_all_volumes_cost_two_processes() -> None:
    async def run() -> None:
        one = machine()
        provider, pool = PROVIDERS[ProviderKind.LVM_THIN], pool_of(ProviderKind.LVM_THIN)
        host = one.host()
        for number in range(200):
            step = CreateBacking(ResourceName(f"r{number}"), "pool", 0, Uuid(f"v{number}"), 4096)
            await provider.create(step, pool, host)
        host = one.host()
        one.lvm.runs.clear()
        seen = await asyncio.gather(*(provider.observe(pool, host, f"r{number}") for number in range(200)))
        assert all(len(one) == 1 for one in seen)
        await provider.observe_pool(pool, host)
        assert sorted(run.split()[0] for run in one.lvm.runs) == ["lvs", "vgs"]

    asyncio.run(run())


def test_a_hung_group_holds_up_nobody_else() -> None:
    """One waits for the deadline; those behind it in the same group are told at once, other groups go on."""

    class Hanging:
        def __init__(self, inner: object) -> None:
            self.inner = inner
            self.tried = 0

        def path_of(self, program: str) -> str | None:
            return f"/sbin/{program}"

        async def run(self, cmd: Cmd) -> Done:
            if cmd.argv[0] == "lvcreate" and "bad" in cmd.shown():
                self.tried += 1
                raise HostError("'lvcreate' did not end within 45 s", code="tool-timeout")
            done: Done = await self.inner.run(cmd)  # type: ignore[attr-defined]
            return done

    async def run() -> None:
        one = machine()
        one.lvm.add_group("bad", 4 << 30)
        hanging = Hanging(one.lvm)
        host = Host(one.host().files, hanging, one.host().engine, "", facts={"node": "n1"})
        provider = PROVIDERS[ProviderKind.LVM]
        steps = [CreateBacking(ResourceName(f"r{n}"), "pool", 0, Uuid(f"v{n}"), 4096) for n in range(5)]
        bad = pool_of(ProviderKind.LVM, "bad")
        ends = await asyncio.gather(
            *(provider.create(step, bad, host) for step in steps), return_exceptions=True
        )
        assert [end.code for end in ends if isinstance(end, HostError)] == ["tool-timeout"] * 5
        assert hanging.tried == 1
        assert await provider.create(steps[0], pool_of(ProviderKind.LVM), host)

    asyncio.run(run())
