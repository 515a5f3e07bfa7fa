"""The long view is encoded before anybody asks, and again only what is new."""

import asyncio

import pytest

from bollard.controller.rest.warming import PERIOD_S, Warmer
from bollard.domain.ids import NodeName
from bollard.domain.seen import Observation
from rest_driver import Driver
from unit.controller.rest.test_views import long_list, seen_of

COUNT = 300


class CountingClock:
    """Time passes as soon as somebody waits for it."""

    def __init__(self, periods: int) -> None:
        self.periods = periods
        self.pauses: list[float] = []

    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, delay_s: float) -> None:
        self.pauses.append(delay_s)
        if delay_s == PERIOD_S:
            self.periods -= 1
            if self.periods < 0:
                raise asyncio.CancelledError
        await asyncio.sleep(0)


def test_who_asks_first_finds_all_of_it_encoded_and_compressed() -> None:
    driver = Driver(long_list(COUNT))
    api = driver.app.api
    api.clock = clock = CountingClock(periods=3)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Warmer(api).run())
    assert api.fragments.misses == COUNT, "once each, although there were three rounds"
    made = api.blocks.made
    assert len([pause for pause in clock.pauses if 0 < pause < PERIOD_S]) >= COUNT // 25
    reply = driver("GET", "/v1/view/resources", headers={"accept-encoding": "gzip"})
    assert reply.status == 200
    assert (api.fragments.misses, api.blocks.made) == (COUNT, made)


def test_only_what_is_new_is_encoded_again() -> None:
    driver = Driver(long_list(COUNT))
    api = driver.app.api
    warmer = Warmer(api)
    asyncio.run(warmer.encode())
    driver.service.observed.take(Observation(NodeName("n1"), resources=(seen_of("res0003"),)), 1)
    asyncio.run(warmer.encode())
    assert api.fragments.misses == COUNT + 1


def test_a_short_list_is_left_alone() -> None:
    driver = Driver(long_list(20))
    asyncio.run(Warmer(driver.app.api).encode())
    assert driver.app.api.fragments.misses == 0
