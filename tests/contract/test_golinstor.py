"""LINSTOR's Go client, unmodified, through each of its services. Skipped without Go or its modules."""

import os
import pathlib
import shutil
import subprocess

import pytest

from served_town import served

PROGRAM = pathlib.Path(__file__).parent / "golinstor"
pytestmark = pytest.mark.tool


def test_every_service(tmp_path: pathlib.Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    built = tmp_path / "smoke"
    build = subprocess.run(
        [go, "build", "-o", str(built), "."],
        cwd=PROGRAM,
        env={**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if build.returncode:
        pytest.skip(f"golinstor cannot be built here: {build.stderr[-300:]}")
    with served() as port:
        run = subprocess.run(
            [str(built), f"http://127.0.0.1:{port}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert "FAILED" not in run.stdout, run.stdout
    assert run.returncode == 0, run.stdout
