"""LVM reports as its tools write them, marks that survive as tags, names that are allowed, command lines."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.domain.layers import LayerKind
from bollard.satellite.tools import lvm
from bollard.satellite.tools.lvm import LogicalVolume, Tags

REPORT = {
    "report": [
        {
            "lv": [
                {"vg_name": "vg", "lv_name": "r_00000", "lv_attr": "Vwi-a-tz--", "lv_size": "104857600",
                 "pool_lv": "tp", "origin": "", "origin_size": "", "data_percent": "14.55",
                 "metadata_percent": "", "lv_kernel_major": "254", "lv_kernel_minor": "4",
                 "lv_health_status": "", "lv_tags": "bollard.number=0,bollard.resource=r,bollard.volume=u"},
                {"vg_name": "vg", "lv_name": "off", "lv_attr": "-wi-------", "lv_size": "4194304",
                 "lv_kernel_major": "-1", "lv_kernel_minor": "-1", "lv_tags": "theirs"},
                {"vg_name": "vg", "lv_name": "lost", "lv_attr": "swi-I-s---", "lv_size": "4194304",
                 "origin": "off", "origin_size": "8388608", "data_percent": "100.00"},
            ]
        }
    ]
}  # fmt: skip


def test_rows_are_read_as_lvm_writes_them() -> None:
    thin, off, lost = lvm.parse_volumes(json.dumps(REPORT).encode())
    assert (thin.path, thin.size_kib, thin.device, thin.thin) == ("/dev/vg/r_00000", 102400, "254:4", True)
    assert thin.allocated_kib == int(102400 * 0.1455)
    assert (off.device, off.invalid, off.allocated_kib) == ("", False, 4096)
    assert lost.invalid
    assert lvm.parse_volumes(b'{"report": []}') == ()
    groups = {"report": [{"vg": [{"vg_name": "g", "vg_attr": "rzx-n-", "vg_size": "1", "vg_free": "0"}]}]}
    (group,) = lvm.parse_groups(json.dumps(groups).encode())
    assert group.read_only
    assert group.exported


NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{1,47}", fullmatch=True)
UUIDS = st.uuids().map(str)
TAGS = st.builds(
    Tags,
    node=NAMES,
    resource=NAMES,
    number=st.integers(0, 99999),
    volume=UUIDS,
    snapshot=st.one_of(st.just(""), UUIDS),
    snapshot_name=st.one_of(st.just(""), NAMES),
    size_kib=st.integers(0, 1 << 40),
    metadata=st.booleans(),
    layers=st.lists(st.sampled_from([LayerKind.LUKS, LayerKind.CACHE]), unique=True).map(tuple),
    filesystem=st.sampled_from(["", "making", "made"]),
    unfinished=st.booleans(),
    growing_kib=st.integers(0, 1 << 40),
)


@given(TAGS)
def test_marks_come_back_as_they_were(tags: Tags) -> None:
    words = lvm.encode_tags(tags)
    assert lvm.decode_tags(",".join(["theirs", *words])) == tags
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-/=!:&#")
    assert all(set(word) <= allowed for word in words)


@pytest.mark.parametrize(
    "text", ["", "theirs", "bollard.resource=r", "bollard.volume=u", "bollard.resource=r,bollard.volume=u"]
)
def test_what_is_no_whole_mark_is_none(text: str) -> None:
    assert lvm.decode_tags(text) is None


def test_changing_marks_is_one_command() -> None:
    before = Tags("n", "r", 0, volume="u", unfinished=True)
    argv = lvm.retag("/dev/vg/r", before, Tags("n", "r", 0, volume="u", metadata=True), udev=True)
    assert argv[3:] == (
        "--deltag", "bollard.unfinished=yes", "--addtag", "bollard.metadata=yes", "/dev/vg/r"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("data", "data_00003"),
        ("snapshot1", "v-snapshot1_00003"),
        ("pvmove0", "v-pvmove0_00003"),
        ("a_tdata", "v-a-tdata_00003"),
    ],
)
def test_names_that_lvm_keeps_for_itself_are_avoided(resource: str, name: str) -> None:
    assert lvm.volume_name(resource, 3) == name
    assert lvm.volume_name(resource, 3, again=2) == name + ".2"


def test_users_options_reach_lvcreate() -> None:
    options = {"LvcreateType": "raid1", "LvcreateOptions": "--mirrors 1 --nosync"}
    tags = Tags("n", "r", 0, volume="u")
    argv = lvm.create_thick("vg", "r", 4096, tags, options=options, physical=("/dev/a",), udev=False)
    assert argv[-5:] == ("--mirrors", "1", "--nosync", "vg", "/dev/a")
    assert argv[argv.index("--type") + 1] == "raid1"
    assert "udev_sync=0" in argv[2]
    own = lvm.create_thick("vg", "r", 4096, tags, options={"LvcreateOptions": "--config x"}, udev=True)
    assert own.count("--config") == 1, "who brings a configuration of their own gets no other"
    sized = lvm.snapshot_thick("/dev/vg/r", "s", tags, options="-l20%ORIGIN", udev=True)
    assert "100%ORIGIN" not in sized
    assert "100%ORIGIN" in lvm.snapshot_thick("/dev/vg/r", "s", tags, udev=True)


def test_a_volume_that_is_not_active_has_no_device() -> None:
    assert LogicalVolume("vg", "x").device == ""
