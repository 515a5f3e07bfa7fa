"""Virtual time: order, exactness and the end of all work."""

import asyncio
import time

import pytest

from bollard.sim.clock import EPOCH_MS, Idle, VirtualClock, VirtualLoop


def test_an_hour_passes_at_once_and_in_order() -> None:
    seen: list[tuple[str, int]] = []

    async def main() -> None:
        clock = VirtualClock(asyncio.get_running_loop())

        async def at(name: str, delay_s: float) -> None:
            await clock.sleep(delay_s)
            seen.append((name, clock.now_ms() - EPOCH_MS))

        await asyncio.gather(at("late", 3600), at("soon", 1.5), at("first", 0.001))

    begun = time.monotonic()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    assert time.monotonic() - begun < 5
    assert [name for name, _ in seen] == ["first", "soon", "late"]
    assert [when for _, when in seen] == pytest.approx([1, 1500, 3_600_000], abs=1)


def test_timeouts_use_virtual_time() -> None:
    async def main() -> bool:
        try:
            async with asyncio.timeout(15):
                await asyncio.sleep(1000)
        except TimeoutError:
            return asyncio.get_running_loop().time() == pytest.approx(15)
        return False

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(main())


def test_a_history_that_can_never_go_on_is_said() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    runner = asyncio.Runner(loop_factory=VirtualLoop)
    with pytest.raises(Idle):
        runner.run(main())
    loop = runner.get_loop()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    runner.close()
