"""A cluster of User Mode Linux nodes: boot, run commands, cut power, freeze, partition."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Self

import msgspec

from bollard.lab.agent import PORT
from bollard.lab.faults import FaultyDisk
from bollard.lab.network import LabNetwork, control_address, control_tap, data_tap
from bollard.lab.programs import LabError, need, run, start
from bollard.lab.traps import Traps

_HERE = Path(__file__).parent
# Only what never comes is waited for so long: a machine that is busy with other things may be very slow.
_BOOT_S = 300.0
_ANSWER_S = 300.0
_CONNECT_S = 5.0
_POLL_S = 0.05
_STATE_BYTES = 4 << 30
_DISK_LETTERS = "bcdefghij"


class Done(msgspec.Struct, frozen=True):
    """A command that ran in a node."""

    code: int
    stdout: str
    stderr: str


class Kernel(msgspec.Struct, frozen=True):
    """A User Mode Linux program and the folder of its modules."""

    program: Path
    modules: Path


def find_kernel() -> Kernel:
    """LAB_KERNEL and LAB_MODULES of the environment, else Debian's. Raises LabError."""
    program = Path(os.environ.get("LAB_KERNEL", "/usr/bin/linux.uml"))
    folders = sorted(Path("/usr/lib/uml/modules").glob("*"))
    modules = os.environ.get("LAB_MODULES") or (str(folders[0]) if folders else "")
    if not program.exists() or not Path(modules, "kernel").is_dir():
        raise LabError(
            "No User Mode Linux kernel: install user-mode-linux, or set LAB_KERNEL and LAB_MODULES"
        )
    return Kernel(program, Path(modules))


