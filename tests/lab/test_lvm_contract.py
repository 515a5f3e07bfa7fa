"""The contract of LVM and LVM_THIN drivers on a real volume group: the same tests, inside a node."""

import os
import sys
from pathlib import Path

import pytest

from bollard.lab.cluster import Lab
from lab_cluster import lacking

_ROOT = Path(__file__).parents[2]
_LACKING = lacking("lvcreate", "thin_check")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]


def test_the_contract_holds_on_a_real_kernel(tmp_path: Path) -> None:
    name = f"l{os.getpid() % 10**6}"
    load = ("dm-thin-pool", "dm-snapshot")
    with Lab(tmp_path, name=name, nodes=1, disks=1, disk_mib=2048, memory_mib=512, load=load) as lab:
        lab.boot()
        lab.exec(1, "vgcreate", "-q", "vg", "/dev/ubdb")
        lab.exec(1, "lvcreate", "-q", "-L", "1000M", "-T", "vg/tp")
        words = "-q -p no:cacheprovider -o timeout=1000 -n0 tests/contract/test_driver_lvm.py -k real"
        command = f"cd {_ROOT} && BOLLARD_TEST_VG=vg/tp exec {sys.executable} -m pytest {words} 2>&1"
        done = lab.try_exec(1, "/bin/sh", "-c", command, limit_s=1100)
        assert done.code == 0, done.stdout[-4000:]
        assert "10 passed" in done.stdout
        assert lab.exec(1, "lvs", "--noheadings", "-o", "lv_name").split() == ["tp"]
