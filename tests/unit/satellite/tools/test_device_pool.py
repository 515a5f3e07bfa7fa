"""Which devices are free, why others are not, and the commands for pools on them."""

import json

import pytest

from bollard.satellite.tools.device_pool import (
    SIZE_MIN_BYTES,
    VDO_LVM,
    free,
    lvm_version,
    parse,
    plan,
    why_not,
)
from bollard.wire.devices import DevicePoolSpec

GIB = 1 << 30
ROWS = [
    {"name": "/dev/sda", "type": "disk", "size": 8 * GIB, "maj:min": "8:0", "children": [
        {"name": "/dev/sda1", "type": "part", "size": 4 * GIB, "fstype": "ext4", "mountpoints": ["/"]}]},
    {"name": "/dev/sdb", "type": "disk", "size": 8 * GIB, "maj:min": "8:16", "model": " FAST ",
     "serial": "1"},
    {"name": "/dev/sdc", "type": "disk", "size": 8 * GIB, "maj:min": "8:32", "fstype": "xfs"},
    {"name": "/dev/sdd", "type": "disk", "size": 8 * GIB, "maj:min": "8:48", "pttype": "gpt"},
    {"name": "/dev/sde", "type": "disk", "size": 8 * GIB, "maj:min": "8:64", "mountpoints": ["/srv"]},
    {"name": "/dev/sdf", "type": "disk", "size": SIZE_MIN_BYTES - 512, "maj:min": "8:80"},
    {"name": "/dev/sdg", "type": "disk", "size": 8 * GIB, "ro": True, "maj:min": "8:96"},
    {"name": "/dev/drbd1", "type": "disk", "size": 8 * GIB, "maj:min": "147:1"},
    {"name": "/dev/sr0", "type": "rom", "size": 8 * GIB, "maj:min": "11:0"},
    {"name": "/dev/sdh", "type": "disk", "size": 8 * GIB, "maj:min": "8:112", "children": [
        {"name": "/dev/md0", "type": "raid1", "size": 8 * GIB, "maj:min": "9:0"}]},
    {"name": "/dev/sdi", "type": "disk", "size": 8 * GIB, "maj:min": "8:128", "children": [
        {"name": "/dev/md0", "type": "raid1", "size": 8 * GIB, "maj:min": "9:0"}]},
]  # fmt: skip


def blocks() -> list:  # type: ignore[type-arg]
    return parse(json.dumps({"blockdevices": ROWS}).encode())


def test_only_what_is_empty_and_unused_is_offered() -> None:
    found = free(blocks())
    assert [device.path for device in found] == ["/dev/md0", "/dev/sdb"]
    assert (found[1].model, found[1].serial, found[1].size_bytes) == ("FAST", "1", 8 * GIB)


def test_each_refusal_has_its_reason() -> None:
    reasons = {block.name: why_not(block) for block in blocks()}
    assert "/dev/sda1" in reasons["/dev/sda"]
    assert "xfs" in reasons["/dev/sdc"]
    assert "gpt" in reasons["/dev/sdd"]
    assert "/srv" in reasons["/dev/sde"]
    assert "MiB" in reasons["/dev/sdf"]
    assert "read-only" in reasons["/dev/sdg"]
    assert all(reasons[name] for name in ("/dev/drbd1", "/dev/sr0", "/dev/sdh"))
    assert reasons["/dev/sdb"] == ""


def spec(provider: str, *devices: str, level: str = "JBOD", vdo: bool = False) -> DevicePoolSpec:
    return DevicePoolSpec("r", provider, devices, "fast", raid_level=level, vdo=vdo, vdo_slab_kib=2 << 20)


def words(provider: str, *devices: str, level: str = "JBOD", vdo: bool = False) -> list[str]:
    made = plan(spec(provider, *devices, level=level, vdo=vdo))
    return [argv[0] for argv in made.steps] + ["<"] + [argv[0] for argv in made.undo]


def test_commands_and_how_they_are_undone() -> None:
    assert plan(spec("LVM", "/dev/a")).backing == "fast"
    assert plan(spec("LVM_THIN", "/dev/a")).backing == "linstor_fast/fast"
    assert words("LVM", "/dev/a", "/dev/b") == ["pvcreate", "vgcreate", "<", "vgremove", "pvremove"]
    assert words("LVM_THIN", "/dev/a")[:3] == ["pvcreate", "vgcreate", "lvcreate"]
    raid = plan(spec("LVM", "/dev/a", "/dev/b", level="raid1"))
    assert raid.steps[0][:2] == ("mdadm", "--create")
    assert raid.steps[1] == ("pvcreate", "--yes", "/dev/md/fast")
    assert [argv[0] for argv in raid.undo] == ["vgremove", "pvremove", "mdadm", "mdadm"]
    zpool = ("zpool", "create", "-f", "-m", "none")
    assert plan(spec("ZFS", "/dev/a")).steps == ((*zpool, "fast", "/dev/a"),)
    assert plan(spec("ZFS_THIN", "/dev/a", "/dev/b", "/dev/c", level="RAID5")).steps[0][5:7] == (
        "fast",
        "raidz",
    )
    four = ("/dev/a", "/dev/b", "/dev/c", "/dev/d")
    assert " ".join(plan(spec("ZFS", *four, level="RAID10")).steps[0][6:]) == (
        "mirror /dev/a /dev/b mirror /dev/c /dev/d"
    )
    vdo = plan(spec("LVM_THIN", "/dev/a", vdo=True)).steps
    assert "slab_size_mb=2048" in vdo[2]
    assert "98%FREE" in vdo[2], "the thin pool's metadata needs room"
    assert vdo[3] == ("lvconvert", "--yes", "--type", "thin-pool", "linstor_fast/fast")


def test_versions_of_lvm_are_read_and_compared() -> None:
    old = "  LVM version:     2.03.16(2) (2022-05-18)\n  Library version: 1.02.185\n"
    new = "  LVM version:     2.03.31(2) (2025-02-27)\n"
    assert lvm_version(old) == (2, 3, 16)
    assert lvm_version(old) < VDO_LVM < lvm_version(new)
    assert lvm_version("nothing") == ()


@pytest.mark.parametrize(
    ("provider", "devices", "level", "vdo"),
    [
        ("LVM", ("/dev/a",), "RAID9", False),
        ("LVM", ("/dev/a",), "RAID1", False),
        ("LVM", ("/dev/a", "/dev/b", "/dev/c"), "RAID6", False),
        ("SPDK", ("/dev/a",), "JBOD", False),
        ("LVM", ("/dev/a",), "JBOD", True),
        ("ZFS", ("/dev/a",), "JBOD", True),
        ("ZFS", ("/dev/a", "/dev/b", "/dev/c"), "RAID4", False),
        ("ZFS", ("/dev/a", "/dev/b", "/dev/c", "/dev/d", "/dev/e"), "RAID10", False),
    ],
)
def test_what_can_never_work_is_refused(
    provider: str, devices: tuple[str, ...], level: str, vdo: bool
) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        plan(spec(provider, *devices, level=level, vdo=vdo))
