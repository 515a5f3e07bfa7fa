"""`bollard lab up`: the tests' cluster of real kernels for a person, until the standard input ends.

It prints what can be tried, and leaves nothing behind.
"""

import os
import sys
import tempfile
from pathlib import Path

from bollard.lab.cluster import Lab
from bollard.lab.faults import FAULT_MODULES, FaultyDisk
from bollard.lab.programs import LabError
from bollard.lab.satellites import REST_PORT, LabCluster

__all__ = ["run"]

_MODULES = (
    *("dm-thin-pool", "dm-snapshot", "dm-crypt", "dm-cache", "dm-writecache", "dm-raid", "loop"),
    *FAULT_MODULES,
)
_FAULTS = ("lay", "remove", "heal", "fail", "fail-writes", "lose-writes", "slow")
_SLOW_MS = 500


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
        "power, the end of the input (control-D) ends everything. 'fault N DISK WORD' is for faulty disks:\n"
        "'fault 1 0 lay' puts /dev/mapper/faulty-ubdb over node 1's first disk, to make a pool on;\n"
        f"then {', '.join(_FAULTS[2:])} change how it behaves, and 'lay' it anew after each boot."
    )


def _execute(lab: Lab, words: list[str]) -> None:
    try:
        match words:
            case ["kill", number] if number.isdecimal():
                lab.kill(int(number))
            case ["boot", number] if number.isdecimal():
                lab.boot(int(number))
            case ["fault", number, disk, word] if number.isdecimal() and disk.isdecimal() and word in _FAULTS:
                _say(_fault(lab.faulty_disk(int(number), int(disk)), word))
            case [number, *argv] if number.isdecimal() and argv:
                done = lab.try_exec(int(number), *argv)
                _say((done.stdout + done.stderr).rstrip() + (f"\n[{done.code}]" if done.code else ""))
            case []:
                pass
            case _:
                _say("NODE COMMAND ..., kill N, boot N, fault N DISK WORD, or control-D")
    except LabError as error:
        _say(str(error))


def _fault(disk: FaultyDisk, word: str) -> str:
    """Change a disk; what it is now."""
    match word:
        case "lay":
            disk.lay()
        case "remove":
            disk.remove()
            return ""
        case "heal":
            disk.heal()
        case "fail":
            disk.fail()
        case "fail-writes":
            disk.fail_writes()
        case "lose-writes":
            disk.lose_writes()
        case _:
            disk.delay(read_ms=_SLOW_MS, write_ms=_SLOW_MS)
    return f"{disk.path}: {disk.table()}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
