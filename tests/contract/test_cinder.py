"""OpenStack's Cinder driver, unmodified, against the API over HTTP: the whole life of volumes.

Skipped where Cinder cannot be installed, or where the port that the driver insists on is taken.
"""

import pathlib
import subprocess

import pytest

from clients_venv import program
from served_town import served

PROGRAM = pathlib.Path(__file__).parent / "cinder" / "drive.py"
PORT = 3370
"""Some of the driver's calls leave the configured URI aside and go to localhost at the default port."""
PACKAGES = ("cinder==29.0.0", "python-linstor==1.29.1")
pytestmark = pytest.mark.tool


def test_the_life_of_volumes(tmp_path: pathlib.Path) -> None:
    python = program("python", "BOLLARD_CINDER_PYTHON", PACKAGES, tmp_path / "cinder")
    try:
        with served(PORT):
            run = subprocess.run(
                [python, str(PROGRAM), f"linstor://127.0.0.1:{PORT}"],
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
    except OSError as error:
        pytest.skip(f"port {PORT} of 127.0.0.1 is taken: {error}")
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    assert "2 delete: ok" in run.stdout
