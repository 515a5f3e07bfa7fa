"""One link on virtual time: greeting, refusals, silence, backoff, deltas that are joined, and skew."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from bollard.controller.sessions.base import DialError
from bollard.controller.sessions.satellites import Satellites
from bollard.controller.sessions.session import BACKOFF_MAX_S
from bollard.domain import commands
from bollard.domain.cluster import Cluster, Put
from bollard.domain.commands import Command
from bollard.domain.errors import NotFound, Unavailable, Unsupported
from bollard.domain.ids import NodeName
from bollard.domain.nodes import NetInterface
from bollard.domain.observed import Observed
from bollard.domain.ports import LockedVault
from bollard.domain.seen import Capabilities, Observation
from bollard.planning.targets import touched
from bollard.planning.world import World
from bollard.sim.clock import VirtualClock, VirtualLoop
from bollard.wire.link import (
    AnyMessage,
    Bye,
    Hello,
    LinkError,
    NeedFull,
    Ping,
    Pong,
    Query,
    QueryReply,
    Refused,
    Report,
    TargetFull,
    TargetPart,
    Welcome,
)
from bollard.wire.version import SATELLITE_FEATURES
from unit.controller.fakes import CountingDraw, decide, initial

WELCOME = Welcome(node="n1", capabilities=Capabilities("9", features=SATELLITE_FEATURES))
FIRST = Report(observation=Observation(NodeName("n1"), complete=True))


class Pipe:
    """Both ends of a channel in memory; the test is the satellite."""

    def __init__(self) -> None:
        self.sent: list[AnyMessage] = []
        self.inbox: asyncio.Queue[AnyMessage | Exception | None] = asyncio.Queue()
        self.closed = False
        self.answers: dict[type, AnyMessage | Exception | None] = {}
        self.slow = asyncio.Event()
        self.slow.set()

    async def send(self, message: AnyMessage) -> None:
        await self.slow.wait()
        self.sent.append(message)
        answer = self.answers.get(type(message))
        if isinstance(message, Ping) and Ping not in self.answers:
            answer = Pong(number=message.number)
        if answer is not None:
            self.inbox.put_nowait(answer)

    async def receive(self) -> AnyMessage | None:
        message = await self.inbox.get()
        if isinstance(message, Exception):
            raise message
        return message

    def close(self) -> None:
        self.closed = True
        self.inbox.put_nowait(None)

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.sent if isinstance(message, kind)]


class Stage:
    """A desk, a dialer and the links, without a service."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.clock = VirtualClock(loop)
        self.draw = CountingDraw()
        self.cluster = Cluster(initial(self.draw))
        self.observed = Observed()
        self.vault = LockedVault()
        self.statuses: list[tuple[str, str]] = []
        self.reports: list[Observation] = []
        self.bugs: list[str] = []
        self.dials: list[tuple[float, int | None]] = []
        self.pipes: list[Pipe] = []
        self.next_pipe: Callable[[], Pipe] = self.good_pipe
        self.dial_error: DialError | None = None
        self.links = Satellites(self, self.clock, version="test")
        self.links.start(self)

    def good_pipe(self) -> Pipe:
        pipe = Pipe()
        pipe.answers = {Hello: WELCOME, TargetFull: FIRST}
        return pipe

    def do(self, command: Command) -> None:
        world = World(self.cluster, self.observed, self.clock.now_ms(), self.draw)
        changes = decide(command, world).changes
        before = touched(changes, self.cluster)
        self.cluster.apply(changes)
        self.links.committed(changes, before | touched(changes, self.cluster))

    def add_node(self) -> None:
        net_if = commands.NewNetInterface(name="default", address="127.0.0.1", satellite_port=1)
        self.do(commands.CreateNode(name="n1", net_interfaces=(net_if,)))

    # The Dialer and the Desk.

    async def dial(self, node: str, net_if: NetInterface) -> Pipe:
        self.dials.append((self.clock.monotonic_s(), net_if.satellite_port))
        if self.dial_error is not None:
            raise self.dial_error
        self.pipes.append(self.next_pipe())
        return self.pipes[-1]

    async def take(self, observation: Observation) -> None:
        self.reports.append(observation)

    def node_status(
        self, node: str, status: str, message: str = "", capabilities: Capabilities | None = None
    ) -> None:
        self.statuses.append((status, message))

    def broken(self, error: Exception, context: str) -> str:
        self.bugs.append(context)
        return "ID"

    @property
    def words(self) -> list[str]:
        return [status for status, _ in self.statuses]


