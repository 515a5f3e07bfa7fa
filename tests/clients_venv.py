"""Programs from PyPI that our own environment must not depend on, in an environment of their own."""

import os
import pathlib
import subprocess
import sys

import pytest


def program(name: str, variable: str, packages: tuple[str, ...], folder: pathlib.Path) -> str:
    """The path that `variable` of the environment names, or of `name` from packages installed for this run.

    The test is skipped where they cannot be installed.
    """
    if named := os.environ.get(variable):
        return named
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages]
    done = subprocess.run(install, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.skip(f"{packages[0]} cannot be installed here: {done.stderr[-300:]}")
    return str(folder / "bin" / name)
