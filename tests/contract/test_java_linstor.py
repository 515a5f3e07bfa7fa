"""LINSTOR's Java client, unmodified, through CloudStack's calls. Skipped without Maven or its artifacts."""

import pathlib
import shutil
import subprocess

import pytest

from served_town import served

PROGRAM = pathlib.Path(__file__).parent / "javalinstor"
pytestmark = pytest.mark.tool


def test_cloudstack_s_calls(tmp_path: pathlib.Path) -> None:
    maven, java = shutil.which("mvn"), shutil.which("java")
    if maven is None or java is None:
        pytest.skip("Maven or Java is not installed")
    project = tmp_path / "javalinstor"
    shutil.copytree(PROGRAM, project)
    goals = ("compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath.txt")
    build = subprocess.run(
        [maven, "-q", "-B", *goals], cwd=project, capture_output=True, text=True, timeout=280, check=False
    )
    if build.returncode:
        pytest.skip(f"java-linstor cannot be built here: {build.stdout[-300:]}")
    classpath = f"{project / 'target' / 'classes'}:{(project / 'classpath.txt').read_text().strip()}"
    with served() as port:
        run = subprocess.run(
            [java, "-cp", classpath, "Smoke", f"http://127.0.0.1:{port}"],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert "FAILED" not in run.stdout, run.stdout
    assert run.returncode == 0, run.stdout + run.stderr
