"""Runs incusd below a folder that has its packages: `unshare --mount python daemon.py ROOT STATE`.

Mounts are made in the mount name space that it is started in, and end with it. The LINSTOR driver looks for a
DRBD module and asks LINSTOR's satellite for its version before it speaks to a controller: it finds both here.
"""

import os
import subprocess
import sys
from pathlib import Path

MODULE = "9.2.13\n"
SATELLITE = '#!/bin/sh\necho "Version: 1.34.0"\n'


def main() -> None:
    root, state = Path(sys.argv[1]), Path(sys.argv[2])
    for folder in ("proc", "sys", "dev", "run", "tmp", "var/lib/incus", "var/log/incus", "var/cache/incus"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    mount("-t", "proc", "proc", root / "proc")
    mount("--rbind", "/sys", root / "sys")
    mount("--rbind", "/dev", root / "dev")
    for folder in ("run", "tmp", "sys/module", "var/log/incus", "var/cache/incus"):
        mount("-t", "tmpfs", "tmpfs", root / folder)
    mount("--bind", state, root / "var/lib/incus")
    (root / "run/incus").mkdir()
    (root / "sys/module/drbd").mkdir()
    (root / "sys/module/drbd/version").write_text(MODULE)
    shim = root / "usr/share/linstor-server/bin/Satellite"
    shim.parent.mkdir(parents=True, exist_ok=True)
    shim.write_text(SATELLITE)
    shim.chmod(0o755)
    os.chroot(root)
    os.chdir("/")
    program = "/usr/libexec/incus/incusd"
    os.execve(
        program, [program, "--verbose", "--group", "root"], {"PATH": os.environ["PATH"], "HOME": "/root"}
    )


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
