"""The unit of work with a satellite on loopback: answers, waits, undo and bugs."""

import asyncio

import pytest

from bollard.domain import commands
from bollard.domain.commands import Command
from bollard.domain.errors import Exists, Unavailable
from bollard.domain.ids import key_of
from bollard.domain.seen import Problem
from bollard.wire.link import TargetFull, TargetPart
from unit.controller.fakes import FakeSatellite, until
from unit.controller.ground import play, running, said, satellite


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


def test_what_is_waited_for_is_sent_even_when_it_is_as_before() -> None:
    async def scene() -> None:
        async with satellite("n1") as n1, running() as ground:
            await ground.add_node(n1)
            await ground.submit(commands.CreateDefinition(name="r1"))
            given = (commands.NewResource(node="n1"),)
            await ground.submit(commands.CreateResources(definition="r1", resources=given))
            answer = await ground.submit(commands.ModifyResource(definition="r1", node="n1"), 5.0)
            assert said(answer) == [("success", "MODIFIED"), ("success", "MODIFIED")]

    play(scene)
