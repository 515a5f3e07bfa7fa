"""The unit of work with a satellite on loopback: answers, waits, undo, bugs, and a store that fails."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from bollard.controller.clock import RealClock
from bollard.controller.events import Committed, MayPromote, Missed, NodeStatus
from bollard.controller.reconcilers.ticker import Ticker
from bollard.controller.reports import Reports
from bollard.controller.service import Answer, Service
from bollard.controller.sessions.satellites import Satellites
from bollard.controller.sessions.sockets import SocketDialer
from bollard.controller.store.base import Store
from bollard.controller.store.memory import MemoryDatabase, MemoryStore
from bollard.controller.store.sqlite import sqlite_store
from bollard.domain import commands
from bollard.domain.cluster import Change
from bollard.domain.commands import Command
from bollard.domain.errors import Conflict, Exists, Subject, Unavailable
from bollard.domain.ids import NodeName, ResourceName, Uuid, key_of
from bollard.domain.seen import Observation, Problem, SeenResource
from bollard.wire.link import TargetFull, TargetPart
from unit.controller.fakes import CountingDraw, FakeSatellite, decide, first, initial, until


class BrittleStore(MemoryStore):
    """A store that fails when it is told to."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.error: Exception | None = None
        self.held: asyncio.Event | None = None
        self.keeps = False
        """Whether a commit that fails is kept all the same, as after a cut connection."""

    async def commit(self, changes: Sequence[Change], expected_revision: int) -> int:
        if self.held is not None:
            await self.held.wait()
        if self.error is not None:
            if self.keeps:
                await super().commit(changes, expected_revision)
                self.keeps = False
            raise self.error
        return await super().commit(changes, expected_revision)


class Ground:
    """A running service."""

    def __init__(self, store: Store) -> None:
        clock = RealClock()
        self.store = store
        self.links = Satellites(SocketDialer(None), clock, version="test")
        self.reports = Reports(store, clock, node="ctl", version="test")
        self.service = Service(
            store,
            self.links,
            clock=clock,
            draw=CountingDraw(),
            reports=self.reports,
            decide=decide,
            initial=initial,
        )
        self.ticker = Ticker(self.service, clock)

    async def submit(self, command: Command, deadline_s: float = 5.0) -> Answer:
        return await self.service.submit(command, deadline_s)

    async def add_node(self, satellite: FakeSatellite) -> Answer:
        net_if = commands.NewNetInterface(
            name="default", address="127.0.0.1", satellite_port=satellite.port, satellite_encryption="PLAIN"
        )
        return await self.submit(commands.CreateNode(name=satellite.name, net_interfaces=(net_if,)))


@contextlib.asynccontextmanager
async def running(store: Store | None = None) -> AsyncIterator[Ground]:
    ground = Ground(store if store is not None else MemoryStore())
    await ground.store.open()
    await ground.service.start()
    ground.links.start(ground.service)
    ticker = asyncio.create_task(ground.ticker.run())
    try:
        yield ground
    finally:
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)
        await ground.service.stop(0.1)
        await ground.links.stop()
        await ground.store.close()


@contextlib.asynccontextmanager
async def satellite(name: str) -> AsyncIterator[FakeSatellite]:
    fake = FakeSatellite(name)
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60):
            await scene()

    asyncio.run(whole())


def said(answer: Answer) -> list[tuple[str, str]]:
    return [(str(entry.severity), entry.code) for entry in answer.entries]