class Lab:
    """One cluster. Use it as a context manager: leaving destroys everything."""

    patience = 1.0
    """How many times longer than on bare metal things may take in its nodes."""

    def __init__(
        self,
        root: Path,
        *,
        name: str = "lab",
        nodes: int = 2,
        disks: int = 1,
        disk_mib: int = 256,
        memory_mib: int = 256,
        load: tuple[str, ...] = (),
        kernel: Kernel | None = None,
    ) -> None:
        """`root` is an empty folder; `name` has at most 8 characters; `load` are kernel modules.

        `kernel` is `find_kernel()` unless given.
        """
        assert 1 <= nodes <= 9, nodes
        assert 0 <= disks <= len(_DISK_LETTERS), disks
        need("ip", "bridge", "nft", "mkfs.ext4")
        self.kernel = kernel or self.default_kernel()
        self.network = LabNetwork(name, nodes)
        self.nodes = range(1, nodes + 1)
        self._root, self._disks, self._disk_mib = root, disks, disk_mib
        self._memory_mib, self._load = memory_mib, load
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._preload = ""

    def default_kernel(self) -> Kernel:
        """What its nodes run. Raises LabError when this machine has none."""
        return find_kernel()

    def __enter__(self) -> Self:
        self.create()
        return self

    def __exit__(self, *_failure: object) -> None:
        self.destroy()

    def create(self) -> None:
        """Disks and network; boots nothing yet."""
        for node in self.nodes:
            folder = self._folder(node)
            folder.mkdir(parents=True)
            state = folder / "state.img"
            _sparse(state, _STATE_BYTES)
            run(
                "mkfs.ext4",
                "-q",
                "-F",
                "-E",
                "lazy_itable_init=1,lazy_journal_init=1",
                "-J",
                "size=16",
                str(state),
            )
            for index in range(self._disks):
                _sparse(self.disk(node, index), self._disk_mib << 20)
        self._preload = self._wide_registers()
        self.network.create()

    def destroy(self) -> None:
        """End every node, remove the network. The folder stays, with the logs."""
        for node in list(self._processes):
            self.kill(node)
        self.network.destroy()

    def disk(self, node: int, index: int = 0) -> Path:
        """The file behind a node's data disk; in the node it is `device(index)`."""
        return self._folder(node) / f"disk{index}.img"

    def device(self, index: int = 0) -> str:
        """A data disk's path in its node."""
        return f"/dev/ubd{_DISK_LETTERS[index]}"

    def faulty_disk(self, node: int, index: int = 0) -> FaultyDisk:
        """A layer for a node's data disk that fails on demand; nothing is there until its `lay`. LabError."""
        if node not in self.nodes or not 0 <= index < self._disks:
            raise LabError(f"there is no disk {index} in a node {node}")
        return FaultyDisk(partial(self.exec, node), self.device(index))

    def traps(self, node: int) -> Traps:
        """Programs of a node that stop at a chosen call; none does until its `arm`."""
        return Traps(partial(self.exec, node))

    def boot(self, *nodes: int) -> None:
        """Start these nodes (all without arguments) and wait until they answer. Raises LabError."""
        chosen = nodes or tuple(self.nodes)
        for node in chosen:
            self._processes[node] = self._start(node)
        deadline_s = time.monotonic() + _BOOT_S * self.patience
        for node in chosen:
            while not self._answers(node):
                if self._processes[node].poll() is not None or time.monotonic() > deadline_s:
                    raise LabError(
                        f"node {node} did not boot:\n{self.log(node).read_text(errors='replace')[-2000:]}"
                    )
                time.sleep(_POLL_S)

    def _start(self, node: int) -> subprocess.Popen[bytes]:
        return start(self._argv(node), str(self.log(node)), self._environment())

    def kill(self, node: int) -> None:
        """Cut a node's power: every process of it ends at once. What its disks hold stays."""
        process = self._processes.pop(node, None)
        if process is None:
            return
        # The disks stay locked until the last helper is gone, also one that was forked meanwhile.
        while left := _session(process.pid):
            # What a kernel traces goes before it: without a tracer its system calls would be the host's.
            for pid in left:
                if not _is_traced(pid):
                    _signal(pid, signal.SIGSTOP)
            while traced := [pid for pid in _session(process.pid) if _is_traced(pid)]:
                for pid in traced:
                    _signal(pid, signal.SIGKILL)
                time.sleep(_POLL_S)
            for pid in left:
                _signal(pid, signal.SIGKILL)
            process.poll()
            time.sleep(_POLL_S)
        process.wait()
        shutil.rmtree(self._folder(node) / "uml", ignore_errors=True)

    def freeze(self, node: int) -> None:
        """Stop a node's time."""
        self._signal_kernel(node, signal.SIGSTOP)

    def thaw(self, node: int) -> None:
        """Let a frozen node go on."""
        self._signal_kernel(node, signal.SIGCONT)

    def _signal_kernel(self, node: int, number: signal.Signals) -> None:
        """To the kernel's own processes. Those it traces must not get the signal: it would become theirs."""
        for pid in _session(self._processes[node].pid):
            if not _is_traced(pid):
                _signal(pid, number)

    def try_exec(
        self, node: int, *argv: str, stdin: bytes = b"", background: bool = False, limit_s: float = _ANSWER_S
    ) -> Done:
        """Run a command in a node; its code may be anything. Raises LabError without an answer."""
        request = {"argv": argv, "stdin": base64.b64encode(stdin).decode(), "background": background}
        answer = self._ask(node, json.dumps(request).encode() + b"\n", limit_s * self.patience)
        found = json.loads(answer)
        texts = (base64.b64decode(found[name]).decode(errors="replace") for name in ("stdout", "stderr"))
        return Done(found["code"], *texts)

    def exec(self, node: int, *argv: str, stdin: bytes = b"", limit_s: float = _ANSWER_S) -> str:
        """Run a command in a node that must succeed; returns its output. Raises LabError."""
        done = self.try_exec(node, *argv, stdin=stdin, limit_s=limit_s)
        if done.code != 0:
            raise LabError(f"node {node}: {' '.join(argv)} ended with {done.code}: {done.stderr.strip()}")
        return done.stdout

    def log(self, node: int) -> Path:
        """What the node's kernel said."""
        return self._folder(node) / "log"

    def _folder(self, node: int) -> Path:
        return self._root / f"node{node}"

    def _argv(self, node: int) -> list[str]:
        folder = self._folder(node)
        disks = [f"ubd{_DISK_LETTERS[index]}={self.disk(node, index)}" for index in range(self._disks)]
        mac = f"00:00:00:00:0{node}"
        command = [
            str(self.kernel.program),
            f"mem={self._memory_mib}M",
            "rootfstype=hostfs", "rootflags=/", "ro", f"init={_HERE / 'node_init.py'}",
            "con=null", "con0=null,fd:1", "quiet", "loglevel=4", "panic=1",
            f"uml_dir={folder}", "umid=uml", f"ubda={folder / 'state.img'}", *disks,
            # Without gro=1 pings work and bulk transfers hang.
            f"vec0:transport=tap,ifname={data_tap(node)},depth=128,gro=1,mac=02:77:{mac[3:]}",
            f"vec1:transport=tap,ifname={control_tap(node)},depth=64,gro=1,mac=02:78:{mac[3:]}",
            *self._settings(node),
        ]  # fmt: skip
        return self.network.argv(command)

    def _settings(self, node: int) -> list[str]:
        """What a node's first process reads of the kernel's command line."""
        return [
            f"lab_name=node{node}", f"lab_id={node}", f"lab_count={len(self.nodes)}",
            f"lab_modules={self.kernel.modules}", f"lab_load={','.join(self._load)}",
            f"lab_init={_HERE / 'node_init.py'}",
            f"lab_keep={_HERE.parents[2]},{sys.prefix},{self.kernel.modules}",
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": "/dev/shm", "HOME": "/"}  # noqa: S108
        return environment | ({"LD_PRELOAD": self._preload} if self._preload else {})

    def _wide_registers(self) -> str:
        """The library to preload on a host with AMX, built there; empty on others."""
        if "amx_tile" not in Path("/proc/cpuinfo").read_text():
            return ""
        need("cc")
        library = self._root / "xstate.so"
        run("cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_HERE / "xstate.c"), "-ldl")
        return str(library)

    def _answers(self, node: int) -> bool:
        try:
            return self.try_exec(node, "@list", "/proc/self", limit_s=_CONNECT_S).code == 0
        except LabError:
            return False

    def _ask(self, node: int, line: bytes, limit_s: float) -> bytes:
        """One request over the control network; the socket is made inside the namespace."""
        try:
            with socket_in(self.network.namespace) as sock:
                sock.settimeout(limit_s)
                sock.connect((control_address(node), PORT))
                sock.sendall(line)
                answer = sock.makefile("rb").readline()
        except OSError as error:
            raise LabError(f"node {node} does not answer: {error}") from error
        if not answer:
            raise LabError(f"node {node} closed the connection")
        return answer


def socket_in(namespace: str) -> socket.socket:
    """A TCP socket that belongs to a network namespace: this thread enters it, opens, and goes back."""
    import ctypes  # noqa: PLC0415  # only here

    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            if libc.setns(there, 0) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
            try:
                return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            finally:
                libc.setns(home, 0)
        finally:
            os.close(there)
    finally:
        os.close(home)


def _sparse(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        file.truncate(size_bytes)


def _session(leader: int) -> list[int]:
    """Every process of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            # What has ended holds nothing any more, whenever its parent takes note of that.
            if int(fields[3]) == leader and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def _is_traced(pid: int) -> bool:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in lines)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
