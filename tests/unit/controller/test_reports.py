"""Error reports: ids, what is in them, and what never is."""

import asyncio
import re

from bollard.controller.reports import Reports
from bollard.controller.store.memory import MemoryStore
from bollard.domain.errors import Conflict, Subject, Unavailable


class StoppedClock:
    def now_ms(self) -> int:
        return 0x6B0173F9 * 1000

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, delay_s: float) -> None:
        raise AssertionError(delay_s)


class FullStore(MemoryStore):
    async def add_report(self, report: object) -> None:
        raise Unavailable(Subject.DATABASE, "db", "full")


def failure() -> Exception:
    secret = "hunter2"
    try:
        try:
            raise Conflict(Subject.POOL, "p", "the pool is gone", cause="someone took it")
        except Conflict as error:
            raise KeyError(secret) from error
    except KeyError as error:
        return error


def test_a_report_has_an_id_places_and_causes_but_no_values() -> None:
    async def scene() -> None:
        store = MemoryStore()
        reports = Reports(store, StoppedClock(), node="ctl", version="1.2")
        first, second = reports.file(failure(), "command X"), reports.file(failure(), "command Y")
        assert re.fullmatch(r"6B0173F9-[0-9A-F]{5}-000000", first)
        assert second.endswith("-000001")
        await reports.drain()
        (kept,) = await store.reports(report_id=first, with_text=True)
        assert (kept.exception, kept.message, kept.node, kept.version) == (
            "KeyError",
            "command X",
            "ctl",
            "1.2",
        )
        assert (kept.origin_file, kept.origin_method) == ("test_reports.py", "failure")
        assert "hunter2" not in kept.text
        assert "the pool is gone" in kept.text
        assert kept.text.index("KeyError") < kept.text.index("Conflict")
        assert kept.text.rstrip().endswith("END OF ERROR REPORT.")

    asyncio.run(scene())


def test_a_store_that_cannot_keep_it_does_not_make_it_worse() -> None:
    async def scene() -> None:
        reports = Reports(FullStore(), StoppedClock(), node="ctl", version="1")
        reports.file(failure(), "x")
        await reports.drain()

    asyncio.run(scene())
