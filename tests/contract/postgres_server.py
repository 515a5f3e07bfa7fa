"""A PostgreSQL server of our own for tests: found, initialised, started on a Unix socket, stopped."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def find_programs() -> Path | None:
    """The folder with initdb and postgres, from PATH or where Debian puts them; None without one."""
    on_path = shutil.which("initdb")
    if on_path is not None and shutil.which("postgres") is not None:
        return Path(on_path).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((path for path in versions if (path / "initdb").exists()), None)


def _runner() -> int | None:
    """The user to run the server as: it refuses root. None: as we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    raise LookupError("no unprivileged user to run the server as")


@contextlib.contextmanager
def running_server(programs: Path) -> Iterator[str]:
    """The DSN (without dbname) of a fresh server; it ends with the block."""
    user = _runner()
    base = Path(tempfile.mkdtemp(prefix="bollard-pg-", dir="/tmp"))
    try:
        if user is not None:
            os.chown(base, user, -1)
        data = base / "data"
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "bollard", "-A", "trust", "--no-sync", "-E", "UTF8"],
            check=True,
            capture_output=True,
            user=user,
            cwd=base,
            env=environment,
        )
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", base, "-c", "listen_addresses=", "-c", "port=5432"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            user=user,
            cwd=base,
            env=environment,
            text=True,
        )
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if "ready to accept connections" in line:
                    break
            else:
                raise RuntimeError("the PostgreSQL server did not start")
            yield f"postgresql://bollard@/?host={base}"
        finally:
            server.terminate()
            server.communicate(timeout=30)
    finally:
        shutil.rmtree(base, ignore_errors=True)
