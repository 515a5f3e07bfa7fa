"""A lab on a stock kernel of the distribution, emulated by QEMU: for what User Mode Linux does not have.

It needs no KVM; programs in its nodes are some twenty times slower than on the machine itself.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

from bollard.lab.cluster import Kernel, Lab
from bollard.lab.network import control_tap, data_tap
from bollard.lab.programs import LabError, need, start

__all__ = ["EmulatedLab", "find_emulated_kernel"]

_HERE = Path(__file__).parent
_ROOTS = ("/usr/lib/bollard-lab", "/")
_EARLY = ("virtio_blk", "virtio_net", "overlay", "configfs")
_SHARER_S = 20.0
_POLL_S = 0.05
_BUILT_IN = ("CONFIG_VIRTIO_FS=y", "CONFIG_VIRTIO_PCI=y", "CONFIG_EXT4_FS=y")
_SHARERS = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")


def find_emulated_kernel() -> Kernel:
    """Of the folder LAB_QEMU_ROOT, else of the usual places; the newest that can boot. Raises LabError.

    A folder holds what a kernel package has: boot/vmlinuz-VERSION, boot/config-VERSION and
    lib/modules/VERSION, with the lists that depmod makes. The programs are looked for as well.
    """
    _emulator()
    _sharer()
    own = os.environ.get("LAB_QEMU_ROOT")
    roots = [Path(own)] if own else [Path(root) for root in _ROOTS]
    images = [image for root in roots for image in (root / "boot").glob("vmlinuz-*")]
    for image in sorted(images, key=_version, reverse=True):
        release = image.name.removeprefix("vmlinuz-")
        modules = image.parents[1] / "lib/modules" / release
        try:
            built_in = (image.parent / f"config-{release}").read_text().splitlines()
        except OSError:
            continue
        if (modules / "modules.dep").exists() and set(_BUILT_IN) <= set(built_in):
            return Kernel(image, modules)
    where = ", ".join(str(root) for root in roots)
    raise LabError(
        f"No kernel for QEMU in {where}: unpack linux-image-cloud-amd64 there (see DEVELOPMENT.md), "
        "or set LAB_QEMU_ROOT"
    )


def _version(image: Path) -> tuple[int, ...]:
    words = image.name.removeprefix("vmlinuz-").replace("+", ".").replace("-", ".").split(".")
    return tuple(int(word) for word in words if word.isdecimal())


def _emulator() -> str:
    program = os.environ.get("LAB_QEMU", "qemu-system-x86_64")
    need(program)
    return program


def _sharer() -> str:
    """The program that shows the host's files to a node."""
    own = os.environ.get("LAB_VIRTIOFSD")
    found = [path for path in ([own] if own else _SHARERS) if shutil.which(path)]
    if not found:
        raise LabError("No virtiofsd: install it (part of qemu-system-common, or virtiofsd)")
    return found[0]


class EmulatedLab(Lab):
    """As a `Lab`, with another kernel and other device names."""

    patience = 10.0

    def create(self) -> None:
        """Disks and network; boots nothing yet."""
        self._sharers: dict[int, subprocess.Popen[bytes]] = {}
        super().create()

    def default_kernel(self) -> Kernel:
        """What `find_emulated_kernel` finds."""
        return find_emulated_kernel()

    def device(self, index: int = 0) -> str:
        """A data disk's path in its node."""
        return f"/dev/vd{'bcdefghij'[index]}"

    def _start(self, node: int) -> "subprocess.Popen[bytes]":
        """The sharing process ends by itself when the node's connection does."""
        socket = self._folder(node) / "root.sock"
        socket.unlink(missing_ok=True)
        command = [
            _sharer(), f"--socket-path={socket}", "-o", "source=/", "-o", "sandbox=chroot",
            "-o", "cache=always", "-o", "log_level=err", "-f",
        ]  # fmt: skip
        sharer = start(command, str(self._folder(node) / "share.log"), self._environment())
        self._sharers[node] = sharer
        deadline_s = time.monotonic() + _SHARER_S
        while not socket.exists():
            if sharer.poll() is not None or time.monotonic() > deadline_s:
                said = (self._folder(node) / "share.log").read_text(errors="replace")
                raise LabError(f"virtiofsd for node {node} does not serve: {said[-1000:]}")
            time.sleep(_POLL_S)
        return super()._start(node)

    def kill(self, node: int) -> None:
        """Cut a node's power."""
        super().kill(node)
        sharer = self._sharers.pop(node, None)
        if sharer is not None:
            sharer.kill()
            sharer.wait()

    def _wide_registers(self) -> str:
        return ""

    def _argv(self, node: int) -> list[str]:
        folder, memory = self._folder(node), f"{self._memory_mib}M"
        disks = [folder / "state.img", *(self.disk(node, index) for index in range(self._disks))]
        nics = ((data_tap(node), "77"), (control_tap(node), "78"))
        # The usual cpu model lacks what 6.12 takes for granted; this one's cx16 fails under QEMU 7.2.
        command = [
            _emulator(), "-accel", "tcg", "-cpu", "max,-cx16", "-m", memory, "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-serial", f"file:{self.log(node)}",
            "-object", f"memory-backend-memfd,id=memory,size={memory},share=on",
            "-machine", "q35,memory-backend=memory", "-kernel", str(self.kernel.program),
            "-chardev", f"socket,id=root,path={folder / 'root.sock'}",
            "-device", "vhost-user-fs-pci,chardev=root,tag=host",
        ]  # fmt: skip
        for path in disks:
            command += ["-drive", f"file={path},if=virtio,format=raw,discard=unmap,cache=writeback"]
        for index, (tap, net) in enumerate(nics):
            mac = f"02:{net}:00:00:00:0{node}"
            command += ["-netdev", f"tap,id=n{index},ifname={tap},script=no,downscript=no"]
            command += ["-device", f"virtio-net-pci,netdev=n{index},mac={mac},romfile="]
        words = [
            "console=ttyS0", "quiet", "loglevel=4", "panic=-1", "mitigations=off", "net.ifnames=0",
            "rootfstype=virtiofs", "root=host", "ro", f"init={_HERE / 'node_init.py'}",
            *self._settings(node), "lab_state=/dev/vda", "lab_nics=eth0,eth1",
            f"lab_early={','.join(_EARLY)}", "lab_slow=1",
        ]  # fmt: skip
        return self.network.argv([*command, "-append", " ".join(words)])
