"""The real satellite program and its data process, driven over a real link."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.resources import DiskKind, Tombstone, VolumeOnNode
from bollard.domain.targets import Target, TargetPool, TargetResource, TargetVolume
from bollard.wire.link import Bye, Refused
from satellite_process import CLUSTER, SatelliteProcess, controller_of


@pytest.fixture
def satellite(tmp_path: Path) -> Iterator[SatelliteProcess]:
    one = SatelliteProcess(tmp_path / "state")
    (tmp_path / "pool").mkdir()
    yield one
    one.stop()


def _target(tmp_path: Path, revision: int, *names: str, stones: tuple[Tombstone, ...] = ()) -> Target:
    pool = TargetPool(
        "pool", Uuid("p"), ProviderKind.FILE_THIN, {"StorDriver/StorPoolName": str(tmp_path / "pool")}
    )
    resources = tuple(
        TargetResource(
            ResourceName(name),
            Uuid(f"{name}-life"),
            DiskKind.DISKFUL,
            layer_stack=(LayerKind.STORAGE,),
            volumes=(TargetVolume(0, Uuid(f"{name}-v0"), 4096, "pool", gross_kib=4096),),
        )
        for name in names
    )
    return Target(NodeName("n1"), Uuid(CLUSTER), revision, (pool,), resources, stones)


def test_a_volume_is_served_outlives_the_satellite_and_is_removed(
    satellite: SatelliteProcess, tmp_path: Path
) -> None:
    image = tmp_path / "pool" / "data_00000.img"

    async def first() -> None:
        async with controller_of(satellite) as controller:
            await controller.greet()
            await controller.send(_target(tmp_path, 7, "data"))
            await controller.until(lambda it: _settled(it.observed, "data", 7))
            seen = controller.observed.resource("data", "n1")
            assert seen is not None
            assert seen.volumes[0].device_path == (
                f"nbd+unix:///data/0?socket={tmp_path / 'state' / 'replica' / 'nbd.sock'}"
            )
            assert controller.welcome is not None
            assert ProviderKind.FILE_THIN in controller.welcome.capabilities.providers

    async def after_crash() -> None:
        async with controller_of(satellite) as controller:
            await controller.greet()
            await controller.send(_target(tmp_path, 8, "data", "more"))
            await controller.until(lambda it: _settled(it.observed, "more", 8))
            assert _settled(controller.observed, "data", 8)
            data = Tombstone(
                NodeName("n1"),
                ResourceName("data"),
                Uuid("data-life"),
                (VolumeOnNode(0, Uuid("data-v0"), "pool"),),
            )
            await controller.send(_target(tmp_path, 9, "more", stones=(data,)))
            await controller.until(lambda it: "data-life" in it.removed)

    satellite.start()
    asyncio.run(first())
    assert image.stat().st_size == 4096 * 1024
    replica = satellite.replica_pid()
    satellite.kill()
    os.kill(replica, 0)
    satellite.start()
    assert satellite.replica_pid() == replica
    asyncio.run(after_crash())
    assert not image.exists()
    assert sorted(path.name for path in (tmp_path / "pool").iterdir()) == [
        "more_00000.img",
        "more_00000.img.owner",
    ]


def test_a_data_process_that_dies_is_started_again(satellite: SatelliteProcess, tmp_path: Path) -> None:
    async def body() -> None:
        async with controller_of(satellite) as controller:
            await controller.greet()
            await controller.send(_target(tmp_path, 1, "data"))
            await controller.until(lambda it: _settled(it.observed, "data", 1))
            os.kill(satellite.replica_pid(), signal.SIGKILL)
            await controller.until(lambda it: not _settled(it.observed, "data", 1))
            await controller.until(lambda it: _settled(it.observed, "data", 1))

    satellite.start()
    before = satellite.replica_pid()
    asyncio.run(body())
    assert satellite.replica_pid() != before


def test_a_foreign_cluster_and_a_wrong_name_are_refused_and_a_newer_link_takes_over(
    satellite: SatelliteProcess,
) -> None:
    async def body() -> None:
        async with controller_of(satellite) as first:
            assert not isinstance(await first.greet(), Refused)
            async with controller_of(satellite) as other:
                refused = await other.greet("99999999-0000-0000-0000-000000000000")
                assert isinstance(refused, Refused)
                assert refused.code == "other-cluster"
                assert "bollard-satellite leave" in refused.message
            async with controller_of(satellite) as wrong:
                wrong.node = "n2"
                refused = await wrong.greet()
                assert isinstance(refused, Refused)
                assert refused.code == "wrong-node"
            assert not first.others
            async with controller_of(satellite) as newer:
                assert not isinstance(await newer.greet(), Refused)
                await first.until(lambda it: any(isinstance(one, Bye) for one in it.others))

    satellite.start()
    asyncio.run(body())


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x01\x00\x01",
        b"\x00\x00\x00\x05abcde",
        b"\x00\x00\x00\x50abc",
        b"GET / HTTP/1.1\r\n\r\n",
        b"",
    ],
    ids=["huge", "over-greeting", "garbage", "truncated", "http", "nothing"],
)
def test_broken_frames_end_their_link_only(satellite: SatelliteProcess, frame: bytes) -> None:
    async def body() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", satellite.port)
        writer.write(frame)
        writer.write_eof()
        async with asyncio.timeout(15):
            await reader.read()
        writer.close()
        async with controller_of(satellite) as controller:
            assert not isinstance(await controller.greet(), Refused)

    satellite.start()
    asyncio.run(body())
    assert "Traceback" not in satellite.log.read_text()


def test_what_is_wrong_at_start_is_said_plainly(satellite: SatelliteProcess, tmp_path: Path) -> None:
    satellite.start()
    taken = SatelliteProcess(tmp_path / "other", port=satellite.port)
    assert taken.spawn().wait(20) == 1
    assert "the port is taken" in taken.log.read_text()
    twice = SatelliteProcess(tmp_path / "state")
    twice.log = tmp_path / "twice.log"
    assert twice.spawn().wait(20) == 1
    assert "another satellite runs with the state folder" in twice.log.read_text()
    blocked = SatelliteProcess(tmp_path / "file" / "state")
    (tmp_path / "file").write_bytes(b"")
    blocked.log = tmp_path / "blocked.log"
    assert blocked.spawn().wait(20) == 1
    assert "cannot be written" in blocked.log.read_text()
    public = SatelliteProcess(tmp_path / "public")
    assert public.spawn("--bind", "0.0.0.0").wait(20) == 1
    assert "--insecure-plain" in public.log.read_text()
    for log in (taken.log, twice.log, blocked.log, public.log):
        assert "Traceback" not in log.read_text()


def _settled(observed: object, name: str, revision: int) -> bool:
    seen = observed.resource(name, "n1")  # type: ignore[attr-defined]
    return seen is not None and seen.settled and seen.revision >= revision
