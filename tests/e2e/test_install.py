"""What an administrator installs: the programs, and units that systemd takes."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = ("bollard", "bollard-controller", "bollard-satellite", "bollard-replica")
pytestmark = pytest.mark.tool


def _pip(*words: str, path: pathlib.Path | None = None) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else None
    argv = [sys.executable, "-m", "pip", *words, "--quiet", "--disable-pip-version-check"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=240, env=environment, check=False)


def _installed(folder: pathlib.Path) -> pathlib.Path:
    """Where the package is installed as pip does it; what it depends on is this environment's."""
    source, tools, prefix = folder / "source", folder / "tools", folder / "prefix"
    if (got := _pip("install", "--target", str(tools), "setuptools>=77")).returncode:
        pytest.skip(f"setuptools cannot be had here: {got.stderr[-300:]}")
    # A copy, because a build leaves folders beside the sources.
    for part in ("src", "packaging"):
        shutil.copytree(
            ROOT / part, source / part, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    words = ("--no-deps", "--no-build-isolation", "--ignore-installed", "--prefix", str(prefix), str(source))
    done = _pip("install", *words, path=tools)
    assert done.returncode == 0, done.stderr
    return prefix


def _each_program_starts(prefix: pathlib.Path) -> None:
    (packages,) = prefix.glob("lib/python*/site-packages")
    for name in PROGRAMS:
        argv = [str(prefix / "bin" / name), "--help"]
        environment = {**os.environ, "PYTHONPATH": str(packages)}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"usage: {name}")


def _systemd_takes_the_units(prefix: pathlib.Path, folder: pathlib.Path) -> None:
    units = sorted((prefix / "share" / "bollard" / "systemd").glob("*.service"))
    assert [unit.stem for unit in units] == sorted(PROGRAMS[1:])
    folder.mkdir()
    for unit in units:
        text = unit.read_text()
        program = text.partition("ExecStart=")[2].split()[0]
        assert program == unit.stem, "found by name, wherever it is installed"
        (folder / unit.name).write_text(text.replace("ExecStart=", f"ExecStart={prefix}/bin/"))
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: the units are not verified")
    argv = ["systemd-analyze", "verify", *(str(folder / unit.name) for unit in units)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_pip_installs_starts_and_suits_systemd(tmp_path: pathlib.Path) -> None:
    prefix = _installed(tmp_path)
    _each_program_starts(prefix)
    _systemd_takes_the_units(prefix, tmp_path / "units")
