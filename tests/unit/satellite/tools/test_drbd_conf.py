"""Resource files in both grammars; what drbdadm says of them is asked where it is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import ReplicationKind
from bollard.domain.resources import DiskKind
from bollard.domain.targets import (
    TargetPath,
    TargetPeer,
    TargetReplication,
    TargetResource,
    TargetVolume,
)
from bollard.satellite.tools.drbd_conf import OPTIONS_84, ConfError, Rendered, render9, render84
from bollard.satellite.tools.paths import Paths

OPTIONS = {
    "Resource/quorum": "majority",
    "Resource/on-no-data-accessible": "suspend-io",
    "Net/protocol": "C",
    "Net/allow-remote-read": "no",
    "Net/fencing": "resource-only",
    "Disk/on-io-error": "detach",
    "PeerDevice/c-max-rate": "204800",
    "Handlers/fence-peer": '/usr/lib/drbd/fence "now"',
}


def target(
    *peers: TargetPeer,
    options: dict[str, str] | None = None,
    diskless: bool = False,
    address: str = "10.0.0.1",
    secret: str | None = 'a "secret" \\ of ours',
) -> TargetResource:
    gross = None if diskless else 70000
    volumes = (
        TargetVolume(0, Uuid("v0"), 65536, "pool", gross, minor=1000, props={"Disk/al-extents": "6007"}),
        TargetVolume(1, Uuid("v1"), 4096, "pool", gross, minor=1001),
    )
    replication = TargetReplication(
        0,
        address,
        7000,
        secret,
        peers,
        options=OPTIONS if options is None else options,
        implementation=ReplicationKind.DRBD9,
    )
    return TargetResource(
        ResourceName("data"), Uuid("the-uuid"), DiskKind.DISKFUL, volumes=volumes, replication=replication
    )


PEER = TargetPeer(NodeName("beta"), 1, "10.0.0.2", 7001, options={"Net/ping-int": "3"})
CLIENT = TargetPeer(NodeName("gamma"), 2, "fd00::3", 7002, diskless=True)
TWO_PATHS = TargetPeer(
    NodeName("delta"),
    3,
    "10.0.0.4",
    7003,
    paths=(TargetPath("fast", "10.1.0.1", "10.1.0.4"), TargetPath("slow", "10.0.0.1", "10.0.0.4")),
)
PATHS = Paths({0: "/dev/vg/data_00000", 1: "/dev/vg/data_00001"})
EXTERNAL = Paths(PATHS.data, {1: "/dev/fast/data.meta_00001"})


def accepted(rendered: Rendered, tmp_path: Path, program: str) -> None:
    """By the tool itself, when it is there."""
    path = shutil.which(program) or (program if Path(program).exists() else None)
    if path is None:
        pytest.skip(f"{program} is not installed")
    file = tmp_path / "data.res"
    file.write_text(rendered.text)
    done = subprocess.run([path, "-c", str(file), "sh-nop"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + rendered.text


@pytest.mark.tool
@pytest.mark.parametrize("peers", [(), (PEER,), (PEER, CLIENT), (PEER, CLIENT, TWO_PATHS)])
def test_drbdadm_reads_the_file_for_9(peers: tuple[TargetPeer, ...], tmp_path: Path) -> None:
    accepted(render9(target(*peers), PATHS, host="alpha", allowed={}), tmp_path, "drbdadm")


@pytest.mark.tool
@pytest.mark.parametrize("peers", [(), (PEER,)])
def test_drbdadm_reads_the_file_for_84(peers: tuple[TargetPeer, ...], tmp_path: Path) -> None:
    rendered = render84(target(*peers), PATHS, host="alpha", allowed=OPTIONS_84)
    accepted(rendered, tmp_path, "/lib/drbd/drbdadm-84")


@pytest.mark.tool
def test_metadata_of_its_own_is_named_and_drbdadm_reads_that(tmp_path: Path) -> None:
    nine = render9(target(PEER, CLIENT), EXTERNAL, host="alpha", allowed={})
    old = render84(target(PEER), EXTERNAL, host="alpha", allowed=OPTIONS_84)
    for rendered in (nine, old):
        assert rendered.text.count('meta-disk "/dev/fast/data.meta_00001";') == 1
    accepted(nine, tmp_path, "drbdadm")
    accepted(old, tmp_path, "/lib/drbd/drbdadm-84")


def test_a_file_for_9_in_full() -> None:
    rendered = render9(target(PEER, CLIENT), PATHS, host="alpha", allowed={})
    assert rendered.dropped == ()
    assert rendered.text == Path(__file__).with_name("data9.res").read_text()


def test_a_file_for_84_leaves_out_what_it_does_not_know() -> None:
    rendered = render84(target(PEER), PATHS, host="alpha", allowed=OPTIONS_84)
    assert set(rendered.dropped) == {"Resource/quorum", "Net/allow-remote-read"}
    assert rendered.text == Path(__file__).with_name("data84.res").read_text()


def test_a_diskless_node_has_no_backing_and_no_link_to_another() -> None:
    text = render9(target(PEER, CLIENT, diskless=True), Paths({}), host="alpha", allowed={}).text
    assert text.count("disk none;") == 4
    assert text.count("connection {") == 1
    assert "size" not in text


@pytest.mark.parametrize("peers", [(PEER, TWO_PATHS), (CLIENT,)])
def test_84_has_two_nodes_with_disks(peers: tuple[TargetPeer, ...]) -> None:
    with pytest.raises(ConfError, match="two nodes that both have a disk"):
        render84(target(*peers), PATHS, host="alpha", allowed=OPTIONS_84)


@pytest.mark.parametrize("options", [{"Net/verify-alg": "a\nb"}, {"Net/verify-alg": "x" * 256}])
def test_a_value_that_cannot_be_written_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfError):
        render9(target(PEER, options=options), PATHS, host="alpha", allowed={})


def test_an_address_is_a_literal() -> None:
    with pytest.raises(ConfError, match="not an IP address"):
        render9(target(PEER, address="alpha.example"), PATHS, host="alpha", allowed={})


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64))
def test_no_value_ends_its_quotes(value: str) -> None:
    text = render9(target(PEER, secret=value or "x"), PATHS, host="alpha", allowed={}).text
    (line,) = [line for line in text.splitlines() if "shared-secret" in line]
    quoted = line.strip().removeprefix('shared-secret "').removesuffix('";')
    assert re.fullmatch(r'(?:[^"\\]|\\.)*', quoted)
    assert re.sub(r"\\(.)", r"\1", quoted) == (value or "x")


def test_84_has_one_path_the_first() -> None:
    rendered = render84(target(TWO_PATHS), PATHS, host="alpha", allowed=OPTIONS_84).text
    assert "address ipv4 10.1.0.1:" in rendered
    assert "address ipv4 10.1.0.4:7003;" in rendered
    assert "path {" not in rendered
