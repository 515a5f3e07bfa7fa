"""The satellite's end of a link: greetings, refusals, targets, reports, silence, takeover."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.nodes import NetInterface
from bollard.domain.seen import Capabilities, SeenResource
from bollard.domain.targets import Target, TargetDelta
from bollard.satellite.board import Board
from bollard.satellite.link import Links
from bollard.sim.clock import VirtualClock, VirtualLoop
from bollard.sim.link import SimChannel, SimNetwork
from bollard.wire.link import (
    SILENCE_MAX_S,
    AnyMessage,
    Bye,
    Hello,
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
from bollard.wire.version import CONTROLLER_FEATURES

CLUSTER = "cluster-1"
NODE = NodeName("n1")


class FakeWork:
    """Keeps what it was given; accepts deltas on the newest revision."""

    def __init__(self) -> None:
        self.full: list[Target] = []
        self.deltas: list[TargetDelta] = []

    def take_full(self, target: Target) -> None:
        self.full.append(target)

    def take_delta(self, delta: TargetDelta) -> bool:
        fits = bool(self.full) and delta.base == self.full[-1].revision
        if fits:
            self.deltas.append(delta)
        return fits


class FakeMembership:
    def __init__(self) -> None:
        self.uuid: str | None = None
        self.broken = False

    def cluster(self) -> str | None:
        return self.uuid

    def join(self, cluster_uuid: str) -> None:
        if self.broken:
            raise OSError("read-only")
        self.uuid = cluster_uuid

    def leave(self) -> bool:
        self.uuid = None
        return True


class Bench:
    """A satellite's links and a way to dial them."""

    def __init__(self) -> None:
        self.board = Board(NODE)
        self.work = FakeWork()
        self.membership = FakeMembership()
        self.network = SimNetwork(random.Random(1))
        self.network.delay_max_s = 0.0
        self.links = Links(
            self.board,
            self.work,
            VirtualClock(asyncio.get_running_loop()),
            capabilities=lambda: Capabilities("test"),
            membership=self.membership,
            answers=self._answer,
        )
        self.trusted = ""
        self.network.accepts["n1"] = lambda channel: self.links.serve(channel, self.trusted)

    async def dial(self) -> SimChannel:
        return await self.network.dial("n1", NetInterface("default", "10.0.0.1", Uuid("i")))  # type: ignore[arg-type]

    async def greet(self, **changes: object) -> tuple[SimChannel, AnyMessage | None]:
        channel = await self.dial()
        hello = Hello(cluster_uuid=CLUSTER, version="test", node="n1", features=CONTROLLER_FEATURES)
        await channel.send(msgspec.structs.replace(hello, **changes))
        return channel, await channel.receive()

    async def _answer(self, topic: str, arguments: dict[str, str]) -> object:
        if topic != "space":
            raise ValueError("no such topic")
        return {"asked": arguments}


async def next_but_pings(channel: SimChannel) -> AnyMessage | None:
    while isinstance(message := await channel.receive(), Ping):
        await channel.send(Pong(number=message.number))
    return message


def run(body: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        await body(Bench())

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


def seen(name: str) -> SeenResource:
    return SeenResource(ResourceName(name), Uuid(name))


def test_the_first_report_is_whole_and_then_only_news_come() -> None:
    async def body(bench: Bench) -> None:
        bench.board.put_resource(seen("a"))
        bench.board.filled.set()
        channel, welcome = await bench.greet()
        assert isinstance(welcome, Welcome)
        assert bench.membership.uuid == CLUSTER
        first = await next_but_pings(channel)
        assert isinstance(first, Report)
        assert first.observation.complete
        assert [one.name for one in first.observation.resources] == ["a"]
        bench.board.put_resource(seen("b"))
        bench.board.put_resource(seen("a"))
        bench.board.drop_resource("a")
        second = await next_but_pings(channel)
        assert isinstance(second, Report)
        assert not second.observation.complete
        assert [one.name for one in second.observation.resources] == ["b"]
        assert second.observation.gone == ("a",)

    run(body)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"node": "n2"}, "wrong-node"),
        ({"cluster_uuid": "other"}, "other-cluster"),
        ({"features": ()}, "version"),
    ],
)
def test_refusals_name_their_reason_and_harm_no_one(changes: dict[str, object], code: str) -> None:
    async def body(bench: Bench) -> None:
        bench.membership.uuid = CLUSTER
        good, welcome = await bench.greet()
        assert isinstance(welcome, Welcome)
        refused_channel, refused = await bench.greet(**changes)
        assert isinstance(refused, Refused)
        assert refused.code == code
        assert await refused_channel.receive() is None
        assert bench.links.connected
        await good.send(Ping(number=7))
        while (message := await good.receive()) != Pong(number=7):
            assert message is not None

    run(body)


