"""The audit log: whole lines, in order, turned when long, readable by its owner only."""

from pathlib import Path

import msgspec
import pytest

from bollard.controller.audit import Audited, FileAudit


def line(number: int) -> Audited:
    return Audited(
        at="2027-01-15T08:00:00+00:00",
        who=f"token:{number}",
        peer="10.0.0.1",
        method="POST",
        path="/v1/nodes",
        status=201,
        codes=(1,),
        revision=number,
    )


def lines(path: Path) -> list[Audited]:
    return [msgspec.json.decode(text, type=Audited) for text in path.read_bytes().splitlines()]


def test_lines_are_appended_in_order(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for start in (0, 100):
        log = FileAudit(path, bytes_max=1 << 20, keep=2)
        for number in range(start, start + 100):
            log.note(line(number))
        log.close()
    assert [each.revision for each in lines(path)] == list(range(200))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_long_file_is_turned_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for number in range(40):
        log = FileAudit(path, bytes_max=1000, keep=2)
        log.note(line(number))
        log.close()
    assert sorted(it.name for it in tmp_path.iterdir()) == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    kept = [
        each.revision
        for it in ("audit.jsonl.2", "audit.jsonl.1", "audit.jsonl")
        for each in lines(tmp_path / it)
    ]
    assert kept == list(range(kept[0], 40))
    assert all((tmp_path / it).stat().st_size <= 1000 for it in ("audit.jsonl.1", "audit.jsonl.2"))


def test_a_file_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        FileAudit(tmp_path / "none" / "audit.jsonl", bytes_max=1000, keep=1)
