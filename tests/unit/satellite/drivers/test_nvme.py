"""NVMe: what is offered and to whom, what is used, and that others' things are left alone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
import pytest

from bollard.domain.ids import Uuid
from bollard.domain.layers import LayerKind
from bollard.domain.resources import DiskKind
from bollard.domain.targets import TargetFabric, TargetLayer, TargetResource, TargetVolume
from bollard.satellite.drivers.nvme import NvmeInitiator, NvmeTarget
from bollard.satellite.host.base import Host, HostError, LayerMark
from bollard.satellite.tools.paths import Paths
from nvme_kernel import NVMET, NvmeKernel, Wire

_T = TypeVar("_T")
VOLUME = Uuid("6f1f7e1c-6f0f-4b0e-9d5c-0a8c3c4f6b11")
USER = Uuid("0b5c0c66-58d4-4e0a-8f6b-3a4f5b6c7d8e")
NQN = f"nqn.2014-08.org.nvmexpress:uuid:{USER}"
MARK = LayerMark("data", 2, VOLUME, made=False)
FABRIC = TargetFabric("LS-NVMe_data", "tcp", "10.0.0.1", 4420, (NQN,), ((2, VOLUME),))


class Two:
    """A machine with a disk and one without."""

    def __init__(self) -> None:
        wire = Wire()
        self.one, self.other = NvmeKernel(wire, {"/dev/vg/a": 2048, "/dev/vg/b": 4096}), NvmeKernel(wire, {})
        self.host, self.user = (
            Host(None, kernel, None, "", tree=kernel)  # type: ignore[arg-type]
            for kernel in (self.one, self.other)
        )

    def offer(self, fabric: TargetFabric = FABRIC, mark: LayerMark = MARK, path: str = "/dev/vg/a") -> str:
        layer = TargetLayer(LayerKind.NVME, 1024, fabric=fabric)
        return run(NvmeTarget().raise_(layer, path, mark, self.host))

    def use(self, fabric: TargetFabric = FABRIC, size_kib: int = 1024) -> bool:
        volume = TargetVolume(2, Uuid("mine"), size_kib, "")
        target = TargetResource(
            name="data",  # type: ignore[arg-type]
            uuid=USER,
            disk=DiskKind.NVME_INITIATOR,
            volumes=(volume,),
            remote=fabric,
        )
        return run(NvmeInitiator().open(target, {}, Paths({}, {}), self.user))


def run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)


def refusal(work: Coroutine[Any, Any, object]) -> str:
    with pytest.raises(HostError) as caught:
        run(work)
    return caught.value.code


def test_a_volume_is_offered_to_those_who_may_use_it() -> None:
    two = Two()
    assert two.offer() == "/dev/vg/a"
    folder = f"{NVMET}/subsystems/LS-NVMe_data"
    assert two.one.files[f"{folder}/namespaces/3/device_uuid"] == VOLUME
    assert two.one.files[f"{folder}/attr_allow_any_host"] == "0"
    assert two.one.below(f"{folder}/allowed_hosts") == (NQN,)
    (port,) = two.one.below(f"{NVMET}/ports")
    assert two.one.files[f"{NVMET}/ports/{port}/addr_adrfam"] == "ipv4"
    (seen,) = run(NvmeTarget().observe(two.host))
    assert (seen.below, seen.size_kib, seen.shown) == (("7:0",), 1024, FABRIC.shown)


def test_what_is_offered_already_stays_as_it_is() -> None:
    two = Two()
    two.offer()
    two.one.changes.clear()
    two.offer()
    assert two.one.changes == [f"{NVMET}/subsystems/LS-NVMe_data/namespaces/3/revalidate_size=1"]


def test_half_an_export_is_finished() -> None:
    """Cut after any of its changes, a second attempt makes it whole."""
    whole = Two()
    whole.offer()
    for count in range(len(whole.one.changes)):
        two = Two()

        async def cut(two: Two = two, count: int = count) -> None:
            write, make, link = two.one.write, two.one.make, two.one.link

            def limited(call: Any) -> Any:
                async def limited_call(*words: str) -> object:
                    if len(two.one.changes) >= count:
                        raise HostError("cut", code="cut")
                    return await call(*words)

                return limited_call

            two.one.write, two.one.make, two.one.link = map(limited, (write, make, link))  # type: ignore[method-assign]
            layer = TargetLayer(LayerKind.NVME, 1024, fabric=FABRIC)
            with pytest.raises(HostError, match="cut"):
                await NvmeTarget().raise_(layer, "/dev/vg/a", MARK, two.host)
            two.one.write, two.one.make, two.one.link = write, make, link  # type: ignore[method-assign]

        run(cut())
        two.offer()
        (seen,) = run(NvmeTarget().observe(two.host))
        assert seen.shown == FABRIC.shown
        assert two.use()


def test_another_namespace_of_that_name_is_left_alone() -> None:
    two = Two()
    two.offer()
    theirs = LayerMark("data", 2, Uuid("another-life"), made=False)
    layer = TargetLayer(LayerKind.NVME, 1024, fabric=FABRIC)
    assert refusal(NvmeTarget().raise_(layer, "/dev/vg/b", theirs, two.host)) == "name-taken"
    assert not run(NvmeTarget().lower(run(NvmeTarget().observe(two.host))[0], theirs, two.host))
    assert len(run(NvmeTarget().observe(two.host))) == 1


def test_withdrawing_leaves_nothing_but_others_ports() -> None:
    two = Two()
    run(two.one.make(f"{NVMET}/ports/1"))
    for name, value in (("trtype", "tcp"), ("traddr", "10.0.0.1"), ("trsvcid", "4420")):
        run(two.one.write(f"{NVMET}/ports/1/addr_{name}", value))
    two.offer()
    elsewhere = msgspec.structs.replace(FABRIC, subsystem="LS-NVMe_more", address="10.0.0.9")
    two.offer(elsewhere, LayerMark("more", 2, Uuid("v"), made=False), "/dev/vg/b")
    assert two.one.below(f"{NVMET}/ports/1/subsystems") == ("LS-NVMe_data",)
    for name, uuid in (("data", VOLUME), ("more", Uuid("v"))):
        mark = LayerMark(name, 2, uuid, made=True)
        assert run(NvmeTarget().lower(run(NvmeTarget().observe(two.host))[0], mark, two.host))
    assert two.one.below(f"{NVMET}/ports") == ("1",)
    assert two.one.below(f"{NVMET}/subsystems") == two.one.below(f"{NVMET}/hosts") == ()


def test_users_and_addresses_change_while_it_is_offered() -> None:
    two = Two()
    two.offer()
    (seen,) = run(NvmeTarget().observe(two.host))
    moved = msgspec.structs.replace(FABRIC, address="10.0.0.5", hosts=("nqn.new",))
    layer = TargetLayer(LayerKind.NVME, 1024, fabric=moved)
    assert run(NvmeTarget().grow(layer, seen, MARK, two.host))
    (seen,) = run(NvmeTarget().observe(two.host))
    assert seen.shown == moved.shown
    assert two.one.below(f"{NVMET}/hosts") == ("nqn.new",)
    assert len(two.one.below(f"{NVMET}/ports")) == 1


def test_a_user_connects_once_and_sees_the_volume_grow() -> None:
    two = Two()
    two.offer()
    assert two.use()
    assert two.use()
    (seen,) = run(NvmeInitiator().observe(two.user))
    assert (seen.spec.name, seen.spec.uuid, seen.fingerprint) == ("data", USER, FABRIC.shown)
    assert [(one.number, one.backing) for one in seen.spec.volumes] == [(2, "/dev/nvme0n3")]
    assert seen.status is not None
    assert [(one.volume, one.size, one.open) for one in seen.status.devices] == [(2, 1024, False)]
    two.one.devices["/dev/vg/a"] = 8192
    assert two.use(size_kib=4096)


def test_only_those_who_are_let_in_connect() -> None:
    two = Two()
    two.offer(msgspec.structs.replace(FABRIC, hosts=()))
    with pytest.raises(HostError, match="cannot be connected"):
        two.use()
    assert not two.other.connected


def test_a_user_that_is_in_use_stays_connected() -> None:
    two = Two()
    two.offer()
    two.use()
    two.other.claimed.add("/dev/nvme0n3")
    assert refusal(NvmeInitiator().close("DATA", two.user)) == "engine-busy"
    two.other.claimed.clear()
    assert run(NvmeInitiator().close("DATA", two.user))
    assert not two.other.connected
    assert not run(NvmeInitiator().close("data", two.user))


def test_a_user_follows_the_address() -> None:
    two = Two()
    two.offer()
    two.use()
    moved = msgspec.structs.replace(FABRIC, address="10.0.0.5")
    two.offer(moved)
    assert two.use(moved)
    (seen,) = run(NvmeInitiator().observe(two.user, "data"))
    assert seen.fingerprint == moved.shown


def test_connections_of_others_are_not_ours() -> None:
    two = Two()
    two.offer(msgspec.structs.replace(FABRIC, hosts=(NQN, "node1")))
    run(two.other.ask("x", "traddr=10.0.0.1,trsvcid=4420,nqn=LS-NVMe_data,hostnqn=node1,transport=tcp"))
    assert run(NvmeInitiator().observe(two.user)) == ()
    assert not run(NvmeInitiator().close("data", two.user))


def test_a_lost_connection_is_named() -> None:
    two = Two()
    two.offer()
    two.use()
    two.other.connected["nvme0"]["state"] = "connecting"
    (seen,) = run(NvmeInitiator().observe(two.user))
    assert seen.problem is not None
    assert "10.0.0.1" in seen.problem.message