def play(scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        stage = Stage()
        try:
            async with asyncio.timeout(10_000):
                await scene(stage)
        finally:
            await stage.links.stop()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(whole())


def test_a_node_comes_online_with_its_first_complete_report() -> None:
    async def scene(stage: Stage) -> None:
        stage.add_node()
        await asyncio.sleep(1)
        assert stage.words == ["CONNECTED", "ONLINE"]
        (pipe,) = stage.pipes
        hello, target = pipe.sent[0], pipe.sent[1]
        assert isinstance(hello, Hello)
        assert (hello.node, hello.cluster_uuid) == (
            "n1",
            stage.cluster.settings and stage.cluster.settings.cluster_uuid,
        )
        assert isinstance(target, TargetFull)
        assert target.target.revision == stage.cluster.revision

    play(scene)


@pytest.mark.parametrize(
    "answer", [Refused(code="wrong-node", message="I am n2"), Welcome("n2", WELCOME.capabilities)]
)
def test_two_nodes_at_one_address_are_told(answer: AnyMessage) -> None:
    async def scene(stage: Stage) -> None:
        pipe = Pipe()
        pipe.answers = {Hello: answer}
        stage.next_pipe = lambda: pipe
        stage.add_node()
        stage.cluster.apply((Put(msgspec.structs.replace(stage.cluster.nodes["N1"], name=NodeName("n2"))),))
        await asyncio.sleep(0.1)
        assert stage.statuses[0][0] == "DUPLICATE_UNAME"

    play(scene)


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (Refused(code="wrong-node", message="I am n2"), "HOSTNAME_MISMATCH", "I am n2"),
        (Refused(code="other-cluster", message="no"), "OTHER_CONTROLLER", "no"),
        (Refused(code="version", message="old"), "VERSION_MISMATCH", "old"),
        (Refused(code="not-trusted", message="who"), "AUTHENTICATION_ERROR", "who"),
        (Refused(code="new word", message="hm"), "OFFLINE", "hm"),
        (Welcome(node="n2", capabilities=WELCOME.capabilities), "HOSTNAME_MISMATCH", "'n2'"),
        (Welcome(node="n1", capabilities=Capabilities("1")), "VERSION_MISMATCH", "observation, target"),
        (Ping(), "OFFLINE", "Ping instead of a welcome"),
        (LinkError("a frame is too long"), "OFFLINE", "too long"),
    ],
)
def test_a_refused_greeting_says_why(answer: AnyMessage | Exception, status: str, words: str) -> None:
    async def scene(stage: Stage) -> None:
        pipe = Pipe()
        pipe.answers = {Hello: answer}
        stage.next_pipe = lambda: pipe
        stage.add_node()
        await asyncio.sleep(0.1)
        assert stage.statuses[0][0] == status
        assert words in stage.statuses[0][1]
        assert pipe.closed
        assert not pipe.of(TargetFull)

    play(scene)


def test_a_node_name_may_differ_in_case() -> None:
    async def scene(stage: Stage) -> None:
        pipe = stage.good_pipe()
        pipe.answers[Hello] = Welcome(node="N1", capabilities=WELCOME.capabilities)
        stage.next_pipe = lambda: pipe
        stage.add_node()
        await asyncio.sleep(0.1)
        assert stage.words == ["CONNECTED", "ONLINE"]

    play(scene)