def test_a_resource_is_made_waited_for_and_taken_away() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            answer = await ground.add_node(n1)
            assert said(answer) == [("success", ""), ("success", "CONNECTED")]
            assert ground.service.observed.node("N1").online
            await ground.submit(commands.CreateDefinition(name="r1"))
            given = (commands.NewResource(node="n1"),)
            answer = await ground.submit(commands.CreateResources(definition="r1", resources=given))
            assert said(answer) == [("success", ""), ("success", "CREATED"), ("success", "MODIFIED")]
            seen = ground.service.observed.resource("r1", "n1")
            assert seen is not None
            assert seen.revision >= answer.revision
            answer = await ground.submit(commands.DeleteResource(definition="r1", node="n1"))
            assert said(answer) == [("success", ""), ("success", "DELETED")]
            # The node has reported the removal; the tick drops the tombstone, and then the memory of it.
            await until(lambda: not ground.service.cluster.tombstones)
            assert ground.service.observed.node("n1").removed == set()

    play(scene)


def test_deltas_are_sent_not_whole_targets() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            await ground.add_node(n1)
            for number in range(5):
                await ground.submit(commands.CreateDefinition(name=f"r{number}"))
                given = (commands.NewResource(node="n1"),)
                await ground.submit(commands.CreateResources(definition=f"r{number}", resources=given))
            assert sum(isinstance(it, TargetFull) for it in n1.messages) == 1
            assert sum(isinstance(it, TargetPart) for it in n1.messages) >= 5
            assert n1.target is not None
            assert [it.name for it in n1.target.resources] == [f"r{number}" for number in range(5)]

    play(scene)


def test_an_offline_node_gives_a_warning_at_once_and_is_caught_up_later() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            await ground.add_node(n1)
            await ground.submit(commands.CreateDefinition(name="r1"))
            await n1.stop()
            await until(lambda: not ground.service.observed.node("n1").online)
            given = (commands.NewResource(node="n1"),)
            async with asyncio.timeout(2):
                answer = await ground.submit(commands.CreateResources(definition="r1", resources=given), 30)
            assert said(answer) == [("success", ""), ("warning", "NOT_CONNECTED")]
            assert answer.entries[1].refs == {"Node": "n1"}
            n1.target = None
            await n1.start()
            await until(lambda: n1.target is not None and len(n1.target.resources) == 1)

    play(scene)


def test_an_unreachable_new_node_is_registered_with_a_warning() -> None:
    async def scene() -> None:
        ghost = FakeSatellite("ghost")
        ghost.port = 9
        async with running() as ground:
            answer = await ground.add_node(ghost)
            assert said(answer) == [("success", ""), ("warning", "NOT_CONNECTED")]
            assert "cannot be reached" in answer.entries[1].cause
            assert key_of("ghost") in ground.service.cluster.nodes

    play(scene)


def test_a_slow_node_gives_a_warning_after_the_deadline() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            await ground.add_node(n1)
            await ground.submit(commands.CreateDefinition(name="r1"))
            n1.mute = True
            given = (commands.NewResource(node="n1"),)
            answer = await ground.submit(commands.CreateResources(definition="r1", resources=given), 0.1)
            assert said(answer) == [("success", ""), ("warning", "STLT_NOT_UPDATED")]

    play(scene)


def test_a_resource_that_is_not_usable_yet_is_waited_for() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            await ground.add_node(n1)
            await ground.submit(commands.CreateDefinition(name="r1"))
            n1.disk_state = "Inconsistent"
            given = (commands.NewResource(node="n1"),)
            answer = await ground.submit(commands.CreateResources(definition="r1", resources=given), 0.1)
            assert said(answer)[1:] == [("warning", "STLT_NOT_UPDATED")]

    play(scene)


def test_a_problem_of_a_node_is_an_error_that_names_it() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            await ground.add_node(n1)
            await ground.submit(commands.CreateDefinition(name="r1"))
            n1.problem = Problem(
                "no space left", cause="the pool is full", correction="grow it", code="no-space"
            )
            given = (commands.NewResource(node="n1"),)
            answer = await ground.submit(commands.CreateResources(definition="r1", resources=given))
            assert said(answer) == [("success", ""), ("error", "NOT_ENOUGH_FREE_SPACE")]
            error = answer.entries[1]
            assert (error.message, error.cause, error.correction) == (
                "Node 'n1': no space left",
                "the pool is full",
                "grow it",
            )

    play(scene)


