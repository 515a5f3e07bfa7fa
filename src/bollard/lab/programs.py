"""The one place where the lab starts programs."""

import shutil
import subprocess
from collections.abc import Sequence

_TIMEOUT_S = 60.0


class LabError(Exception):
    """The lab could not do it; the message says what is missing or what a program said."""


def need(*programs: str) -> None:
    """Raises LabError that names the programs this machine lacks."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise LabError(f"The lab needs {', '.join(missing)}; see DEVELOPMENT.md for the packages")


def run(*argv: str, text: str | None = None) -> str:
    """Run to the end; returns its output. Raises LabError with what it said."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv[:4])} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def start(argv: Sequence[str], log_path: str, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start in a session of its own, output to a log file."""
    with open(log_path, "ab") as log:  # noqa: PTH123  # a plain append
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def in_namespace(namespace: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in a network namespace."""
    return ["ip", "netns", "exec", namespace, *command]
