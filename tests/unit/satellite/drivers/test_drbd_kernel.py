"""The kernel's driver: what it runs, what it refuses, what it leaves alone, and what it says of trouble."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import ReplicationKind
from bollard.domain.local import LocalBacking
from bollard.domain.resources import DiskKind
from bollard.domain.steps import CreateMetadata, ResizeReplication
from bollard.domain.targets import TargetPeer, TargetReplication, TargetResource, TargetVolume
from bollard.satellite.drivers.drbd_kernel import Drbd9, Drbd84
from bollard.satellite.host.base import BackingSeen, Cmd, Done, Host, HostError, KernelFacts
from bollard.satellite.tools.drbd_conf import OPTIONS_84
from bollard.satellite.tools.drbd_status import (
    ConnectionStatus,
    DeviceStatus,
    PeerDeviceStatus,
    ResourceStatus,
)
from bollard.satellite.tools.paths import Paths
from bollard.sim.clock import VirtualLoop
from bollard.sim.files import Disk, SimFiles
from bollard.sim.host import no_pause
from lab_host import NoEngine

FOLDER = "/drbd.d"
FILE, APPLIED = f"{FOLDER}/r.res", f"{FOLDER}/r.res.applied"
SECRET = "very s3cret"
NINE, EIGHT = ReplicationKind.DRBD9, ReplicationKind.DRBD84
EQUAL = PeerDeviceStatus(0, "Established", "UpToDate")
UP = ResourceStatus(
    "r",
    "Secondary",
    devices=[DeviceStatus(0, 1000, "UpToDate", size=8192)],
    connections=[
        ConnectionStatus(
            0, "peer", "Connected", "Secondary", [PeerDeviceStatus(0, "Established", "UpToDate")]
        )
    ],
)


class FakeKernel:
    """Runs nothing; `tool` keeps what it was asked, `adjust` makes the resource appear."""

    def __init__(self, kind: ReplicationKind | None) -> None:
        self.folder = FOLDER
        self.facts = KernelFacts(kind, "x", "9.22.0", "no module here" if kind is None else "", OPTIONS_84)
        self.there: dict[str, ResourceStatus] = {}
        self.ran: list[tuple[str, ...]] = []
        self.fail: dict[str, Done] = {}
        self.split: frozenset[int] = frozenset()
        self.due = True
        self.begun = 0

    async def run(self, changed: Callable[[str | None], None]) -> None:
        changed(None)

    async def status(self, name: str) -> ResourceStatus | None:
        return self.there.get(name)

    async def statuses(self) -> dict[str, ResourceStatus]:
        return self.there

    def split_brain(self, name: str) -> frozenset[int]:
        return self.split if name in self.there else frozenset()

    def heal_due(self, status: ResourceStatus, *, missing: bool = False) -> bool:
        return self.due and (
            missing or any(one.connection_state == "StandAlone" for one in status.connections)
        )

    def healing(self, status: ResourceStatus, *, missing: bool = False) -> None:
        assert not missing or len(status.connections) == 0
        self.begun += status.name in self.there

    def forget(self, name: str) -> None:
        assert name not in self.there

    def guard(self, path: str, token: str, minors: tuple[int, ...], deadline_ms: int) -> None:
        raise AssertionError(path)

    async def tool(self, cmd: Cmd, name: str) -> Done:
        self.ran.append(cmd.argv)
        assert SECRET not in " ".join(cmd.argv)
        for word, done in self.fail.items():
            if word in cmd.argv:
                if done.code not in cmd.expect:
                    raise HostError("it failed", code="tool-failed", cause=done.stderr.decode())
                return done
        if "adjust" in cmd.argv:
            self.there[name] = UP
        if "down" in cmd.argv:
            self.there.pop(name, None)
        return Done(0, b"", b"")

    def words(self) -> list[str]:
        """The verbs, in order."""
        known = {"create-md", "restore-md", "sh-nop", "check-resize", "adjust", "down"}
        known |= {"resize", "primary", "secondary"}
        return [word for argv in self.ran for word in argv if word in known]


class Node:
    def __init__(self, kind: ReplicationKind | None = EIGHT) -> None:
        self.disk = Disk()
        self.disk.folders.add(FOLDER)
        self.kernel = FakeKernel(kind)
        self.driver = Drbd9() if kind is NINE else Drbd84()
        self.host = Host(
            SimFiles(self.disk, no_pause),
            None,  # type: ignore[arg-type]  # the driver has no other way to programs than the kernel's door
            NoEngine(),
            "/nowhere",
            {"node": "alpha", "uname": "alpha.example"},
            kernel=self.kernel,
        )

    async def open(self, target: TargetResource, path: str = "/dev/vg/r_00000") -> bool:
        local = LocalBacking("pool", 0, Uuid("v0"), 8300)
        backing = BackingSeen(target.name, path, 8300, local)
        return await self.driver.open(target, {0: backing}, Paths({0: path}), self.host)


def target(kind: ReplicationKind = EIGHT, size_kib: int = 8192, **options: str) -> TargetResource:
    volume = TargetVolume(0, Uuid("v0"), size_kib, "pool", 8300, minor=1000)
    peer = TargetPeer(NodeName("beta"), 1, "10.0.0.2", 7000)
    replication = TargetReplication(
        0, "10.0.0.1", 7000, SECRET, (peer,), options=dict(options), implementation=kind
    )
    return TargetResource(
        ResourceName("r"), Uuid("u1"), DiskKind.DISKFUL, volumes=(volume,), replication=replication
    )


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await body()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


def test_it_is_checked_written_adjusted_and_then_left_alone() -> None:
    async def body() -> None:
        node = Node()
        assert await node.open(target())
        assert node.kernel.words() == ["sh-nop", "check-resize", "adjust"]
        assert 'on "alpha.example"' in node.disk.contents[FILE].decode()
        assert SECRET in node.disk.contents[FILE].decode()
        assert SECRET not in node.disk.contents[APPLIED].decode()
        assert sorted(node.disk.contents) == [FILE, APPLIED]
        node.kernel.ran.clear()
        assert not await node.open(target())
        assert node.kernel.ran == []

    run(body)


def test_a_file_that_the_tool_refuses_changes_nothing() -> None:
    async def body() -> None:
        node = Node()
        await node.open(target())
        before = dict(node.disk.contents)
        node.kernel.fail["sh-nop"] = Done(10, b"", b"parse error")
        with pytest.raises(HostError):
            await node.open(target(**{"Net/timeout": "15"}))
        assert node.disk.contents == before

    run(body)


def test_what_was_not_applied_whole_is_applied_again() -> None:
    async def body() -> None:
        node = Node()
        node.kernel.fail["adjust"] = Done(1, b"", b"")
        with pytest.raises(HostError):
            await node.open(target())
        (running,) = await node.driver.observe(node.host, "R")
        assert (running.fingerprint, running.broken) == ("", True)
        node.kernel.fail.clear()
        assert await node.open(target())
        (running,) = await node.driver.observe(node.host, "R")
        assert running.fingerprint
        assert not running.broken
        node.kernel.there.clear()
        (running,) = await node.driver.observe(node.host)
        assert (running.fingerprint, running.status) == ("", None), "after a reboot the kernel has nothing"

    run(body)


def test_a_resource_of_somebody_else_is_left_alone() -> None:
    async def body() -> None:
        node = Node()
        node.kernel.there["r"] = UP
        with pytest.raises(HostError) as caught:
            await node.open(target())
        assert caught.value.code == "foreign-resource"
        assert node.kernel.ran == []
        assert node.disk.contents == {}
        assert await node.driver.observe(node.host) == ()
        assert not await node.driver.close("r", node.host)
        assert node.kernel.ran == []

    run(body)


@pytest.mark.parametrize(
    ("kind", "path", "wanted", "code"),
    [
        (None, "/dev/vg/r", EIGHT, "drbd-module-missing"),
        (NINE, "/pool/r.img", NINE, "drbd-no-device"),
        (EIGHT, "/dev/vg/r", EIGHT, "drbd-config"),
    ],
)
def test_what_cannot_be_run_is_refused(
    kind: ReplicationKind | None, path: str, wanted: ReplicationKind, code: str
) -> None:
    async def body() -> None:
        node = Node(kind)
        one = target(wanted)
        assert one.replication is not None
        if code == "drbd-config":
            one = replace(one, replication=replace(one.replication, peers=one.replication.peers * 2))
        with pytest.raises(HostError) as caught:
            await node.open(one, path)
        assert caught.value.code == code
        assert node.kernel.ran == []

    run(body)


@pytest.mark.parametrize("kind", [NINE, EIGHT])
def test_metadata_is_made_in_its_format_and_generation(kind: ReplicationKind) -> None:
    async def body() -> None:
        node = Node(kind)
        step = CreateMetadata(
            ResourceName("r"), "pool", 0, Uuid("v0"), 0, 7, 8192, "1234567890ABCDEE", 1000, kind
        )
        await node.driver.format(step, "/dev/vg/r", "", node.host)
        assert node.kernel.words() == ["create-md", "restore-md"]
        version = "v09" if kind is NINE else "v08"
        assert all(argv[1:4] == ("--force", "1000", version) for argv in node.kernel.ran)
        assert node.disk.contents == {}, "the dump is gone"
        node.kernel.ran.clear()
        await node.driver.format(replace(step, current_gi=None), "/dev/vg/r", "", node.host)
        assert node.kernel.words() == ["create-md"]
        node.kernel.ran.clear()
        await node.driver.format(replace(step, current_gi=None), "/dev/vg/r", "/dev/fast/m", node.host)
        assert node.kernel.ran[-1][4:7] == ("/dev/fast/m", "flex-external", "create-md")

    run(body)


def test_84_is_promoted_for_a_moment_to_grow() -> None:
    async def body() -> None:
        node = Node()
        step = ResizeReplication(ResourceName("r"), Uuid("u1"), 0, 16384)
        assert not await node.driver.grow(step, "r", node.host)
        node.kernel.there["r"] = UP
        assert await node.driver.grow(step, "r", node.host)
        assert node.kernel.words() == ["primary", "resize", "secondary"]
        assert not await node.driver.grow(replace(step, size_kib=8192), "r", node.host)
        node.kernel.ran.clear()
        node.kernel.there["r"] = replace(UP, role="Primary")
        assert await node.driver.grow(step, "r", node.host)
        assert node.kernel.words() == ["resize"]
        node.kernel.ran.clear()
        node.kernel.there["r"] = UP
        node.kernel.fail["resize"] = Done(10, b"", b"")
        with pytest.raises(HostError):
            await node.driver.grow(step, "r", node.host)
        assert node.kernel.words()[-1] == "secondary", "whatever happens"
        node.kernel.ran.clear()
        node.kernel.fail = {"secondary": Done(11, b"", b"(-12)")}
        with pytest.raises(HostError):
            await node.driver.grow(step, "r", node.host)
        assert node.kernel.words().count("secondary") == 6

    run(body)


def test_closing_says_why_it_cannot() -> None:
    async def body() -> None:
        node = Node()
        await node.open(target())
        node.kernel.fail["down"] = Done(11, b"", b"State change failed: (-12) Device is held open")
        with pytest.raises(HostError) as caught:
            await node.driver.close("r", node.host)
        assert caught.value.code == "engine-busy"
        node.kernel.fail["down"] = Done(11, b"", b"r: State change failed: (-10) refused by peer")
        with pytest.raises(HostError) as caught:
            await node.driver.close("r", node.host)
        assert caught.value.code == "drbd-refused"
        assert FILE in node.disk.contents
        node.kernel.fail.clear()
        assert await node.driver.close("r", node.host)
        assert node.disk.contents == {}

    run(body)


def test_trouble_is_named_with_the_next_step() -> None:
    async def body() -> None:
        node = Node()
        await node.open(target())
        alone = replace(UP, connections=[replace(UP.connections[0], connection_state="StandAlone")])
        node.kernel.there["r"] = alone
        (running,) = await node.driver.observe(node.host)
        assert running.broken
        assert running.problem is not None
        assert running.problem.code == "stand-alone"
        node.kernel.split, node.kernel.due = frozenset({0}), False
        (running,) = await node.driver.observe(node.host)
        assert not running.broken
        assert running.problem is not None
        assert running.problem.code == "split-brain"
        assert "'beta'" in running.problem.message
        node.kernel.split = frozenset()
        node.kernel.there["r"] = replace(UP, devices=[DeviceStatus(0, 1000, "Diskless")])
        (running,) = await node.driver.observe(node.host)
        assert running.problem is None
        assert not running.broken, "when a lost disk is tried again is not for the driver to say"
        assert running.status is not None
        assert running.status.connections[0].name == "beta", "8.4 calls it `peer`"

    run(body)


def test_what_was_lost_is_applied_again_although_nothing_else_changed() -> None:
    async def body() -> None:
        node = Node()
        await node.open(target())
        for lost in (
            replace(UP, devices=[DeviceStatus(0, 1000, "Diskless")]),
            replace(UP, connections=[replace(UP.connections[0], connection_state="StandAlone")]),
        ):
            node.kernel.there["r"] = lost
            assert await node.open(target())
            node.kernel.there["r"] = UP
            assert not await node.open(target())

    run(body)
