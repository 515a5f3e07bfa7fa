"""The lab itself: real kernels boot, lose power, are cut off and come back, and nothing is left behind."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bollard.lab.cluster import Lab
from bollard.lab.network import data_address
from bollard.lab.programs import LabError, run
from lab_cluster import lacking

_PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 1), float(sys.argv[2]))
except ConnectionRefusedError:
    print("reached")
except OSError:
    print("lost")
"""


_LACKING = lacking()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab"), name=f"t{os.getpid() % 10**6}", nodes=2, load=("drbd",)) as lab:
        lab.boot()
        yield lab


def _sees(lab: Lab, node: int, other: int, limit_s: float = 2.0) -> bool:
    """Whether a connection is answered, within so long; what is cut off gives no answer at any time."""
    said = lab.exec(node, "python3", "-c", _PROBE, data_address(other), str(limit_s))
    return said.strip() == "reached"


def _meets(lab: Lab, node: int, other: int) -> bool:
    """Whether it is reached in the end: the answer of a busy machine may come late, or be asked for anew."""
    return any(_sees(lab, node, other, 10.0) for _ in range(30))


def test_nodes_run_a_kernel_with_drbd(lab: Lab) -> None:
    assert "version: 8.4" in lab.exec(1, "cat", "/proc/drbd")
    assert lab.try_exec(1, "false").code == 1
    assert lab.exec(1, "cat", stdin=b"hello") == "hello"


def test_nodes_are_cut_and_joined(lab: Lab) -> None:
    assert _meets(lab, 1, 2)
    lab.network.cut(1, 2)
    assert not _sees(lab, 1, 2)
    lab.network.join(1, 2)
    assert _meets(lab, 1, 2)


def test_a_partitioned_node_still_takes_commands(lab: Lab) -> None:
    lab.network.partition(1)
    assert not _sees(lab, 1, 2)
    lab.network.heal(1)
    assert _meets(lab, 1, 2)


def test_a_frozen_node_does_not_answer_and_goes_on(lab: Lab) -> None:
    lab.freeze(2)
    with pytest.raises(LabError):
        lab.try_exec(2, "true", limit_s=1.0)
    lab.thaw(2)
    assert lab.try_exec(2, "true").code == 0


def test_flushed_data_outlives_a_power_cut(lab: Lab) -> None:
    lab.exec(1, "dd", "of=/dev/ubdb", "oflag=direct", "conv=fsync", stdin=b"x" * 4096)
    lab.kill(1)
    assert lab.disk(1).read_bytes()[:4096] == b"x" * 4096
    lab.boot(1)
    assert lab.exec(1, "head", "-c", "8", "/dev/ubdb") == "x" * 8


def test_destroying_leaves_nothing(tmp_path: Path) -> None:
    name = f"d{os.getpid() % 10**6}"
    with Lab(tmp_path, name=name, nodes=1) as lab:
        assert lab.network.namespace in run("ip", "netns", "list")
    assert name not in run("ip", "netns", "list")
