"""The satellite's end of the link: one controller at a time, targets in, observations out.

It decides nothing about storage: targets go to the loop as they come. Works over any `wire.link.Channel`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from bollard.domain.ids import key_of
from bollard.domain.ports import Clock
from bollard.domain.seen import Capabilities
from bollard.domain.targets import Target, TargetDelta
from bollard.runtime.channel import until_one_ends
from bollard.satellite.board import Board
from bollard.satellite.host.base import HostError
from bollard.wire import version
from bollard.wire.link import (
    PING_INTERVAL_S,
    SILENCE_MAX_S,
    AnyMessage,
    Bye,
    Channel,
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

__all__ = ["Answers", "Links", "Membership", "Work"]

GREETING_S: Final = 10.0
FIRST_REPORT_S: Final = 3.0
COALESCE_S: Final = 0.01
_log = logging.getLogger(__name__)


class Work(Protocol):
    """Where targets go."""

    def take_full(self, target: Target) -> None:
        """This is all the node should hold."""

    def take_delta(self, delta: TargetDelta) -> bool:
        """Apply a change; False when its base is not what is here."""


class Membership(Protocol):
    """Which cluster the node belongs to, over restarts."""

    def cluster(self) -> str | None:
        """The cluster's uuid; None when it never had a controller."""

    def join(self, cluster_uuid: str) -> None:
        """Belong to this cluster from now on. Raises OSError when that cannot be stored."""

    def leave(self) -> bool:
        """Belong to no cluster any more; whether it did."""


Answers = Callable[[str, dict[str, str]], Awaitable[object]]
"""Answers a Query: topic and arguments to a value for JSON; raises ValueError for unknown topics."""


class Links:
    """All links of a satellite; at most one is past its greeting."""

    def __init__(
        self,
        board: Board,
        work: Work,
        clock: Clock,
        *,
        capabilities: Callable[[], Capabilities],
        membership: Membership,
        answers: Answers,
        instance: str = "",
    ) -> None:
        self._board = board
        self._work = work
        self._clock = clock
        self._capabilities = capabilities
        self._membership = membership
        self._answers = answers
        self._instance = instance
        self._current: Channel | None = None
        self._holder: asyncio.Task[object] | None = None

    @property
    def connected(self) -> bool:
        """Whether a controller is here."""
        return self._current is not None

    async def serve(self, channel: Channel, trusted: str = "") -> None:
        """One link from Hello to its end. `trusted` not empty: why the other side is not."""
        mine = asyncio.current_task()
        try:
            if await self._greet(channel, trusted):
                await until_one_ends(self._receive(channel), self._report(channel), self._ping(channel))
        except (LinkError, OSError, TimeoutError) as error:
            _log.warning("the link is closed: %s", str(error) or "the controller was silent for too long")
            with contextlib.suppress(LinkError, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await channel.send(Bye(code="protocol", message=str(error) or "silence"))
        finally:
            if self._holder is mine:
                self._holder = self._current = None
            channel.close()

    async def close(self, reason: str) -> None:
        """Say goodbye to the controller, at stop."""
        if self._current is not None:
            with contextlib.suppress(LinkError, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._current.send(Bye(code="stopping", message=reason))
            self._current.close()

    async def _greet(self, channel: Channel, trusted: str) -> bool:
        async with asyncio.timeout(GREETING_S):
            hello = await channel.receive()
        if hello is None:
            return False
        if not isinstance(hello, Hello):
            raise LinkError(f"expected a hello, not '{type(hello).__name__}'")
        refusal = Refused(code="not-trusted", message=trusted) if trusted else self._refusal(hello)
        if refusal is None and self._membership.cluster() is None:
            try:
                self._membership.join(hello.cluster_uuid)
            except OSError as error:
                refusal = Refused(
                    code="state", message=f"the satellite's state folder is not usable: {error}"
                )
        if refusal is not None:
            _log.warning("a controller was refused: %s", refusal.message)
            await channel.send(refusal)
            return False
        if self._current is not None:
            _log.info("a newer link of the controller takes over")
            old, self._current = self._current, None
            with contextlib.suppress(LinkError, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await old.send(Bye(code="taken-over", message="a newer link of the controller took over"))
            old.close()
        self._current = channel
        self._holder = asyncio.current_task()
        await channel.send(
            Welcome(node=self._board.node, capabilities=self._capabilities(), instance=self._instance)
        )
        return True

    def _refusal(self, hello: Hello) -> Refused | None:
        if key_of(hello.node) != key_of(self._board.node):
            return Refused(
                code="wrong-node",
                message=f"this satellite is node '{self._board.node}', not '{hello.node}'",
            )
        mine = self._membership.cluster()
        if mine is not None and mine != hello.cluster_uuid:
            return Refused(
                code="other-cluster",
                message=f"node '{self._board.node}' belongs to cluster {mine}, not {hello.cluster_uuid}; "
                "'bollard-satellite leave' on the node releases it",
            )
        lacking = version.missing(hello.features)
        if lacking:
            return Refused(code="version", message=f"the controller lacks: {', '.join(lacking)}")
        return None

    async def _receive(self, channel: Channel) -> None:
        while True:
            async with asyncio.timeout(SILENCE_MAX_S):
                message = await channel.receive()
            if message is None or self._current is not channel:
                return
            answer = await self._answer(message)
            if isinstance(message, Bye):
                _log.info("the controller said goodbye: %s", message.message or message.code)
                if message.code == "removed":
                    self._membership.leave()
                return
            if answer is not None:
                await channel.send(answer)

    async def _answer(self, message: AnyMessage) -> AnyMessage | None:
        match message:
            case Ping():
                return Pong(number=message.number)
            case TargetFull():
                self._check_target(message.target.node, message.target.cluster_uuid)
                self._work.take_full(message.target)
            case TargetPart():
                self._check_target(message.delta.node, None)
                if not self._work.take_delta(message.delta):
                    return NeedFull(revision=self._board.revision)
            case Query():
                return await self._query(message)
            case Hello():
                raise LinkError("a second hello on one link")
            case _:
                pass
        return None

    def _check_target(self, node: str, cluster_uuid: str | None) -> None:
        if key_of(node) != key_of(self._board.node):
            raise LinkError(f"a target of node '{node}' was sent to node '{self._board.node}'")
        if cluster_uuid is not None and cluster_uuid != self._membership.cluster():
            raise LinkError(f"a target of another cluster ({cluster_uuid}) was sent")

    async def _query(self, query: Query) -> QueryReply:
        try:
            body = await self._answers(query.topic, query.arguments)
        except ValueError as error:
            return QueryReply(number=query.number, error=str(error))
        except HostError as error:
            return QueryReply(number=query.number, error=f"{error.message}. {error.cause}".strip())
        return QueryReply(number=query.number, body=msgspec.json.encode(body).decode())

    async def _report(self, channel: Channel) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_REPORT_S):
                await self._board.filled.wait()
        if self._current is channel:
            await channel.send(Report(observation=self._board.whole()))
        while self._current is channel:
            await self._board.wait()
            await self._clock.sleep(COALESCE_S)
            # A link that was taken over must not eat what is due to its successor.
            if self._current is channel:
                await channel.send(Report(observation=self._board.due()))

    async def _ping(self, channel: Channel) -> None:
        number = 0
        while True:
            await self._clock.sleep(PING_INTERVAL_S)
            number += 1
            await channel.send(Ping(number=number))
