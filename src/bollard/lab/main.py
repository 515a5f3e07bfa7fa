"""`bollard lab up`: the tests' cluster of real kernels for a person, until the standard input ends.

It prints what can be tried, and leaves nothing behind.
"""

import os
import sys
import tempfile
from pathlib import Path

from bollard.lab.cluster import Lab
from bollard.lab.programs import LabError
from bollard.lab.satellites import REST_PORT, LabCluster

__all__ = ["run"]

_MODULES = ("dm-thin-pool", "dm-snapshot", "dm-crypt", "dm-cache", "dm-writecache", "dm-raid", "loop")


def run(nodes: int, disks: int, disk_mib: int, memory_mib: int) -> int:
    """Boot, start, wait; the exit code. One line typed here, `NODE COMMAND ...`, runs in that node."""
    try:
        # Disks are sparse, and larger than a /tmp in memory may be.
        with tempfile.TemporaryDirectory(prefix="bollard-lab-", dir="/var/tmp") as folder:  # sparse disks
            return _serve(Path(folder), nodes, disks, disk_mib, memory_mib)
    except (LabError, KeyboardInterrupt) as error:
        _say(f"bollard lab: {error}" if isinstance(error, LabError) else "bollard lab: stopped")
        return 1


def _serve(root: Path, nodes: int, disks: int, disk_mib: int, memory_mib: int) -> int:
    if os.geteuid() != 0:
        raise LabError("root is needed: it makes a network namespace")
    name = f"u{os.getpid() % 10**6}"
    with Lab(
        root / "lab", name=name, nodes=nodes, disks=disks, disk_mib=disk_mib, memory_mib=memory_mib,
        load=_MODULES,
    ) as lab:  # fmt: skip
        _say(f"Booting {nodes} nodes with {disks} disks of {disk_mib} MiB each ...")
        lab.boot()
        cluster = LabCluster(lab, root)
        try:
            cluster.start()
            _say(_manual(lab, nodes, root))
            for line in sys.stdin:
                _execute(lab, line.split())
        finally:
            cluster.stop()
    return 0


def _manual(lab: Lab, nodes: int, root: Path) -> str:
    inside = f"ip netns exec {lab.network.namespace} bollard"
    return (
        f"{nodes} nodes are online. From another terminal:\n"
        f"  {inside} node list\n"
        f"  {inside} physical-storage list\n"
        f"  {inside} ps cdp lvmthin node1 /dev/ubdb --pool-name p --storage-pool p\n"
        f"The controller listens on port {REST_PORT} in that namespace; logs are in {root}.\n"
        "Here: a line 'NODE COMMAND ...' runs in a node ('1 lvs'), 'kill N' and 'boot N' cut and give\n"
        "power, the end of the input (control-D) ends everything."
    )


def _execute(lab: Lab, words: list[str]) -> None:
    try:
        match words:
            case ["kill", number] if number.isdecimal():
                lab.kill(int(number))
            case ["boot", number] if number.isdecimal():
                lab.boot(int(number))
            case [number, *argv] if number.isdecimal() and argv:
                done = lab.try_exec(int(number), *argv)
                _say((done.stdout + done.stderr).rstrip() + (f"\n[{done.code}]" if done.code else ""))
            case []:
                pass
            case _:
                _say("NODE COMMAND ..., kill N, boot N, or control-D")
    except LabError as error:
        _say(str(error))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
