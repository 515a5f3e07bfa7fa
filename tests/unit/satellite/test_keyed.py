"""Work by key: one run a key at a time, no wake is lost, others are not held up."""

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.domain.ids import Key
from bollard.satellite.keyed import KeyedWork
from bollard.sim.clock import VirtualLoop

WAKES = st.lists(
    st.tuples(
        st.sampled_from("abcd"), st.sampled_from([0.0, 0.05, 1.0, 30.0]), st.sampled_from([0.0, 0.01, 2.0])
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(wakes=WAKES, at_once=st.integers(1, 3))
def test_never_two_runs_of_a_key_and_every_wake_is_followed_by_one(
    wakes: list[tuple[str, float, float]], at_once: int
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        running: Counter[str] = Counter()
        started: dict[str, float] = {}

        async def work(key: Key) -> None:
            assert running[key] == 0
            assert sum(running.values()) < at_once
            running[key] += 1
            started[key] = loop.time()
            await asyncio.sleep(0.1)
            running[key] -= 1

        keyed = KeyedWork(work, at_once)
        due: dict[str, float] = {}
        for key, delay_s, pause_s in wakes:
            keyed.wake(Key(key), delay_s)
            due[key] = loop.time()
            await asyncio.sleep(pause_s)
        await asyncio.sleep(60)
        assert keyed.idle
        assert all(started[key] >= when for key, when in due.items())
        await keyed.stop()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


def test_a_stopped_queue_cuts_what_runs_and_starts_nothing() -> None:
    async def main() -> None:
        ended = []

        async def work(key: Key) -> None:
            await asyncio.sleep(10)
            ended.append(key)

        keyed = KeyedWork(work)
        keyed.wake(Key("a"))
        keyed.wake(Key("b"), 5.0)
        await asyncio.sleep(0.1)
        await keyed.stop()
        keyed.wake(Key("c"))
        await asyncio.sleep(60)
        assert ended == []

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


def test_a_run_that_raises_does_not_block_its_key() -> None:
    async def main() -> None:
        runs = []

        async def work(key: Key) -> None:
            runs.append(key)
            if len(runs) == 1:
                await asyncio.sleep(0)
                raise asyncio.CancelledError

        keyed = KeyedWork(work)
        keyed.wake(Key("a"))
        await asyncio.sleep(1)
        keyed.wake(Key("a"))
        await asyncio.sleep(1)
        assert runs == ["a", "a"]

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
