#!/usr/bin/python3 -SE
"""PID 1 of a lab node; standard library only.

Its root is the host's file system, read-only, under a writable layer of its own. The kernel starts it with
the lab's settings (`lab_...=`) on the kernel's command line.
"""

import ctypes
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

MS_NOATIME = 1024
MS_BIND = 4096
MNT_DETACH = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, source: str, where: str, options: str = "", flags: int = 0) -> None:
    """One mount; the folder is made when it can be. Raises OSError."""
    if not os.path.isdir(where):  # noqa: PTH112  # pathlib is slow to load this early
        os.makedirs(where)  # noqa: PTH103
    code = _LIBC.mount(
        source.encode(), where.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    number = ctypes.get_errno()
    if code != 0 and number != errno.EBUSY:  # busy: the kernel has mounted it itself
        raise OSError(number, f"mount {kind} on {where}: {os.strerror(number)}")


def settings() -> dict[str, str]:
    """The `lab_` words of the kernel's command line."""
    with open("/proc/cmdline") as file:  # noqa: PTH123
        words = file.read().split()
    pairs = (word.partition("=") for word in words if word.startswith("lab_"))
    return {name.removeprefix("lab_"): value for name, _mark, value in pairs}


def first_stage() -> None:
    """Put a writable layer over the root and start again inside."""
    mount("proc", "proc", "/proc")
    lab = settings()
    mount("devtmpfs", "dev", "/dev")
    if "early" in lab:
        mount("sysfs", "sys", "/sys")
        base = lab["modules"].partition("/lib/modules/")[0] or "/"
        subprocess.run(["modprobe", "-d", base, "-a", *lab["early"].split(",")], check=True)
    mount("ext4", lab.get("state", "/dev/ubda"), "/mnt", flags=MS_NOATIME)
    for name in ("up", "wk", "root"):
        os.makedirs(f"/mnt/{name}", exist_ok=True)  # noqa: PTH103
    with open("/proc/filesystems") as file:  # noqa: PTH123
        known = file.read().split()
    if "overlay" not in known:
        subprocess.run(["insmod", f"{lab['modules']}/kernel/fs/overlayfs/overlay.ko"], check=True)
    options = "lowerdir=/,upperdir=/mnt/up,workdir=/mnt/wk,index=off,xino=off,metacopy=off,redirect_dir=off"
    mount("overlay", "overlay", "/mnt/root", options)
    _LIBC.umount2(b"/proc", MNT_DETACH)
    os.chdir("/mnt/root")
    os.makedirs(".old", exist_ok=True)  # noqa: PTH103
    if _LIBC.syscall(155, b".", b".old") != 0:  # pivot_root on x86-64
        raise OSError(ctypes.get_errno(), "pivot_root")
    os.chroot(".")
    os.chdir("/")
    os.execv("/usr/bin/python3", ["/usr/bin/python3", "-SE", lab["init"], "stage2"])  # noqa: S606


def _mounts(kept: str) -> None:
    """`kept` are folders, by commas, that stay visible where an empty file system of the node covers them."""
    handles = {folder: os.open(folder, os.O_RDONLY) for folder in kept.split(",") if folder}
    mount("proc", "proc", "/proc")
    mount("sysfs", "sys", "/sys")
    mount("devtmpfs", "dev", "/dev")
    mount("devpts", "devpts", "/dev/pts", "mode=620,ptmxmode=666")
    mount("tmpfs", "shm", "/dev/shm", "mode=1777")  # noqa: S108  # it is the mount point
    mount("tmpfs", "run", "/run", "mode=755")
    mount("tmpfs", "tmp", "/tmp", "mode=1777")  # noqa: S108  # likewise
    for folder, handle in handles.items():
        if not os.path.isdir(folder):  # noqa: PTH112
            mount("", f"/proc/self/fd/{handle}", folder, flags=MS_BIND)
        os.close(handle)
    for kind, where in (("debugfs", "/sys/kernel/debug"), ("configfs", "/sys/kernel/config")):
        if os.path.isdir(where):  # noqa: PTH112
            mount(kind, kind, where)
    _LIBC.umount2(b"/.old", MNT_DETACH)
    for folder in ("/run/lock", "/run/lvm", "/run/udev"):
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103


def _modules(lab: dict[str, str]) -> None:
    release = os.uname().release
    link = Path("/lib/modules") / release
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(lab["modules"])
    wanted = [name for name in lab.get("load", "").split(",") if name]
    if wanted:
        subprocess.run(["modprobe", "-a", *wanted], check=False)


def _network(lab: dict[str, str]) -> None:
    _LIBC.sethostname(lab["name"].encode(), len(lab["name"]))
    Path("/etc/hostname").write_text(lab["name"] + "\n")
    hosts = [f"10.77.0.{node} node{node}" for node in range(1, int(lab["count"]) + 1)]
    Path("/etc/hosts").write_text("\n".join(["127.0.0.1 localhost", *hosts, ""]))
    number = lab["id"]
    data, control = lab.get("nics", "vec0,vec1").split(",")
    for device, address in (("lo", ""), (data, f"10.77.0.{number}/24"), (control, f"10.78.0.{number}/24")):
        if address:
            subprocess.run(["ip", "addr", "add", address, "dev", device], check=True)
        subprocess.run(["ip", "link", "set", device, "up"], check=True)


def _lvm_files(lab: dict[str, str]) -> None:
    """Where programs are slow, LVM would wait a minute for its monitor to come up."""
    if lab.get("slow"):
        Path("/etc/lvm/lvmlocal.conf").write_text("activation { monitoring = 0 }\n")


def _drbd_files() -> None:
    for folder in ("/etc/drbd.d", "/var/lib/drbd"):
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    common = Path("/etc/drbd.d/global_common.conf")
    common.write_text("global { usage-count no; udev-always-use-vnr; }\ncommon { }\n")
    Path("/etc/drbd.conf").write_text('include "drbd.d/global_common.conf";\ninclude "drbd.d/*.res";\n')


def _udev() -> None:
    daemon = "/lib/systemd/systemd-udevd"
    if os.path.exists(daemon):  # noqa: PTH110
        subprocess.run([daemon, "--daemon"], check=False)
        subprocess.run(["udevadm", "trigger", "--action=add", "--subsystem-match=block"], check=False)
        subprocess.run(["udevadm", "settle", "-t", "60"], check=False)


def second_stage() -> None:
    """Bring the node up and serve commands for ever."""
    # Loaded before the node's own /tmp and /run may cover the folder that it is in.
    import agent  # type: ignore[import-not-found]  # noqa: PLC0415  # beside this file, in the node

    mount("proc", "proc", "/proc")
    lab = settings()
    _mounts(lab.get("keep", ""))
    _modules(lab)
    _network(lab)
    _drbd_files()
    _lvm_files(lab)
    _udev()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    print("lab node ready", flush=True)  # noqa: T201  # to the node's log
    agent.serve(f"10.78.0.{lab['id']}")


if __name__ == "__main__":
    os.environ.update(
        PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/", LANG="C.UTF-8", LVM_SUPPRESS_FD_WARNINGS="1"
    )
    if sys.argv[1:] == ["stage2"]:
        second_stage()
    else:
        first_stage()
