"""Ticks: when nodes have reported, or time has passed, the automatics and procedures are asked to go on.

It decides nothing: it only submits Tick commands for the resource definitions that may have changed.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from bollard.controller.events import AnyEvent, Committed, Missed, NodeStatus, Reader, Reported
from bollard.controller.service import Service
from bollard.domain import props
from bollard.domain.cluster import Put
from bollard.domain.commands import Tick
from bollard.domain.errors import DomainError
from bollard.domain.ids import Key, key_of
from bollard.domain.ports import Clock
from bollard.domain.procedures import Procedure
from bollard.domain.resources import Resource, ResourceDefinition

COALESCE_S: Final = 0.05
"""Reports that come within this time share a tick."""
PERIOD_S: Final = 10.0
"""All definitions are looked at this often, for what only time changes."""
CHUNK: Final = 50
"""Definitions in one tick, so that a big cluster never holds the loop for long."""
_log = logging.getLogger(__name__)


class Ticker:
    """Runs until cancelled."""

    def __init__(self, service: Service, clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._due: dict[Key, None] = {}
        self._all_due = True
        self._balanced_s = 0.0
        """Time since all definitions were balanced last."""
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Follow the events and tick."""
        reader = self._service.subscribe()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(reader))
            tasks.create_task(self._period())
            tasks.create_task(self._tick())

    async def _listen(self, reader: Reader) -> None:
        async for event in reader:
            self._note(event)

    def _note(self, event: AnyEvent) -> None:
        cluster = self._service.cluster
        match event:
            case Reported(definitions=None, node=node) | NodeStatus(node=node):
                self._add(resource.definition for resource in cluster.resources_on(node))
                self._add(tombstone.definition for tombstone in cluster.tombstones_on(node))
            case Reported(definitions=tuple() as names):
                self._add(names)
            case Committed(changes=changes):
                for change in changes:
                    if isinstance(change, Put):
                        self._add_of(change.record)
            case Missed():
                self._all_due = True
                self._wake.set()
            case _:
                pass

    def _add_of(self, record: object) -> None:
        match record:
            case Resource(definition=name) | Procedure(definition=str() as name):
                self._add((name,))
            case ResourceDefinition(name=name):
                self._add((name,))
            case _:
                pass

    def _add(self, names: Iterable[str]) -> None:
        self._due.update(dict.fromkeys(map(key_of, names)))
        if self._due:
            self._wake.set()

    async def _period(self) -> None:
        while True:
            await self._clock.sleep(PERIOD_S)
            self._balanced_s += PERIOD_S
            self._all_due = True
            self._wake.set()

    async def _tick(self) -> None:
        while True:
            await self._wake.wait()
            await self._clock.sleep(COALESCE_S)
            self._wake.clear()
            survey, self._all_due = self._all_due, False
            balance = survey and self._time_to_balance()
            if survey:
                self._due.update(dict.fromkeys(self._service.cluster.definitions))
            # The empty tick is for what belongs to no definition.
            due, self._due = list(self._due), {}
            for start in range(0, max(len(due), 1), CHUNK):
                some = tuple(due[start : start + CHUNK])
                await self._submit(Tick(definitions=some, survey=survey and start == 0, balance=balance))
                # A tick that changes nothing never waits: let the others have their turn.
                await self._clock.sleep(0)

    def _time_to_balance(self) -> bool:
        interval_s = props.BALANCE_INTERVAL.number(self._service.cluster.props())
        if interval_s <= 0 or self._balanced_s < interval_s:
            return False
        self._balanced_s = 0.0
        return True

    async def _submit(self, tick: Tick) -> None:
        definitions = tick.definitions or ()
        try:
            answer = await self._service.submit(tick, deadline_s=0.0)
        except DomainError as error:
            _log.warning("a tick was refused, it is tried again with the next: %s", error.message)
            return
        if len(definitions) > 1 and any(entry.error_report_ids for entry in answer.entries):
            # One definition that we cannot work with must not hold up the others.
            for definition in definitions:
                await self._submit(msgspec.structs.replace(tick, definitions=(definition,), survey=False))