def test_a_silent_satellite_is_given_up_after_five_seconds() -> None:
    async def scene(stage: Stage) -> None:
        pipe = stage.good_pipe()
        pipe.answers[Ping] = None
        stage.next_pipe = lambda: pipe
        stage.add_node()
        await asyncio.sleep(4.9)
        assert stage.words == ["CONNECTED", "ONLINE"]
        assert len(pipe.of(Ping)) == 4
        await asyncio.sleep(0.2)
        assert stage.statuses[2] == ("OFFLINE", "nothing was heard from the satellite for 5 s")

    play(scene)


def test_pings_keep_a_quiet_link_up() -> None:
    async def scene(stage: Stage) -> None:
        stage.add_node()
        await asyncio.sleep(600)
        assert stage.words == ["CONNECTED", "ONLINE"]
        assert len(stage.pipes) == 1

    play(scene)


def test_redials_come_slower_up_to_a_bound_and_at_once_for_a_new_address() -> None:
    async def scene(stage: Stage) -> None:
        stage.dial_error = DialError("OFFLINE", "nobody there")
        stage.add_node()
        await asyncio.sleep(60)
        times = [when for when, _ in stage.dials]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert gaps[0] < 1
        assert gaps == sorted(gaps)
        assert max(gaps) == pytest.approx(BACKOFF_MAX_S)
        assert BACKOFF_MAX_S <= 10
        count = len(stage.dials)
        stage.do(commands.ModifyNetInterface(node="n1", name="default", satellite_port=2))
        await asyncio.sleep(0.01)
        assert [port for _, port in stage.dials[count:]] == [2]

    play(scene)


def test_a_node_without_an_interface_is_not_dialled() -> None:
    async def scene(stage: Stage) -> None:
        stage.do(commands.CreateNode(name="n1"))
        await asyncio.sleep(100)
        assert stage.words == ["NO_STLT_CONN"]
        assert not stage.dials

    play(scene)


def test_a_new_address_means_a_new_link() -> None:
    async def scene(stage: Stage) -> None:
        stage.add_node()
        await asyncio.sleep(1)
        stage.do(commands.ModifyNetInterface(node="n1", name="default", satellite_port=2))
        await asyncio.sleep(1)
        assert stage.pipes[0].closed
        assert [port for _, port in stage.dials] == [1, 2]
        assert stage.words[-1] == "ONLINE"

    play(scene)


def test_changes_that_come_while_sending_is_slow_are_joined() -> None:
    async def scene(stage: Stage) -> None:
        stage.add_node()
        await asyncio.sleep(0.5)
        (pipe,) = stage.pipes
        known = stage.cluster.revision
        pipe.slow.clear()
        for number in range(20):
            stage.do(commands.CreateDefinition(name=f"r{number}"))
            given = (commands.NewResource(node="n1"),)
            stage.do(commands.CreateResources(definition=f"r{number}", resources=given))
            await asyncio.sleep(0.001)
        stage.do(commands.DeleteResource(definition="r3", node="n1"))
        pipe.slow.set()
        await asyncio.sleep(0.1)
        deltas = [message.delta for message in pipe.of(TargetPart)]
        assert 1 <= len(deltas) <= 2
        assert deltas[0].base == known
        assert deltas[-1].revision == stage.cluster.revision
        assert all(later.base == earlier.revision for earlier, later in itertools.pairwise(deltas))
        present = {resource.name for delta in deltas for resource in delta.resources}
        assert {f"r{number}" for number in range(20)} - {"r3"} <= present
        assert "R3" in deltas[-1].gone
        assert [stone.definition for stone in deltas[-1].tombstones or ()] == ["r3"]

    play(scene)


def test_who_needs_the_whole_gets_it() -> None:
    async def scene(stage: Stage) -> None:
        stage.add_node()
        await asyncio.sleep(0.5)
        (pipe,) = stage.pipes
        pipe.inbox.put_nowait(NeedFull(revision=0))
        await asyncio.sleep(0.1)
        assert len(pipe.of(TargetFull)) == 2

    play(scene)


