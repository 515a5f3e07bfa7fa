"""What ends a freeze: it waits for its deadline, or until it is told to end, and resumes only its own."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from bollard.satellite import guard
from bollard.satellite.host.base import Cmd, Done
from bollard.satellite.host.kernel_freeze import Record

NEVER_MS = 3_600_000


class Runner:
    """Keeps what it is asked to run."""

    ran: list[tuple[str, ...]]

    async def run(self, cmd: Cmd) -> Done:
        type(self).ran.append(cmd.argv)
        return Done(0, b"", b"")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    Runner.ran = []
    monkeypatch.setattr(guard, "LocalRunner", Runner)
    return Runner.ran


def _file(folder: Path, record: Record) -> str:
    path = folder / "r.res.frozen"
    path.write_bytes(msgspec.json.encode(record))
    return str(path)


def _main(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", words[3:])
    guard.main()


def test_it_resumes_every_device_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    path = _file(tmp_path, Record("t", (1000, 1001)))
    _main(monkeypatch, guard.argv(path, "t", (1000, 1001), 10))
    assert ran == [("drbdsetup", "resume-io", "1000"), ("drbdsetup", "resume-io", "1001")]


@pytest.mark.parametrize("record", [Record("another", (1000,)), Record("t", (1000,), over=True), None])
def test_what_is_not_its_own_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]], record: Record | None
) -> None:
    path = _file(tmp_path, record) if record is not None else str(tmp_path / "gone")
    _main(monkeypatch, guard.argv(path, "t", (1000,), 10))
    assert ran == []


def test_told_to_end_it_resumes_at_once(tmp_path: Path, ran: list[tuple[str, ...]]) -> None:
    path = _file(tmp_path, Record("t", (1000,)))

    async def scene() -> None:
        waiting = asyncio.create_task(guard._wait_and_resume(path, "t", NEVER_MS, ["1000"]))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        await waiting

    asyncio.run(scene())
    assert ran == [("drbdsetup", "resume-io", "1000")]