def test_a_pool_that_does_not_work_is_taken_back() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            await ground.add_node(n1)
            n1.problem = Problem("there is no such directory")
            answer = await ground.submit(commands.CreatePool(node="n1", name="p", provider="FILE_THIN"))
            assert said(answer) == [("error", "UNKNOWN_ERROR")]
            assert not ground.service.cluster.pools
            await until(lambda: n1.target is not None and not n1.target.pools)
            n1.problem = None
            answer = await ground.submit(commands.CreatePool(node="n1", name="p", provider="FILE_THIN"))
            assert said(answer) == [("success", ""), ("success", "MODIFIED")]

    play(scene)


def test_a_pool_that_someone_has_built_on_is_not_taken_back() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            await ground.add_node(n1)
            await ground.submit(commands.CreateDefinition(name="r1"))
            n1.mute = True
            making = asyncio.create_task(
                ground.submit(commands.CreatePool(node="n1", name="p", provider="FILE_THIN"))
            )
            await until(lambda: bool(ground.service.cluster.pools))
            given = (commands.NewResource(node="n1"),)
            await ground.submit(commands.CreateResources(definition="r1", resources=given), 0.01)
            n1.mute, n1.problem = False, Problem("gone bad")
            ground.links.resend()
            answer = await making
            assert ("error", "UNKNOWN_ERROR") in said(answer)
            assert len(ground.service.cluster.pools) == 1

    play(scene)


def test_a_refusal_changes_nothing() -> None:
    async def scene() -> None:
        async with running() as ground:
            await ground.submit(commands.CreateNode(name="n1"))
            before = ground.service.cluster.revision
            with pytest.raises(Exists):
                await ground.submit(commands.CreateNode(name="N1"))
            assert ground.service.cluster.revision == before

    play(scene)


@pytest.mark.parametrize("command", [commands.ModifyController(), commands.ModifyGroup(name="x")])
def test_a_bug_becomes_an_error_report_and_nothing_else_suffers(command: Command) -> None:
    async def scene() -> None:
        async with running() as ground:
            await ground.submit(commands.CreateNode(name="n1"))
            answer = await ground.submit(command)
            assert said(answer) == [("error", "IMPL_ERROR")]
            report_id = answer.entries[0].error_report_ids[0]
            await ground.reports.drain()
            (report,) = await ground.store.reports(report_id=report_id, with_text=True)
            assert report.exception in ("AssertionError", "KeyError")
            assert type(command).__name__ in report.text
            assert "fakes.py" in report.text or "cluster.py" in report.text
            await ground.submit(commands.CreateNode(name="n2"))
            assert set(ground.service.cluster.nodes) == {"N1", "N2"}

    play(scene)


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


def test_a_store_that_fails_is_an_error_of_all_calls_under_way_and_then_over() -> None:
    async def scene() -> None:
        store = BrittleStore(MemoryDatabase())
        async with running(store) as ground:
            store.held = asyncio.Event()
            calls = [
                asyncio.create_task(ground.submit(commands.CreateNode(name=f"n{it}"))) for it in range(4)
            ]
            await asyncio.sleep(0.01)
            store.error = Unavailable(Subject.DATABASE, "db", "The disk is full", correction="Free space.")
            store.held.set()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(it, Unavailable) for it in results), results
            assert "The disk is full" in {it.cause for it in results if isinstance(it, Unavailable)}
            store.error = store.held = None
            await ground.submit(commands.CreateNode(name="n9"))
            assert set(ground.service.cluster.nodes) == {"N9"}
            assert not ground.service.lost.done()

    play(scene)


