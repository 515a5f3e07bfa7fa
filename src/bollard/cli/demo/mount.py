"""A file system on the demo's volume, through whatever way this machine has to make it a block device."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bollard.cli.demo.cluster import ClusterView
from bollard.cli.demo.processes import DemoError

_TIMEOUT_S = 60.0
_POLL_S = 0.1


def mount_check(view: ClusterView, node: str, folder: Path) -> str:
    """Make ext4 on the volume, write a file, check it after a remount. Returns what was done.

    Needs root and nbdfuse (FUSE). Raises DemoError that names what is missing.
    """
    if os.geteuid() != 0:
        raise DemoError("--mount needs root")
    missing = [
        tool for tool in ("nbdfuse", "mkfs.ext4", "mount", "umount", "losetup") if shutil.which(tool) is None
    ]
    if missing:
        raise DemoError(f"--mount needs {', '.join(missing)} (Debian: libnbd-bin, e2fsprogs, util-linux)")
    address, export = view.device(node)
    uri = f"nbd+unix:///{export}?socket={address.removeprefix('unix:')}"
    with _as_file(uri, folder / "device") as device, _as_loop(device) as loop:
        _run("mkfs.ext4", "-q", "-E", "nodiscard", loop)
        text = b"data outlives its node\n" * 1000
        with _mounted(loop, folder / "mnt") as mnt:
            (mnt / "file").write_bytes(text)
        with _mounted(loop, folder / "mnt") as mnt:
            if (mnt / "file").read_bytes() != text:
                raise DemoError("The file that was written differs after the remount")
    return "ext4 made, written, mounted again and right"


@contextmanager
def _as_file(uri: str, folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    device = folder / "nbd"
    with ExitStack() as undo:
        process = subprocess.Popen(["nbdfuse", str(folder), uri], stdin=subprocess.DEVNULL)
        undo.callback(process.wait, _TIMEOUT_S)
        undo.callback(subprocess.run, ["umount", str(folder)], check=False, timeout=_TIMEOUT_S)
        deadline_s = time.monotonic() + _TIMEOUT_S
        while not device.exists():
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise DemoError("nbdfuse did not offer the volume (is FUSE there?)")
            time.sleep(_POLL_S)
        yield device


@contextmanager
def _as_loop(device: Path) -> Iterator[str]:
    loop = _run("losetup", "--find", "--show", str(device)).strip()
    try:
        yield loop
    finally:
        _run("losetup", "--detach", loop)


@contextmanager
def _mounted(loop: str, folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    _run("mount", loop, str(folder))
    try:
        yield folder
    finally:
        _run("umount", str(folder))


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise DemoError(f"{argv[0]} failed: {done.stderr.strip()}")
    return done.stdout
