"""The loop: order of a round, timers, the pool, and that one bad handler harms nobody else."""

import errno
import os
from collections.abc import Callable, Iterator

import pytest

from bollard.replica.loop import READ, Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def until(loop: Loop, condition: Callable[[], bool]) -> None:
    end = loop.now() + 5
    while not condition():
        assert loop.now() < end
        loop.run_once(0.02)


def test_ready_files_come_before_timers_and_timers_before_deferred_calls(loop: Loop) -> None:
    order: list[str] = []
    reader, writer = os.pipe()
    os.write(writer, b"x")
    loop.watch(reader, READ, lambda _events: (order.append("file"), loop.defer(lambda: order.append("end"))))
    loop.after(0, lambda: order.append("timer"))
    loop.run_once(1)
    loop.forget(reader)
    os.close(reader)
    os.close(writer)
    assert order == ["file", "timer", "end"]


def test_cancelled_timers_do_not_run_and_due_ones_run_in_order(loop: Loop) -> None:
    ran: list[int] = []
    timers = [loop.after(delay, lambda n=n: ran.append(n)) for n, delay in enumerate((0.02, 0.01, 0.0))]
    timers[1].cancel()
    until(loop, lambda: len(ran) == 2)
    assert ran == [2, 0]


def test_a_handler_that_raises_is_counted_and_its_owner_told(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    reader, writer = os.pipe()

    def broken(_events: int) -> None:
        loop.forget(reader)
        raise AssertionError("a bug")

    loop.watch(reader, READ, broken, lambda: told.append("owner"))
    os.write(writer, b"x")
    loop.run_once(1)
    loop.after(0, lambda: told.append("others"))
    loop.run_once(0.1)
    os.close(reader)
    os.close(writer)
    assert told == ["owner", "others"]
    assert loop.failures == 1
    assert "a bug" in caplog.text


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 0), (OSError(errno.ENOSPC, "full"), errno.ENOSPC), (OSError("odd"), errno.EIO)],
)
def test_pool_work_ends_on_the_loop_with_its_error_number(
    loop: Loop, error: OSError | None, code: int
) -> None:
    ended: list[int] = []

    def work() -> None:
        if error is not None:
            raise error

    loop.in_pool(work, ended.append)
    until(loop, lambda: bool(ended))
    assert ended == [code]


def test_stop_before_run_and_from_a_call(loop: Loop) -> None:
    loop.after(0, loop.stop)
    loop.run()
    loop.stop()
    loop.run()
