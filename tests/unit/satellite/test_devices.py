"""Pools on bare devices: all is checked before anything is destroyed, and what fails is undone."""

import asyncio
import json

from bollard.satellite.devices import Devices
from bollard.satellite.host.base import Cmd, Done, Host, HostError
from bollard.sim.engine import Mesh
from bollard.sim.host import SimMachine
from bollard.wire.devices import DevicePoolDone, DevicePoolSpec

ROWS = [
    {"name": "/dev/a", "type": "disk", "size": 8 << 30, "maj:min": "8:0"},
    {"name": "/dev/b", "type": "disk", "size": 8 << 30, "maj:min": "8:16"},
    {"name": "/dev/used", "type": "disk", "size": 8 << 30, "maj:min": "8:32", "mountpoints": ["/srv"]},
]
HARMLESS = {"lsblk", "lvm", "wipefs", "vgs"}


class Tools:
    """Programs of a machine with disks; each run is written down."""

    def __init__(self, *, signature: str = "", groups: str = "", fails: str = "", lacks: str = "") -> None:
        self.ran: list[str] = []
        self.signature, self.groups, self.fails, self.lacks = signature, groups, fails, lacks
        self.lvm = "2.03.31"
        self.gate = asyncio.Event()
        self.gate.set()

    def path_of(self, program: str) -> str | None:
        return None if program == self.lacks else f"/sbin/{program}"

    async def run(self, cmd: Cmd) -> Done:
        if cmd.argv[:2] == ("zpool", "list"):
            return Done(0, self.groups.encode(), b"")
        self.ran.append(cmd.argv[0])
        if cmd.argv[0] not in HARMLESS:
            await self.gate.wait()
        if cmd.argv[0] == self.fails:
            raise HostError(f"'{cmd.argv[0]}' failed", code="tool-failed", cause="it said: no")
        output = {
            "lsblk": json.dumps({"blockdevices": ROWS}),
            "wipefs": self.signature,
            "vgs": self.groups,
            "lvm": f"  LVM version:     {self.lvm}(2) (2025-02-27)\n",
        }.get(cmd.argv[0], "")
        return Done(0, output.encode(), b"")


def made(
    tools: Tools,
    *devices: str,
    provider: str = "LVM",
    raid: str = "JBOD",
    udev: bool = False,
    vdo: bool = False,
) -> DevicePoolDone:
    async def run() -> DevicePoolDone:
        host = SimMachine("n1", Mesh()).host()
        if udev:
            await host.files.make_folder("/run/udev/data")
        machine = Devices(Host(host.files, tools, host.engine, ""))
        spec = DevicePoolSpec("r1", provider, devices, "fast", vdo=vdo, raid_level=raid)
        first, again = await machine.make(spec), await machine.make(spec)
        assert first == again, "an attempt is made once"
        return first

    return asyncio.run(run())


def test_a_pool_is_made_of_free_devices() -> None:
    tools = Tools()
    assert made(tools, "/dev/a", "/dev/b") == DevicePoolDone(backing="fast")
    assert [name for name in tools.ran if name not in HARMLESS] == ["pvcreate", "vgcreate"]


def test_an_array_is_used_when_udev_has_named_it() -> None:
    for udev in (False, True):
        tools = Tools()
        assert made(tools, "/dev/a", "/dev/b", raid="RAID1", udev=udev).backing == "fast"
        steps = [name for name in tools.ran if name not in HARMLESS]
        assert steps == ["mdadm", *(["udevadm"] if udev else []), "pvcreate", "vgcreate"]


def test_nothing_is_destroyed_before_all_is_known_to_be_well() -> None:
    cases = [
        (Tools(), ("/dev/a", "/dev/used"), "mounted on /srv"),
        (Tools(), ("/dev/a", "/dev/none"), "no block device"),
        (Tools(signature="ext4\n"), ("/dev/a",), "signature of ext4"),
        (Tools(groups="  fast\n"), ("/dev/a",), "volume group 'fast' already"),
        (Tools(lacks="vgcreate"), ("/dev/a",), "not installed"),
        (Tools(), (), "No devices"),
    ]
    for tools, devices, words in cases:
        done = made(tools, *devices)
        assert done.backing == ""
        assert words in done.error + done.cause, done
        assert set(tools.ran) <= HARMLESS, tools.ran


def test_what_a_failed_attempt_made_is_taken_back() -> None:
    tools = Tools(fails="vgcreate")
    done = made(tools, "/dev/a")
    assert (done.backing, done.cause) == ("", "it said: no")
    assert tools.ran[-3:] == ["vgcreate", "vgremove", "pvremove"]


def test_who_asks_early_is_told_that_it_runs() -> None:
    async def run() -> None:
        tools = Tools()
        tools.gate.clear()
        host = SimMachine("n1", Mesh()).host()
        machine = Devices(Host(host.files, tools, host.engine, ""))
        spec = DevicePoolSpec("r1", "LVM", ("/dev/a",), "fast")
        assert await machine.make(spec) == DevicePoolDone(running=True)
        tools.gate.set()
        assert (await machine.make(spec)).backing == "fast"
        assert [device.path for device in await machine.free()] == ["/dev/a", "/dev/b"]

    asyncio.run(run())


def test_a_zpool_is_made_unless_there_is_one() -> None:
    tools = Tools()
    assert made(tools, "/dev/a", "/dev/b", provider="ZFS") == DevicePoolDone(backing="fast")
    assert tools.ran[-1] == "zpool"
    tools = Tools(groups="fast\n")
    done = made(tools, "/dev/a", provider="ZFS_THIN")
    assert "zpool 'fast'" in done.error
    assert "zpool" not in tools.ran


def test_vdo_is_refused_where_lvm_or_its_tool_cannot() -> None:
    old, bare, able = Tools(), Tools(lacks="vdoformat"), Tools()
    old.lvm = "2.03.16"
    for tools, words in ((old, "2.03.24"), (bare, "package vdo")):
        done = made(tools, "/dev/a", provider="LVM_THIN", vdo=True)
        assert words in done.correction
        assert set(tools.ran) <= HARMLESS, tools.ran
    assert made(able, "/dev/a", provider="LVM_THIN", vdo=True).backing == "linstor_fast/fast"
    assert [name for name in able.ran if name not in HARMLESS] == [
        "pvcreate", "vgcreate", "lvcreate", "lvconvert",
    ]  # fmt: skip
