"""The Incus daemon of Debian sid in a folder of its own, fetched with apt, in its own mount name space."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = (
    "incus-base",
    "e2fsprogs",
    "xfsprogs",
    "mount",
    "util-linux",
    "tar",
    "gzip",
    "coreutils",
    "dash",
    "base-files",
)
PROGRAM = Path(__file__).parent / "contract" / "incus" / "daemon.py"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C"}
START_S = 120.0
FETCH_S = 600.0
_FOLDERS = ("lists/partial", "cache/archives/partial")


def root_of(folder: Path) -> Path:
    """A root with the daemon in it: the one that is named, or one made in `folder` once. Skips without."""
    if named := os.environ.get("BOLLARD_INCUS_ROOT"):
        return Path(named)
    root = folder / "root"
    if (folder / "complete").exists():
        return root
    missing = [program for program in ("apt-get", "dpkg-deb", "unshare") if shutil.which(program) is None]
    if missing or not Path(KEYRING).exists():
        pytest.skip(f"Incus cannot be fetched without {', '.join(missing) or KEYRING}")
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} sid main\n")
    _apt(folder, "update")
    _apt(folder, "install", "--yes", "--download-only", *PACKAGES)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for package in sorted((folder / "cache/archives").glob("*.deb"), key=_base_first):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(root)], check=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    shutil.rmtree(folder / "cache")
    (folder / "complete").touch()
    return root


def _mirror() -> str:
    """Where this machine gets Debian from. Skips where it is no Debian."""
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)", "Created-By: Packages"]
    told = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout
    for line in told.splitlines():
        uri, _, whose = line.partition(" ")
        if whose == "Debian Debian":
            return uri
    pytest.skip("Incus cannot be fetched: apt names no mirror of Debian here")


def _base_first(package: Path) -> tuple[bool, str]:
    return not package.name.startswith("base-files_"), package.name


def _apt(folder: Path, *words: str) -> None:
    """apt that knows nothing of this machine's packages and settings."""
    settings = folder / "apt.conf"
    lines = {
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Acquire::Languages": "none",
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Retries": "3",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
    }
    settings.write_text("".join(f'{key} "{value}";\n' for key, value in lines.items()))
    try:
        done = subprocess.run(
            ["apt-get", "--quiet", *words],
            env={**os.environ, "APT_CONFIG": str(settings), "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=FETCH_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"Incus cannot be fetched from Debian's mirror within {FETCH_S:g} s")
    if done.returncode:
        pytest.skip(f"Incus cannot be fetched from Debian's mirror: {done.stderr[-300:]}")


class Incus:
    """A running daemon."""

    def __init__(self, root: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._root = root
        self._process = process
        self.log = log

    def ask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Its client, in its name space; the result as it is."""
        enter = ["nsenter", "--target", str(self._process.pid), "--mount", "chroot", str(self._root)]
        return subprocess.run(
            [*enter, "/usr/bin/incus", *words],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def __call__(self, *words: str) -> str:
        """A command that has to work; what it said."""
        done = self.ask(*words)
        assert done.returncode == 0, f"incus {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def started(self) -> None:
        """Returns when it answers."""
        deadline_s = time.monotonic() + START_S
        while self.ask("query", "/1.0").returncode:
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline_s, self.log.read_text()
            time.sleep(0.2)


@contextlib.contextmanager
def incus_daemon(root: Path, folder: Path) -> Iterator[Incus]:
    """Ended afterwards, whatever happens; its log is printed."""
    state, log = folder / "state", folder / "incusd.log"
    state.mkdir(parents=True)
    argv = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        str(PROGRAM),
        str(root),
        str(state),
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, env=ENVIRONMENT, start_new_session=True)
    try:
        running = Incus(root, process, log)
        running.started()
        yield running
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        print(log.read_text()[-5000:])  # noqa: T201  shown when a test fails
