"""Faults of a node's disk: a device-mapper device over the whole of it, whose behaviour is changed on demand.

A pool is made on `FaultyDisk.path`; what stands on it keeps it open while it fails and when it works again.
It is gone when the node loses its power: `lay` it again after the boot, before anything looks for the pool.
"""

from collections.abc import Callable
from typing import Final

from bollard.lab.programs import LabError

__all__ = ["FAULT_MODULES", "FaultyDisk"]

FAULT_MODULES: Final = ("dm-flakey", "dm-dust", "dm-delay", "dm-log-writes")
"""Kernel modules that a lab with faulty disks loads."""
_LVM: Final = "/etc/lvm/lvmlocal.conf"
_SETTLE: Final = ("udevadm", "settle", "-t", "60")


class FaultyDisk:
    """Of one node. Every method returns when the disk behaves so."""

    def __init__(self, execute: Callable[..., str], device: str) -> None:
        """`execute` runs a command in the node and raises LabError when it fails; `device` is the disk."""
        self._execute = execute
        self._device = device
        self.name = f"faulty-{device.rpartition('/')[2]}"
        self.path = f"/dev/mapper/{self.name}"

    def lay(self) -> str:
        """Put the layer over the disk, healthy; its path. LVM in that node sees the disk only through it."""
        hidden = self._execute("@read", _LVM).split('"') if self._exists(_LVM) else []
        rules = sorted({f"r|^{self._device}$|", *(word for word in hidden if word.startswith("r|"))})
        text = "devices { global_filter = [ " + ", ".join(f'"{rule}"' for rule in rules) + " ] }\n"
        self._execute("@write", _LVM, "644", stdin=text.encode())
        self._execute("dmsetup", "create", self.name, "--table", self._linear())
        self._execute(*_SETTLE)
        return self.path

    def remove(self) -> None:
        """Take the layer away. Raises LabError while somebody uses it."""
        self._execute("dmsetup", "remove", "--retry", self.name)

    def heal(self) -> None:
        """It works, with all that was really written to it."""
        self._become(self._linear())

    def fail(self) -> None:
        """Every read and write fails, as of a disk that was pulled out."""
        self._become(f"0 {self._sectors()} error")

    def fail_writes(self) -> None:
        """Reads work, every write fails."""
        self._flakey("error_writes")

    def lose_writes(self) -> None:
        """Reads work; writes are said to be done and are not, as of a cache that loses its power."""
        self._flakey("drop_writes")

    def spoil(self, *blocks: int) -> None:
        """Reads of these 4 KiB blocks fail until they are written, as of a worn disk."""
        self._become(f"0 {self._sectors()} dust {self._device} 0 4096")
        for block in blocks:
            self._execute("dmsetup", "message", self.name, "0", "addbadblock", str(block))
        self._execute("dmsetup", "message", self.name, "0", "enable")

    def delay(self, *, read_ms: int = 0, write_ms: int = 0) -> None:
        """Every read and write takes so much longer."""
        self._become(f"0 {self._sectors()} delay {self._device} 0 {read_ms} {self._device} 0 {write_ms}")

    def log_writes(self, journal: str) -> None:
        """Note every write, flush and discard on another device, in the format of the kernel's log-writes."""
        self._become(f"0 {self._sectors()} log-writes {self._device} {journal}")

    def mark(self, word: str) -> None:
        """Note a word among the writes, while they are noted."""
        self._execute("dmsetup", "message", self.name, "0", "mark", word)

    def table(self) -> str:
        """What it is now, in the device mapper's words."""
        return self._execute("dmsetup", "table", self.name).strip()

    def _flakey(self, feature: str) -> None:
        # Never up, always down.
        self._become(f"0 {self._sectors()} flakey {self._device} 0 0 1 1 {feature}")

    def _linear(self) -> str:
        return f"0 {self._sectors()} linear {self._device} 0"

    def _become(self, table: str) -> None:
        """Exchange the table without waiting for requests that hang, and without flushing what would fail."""
        self._execute("dmsetup", "load", self.name, "--table", table)
        self._execute("dmsetup", "suspend", "--nolockfs", "--noflush", self.name)
        self._execute("dmsetup", "resume", self.name)

    def _exists(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return name in self._execute("@list", folder).split()

    def _sectors(self) -> int:
        text = self._execute("@read", f"/sys/class/block/{self._device.rpartition('/')[2]}/size")
        if not text.strip().isdecimal():
            raise LabError(f"{self._device} has no size: {text!r}")
        return int(text)