def test_a_commit_of_unknown_outcome_is_found_out() -> None:
    async def scene() -> None:
        store = BrittleStore(MemoryDatabase())
        async with running(store) as ground:
            store.error, store.keeps = Unavailable(Subject.DATABASE, "db", "the connection was cut"), True
            with pytest.raises(Unavailable):
                await ground.submit(commands.CreateNode(name="n1"))
            store.error = None
            with pytest.raises(Exists):
                await ground.submit(commands.CreateNode(name="n1"))

    play(scene)


def test_another_writer_ends_this_controller() -> None:
    async def scene() -> None:
        store = BrittleStore(MemoryDatabase())
        async with running(store) as ground:
            store._database.revision += 1
            with pytest.raises(Unavailable, match="not stored"):
                await ground.submit(commands.CreateNode(name="n1"))
            assert isinstance(await ground.service.lost, Conflict)

    play(scene)


def test_a_cancelled_caller_leaves_the_cluster_whole() -> None:
    async def scene() -> None:
        store = BrittleStore(MemoryDatabase())
        async with running(store) as ground:
            store.held = asyncio.Event()
            call = asyncio.create_task(ground.submit(commands.CreateNode(name="n1")))
            await asyncio.sleep(0.01)
            call.cancel()
            store.held.set()
            await asyncio.gather(call, return_exceptions=True)
            await until(lambda: "N1" in ground.service.cluster.nodes)
            await ground.submit(commands.CreateNode(name="n2"))

    play(scene)


def test_many_clients_at_once_on_a_real_database(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(sqlite_store(tmp_path / "c.db")) as ground:
            names = [f"n{number}" for number in range(200)]
            answers = await asyncio.gather(*(ground.submit(commands.CreateNode(name=it)) for it in names))
            start = answers[0].revision
            assert [it.revision for it in answers] == list(range(start, start + 200))
        async with running(sqlite_store(tmp_path / "c.db")) as ground:
            assert len(ground.service.cluster.nodes) == 200
            assert ground.service.cluster.revision == answers[-1].revision

    play(scene)


def test_the_first_records_are_made_once(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(sqlite_store(tmp_path / "c.db")) as ground:
            settings = ground.service.cluster.settings
            assert settings is not None
        async with running(sqlite_store(tmp_path / "c.db")) as ground:
            assert ground.service.cluster.settings == settings
            assert ground.service.cluster.revision == 1

    play(scene)


def test_what_lost_its_parent_is_set_aside_or_stood_in_for() -> None:
    async def scene() -> None:
        database = MemoryDatabase()
        async with running(MemoryStore(database)) as ground:
            await ground.submit(commands.CreateNode(name="n1"))
            await ground.submit(commands.CreateDefinition(name="r1", group="lost"))
        async with running(MemoryStore(database)) as ground:
            assert "LOST" in ground.service.cluster.groups
            given = (commands.NewResource(node="n1"),)
            await ground.submit(commands.CreateResources(definition="r1", resources=given), 0)
        database.documents["definition", "R1"] = "{"
        async with running(MemoryStore(database)) as ground:
            assert not ground.service.cluster.definitions
            assert not ground.service.cluster.resources
            reasons = {it.kind: it.reason for it in await ground.store.quarantined()}
            assert set(reasons) == {"definition", "resource"}
            assert "'r1' is not there" in reasons["resource"]

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


def test_removing_a_node_ends_its_link_and_forgets_it() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            await ground.add_node(n1)
            await ground.submit(commands.DeleteNode(node="n1"))
            await until(lambda: not n1._writers or all(it.is_closing() for it in n1._writers))
            assert "N1" not in ground.service.observed.nodes

    play(scene)


def test_a_query_is_answered_or_refused() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            await ground.add_node(n1)
            assert await ground.service.ask("n1", "space", {}) == '"space"'
            await n1.stop()
            await until(lambda: not ground.service.observed.node("n1").online)
            with pytest.raises(Unavailable, match="not connected"):
                await ground.service.ask("n1", "space", {})
            await n1.start()

    play(scene)
