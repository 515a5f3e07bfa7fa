"""Volumes on the kernel's DRBD 8.4, by real satellites: life, growth, loss, split brain, end."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import DEFAULT_STACK, ReplicationKind
from bollard.domain.resources import DiskKind, Tombstone, VolumeOnNode
from bollard.domain.seen import SeenResource
from bollard.domain.targets import TargetPeer, TargetReplication, TargetResource, TargetVolume
from bollard.lab.cluster import Lab
from bollard.lab.network import data_address
from bollard.planning import sizes
from bollard.planning.layers import drbd
from lab_cluster import lacking
from lab_satellites import LabSatellites, satellites_of

MIB = 1024
DEVICE = "/dev/drbd{}"
STEPS = ["CreateBacking", "CreateMetadata", "ConfigureReplication"]
QUICK = {"Net/connect-int": "1", "Net/ping-int": "2", "Net/timeout": "15"}


_LACKING = lacking("drbdadm", "lvcreate")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
Body = Callable[[LabSatellites], Awaitable[None]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("lab")
    name = f"v{os.getpid() % 10**6}"
    with Lab(root, name=name, nodes=2, disk_mib=512, memory_mib=384, load=("drbd", "dm-mod")) as lab:
        lab.boot()
        yield lab


def steer(lab: Lab, body: Body) -> None:
    async def run() -> None:
        async with satellites_of(lab) as satellites:
            await satellites.start(1, 2)
            await body(satellites)

    asyncio.run(run())


def replica(name: str, node: int, *, size_kib: int, number: int) -> TargetResource:
    """One of two; `number` tells resources apart (minor and port)."""
    other = 3 - node
    gross = drbd.gross_kib(size_kib, 7)
    gross += -gross % sizes.EXTENT_KIB[sizes.ProviderKind.LVM]
    volume = TargetVolume(
        0,
        Uuid(f"{name}-{node}"),
        size_kib,
        "pool",
        gross,
        minor=1000 + number,
        current_gi="1234567890ABCDEE",
        block=True,
    )
    peer = TargetPeer(NodeName(f"node{other}"), other - 1, data_address(other), 7000 + number)
    replication = TargetReplication(
        node - 1,
        data_address(node),
        7000 + number,
        "s3cret of the lab",
        (peer,),
        options=QUICK,
        implementation=ReplicationKind.DRBD84,
    )
    return TargetResource(
        ResourceName(name),
        Uuid(f"uuid-{name}-{node}"),
        DiskKind.DISKFUL,
        layer_stack=DEFAULT_STACK,
        volumes=(volume,),
        replication=replication,
    )


def wish(satellites: LabSatellites, name: str, number: int, size_kib: int = 32 * MIB) -> None:
    for node in (1, 2):
        satellites.resources[node][name] = replica(name, node, size_kib=size_kib, number=number)


def complete(seen: SeenResource) -> bool:
    """Settled, and equal to its peer."""
    return (
        seen.settled
        and all(volume.disk_state == "UpToDate" for volume in seen.volumes)
        and all(
            peer.connection == "Connected"
            and all(
                one.replication_state == "Established" and one.peer_disk_state == "UpToDate"
                for one in peer.volumes
            )
            for peer in seen.peers
        )
        and bool(seen.peers)
    )


async def put(satellites: LabSatellites, node: int, minor: int, text: str, *, first: bool = False) -> None:
    """Promote, mount, write a file, leave it mounted."""
    device = DEVICE.format(minor)
    await satellites.run(node, "drbdsetup", "primary", str(minor))
    if first:
        await satellites.run(node, "mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=1", device)
    await satellites.run(node, "mkdir", "-p", "/mnt/v")
    await satellites.run(node, "mount", device, "/mnt/v")
    await satellites.run(node, "sh", "-c", "cat > /mnt/v/file && sync", stdin=text.encode())


async def get(satellites: LabSatellites, node: int, minor: int) -> str:
    """Promote, mount, read the file, leave it mounted."""
    await satellites.run(node, "drbdsetup", "primary", str(minor))
    await satellites.run(node, "mkdir", "-p", "/mnt/v")
    await satellites.run(node, "mount", DEVICE.format(minor), "/mnt/v")
    text: str = (await satellites.run(node, "cat", "/mnt/v/file")).stdout
    return text


async def demote(satellites: LabSatellites, node: int, minor: int) -> None:
    """Udev may hold it for a moment after it was written."""
    script = f"until drbdsetup secondary {minor}; do sleep 0.1; done"
    await satellites.run(node, "timeout", "240", "sh", "-c", script)


async def release(satellites: LabSatellites, node: int, minor: int) -> None:
    await satellites.run(node, "umount", "/mnt/v")
    await demote(satellites, node, minor)


async def drbd_said(satellites: LabSatellites, node: int) -> list[str]:
    """DRBD's lines of the kernel's log; a slow machine has others at any time."""
    lines: list[str] = (await satellites.run(node, "dmesg")).stdout.splitlines()
    return [line for line in lines if "drbd" in line]


def test_a_volume_is_made_without_a_sync_grows_and_goes(lab: Lab) -> None:
    async def body(satellites: LabSatellites) -> None:
        welcome = satellites.controllers[1].welcome
        assert welcome is not None
        assert ReplicationKind.DRBD84 in welcome.capabilities.replication
        assert welcome.capabilities.drbd_version.startswith("8.4.")
        wish(satellites, "life", 1)
        await satellites.send()
        await satellites.until("life", complete, 1, 2)
        seen = satellites.seen(1, "life")
        assert seen is not None
        assert (seen.volumes[0].device_path, seen.volumes[0].size_kib) == ("/dev/drbd1001", 32 * MIB)
        assert seen.implementation is ReplicationKind.DRBD84
        assert [one.out_of_sync_kib for peer in seen.peers for one in peer.volumes] == [0]
        assert "SyncTarget" not in (await satellites.run(1, "dmesg")).stdout
        wish(satellites, "life", 1, 64 * MIB)
        await satellites.send()

        def larger(one: SeenResource) -> bool:
            return complete(one) and one.volumes[0].size_kib == 64 * MIB

        await satellites.until("life", larger, 1, 2)
        # What operators type works, by the whole configuration.
        assert "Connected" in (await satellites.run(2, "drbdadm", "cstate", "life")).stdout
        assert (await satellites.run(2, "drbdadm", "-d", "adjust", "life")).stdout == ""
        for node in (1, 2):
            gone = satellites.resources[node].pop("life")
            volumes = tuple(VolumeOnNode(one.number, one.uuid, one.pool) for one in gone.volumes)
            satellites.stones[node] = [Tombstone(NodeName(f"node{node}"), gone.name, gone.uuid, volumes)]
        await satellites.send()
        for node in (1, 2):
            await satellites.gone(f"uuid-life-{node}", node)
            assert (await satellites.run(node, "ls", "/var/lib/bollard/drbd.d")).stdout == ""
            assert (await satellites.run(node, "lvs", "--noheadings", "pool0")).stdout == ""
            assert "life" not in (await satellites.run(node, "drbdsetup", "status")).stdout
            assert "s3cret" not in await satellites.log(node)

    steer(lab, body)


def test_a_satellite_that_starts_again_touches_nothing(lab: Lab) -> None:
    async def body(satellites: LabSatellites) -> None:
        wish(satellites, "calm", 2)
        await satellites.send()
        await satellites.until("calm", complete, 1, 2)
        before = await drbd_said(satellites, 1)
        await satellites.stop(1)
        await satellites.run(1, "truncate", "-s", "0", "/var/log/bollard-satellite.log")
        await satellites.start(1)
        await satellites.send(1)
        await satellites.until("calm", complete, 1)
        assert "calm:" not in await satellites.log(1), "no step was taken"
        assert await drbd_said(satellites, 1) == before

    steer(lab, body)


def test_the_other_node_takes_over_with_its_file_system(lab: Lab) -> None:
    async def body(satellites: LabSatellites) -> None:
        wish(satellites, "moved", 3)
        await satellites.send()
        await satellites.until("moved", complete, 1, 2)
        await put(satellites, 1, 1003, "before", first=True)
        await satellites.until("moved", lambda one: one.in_use and one.role == "Primary", 1)
        await satellites.lose(1)
        await satellites.until("moved", lambda one: one.peers[0].connection != "Connected", 2)
        assert await get(satellites, 2, 1003) == "before"
        await satellites.run(2, "sh", "-c", "echo after > /mnt/v/file && sync")
        await satellites.boot(1)
        await satellites.send(1)
        await satellites.until("moved", complete, 1, 2)
        log = (await satellites.run(2, "dmesg")).stdout
        assert "Began resync as SyncSource" in log
        moved = [line for line in log.splitlines() if "Resync done" in line or "will sync" in line]
        assert moved
        assert "32768 KB" not in " ".join(moved), "only what changed was moved"
        await release(satellites, 2, 1003)
        assert (await get(satellites, 1, 1003)).strip() == "after"
        await release(satellites, 1, 1003)

    steer(lab, body)


def test_a_split_brain_is_explained_and_heals_when_one_side_gives_in(lab: Lab) -> None:
    async def body(satellites: LabSatellites) -> None:
        wish(satellites, "torn", 4)
        await satellites.send()
        await satellites.until("torn", complete, 1, 2)
        await asyncio.to_thread(lab.network.cut, 1, 2)
        for node in (1, 2):
            await satellites.until("torn", lambda one: one.peers[0].connection != "Connected", node)
            device = DEVICE.format(1004)
            await satellites.run(node, "drbdsetup", "primary", "1004")
            data = bytes([64 + node]) * 4096
            await satellites.run(node, "dd", f"of={device}", "oflag=direct", "bs=4096", stdin=data)
            await demote(satellites, node, 1004)
        await asyncio.to_thread(lab.network.join, 1, 2)

        def split(one: SeenResource) -> bool:
            return one.problem is not None and one.problem.code == "split-brain"

        await satellites.until("torn", split, 1)
        seen = satellites.seen(1, "torn")
        assert seen is not None
        assert seen.problem is not None
        assert "node2" in seen.problem.message
        assert "--discard-my-data torn" in seen.problem.correction
        # As the correction says, on the node that shall lose its changes; the other node follows by itself.
        # The satellite tries the link now and then, perhaps between the two.
        for _ in range(20):
            await satellites.run(2, "drbdadm", "disconnect", "torn", check=False)
            give_in = ("drbdadm", "connect", "--discard-my-data", "torn")
            if (await satellites.run(2, *give_in, check=False)).code == 0:
                break
        else:
            pytest.fail("the link cannot be made anew")
        await satellites.until("torn", complete, 1, 2)
        seen = satellites.seen(2, "torn")
        assert seen is not None
        assert seen.problem is None
        await satellites.run(2, "drbdsetup", "primary", "1004")
        data = (await satellites.run(2, "dd", "if=/dev/drbd1004", "bs=4096", "count=1")).stdout
        assert data == "A" * 4096
        await demote(satellites, 2, 1004)

    steer(lab, body)


def test_a_link_that_gave_up_is_taken_up_again(lab: Lab) -> None:
    async def body(satellites: LabSatellites) -> None:
        wish(satellites, "linked", 5)
        await satellites.send()
        await satellites.until("linked", complete, 1, 2)
        await satellites.run(1, "drbdadm", "disconnect", "linked")
        await satellites.until("linked", complete, 1, 2)

    steer(lab, body)


@pytest.mark.parametrize("step", STEPS)
def test_a_node_that_loses_power_while_a_volume_is_made_makes_it_after(lab: Lab, step: str) -> None:
    async def body(satellites: LabSatellites) -> None:
        number = 6 + STEPS.index(step)
        name = f"cut{number}"
        wish(satellites, name, number)
        await satellites.send()
        waiting = f"until grep -q '{name}: {step}' /var/log/bollard-satellite.log; do :; done"
        await satellites.run(1, "sh", "-c", waiting)
        await satellites.lose(1)
        await satellites.boot(1)
        await satellites.send(1)
        await satellites.until(name, complete, 1, 2)

    steer(lab, body)
