"""A copy changes hands between the data process and the kernel's DRBD: on the same disk, without copying."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bollard.lab.cluster import Lab
from bollard.wire import engine as wire
from kernel_peer import (
    BLOCK,
    DISK_MIB,
    ENGINE_ID,
    KERNEL_ID,
    NAME,
    NODE,
    Flavour,
    Pair,
    connection,
    flavour_9,
    flavour_84,
    lacking,
    whole,
)

_LACKING = lacking()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
Make = Callable[..., Pair]
HEIR = 2
"""The lab node whose kernel takes the engine's disk over."""


@pytest.fixture(scope="module", params=["8.4", "9"])
def nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Lab, Flavour]]:
    flavour = flavour_84() if request.param == "8.4" else flavour_9()
    if isinstance(flavour, str):
        pytest.skip(flavour)
    root = tmp_path_factory.mktemp("handover")
    name = f"h{os.getpid() % 10**6}"
    with Lab(root, name=name, disk_mib=DISK_MIB, nodes=2, load=("drbd",), kernel=flavour.kernel) as lab:
        lab.boot()
        for node in lab.nodes:
            lab.exec(node, "tee", "/sys/module/drbd/parameters/usermode_helper", stdin=b"disabled")
        yield lab, flavour


@pytest.fixture
def make(nodes: tuple[Lab, Flavour], tmp_path: Path) -> Iterator[Make]:
    pairs: list[Pair] = []

    def build(**options: object) -> Pair:
        lab, flavour = nodes
        pair = Pair(lab, tmp_path / "pair", flavour, engine_disk=lab.disk(HEIR), **options)  # type: ignore[arg-type]
        pairs.append(pair)
        return pair

    yield build
    for pair in pairs:
        pair.stop()


def lag(pair: Pair, blocks: int) -> None:
    """Connected, then apart, and the engine writes what the kernel does not get; then the engine lets go."""
    with pair.client() as client:
        client.write(100 * BLOCK, b"e" * (50 * BLOCK))
        client.flush()
        pair.drbdadm("disconnect")
        pair.engine_until(lambda state: connection(state) != "Connected")
        client.write(1000 * BLOCK, b"f" * (blocks * BLOCK))
        client.flush()
    pair.engine.control.must(wire.Remove(name=NAME))


def to_kernels(pair: Pair) -> None:
    """The kernel of the second node comes up on the engine's disk, and the first one meets it."""
    pair.kernel_down()
    pair.write_config(NODE, HEIR)
    pair.lab.exec(HEIR, "drbdadm", "up", NAME)
    pair.drbdadm("up")
    pair.kernel_until(whole)
    pair.kernel_until(whole, node=HEIR)


def to_engine(pair: Pair) -> None:
    """And back."""
    pair.kernel_down(HEIR)
    pair.kernel_down()
    pair.write_config()
    pair.configure()
    pair.drbdadm("up")
    pair.both_healthy()


def resyncs(pair: Pair) -> list[str]:
    """What the kernel of the first node said of the resyncs that it began, oldest first."""
    return [line for line in pair.run("dmesg").splitlines() if "Began resync" in line]


def resynced(pair: Pair) -> int:
    (device,) = pair.engine.status(NAME)["connections"][0]["peer_devices"]
    return int(device["resynced"]) * 1024


def test_the_kernel_takes_an_engines_disk_over_and_gives_it_back(make: Make) -> None:
    pair = make()
    pair.start()
    lag(pair, 3)
    before = len(resyncs(pair))
    to_kernels(pair)
    pair.same_bytes()
    assert [line for line in resyncs(pair)[before:] if "[3 bits set]" not in line] == []
    assert len(resyncs(pair)) == before + 1, "only what was missing moves"
    pair.kernel_primary()
    pair.kernel_write(2000, b"k", 10)
    pair.lab.exec(HEIR, "drbdadm", "disconnect", NAME)
    pair.kernel_until(lambda seen: seen.connection != "Connected")
    pair.kernel_write(3000, b"l", 4)
    pair.kernel_secondary()
    to_engine(pair)
    assert resynced(pair) <= 14 * BLOCK
    pair.same_bytes()
    with pair.client() as client:
        assert client.read(3000 * BLOCK, 4 * BLOCK) == b"l" * (4 * BLOCK)


def test_an_engine_takes_over_what_a_primary_kernel_left_when_its_power_was_cut(make: Make) -> None:
    pair = make()
    pair.start()
    lag(pair, 1)
    to_kernels(pair)
    pair.lab.exec(HEIR, "drbdadm", "primary", NAME)
    pair.lab.exec(
        HEIR, "dd", "if=/dev/urandom", "of=/dev/drbd0", "bs=64k", "count=30", "oflag=direct", "status=none"
    )
    pair.lab.kill(HEIR)
    pair.kernel_until(lambda seen: seen.connection != "Connected")
    pair.kernel_down()
    pair.write_config()
    pair.configure()
    pair.drbdadm("up")
    pair.both_healthy()
    assert resynced(pair) < pair.size_bytes, "the kernel's log says which parts to look at"
    pair.same_bytes()
    pair.lab.boot(HEIR)
    pair.lab.exec(HEIR, "tee", "/sys/module/drbd/parameters/usermode_helper", stdin=b"disabled")


def convert(pair: Pair, version: str, *more: str) -> str:
    program = "from bollard.replica.app import main; main()"
    argv = [
        sys.executable, "-c", program, "convert-md", "--to", version, "--backing", str(pair.engine_disk),
        "--node-id", str(ENGINE_ID), "--peer-node-id", str(KERNEL_ID), *more,
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_metadata_of_drbd_9_is_converted_for_an_older_kernel_and_back(make: Make) -> None:
    """With the seven bitmap slots that volumes usually have."""
    pair = make(max_peers=7, fixed_size=True)
    if pair.flavour.drbd9:
        pytest.skip("a kernel of DRBD 9 takes v09 metadata as it is")
    pair.start(version="v09")
    lag(pair, 5)
    assert "is now v08" in convert(pair, "v08")
    assert "is already v08" in convert(pair, "v08")
    before = len(resyncs(pair))
    to_kernels(pair)
    pair.same_bytes()
    assert [line for line in resyncs(pair)[before:] if "[5 bits set]" not in line] == []
    pair.kernel_primary()
    pair.kernel_write(2000, b"k", 10)
    pair.kernel_secondary()
    pair.kernel_down(HEIR)
    assert "is now v09" in convert(pair, "v09", "--max-peers", "7")
    to_engine(pair)
    assert resynced(pair) == 0
    pair.same_bytes()