def test_an_untrusted_peer_and_a_broken_state_folder_are_refused() -> None:
    async def body(bench: Bench) -> None:
        bench.trusted = "its certificate names nobody"
        _, refused = await bench.greet()
        assert isinstance(refused, Refused)
        assert (refused.code, refused.message) == ("not-trusted", "its certificate names nobody")
        bench.trusted = ""
        bench.membership.broken = True
        _, refused = await bench.greet()
        assert isinstance(refused, Refused)
        assert "read-only" in refused.message

    run(body)


def test_targets_go_to_the_work_and_a_delta_that_does_not_fit_asks_for_all() -> None:
    async def body(bench: Bench) -> None:
        channel, _ = await bench.greet()
        bench.board.filled.set()
        await next_but_pings(channel)
        await channel.send(TargetPart(delta=TargetDelta(NODE, 3, 4)))
        assert isinstance(await next_but_pings(channel), NeedFull)
        await channel.send(TargetFull(target=Target(NODE, Uuid(CLUSTER), 4)))
        await channel.send(TargetPart(delta=TargetDelta(NODE, 4, 5)))
        await asyncio.sleep(0.5)
        assert [one.revision for one in bench.work.full] == [4]
        assert [one.revision for one in bench.work.deltas] == [5]

    run(body)


@pytest.mark.parametrize(
    "message",
    [
        TargetFull(target=Target(NodeName("n2"), Uuid(CLUSTER), 1)),
        TargetFull(target=Target(NODE, Uuid("other"), 1)),
        Hello(cluster_uuid=CLUSTER, version="", node="n1", features=CONTROLLER_FEATURES),
    ],
    ids=["other-node", "other-cluster", "hello-twice"],
)
def test_what_breaks_the_protocol_ends_the_link_with_a_reason(message: AnyMessage) -> None:
    async def body(bench: Bench) -> None:
        channel, _ = await bench.greet()
        await channel.send(message)
        while not isinstance(goodbye := await channel.receive(), Bye):
            assert goodbye is not None
        assert goodbye.code == "protocol"
        assert goodbye.message
        assert bench.work.full == []

    run(body)


def test_a_newer_link_takes_over_and_loses_nothing() -> None:
    async def body(bench: Bench) -> None:
        bench.board.filled.set()
        first, _ = await bench.greet()
        await next_but_pings(first)
        bench.board.put_resource(seen("a"))
        second, welcome = await bench.greet()
        assert isinstance(welcome, Welcome)
        bench.board.put_resource(seen("b"))
        while not isinstance(goodbye := await first.receive(), Bye):
            assert goodbye is not None
        assert goodbye.code == "taken-over"
        names: set[str] = set()
        while names != {"a", "b"}:
            report = await next_but_pings(second)
            assert isinstance(report, Report)
            names |= {one.name for one in report.observation.resources}

    run(body)


def test_a_silent_controller_loses_the_link() -> None:
    async def body(bench: Bench) -> None:
        await bench.greet()
        await asyncio.sleep(SILENCE_MAX_S - 0.5)
        assert bench.links.connected
        await asyncio.sleep(1.0)
        assert not bench.links.connected

    run(body)


def test_a_peer_that_never_greets_is_let_go() -> None:
    async def body(bench: Bench) -> None:
        channel = await bench.dial()
        async with asyncio.timeout(30):
            while await channel.receive() is not None:
                pass
        silent = await bench.dial()
        await silent.send(Ping(number=1))
        goodbye = await silent.receive()
        assert isinstance(goodbye, Bye)

    run(body)


def test_queries_are_answered_or_refused() -> None:
    async def body(bench: Bench) -> None:
        channel, _ = await bench.greet()
        bench.board.filled.set()
        await next_but_pings(channel)
        await channel.send(Query(number=4, topic="space", arguments={"pool": "p"}))
        assert await next_but_pings(channel) == QueryReply(number=4, body='{"asked":{"pool":"p"}}')
        await channel.send(Query(number=5, topic="weather"))
        assert await next_but_pings(channel) == QueryReply(number=5, error="no such topic")

    run(body)


def test_a_removed_node_belongs_to_no_cluster() -> None:
    async def body(bench: Bench) -> None:
        channel, _ = await bench.greet()
        await channel.send(Bye(code="removed"))
        await asyncio.sleep(1)
        assert bench.membership.uuid is None
        _, welcome = await bench.greet(cluster_uuid="other")
        assert isinstance(welcome, Welcome)

    run(body)
