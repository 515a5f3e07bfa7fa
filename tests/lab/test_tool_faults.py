"""Tools that are missing, that hang, and locks that nobody gives back: said plainly, and the others go on."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bollard.lab.satellites import LabCluster
from lab_cluster import (
    cluster,
    define,
    delete,
    lacking,
    logical_volumes,
    pool,
    problem,
    state,
    wait_problem,
    wait_ready,
)

_LACKING = lacking("lvcreate", "thin_check")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
MODULES = ("dm-thin-pool", "dm-snapshot", "loop")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    root = tmp_path_factory.mktemp("tools")
    with cluster(root, nodes=1, disks=2, disk_mib=256, load=MODULES) as made:
        for number, letter in enumerate("bc"):
            made.lab.exec(1, "vgcreate", "-q", f"g{number}", f"/dev/ubd{letter}")
            made.lab.exec(1, "lvcreate", "-q", "-L", "100M", "-T", f"g{number}/tp")
            pool(made, 1, f"pool{number}", "LVM_THIN", f"g{number}/tp")
        made.lab.exec(1, "mkdir", "-p", "/var/pool")
        pool(made, 1, "file", "FILE_THIN", "/var/pool")
        yield made


def _ask_for(lab: LabCluster, name: str, on: str) -> None:
    """However it goes."""
    define(lab, name, "STORAGE", sizes=(8192,))
    path = f"/v1/resource-definitions/{name}/resources/node1"
    lab.call("POST", path, {"resource": {"props": {"StorPoolName": on}}}, ok=False)


def _end(lab: LabCluster, *names: str) -> None:
    for name in names:
        delete(lab, name)
    lab.until(lambda: logical_volumes(lab, 1) == {}, "all to be gone")


@contextmanager
def _without(lab: LabCluster, program: str) -> Iterator[None]:
    lab.lab.exec(1, "mv", program, program + ".away")
    try:
        yield
    finally:
        lab.lab.exec(1, "mv", program + ".away", program)


def test_a_missing_tool_is_named_and_what_needs_it_not_goes_on(lab: LabCluster) -> None:
    """It goes away while the satellite runs, is missing when that starts, and comes back."""
    with _without(lab, "/usr/sbin/lvcreate"):
        _ask_for(lab, "needs", "pool0")
        wait_problem(lab, "needs", 1, "'lvcreate' is not installed")
        lab.restart_satellite(1)
        wait_problem(lab, "needs", 1, "'lvcreate' is not installed")
        _ask_for(lab, "without", "file")
        wait_ready(lab, "without", 1)
    wait_ready(lab, "needs", 1)
    _end(lab, "needs", "without")


def test_a_tool_that_hangs_is_ended_and_holds_up_its_own_group_only(lab: LabCluster) -> None:
    traps = lab.lab.traps(1)
    traps.lay("lvcreate")
    lab.restart_satellite(1)
    traps.arm("hang", "lvcreate", "stuck_00000", when="before")
    _ask_for(lab, "stuck", "pool0")
    lab.until(lambda: traps.held() == {"hang"}, "the tool to hang")
    for name, on in (("beside", "pool1"), ("infile", "file")):
        _ask_for(lab, name, on)
        wait_ready(lab, name, 1)
    assert state(lab, "stuck", 1) != "Created"
    wait_problem(lab, "stuck", 1, "'lvcreate' did not end within")
    lab.until(lambda: lab.lab.try_exec(1, "pgrep", "-f", "stuck_00000").code != 0, "the tool to be ended")
    wait_ready(lab, "stuck", 1)
    traps.release()
    traps.remove("lvcreate")
    lab.restart_satellite(1)
    _end(lab, "stuck", "beside", "infile")


def test_a_lock_that_somebody_holds_is_waited_for_and_named(lab: LabCluster) -> None:
    """By a command of an administrator's that stands still. A lock's file alone, left behind, is no lock."""
    lab.lab.exec(1, "touch", "/run/lock/lvm/V_g0", "/run/lock/lvm/V_g1")
    _ask_for(lab, "free", "pool1")
    wait_ready(lab, "free", 1)
    script = "exec 9>/run/lock/lvm/V_g0; flock -x 9; : >/run/locked; exec sleep 100000"
    pid = lab.lab.try_exec(1, "sh", "-c", script, background=True).stdout
    lab.until(lambda: lab.lab.try_exec(1, "test", "-e", "/run/locked").code == 0, "the lock to be held")
    _ask_for(lab, "locked", "pool0")
    lab.until(lambda: problem(lab, "locked", 1) != "", "the trouble to be named")
    lab.lab.exec(1, "kill", pid)
    wait_ready(lab, "locked", 1)
    _end(lab, "free", "locked")


def test_what_nothing_names_is_shown_by_the_api_and_left(lab: LabCluster) -> None:
    """A volume with our marks that no definition knows, and one of a stranger's: neither is touched."""
    tags = ("node=node1", "resource=ghost", "number=0", "volume=0000-ghost")
    words = [word for tag in tags for word in ("--addtag", f"bollard.{tag}")]
    lab.lab.exec(1, "lvcreate", "-q", "-y", "-V", "8M", "--thinpool", "g0/tp", "-n", "ghost_00000", *words)
    lab.lab.exec(1, "lvcreate", "-q", "-y", "-V", "8M", "--thinpool", "g0/tp", "-n", "stranger_00000")
    lab.restart_satellite(1)

    def shown() -> list[object]:
        (node,) = lab.call("GET", "/v1/nodes")
        found: list[object] = node.get("leftovers", [])
        return found

    lab.until(lambda: shown() == ["pool0:/dev/g0/ghost_00000"], "the leftover to be named")
    assert logical_volumes(lab, 1) == {"ghost_00000": 8, "stranger_00000": 8}
    lab.lab.exec(1, "lvremove", "-q", "-y", "g0/ghost_00000", "g0/stranger_00000")
    lab.restart_satellite(1)
    lab.until(lambda: shown() == [], "it to be forgotten")
