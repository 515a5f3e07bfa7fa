"""The kernel's DRBD as the satellite finds and follows it, with programs that are told what to say."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from bollard.domain.layers import ReplicationKind
from bollard.satellite.host.base import Cmd, Done, HostError
from bollard.satellite.host.kernel_drbd import KernelDrbd
from bollard.sim.clock import VirtualClock
from bollard.sim.files import Disk, SimFiles
from bollard.sim.host import no_pause
from virtual_time import on_virtual_time

FOLDER = "/var/lib/bollard/drbd.d"
PROC = b"version: 8.4.11 (api:1/proto:86-101)\n"
UTILS = b"DRBDADM_VERSION=9.22.0\n"
UP = [
    "exists resource name:r role:Secondary suspended:no",
    "exists connection name:r peer-node-id:0 conn-name:peer connection:Connected role:Secondary",
    "exists device name:r volume:0 minor:1000 disk:UpToDate size:8192",
    "exists peer-device name:r peer-node-id:0 volume:0 replication:Established peer-disk:UpToDate",
    "exists -",
]


class Tools:
    """Answers by the words that a command begins with; keeps what was run."""

    def __init__(self, *missing: str) -> None:
        self.missing = missing
        self.ran: list[tuple[str, ...]] = []
        self.says: dict[tuple[str, ...], bytes] = {("drbdadm", "--version"): UTILS}
        self.lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.after: Callable[[tuple[str, ...]], None] = lambda _argv: None

    def path_of(self, program: str) -> str | None:
        return None if program in self.missing else f"/usr/sbin/{program}"

    async def run(self, cmd: Cmd) -> Done:
        self.ran.append(cmd.argv)
        for words, said in self.says.items():
            if cmd.argv[: len(words)] == words:
                self.after(cmd.argv)
                await asyncio.sleep(0.01)
                return Done(0, said, b"")
        raise HostError("it failed", code="tool-failed")

    async def follow(self, cmd: Cmd) -> AsyncIterator[str]:
        self.ran.append(cmd.argv)
        while (line := await self.lines.get()) is not None:
            yield line

    def count(self, *words: str) -> int:
        return sum(argv[: len(words)] == words for argv in self.ran)


class Machine:
    """A kernel door on simulated files."""

    def __init__(self, *missing: str, proc: bytes | None = PROC, load: bool = False) -> None:
        self.tools = Tools(*missing)
        self.disk = Disk()
        self.disk.folders.add("/proc")
        self.files = SimFiles(self.disk, no_pause)
        self.proc = proc
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.kernel = KernelDrbd(
            self.tools, self.files, self.clock, folder=FOLDER, follower=self.tools, load_modules=load
        )

    async def begin(self) -> "Machine":
        if self.proc is not None:
            await self.files.write("/proc/drbd", self.proc)
        await self.kernel.probe()
        return self


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  # a condition over several objects
            await asyncio.sleep(0.01)


def test_a_module_that_is_loaded() -> None:
    async def body() -> None:
        machine = await Machine().begin()
        facts = machine.kernel.facts
        assert (facts.kind, facts.version, facts.utils) == (ReplicationKind.DRBD84, "8.4.11", "9.22.0")
        assert "cpu-mask" in facts.allowed["Resource"]
        assert FOLDER in machine.disk.folders

    on_virtual_time(body)


def test_9_says_which_options_it_knows() -> None:
    async def body() -> None:
        machine = Machine(proc=b"version: 9.3.3 (api:2/proto:118-124)\n")
        machine.tools.says["drbdsetup", "xml-help", "resource-options"] = b'<option name="quorum" type="x">'
        await machine.begin()
        assert machine.kernel.facts.kind is ReplicationKind.DRBD9
        assert machine.kernel.facts.allowed == {"Resource": frozenset({"quorum"})}

    on_virtual_time(body)


@pytest.mark.parametrize(
    ("missing", "loadable", "reason"),
    [
        (("drbdadm",), b"", "drbd-utils"),
        ((), b"", "has no module"),
        ((), b"9.2.1\n", "9.2.1 is not loaded"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_loaded(
    missing: tuple[str, ...], loadable: bytes, reason: str
) -> None:
    async def body() -> None:
        machine = Machine(*missing, proc=None)
        machine.tools.says["modinfo",] = loadable
        await machine.begin()
        facts = machine.kernel.facts
        assert facts.kind is None
        assert reason in facts.reason
        assert not machine.tools.count("modprobe")
        assert not machine.tools.count("drbdsetup"), "it would load the module"
        assert await machine.kernel.status("r") is None
        assert await machine.kernel.statuses() == {}
        with pytest.raises(HostError) as caught:
            await machine.kernel.tool(Cmd(("drbdadm", "adjust", "r")), "r")
        assert caught.value.code == "drbd-module-missing"

    on_virtual_time(body)


def test_a_module_is_loaded_when_a_setting_says_so() -> None:
    async def body() -> None:
        machine = Machine(proc=None, load=True)
        machine.tools.says |= {("modinfo",): b"8.4.11\n", ("modprobe",): b""}

        def load(argv: tuple[str, ...]) -> None:
            if argv[0] == "modprobe":
                machine.disk.contents["/proc/drbd"] = PROC

        machine.tools.after = load
        await machine.begin()
        assert machine.kernel.facts.kind is ReplicationKind.DRBD84
        assert machine.tools.count("modprobe", "drbd") == 1

    on_virtual_time(body)


def test_a_resource_costs_a_process_only_after_a_change() -> None:
    async def body() -> None:
        machine = await Machine().begin()
        kernel, tools = machine.kernel, machine.tools
        tools.says |= {("drbdsetup", "events2", "--now"): "\n".join(UP).encode(), ("drbdadm", "-c"): b""}
        changed: list[str | None] = []
        job = asyncio.create_task(kernel.run(changed.append))
        for line in UP:
            tools.lines.put_nowait(line)
        await until(lambda: changed == [None])
        for _ in range(10):
            status = await kernel.status("r")
            assert status is not None
        assert tools.count("drbdsetup", "events2", "--now") == 0
        tools.lines.put_nowait("change device name:r volume:0 minor:1000 disk:Outdated")
        await until(lambda: changed == [None, "r"])
        status = await kernel.status("r")
        assert status is not None
        assert status.devices[0].disk_state == "Outdated"
        await kernel.tool(Cmd(("drbdadm", "-c", "x", "adjust", "r")), "r")
        status = await kernel.status("r")
        assert status is not None
        assert status.devices[0].disk_state == "UpToDate", "asked anew after our own change"
        assert tools.count("drbdsetup", "events2", "--now") == 1
        tools.lines.put_nowait(None)
        await until(lambda: changed[-1] is None)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    on_virtual_time(body)


def test_an_answer_does_not_undo_an_event_that_came_after_it() -> None:
    async def body() -> None:
        machine = await Machine().begin()
        tools, kernel = machine.tools, machine.kernel
        told = {"Connecting": "\n".join(UP).replace("Connected", "Connecting"), "Connected": "\n".join(UP)}
        ask = ("drbdsetup", "events2", "--now")
        tools.says["drbdadm", "adjust"] = b""
        tools.says[ask] = told["Connecting"].encode()
        task = asyncio.create_task(kernel.run(lambda _name: None))
        for line in told["Connecting"].splitlines():
            tools.lines.put_nowait(line)
        await until(tools.lines.empty)
        await kernel.tool(Cmd(("drbdadm", "adjust", "r")), "r")

        def connect(argv: tuple[str, ...]) -> None:
            if argv[:3] == ask and tools.says[ask] != told["Connected"].encode():
                tools.says[ask] = told["Connected"].encode()
                tools.lines.put_nowait(UP[1].replace("exists", "change"))

        tools.after = connect
        for _ in range(2):
            status = await kernel.status("r")
            assert status is not None
            assert status.connections[0].connection_state == "Connected"
        task.cancel()

    on_virtual_time(body)


def test_the_stream_is_begun_anew_when_it_ends_or_loses_something() -> None:
    async def body() -> None:
        machine = await Machine().begin()
        changed: list[str | None] = []
        job = asyncio.create_task(machine.kernel.run(changed.append))
        for line in (*UP, "- skipped 3", *UP):
            machine.tools.lines.put_nowait(line)
        await until(lambda: machine.tools.count("drbdsetup", "events2", "--timestamps") == 2)
        await until(lambda: len(changed) >= 3)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    on_virtual_time(body)


def test_a_link_that_gave_up_is_tried_ever_more_slowly() -> None:
    async def body() -> None:
        machine = await Machine().begin()
        alone = [line.replace("connection:Connected", "connection:StandAlone") for line in UP]
        machine.tools.says["drbdsetup", "events2", "--now"] = "\n".join(alone).encode()
        kernel = machine.kernel
        status = await kernel.status("r")
        assert status is not None
        waits: list[float] = []
        for _ in range(9):
            begun = machine.clock.monotonic_s()
            while not kernel.heal_due(status):
                await machine.clock.sleep(1)
            waits.append(machine.clock.monotonic_s() - begun)
            kernel.healing(status)
        assert waits[0] == 0
        assert all(later >= earlier for earlier, later in itertools.pairwise(waits))
        assert 290 < waits[-1] <= 301
        machine.tools.says["drbdsetup", "events2", "--now"] = "\n".join(UP).encode()
        healed = await kernel.status("r")
        assert healed is not None
        assert not kernel.heal_due(healed)
        assert kernel.heal_due(status), "a new trouble is tried at once"
        assert kernel.heal_due(healed, missing=True)
        kernel.healing(healed, missing=True)
        assert not kernel.heal_due(healed, missing=True)

    on_virtual_time(body)
