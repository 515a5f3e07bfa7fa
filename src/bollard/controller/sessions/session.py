"""The link to one satellite: dial, greet, send the target and what changes of it, take reports, redial.

It sends what a node should hold and never "do X"; changes that come faster than they can be sent are
joined into one delta.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterable
from typing import Final

from bollard.controller.sessions.base import Desk, Dialer, DialError
from bollard.domain.errors import Subject, Unavailable, Unsupported
from bollard.domain.ids import Key, ResourceName, key_of
from bollard.domain.nodes import NetInterface, Node
from bollard.domain.ports import Clock
from bollard.domain.targets import TargetDelta
from bollard.planning.targets import held_back, target_for, target_pools, target_resource
from bollard.runtime.channel import until_one_ends
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
from bollard.wire.version import CONTROLLER_FEATURES, missing

BACKOFF_FIRST_S: Final = 0.25
BACKOFF_MAX_S: Final = 5.0
GREETING_S: Final = 10.0
QUERY_S: Final = 10.0
_REFUSALS: Final = {
    "wrong-node": "HOSTNAME_MISMATCH",
    "other-cluster": "OTHER_CONTROLLER",
    "busy": "OTHER_CONTROLLER",
    "version": "VERSION_MISMATCH",
    "not-trusted": "AUTHENTICATION_ERROR",
}
_log = logging.getLogger(__name__)


class Session:
    """One node's link, for as long as the node is registered."""

    def __init__(self, node: Node, desk: Desk, dialer: Dialer, *, clock: Clock, version: str) -> None:
        self.name = node.name
        self._key = node.key
        self._desk = desk
        self._dialer = dialer
        self._clock = clock
        self._version = version
        self._link: NetInterface | None = node.link()
        self._link_changed = asyncio.Event()
        self._channel: Channel | None = None
        self._features: frozenset[str] = frozenset()
        self._online = False
        self._said = ("", "")
        self._revision = 0
        """Of the target that was sent last."""
        self._due = asyncio.Event()
        self._full_due = True
        self._pools_due = False
        self._resources_due: dict[Key, None] = {}
        self._queries: dict[int, asyncio.Future[QueryReply]] = {}
        self._query_numbers = itertools.count(1)

    def touch(self, definitions: Iterable[Key | None]) -> None:
        """These resources (None: the pools) have a new target."""
        for definition in definitions:
            if definition is None:
                self._pools_due = True
            else:
                self._resources_due[definition] = None
        self._due.set()

    def resend(self) -> None:
        """The whole target may be new."""
        self._full_due = True
        self._due.set()

    def reconnect(self) -> None:
        """Cut the link if it stands, and dial at once."""
        self._say("OFFLINE", "")
        self._link_changed.set()
        if self._channel is not None:
            self._channel.close()

    def renew(self, node: Node) -> None:
        """The node's record has changed: another address means another link."""
        link = node.link()
        if link != self._link:
            self._link = link
            self._link_changed.set()
            if self._channel is not None:
                self._channel.close()

    async def ask(self, topic: str, arguments: dict[str, str]) -> str:
        """The satellite's answer to a query, JSON. Raises Unavailable or Unsupported."""
        channel = self._channel
        if channel is None:
            raise Unavailable(Subject.SATELLITE_CONNECTION, self.name, f"Node '{self.name}' is not connected")
        if "query" not in self._features:
            raise Unsupported(
                Subject.SATELLITE_CONNECTION, self.name, f"The satellite of '{self.name}' answers no queries"
            )
        number = next(self._query_numbers)
        future: asyncio.Future[QueryReply] = asyncio.get_running_loop().create_future()
        self._queries[number] = future
        try:
            async with asyncio.timeout(QUERY_S):
                await channel.send(Query(number=number, topic=topic, arguments=arguments))
                reply = await future
        except (OSError, LinkError, TimeoutError) as error:
            message = f"Node '{self.name}' did not answer"
            raise Unavailable(Subject.SATELLITE_CONNECTION, self.name, message, cause=str(error)) from error
        finally:
            self._queries.pop(number, None)
        if reply.error:
            raise Unsupported(Subject.SATELLITE_CONNECTION, self.name, f"Node '{self.name}': {reply.error}")
        return reply.body

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        failures = 0
        try:
            while True:
                link = self._link
                self._link_changed.clear()
                if link is None:
                    self._say("NO_STLT_CONN", "no network interface with a satellite port is active")
                    await self._link_changed.wait()
                    continue
                if await self._once(link):
                    failures = 0
                delay_s = min(BACKOFF_FIRST_S * 2**failures, BACKOFF_MAX_S)
                failures = min(failures + 1, 10)
                await self._pause(delay_s)
        finally:
            self._drop()

    async def _once(self, link: NetInterface) -> bool:
        """One link from dial to end; whether the node had been online."""
        self._online = False
        try:
            channel = await self._dialer.dial(self.name, link)
            self._channel = channel
            await self._greet(channel, link)
            await self._exchange(channel)
            self._say("OFFLINE", "the satellite has closed the link")
        except DialError as error:
            self._say(error.status, error.message)
        except TimeoutError:
            self._say("OFFLINE", f"nothing was heard from the satellite for {SILENCE_MAX_S:g} s")
        except (LinkError, OSError) as error:
            self._say("OFFLINE", f"the link broke: {error}")
        except Exception as error:  # noqa: BLE001  # the outermost frame of a link: others go on
            report_id = self._desk.broken(error, f"link to node {self.name}")
            self._say("FULL_SYNC_FAILED", f"an error of the controller's own, error report {report_id}")
            self._online = False
        finally:
            self._drop()
        return self._online

    def _twin_status(self, link: NetInterface) -> str | None:
        """What a satellite that is another node's means when that node is registered at the same place."""
        place = (link.address, link.satellite_port)
        links = (one.link() for one in self._desk.cluster.nodes.values() if one.key != self._key)
        same = any(one is not None and (one.address, one.satellite_port) == place for one in links)
        return "DUPLICATE_UNAME" if same else None

    async def _greet(self, channel: Channel, link: NetInterface) -> None:
        settings = self._desk.cluster.settings
        assert settings is not None, "a started controller has its settings"
        hello = Hello(
            cluster_uuid=settings.cluster_uuid,
            version=self._version,
            node=self.name,
            features=CONTROLLER_FEATURES,
        )
        async with asyncio.timeout(GREETING_S):
            await channel.send(hello)
            answer = await channel.receive()
        match answer:
            case Welcome():
                pass
            case Refused():
                status = self._twin_status(link) if answer.code == "wrong-node" else None
                raise DialError(status or _REFUSALS.get(answer.code, "OFFLINE"), answer.message)
            case None:
                raise LinkError("the satellite closed the link instead of a welcome")
            case _:
                raise LinkError(f"the satellite answered {type(answer).__name__} instead of a welcome")
        if key_of(answer.node) != self._key:
            status = self._twin_status(link) or "HOSTNAME_MISMATCH"
            raise DialError(status, f"this is the satellite of '{answer.node}'")
        lacking = missing(answer.capabilities.features)
        if lacking:
            await channel.send(Bye(code="version", message="needed: " + ", ".join(lacking)))
            raise DialError("VERSION_MISMATCH", "the satellite lacks: " + ", ".join(lacking))
        self._features = frozenset(answer.capabilities.features)
        self._desk.node_status(self.name, "CONNECTED", "", answer.capabilities)
        _log.info("node %s connected, satellite version %s", self.name, answer.capabilities.version)

    async def _exchange(self, channel: Channel) -> None:
        """Send and receive until one side ends it."""
        self.resend()
        await until_one_ends(self._receive(channel), self._push(channel), self._ping(channel))

    async def _receive(self, channel: Channel) -> None:
        while True:
            async with asyncio.timeout(SILENCE_MAX_S):
                message = await channel.receive()
            match message:
                case None:
                    return
                case Report():
                    observation = message.observation
                    if key_of(observation.node) != self._key:
                        raise LinkError(f"a report of node '{observation.node}' came from '{self.name}'")
                    if not self._online and not observation.complete:
                        raise LinkError("the first report is not complete")
                    if self._key not in self._desk.cluster.nodes:
                        return
                    await self._desk.take(observation)
                    if not self._online:
                        self._online = True
                        self._say("ONLINE", "")
                case Bye():
                    raise DialError(
                        "OFFLINE", f"the satellite said goodbye: {message.message or message.code}"
                    )
                case _:
                    await self._answer(channel, message)

    async def _answer(self, channel: Channel, message: AnyMessage) -> None:
        match message:
            case NeedFull():
                self.resend()
            case Ping():
                await channel.send(Pong(number=message.number))
            case QueryReply():
                waiting = self._queries.pop(message.number, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
            case _:
                pass

    async def _push(self, channel: Channel) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            message = self._next()
            if message is not None:
                await channel.send(message)

    def _next(self) -> AnyMessage | None:
        """The target, or what of it is due; that counts as sent then."""
        cluster, vault = self._desk.cluster, self._desk.vault
        if self._key not in cluster.nodes:
            return None
        full = self._full_due or "target-delta" not in self._features
        pools, resources = self._pools_due, list(self._resources_due)
        self._full_due = self._pools_due = False
        self._resources_due.clear()
        base, self._revision = self._revision, cluster.revision
        if full:
            return TargetFull(target=target_for(self.name, cluster, vault))
        records = {key: cluster.resources.get(key_of(key, self._key)) for key in resources}
        return TargetPart(
            delta=TargetDelta(
                node=self.name,
                base=base,
                revision=cluster.revision,
                pools=target_pools(self.name, cluster) if pools else None,
                resources=tuple(
                    target_resource(cluster, it, vault)
                    for it in records.values()
                    if it is not None and not held_back(cluster, it, vault)
                ),
                gone=tuple(ResourceName(key) for key, it in records.items() if it is None),
                tombstones=tuple(cluster.tombstones_on(self.name)),
            )
        )

    async def _ping(self, channel: Channel) -> None:
        for number in itertools.count(1):
            await self._clock.sleep(PING_INTERVAL_S)
            await channel.send(Ping(number=number))

    async def _pause(self, delay_s: float) -> None:
        """Wait before the next attempt, but not when the node has a new address."""
        pause = asyncio.ensure_future(self._clock.sleep(delay_s))
        changed = asyncio.ensure_future(self._link_changed.wait())
        try:
            await asyncio.wait((pause, changed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            changed.cancel()

    def _say(self, status: str, message: str) -> None:
        if self._key in self._desk.cluster.nodes:
            self._desk.node_status(self.name, status, message)
            if (status, message) != self._said:
                self._said = (status, message)
                _log.info("node %s is %s%s", self.name, status, f": {message}" if message else "")

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        for waiting in self._queries.values():
            if not waiting.done():
                waiting.set_exception(LinkError("the link was cut"))

    async def goodbye(self, code: str, message: str) -> None:
        """Tell the satellite that the link ends for good."""
        if self._channel is not None:
            with contextlib.suppress(LinkError, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._channel.send(Bye(code=code, message=message))
