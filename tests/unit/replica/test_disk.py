"""Backings: exclusive, honest about errors, holes and flushes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bollard.replica.disk import Backing, BackingError
from bollard.replica.loop import Loop

MIB = 1 << 20


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def made(directory: Path, size_bytes: int = 4 * MIB) -> str:
    path = directory / "disk"
    with path.open("ab") as out:
        out.truncate(size_bytes)
    return str(path)


def settle(loop: Loop, ended: list[int], count: int = 1) -> None:
    end = loop.now() + 5
    while len(ended) < count:
        assert loop.now() < end
        loop.run_once(0.02)


def test_a_second_opener_is_refused_until_the_first_is_gone(tmp_path: Path, loop: Loop) -> None:
    path = made(tmp_path)
    first = Backing(loop, path)
    with pytest.raises(BackingError, match="held by another process"):
        Backing(loop, path)
    first.close()
    Backing(loop, path).close()


@pytest.mark.parametrize(("name", "words"), [("missing", "cannot be opened"), (".", "cannot be opened")])
def test_what_is_no_file_is_refused_by_name(tmp_path: Path, loop: Loop, name: str, words: str) -> None:
    with pytest.raises(BackingError, match=words) as caught:
        Backing(loop, str(tmp_path / name))
    assert str(tmp_path) in str(caught.value)


def test_a_character_device_is_refused(loop: Loop) -> None:
    with pytest.raises(BackingError, match="neither a file nor a block device"):
        Backing(loop, "/dev/null")


def test_reads_see_writes_and_stop_at_the_end(tmp_path: Path, loop: Loop) -> None:
    backing = Backing(loop, made(tmp_path))
    backing.write(MIB, memoryview(b"abc" * 1000))
    now = backing.read_now(MIB, 3000)
    assert now is None or bytes(now) == b"abc" * 1000
    assert bytes(backing.read(MIB, 3000)) == b"abc" * 1000
    late: list[bytes] = []
    backing.read_later(MIB, 3000, lambda code, data: late.append(bytes(data) if not code else b""))
    settle(loop, late)  # type: ignore[arg-type]
    assert late == [b"abc" * 1000]
    with pytest.raises(OSError, match="ends before"):
        backing.read(4 * MIB - 10, 20)
    backing.close()


@pytest.mark.parametrize("length", [4096, 3 * MIB])
@pytest.mark.parametrize("may_unmap", [True, False])
def test_zeroed_ranges_read_as_zeroes_and_neighbours_stay(
    tmp_path: Path, loop: Loop, length: int, may_unmap: bool
) -> None:
    backing = Backing(loop, made(tmp_path))
    backing.write(0, b"\xff" * (4 * MIB))
    ended: list[int] = []
    backing.zero(4096, length, may_unmap=may_unmap, done=ended.append)
    settle(loop, ended)
    assert ended == [0]
    assert bytes(backing.read(4096, length)) == bytes(length)
    assert bytes(backing.read(0, 4096)) == b"\xff" * 4096
    assert bytes(backing.read(4096 + length, 4096)) == b"\xff" * 4096
    assert backing.measure() == 4 * MIB
    backing.close()


def test_extents_cover_the_range_and_no_data_is_called_a_hole(tmp_path: Path, loop: Loop) -> None:
    backing = Backing(loop, made(tmp_path))
    backing.write(MIB, b"x" * 8192)
    runs = backing.extents(0, 4 * MIB, 100)
    assert sum(length for length, _ in runs) == 4 * MIB
    position = 0
    for length, hole in runs:
        if hole:
            assert not position <= MIB < position + length
        position += length
    assert backing.extents(0, 4 * MIB, 1) == runs[:1]
    backing.close()


def test_flushes_that_wait_share_the_next_fdatasync(
    tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    backing = Backing(loop, made(tmp_path))
    calls: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (calls.append(fd), real(fd)))
    ended: list[int] = []
    for _ in range(50):
        backing.flush(ended.append)
    settle(loop, ended, 50)
    assert ended == [0] * 50
    assert len(calls) == 2
    backing.close()


def test_closing_waits_for_the_pool(tmp_path: Path, loop: Loop) -> None:
    backing = Backing(loop, made(tmp_path))
    ended: list[int] = []
    backing.flush(ended.append)
    backing.close()
    assert backing.fd >= 0
    settle(loop, ended)
    assert ended == [0]
    assert backing.fd == -1
