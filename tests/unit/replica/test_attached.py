"""A volume under a block device: opened by its requests, refused, closed when told, never another's."""

import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bollard.replica.attached import OPEN_S, AttachedVolume
from bollard.replica.disk import Backing, Buffer
from bollard.replica.export import Opened, PlainVolume
from bollard.replica.loop import Loop


class Door(PlainVolume):
    """A plain volume that lets users in only while `refusal` is empty."""

    def __init__(self, backing: Backing) -> None:
        super().__init__("data/0", backing)
        self.refusal = ""
        self.asked = 0

    def open(self, done: Opened) -> None:
        self.asked += 1
        if self.refusal:
            done(self.refusal)
        else:
            super().open(done)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Stage:
    def __init__(self, folder: Path) -> None:
        path = folder / "img"
        path.write_bytes(bytes(64 << 10))
        self.clock = Clock()
        self.loop = Loop(self.clock)
        self.volume = Door(Backing(self.loop, str(path)))
        self.device = AttachedVolume(self.loop, "data/0", self.volume)
        self.answers: dict[int, tuple[int, bytes]] = {}

    def done(self, cookie: int, code: int, data: Buffer) -> None:
        assert cookie not in self.answers, "answered twice"
        self.answers[cookie] = code, bytes(data)

    def until(self, holds: Callable[[], bool]) -> None:
        """Run the loop; each round takes a tenth of a second of its own time."""
        deadline_s = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline_s, "it did not come to that"
            self.clock.now_s += 0.1
            self.loop.run_once(0.01)

    def release(self, ops: int) -> bool:
        told: list[bool] = []
        self.device.release(ops, told.append)
        self.until(lambda: bool(told))
        return told[0]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.volume.backing.close()
    made.loop.close()


def test_attaching_opens_nothing_and_the_first_request_does(stage: Stage) -> None:
    told: list[str] = []
    stage.device.open(told.append)
    assert told == [""]
    assert stage.volume.openers == 0
    stage.device.flush(1, stage.done)
    assert stage.answers == {1: (0, b"")}, "nothing was written that could be flushed"
    assert stage.volume.openers == 0
    stage.device.write(512, b"x" * 512, False, 2, stage.done)
    assert stage.answers[2] == (0, b"")
    assert stage.volume.openers == 1
    stage.device.read(512, 512, 3, stage.done)
    assert stage.answers[3] == (0, b"x" * 512)
    assert stage.volume.openers == 1


def test_requests_wait_for_a_volume_that_is_let_go_of(stage: Stage) -> None:
    stage.volume.refusal = "n1 is Primary"
    data = bytearray(b"y" * 512)
    stage.device.write(0, data, False, 1, stage.done)
    data[:] = bytes(512)
    stage.device.read(0, 512, 2, stage.done)
    assert stage.answers == {}
    stage.volume.refusal = ""
    stage.until(lambda: len(stage.answers) == 2)
    assert stage.answers == {1: (0, b""), 2: (0, b"y" * 512)}
    assert stage.volume.openers == 1


def test_a_volume_that_is_not_to_be_had_is_an_io_error_and_the_next_one_does_not_wait(stage: Stage) -> None:
    stage.volume.refusal = "n1 is Primary"
    began_s = stage.clock.now_s
    stage.device.read(0, 512, 1, stage.done)
    stage.until(lambda: 1 in stage.answers)
    assert stage.answers[1] == (errno.EIO, b"")
    assert OPEN_S <= stage.clock.now_s - began_s < OPEN_S + 2
    stage.device.read(0, 512, 2, stage.done)
    assert stage.answers[2] == (errno.EIO, b"")
    stage.volume.refusal = ""
    stage.device.read(0, 512, 3, stage.done)
    assert stage.answers[3][0] == 0, "but it asks again"


def test_it_is_closed_only_when_no_request_came_since(stage: Stage) -> None:
    stage.device.read(0, 512, 1, stage.done)
    before = stage.device.ops
    stage.device.read(0, 512, 2, stage.done)
    assert not stage.release(before)
    assert stage.volume.openers == 1
    assert stage.device.direct() is not None
    assert not stage.release(before + 1), "reads that are served directly count too"
    assert stage.release(stage.device.ops)
    assert stage.volume.openers == 0
    assert not stage.release(stage.device.ops), "it is closed already"
    assert stage.device.direct() is None
    stage.device.read(0, 512, 3, stage.done)
    assert stage.volume.openers == 1


def test_whoever_still_has_the_device_of_a_volume_that_ended_gets_errors(stage: Stage) -> None:
    stage.device.read(0, 512, 1, stage.done)
    stage.device.retire()
    assert stage.volume.openers == 0
    asked = stage.volume.asked
    stage.device.write(0, b"z" * 512, False, 2, stage.done)
    stage.device.flush(3, stage.done)
    stage.device.trim(0, 512, False, 4, stage.done)
    stage.device.zero(0, 512, 5, stage.done, may_unmap=True, fua=False)
    assert {stage.answers[cookie][0] for cookie in (2, 3, 4, 5)} == {errno.EIO}
    assert stage.volume.asked == asked
    assert stage.volume.backing.read_now(0, 512) == bytes(512)
    stage.device.close()


def test_the_end_of_the_device_closes_the_volume_and_fails_what_waits(stage: Stage) -> None:
    stage.device.read(0, 512, 1, stage.done)
    stage.device.close()
    stage.until(lambda: stage.volume.openers == 0)
    stage.volume.refusal = "n1 is Primary"
    stage.device.read(0, 512, 2, stage.done)
    stage.device.close()
    assert stage.answers[2] == (errno.EIO, b"")
    stage.volume.refusal = ""
    asked = stage.volume.asked
    stage.until(lambda: stage.clock.now_s > 110)
    assert stage.volume.openers == 0
    assert stage.volume.asked == asked, "nobody waits for it any more"
