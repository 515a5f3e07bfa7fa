"""The runner of external commands: paths, locale, limits, secrets, children."""

import asyncio
import os
from pathlib import Path

import pytest

from bollard.satellite.host.base import Cmd, Done, HostError
from bollard.satellite.host.runner import LocalRunner, start_detached


def run(cmd: Cmd) -> Done:
    return asyncio.run(LocalRunner().run(cmd))


def test_output_code_locale_and_stdin() -> None:
    assert run(Cmd(("sh", "-c", "echo $LC_ALL; cat"), stdin=b"in")).stdout == b"C\nin"
    assert run(Cmd(("sh", "-c", "exit 3"), expect=(0, 3))).code == 3


def test_nothing_of_our_environment_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    assert b"SECRET_OF_OURS" not in run(Cmd(("env",))).stdout


def test_a_missing_program_is_said_with_the_next_step() -> None:
    with pytest.raises(HostError) as caught:
        run(Cmd(("no-such-program-here",)))
    assert caught.value.code == "tool-missing"
    assert "Install" in caught.value.correction


def test_a_program_that_goes_away_is_missing_and_found_again_when_it_returns(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    runner = LocalRunner(f"{tmp_path}:/usr/bin:/bin")
    for _ in range(2):
        tool.write_text("#!/bin/sh\necho here\n")
        tool.chmod(0o755)
        assert asyncio.run(runner.run(Cmd(("tool",)))).stdout == b"here\n"
        tool.unlink()
        with pytest.raises(HostError) as caught:
            asyncio.run(runner.run(Cmd(("tool",))))
        assert caught.value.code == "tool-missing"


def test_a_failure_carries_what_was_said_but_no_secret() -> None:
    with pytest.raises(HostError) as caught:
        run(Cmd(("sh", "-c", 'echo "bad key $1" >&2; exit 5', "sh", "hunter2"), masked=("hunter2",)))
    problem = caught.value.problem()
    assert problem.code == "tool-failed"
    assert "exit code 5" in problem.message
    assert "bad key ***" in problem.cause
    assert "hunter2" not in str(problem)


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(HostError) as caught:
        run(Cmd(("sh", "-c", f"sleep 1000 & echo $! > {pid_file}; wait"), timeout_s=0.5))
    assert caught.value.code == "tool-timeout"
    child = int(pid_file.read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_detached_program_has_its_own_session_and_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    poll = start_detached(["sh", "-c", "ps -o sid= -p $$ || cut -d' ' -f6 /proc/$$/stat; exit 4"], log)

    async def ended() -> int:
        async with asyncio.timeout(20):
            while (code := poll()) is None:  # noqa: ASYNC110  # another process ends, not a task
                await asyncio.sleep(0.01)
        return code

    assert asyncio.run(ended()) == 4
    assert int(log.read_text().split()[0]) != os.getsid(0)
