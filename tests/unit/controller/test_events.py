"""The stream of events: order, slow readers, dropped readers."""

import asyncio

import pytest

from bollard.controller.events import Committed, MayPromote, Missed, NodeStatus
from bollard.controller.store.memory import MemoryDatabase
from bollard.domain import commands
from bollard.domain.errors import Exists
from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.seen import Observation, SeenResource
from bollard.runtime.clock import RealClock
from unit.controller.fakes import first
from unit.controller.ground import BrittleStore, play, running, satellite


def test_readers_see_only_what_is_durable() -> None:
    async def scene() -> None:
        store = BrittleStore(MemoryDatabase())
        async with running(store) as ground:
            store.held = asyncio.Event()
            first_call = asyncio.create_task(ground.submit(commands.CreateNode(name="n1")))
            await asyncio.sleep(0.01)
            # Decisions see what is under way; readers do not.
            with pytest.raises(Exists):
                await ground.submit(commands.CreateNode(name="n1"))
            assert not ground.service.cluster.nodes
            store.held.set()
            await first_call
            assert set(ground.service.cluster.nodes) == {"N1"}

    play(scene)


def test_events_tell_what_happened_in_order() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            stream = ground.service.subscribe()
            await ground.add_node(n1)
            committed = await first(stream, Committed)
            assert isinstance(committed, Committed)
            assert committed.revision == ground.service.cluster.revision
            words = []
            while "ONLINE" not in words:
                event = await first(stream, NodeStatus)
                assert isinstance(event, NodeStatus)
                words.append(event.new)
            assert words == ["CONNECTED", "ONLINE"]
            seen = SeenResource(ResourceName("r1"), Uuid("u"), may_promote=True)
            await ground.service.take(Observation(NodeName("n1"), resources=(seen,)))
            event = await first(stream, MayPromote)
            assert isinstance(event, MayPromote)
            assert (event.definition, event.node, event.may_promote) == ("r1", "n1", True)
            stream.close()
            assert [it async for it in stream][-1:] != [event]

    play(scene)


def test_a_slow_reader_is_told_what_it_missed() -> None:
    async def scene() -> None:
        from bollard.controller.events import BACKLOG_MAX, Events, Reported

        events = Events(RealClock())
        reader = events.follow()
        for _ in range(BACKLOG_MAX + 5):
            events.tell(Reported(node="n1"))
        event = await anext(reader)
        assert isinstance(event, Missed)
        assert event.count == 5
        reader.close()
        assert len([it async for it in reader]) == BACKLOG_MAX

    play(scene)


def test_a_dropped_reader_costs_nothing() -> None:
    from bollard.controller.events import Events

    events = Events(RealClock())
    reader = events.follow()
    assert len(events._readers) == 1
    del reader
    assert len(events._readers) == 0