def test_a_satellite_of_the_last_release_gets_whole_targets() -> None:
    async def scene(stage: Stage) -> None:
        pipe = stage.good_pipe()
        old = Capabilities("8", features=("target", "observation"))
        pipe.answers[Hello] = Welcome(node="n1", capabilities=old)
        stage.next_pipe = lambda: pipe
        stage.add_node()
        await asyncio.sleep(0.5)
        stage.do(commands.CreateDefinition(name="r1"))
        stage.do(commands.CreateResources(definition="r1", resources=(commands.NewResource(node="n1"),)))
        await asyncio.sleep(0.5)
        assert len(pipe.of(TargetFull)) == 2
        assert not pipe.of(TargetPart)
        with pytest.raises(Unsupported):
            await stage.links.ask("n1", "space", {})

    play(scene)


def test_a_report_of_another_node_ends_the_link() -> None:
    async def scene(stage: Stage) -> None:
        stage.add_node()
        await asyncio.sleep(0.5)
        stage.pipes[0].inbox.put_nowait(Report(observation=Observation(NodeName("n2"))))
        await asyncio.sleep(0.01)
        assert stage.statuses[2][0] == "OFFLINE"
        assert "'n2'" in stage.statuses[2][1]
        assert [report.node for report in stage.reports] == ["n1"]

    play(scene)


def test_a_first_report_that_is_not_complete_is_refused() -> None:
    async def scene(stage: Stage) -> None:
        pipe = stage.good_pipe()
        pipe.answers[TargetFull] = Report(observation=Observation(NodeName("n1")))
        stage.next_pipe = lambda: pipe
        stage.add_node()
        await asyncio.sleep(0.01)
        assert stage.words == ["CONNECTED", "OFFLINE"]

    play(scene)


def test_a_bug_of_ours_is_reported_and_retried_slowly() -> None:
    async def scene(stage: Stage) -> None:
        def broken() -> Pipe:
            pipe = stage.good_pipe()
            pipe.answers[TargetFull] = None
            pipe.inbox.put_nowait(ZeroDivisionError("planted"))
            return pipe

        stage.next_pipe = broken
        stage.add_node()
        await asyncio.sleep(30)
        assert stage.words[0] == "FULL_SYNC_FAILED"
        assert "ID" in stage.statuses[0][1]
        assert 3 <= len(stage.bugs) <= 12

    play(scene)


def test_queries_find_their_answers_and_die_with_the_link() -> None:
    async def scene(stage: Stage) -> None:
        stage.add_node()
        await asyncio.sleep(0.5)
        (pipe,) = stage.pipes
        asked = [asyncio.create_task(stage.links.ask("N1", f"t{number}", {})) for number in range(3)]
        await asyncio.sleep(0.01)
        queries = pipe.of(Query)
        pipe.inbox.put_nowait(QueryReply(number=queries[1].number, body="1"))
        pipe.inbox.put_nowait(QueryReply(number=queries[0].number, error="no such topic"))
        pipe.inbox.put_nowait(QueryReply(number=999, body="stray"))
        await asyncio.sleep(0.01)
        assert await asked[1] == "1"
        with pytest.raises(Unsupported, match="no such topic"):
            await asked[0]
        pipe.inbox.put_nowait(None)
        with pytest.raises(Unavailable, match="did not answer"):
            await asked[2]
        with pytest.raises(NotFound):
            await stage.links.ask("nope", "t", {})

    play(scene)


def test_a_removed_node_is_told_and_not_dialled_again() -> None:
    async def scene(stage: Stage) -> None:
        stage.add_node()
        await asyncio.sleep(0.5)
        stage.do(commands.DeleteNode(node="n1"))
        await asyncio.sleep(60)
        (pipe,) = stage.pipes
        assert [bye.code for bye in pipe.of(Bye)] == ["removed"]
        assert pipe.closed
        assert stage.words == ["CONNECTED", "ONLINE"]

    play(scene)


def test_a_name_can_be_used_again_at_once() -> None:
    async def scene(stage: Stage) -> None:
        stage.add_node()
        await asyncio.sleep(0.5)
        stage.do(commands.DeleteNode(node="n1"))
        stage.add_node()
        await asyncio.sleep(0.5)
        assert len(stage.pipes) == 2
        assert stage.words[-1] == "ONLINE"

    play(scene)
