"""Stand-ins for the service's tests: a satellite that speaks wire/link, and a planner of few words."""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import AsyncIterator, Callable

import msgspec

from bollard.domain import commands
from bollard.domain.answers import Decision, Entry, Operation, Severity, Wait
from bollard.domain.cluster import Drop, Put, Record, drop
from bollard.domain.commands import Command
from bollard.domain.errors import Exists, Subject
from bollard.domain.ids import DEFAULT_GROUP, GroupName, NetIfName, NodeName, ResourceName, Uuid, key_of
from bollard.domain.layers import ProviderKind
from bollard.domain.nodes import Encryption, NetInterface, Node, StoragePool
from bollard.domain.ports import Draw
from bollard.domain.resources import (
    ControllerSettings,
    KeyValueStore,
    Resource,
    ResourceDefinition,
    ResourceGroup,
    Tombstone,
    VolumeDefinition,
    VolumeOnNode,
)
from bollard.domain.seen import Capabilities, Observation, Problem, SeenPool, SeenResource, SeenVolume
from bollard.domain.targets import Target, TargetResource
from bollard.planning.world import World
from bollard.wire.link import (
    FRAME_BYTES_MAX,
    AnyMessage,
    FrameReader,
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
    decode,
    encode,
)
from bollard.wire.version import SATELLITE_FEATURES


class CountingDraw:
    """domain.ports.Draw, the same every time."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def uuid(self) -> Uuid:
        return Uuid(f"uuid-{next(self._numbers)}")

    def hex16(self) -> str:
        return f"{next(self._numbers) + 100:016X}"

    def secret(self) -> str:
        return f"secret-{next(self._numbers)}"


def initial(draw: Draw) -> list[Record]:
    return [ControllerSettings(draw.uuid()), ResourceGroup(DEFAULT_GROUP, draw.uuid())]


def entry(operation: Operation, subject: Subject, name: str) -> Entry:
    return Entry(Severity.SUCCESS, operation, subject, f"{subject} {name}", refs={"name": name})


def decide(command: Command, world: World) -> Decision:
    """A planner of few words."""
    cluster, draw = world.cluster, world.draw
    match command:
        case commands.CreateNode(name=name, net_interfaces=given):
            if key_of(name) in cluster.nodes:
                raise Exists(Subject.NODE, name, f"Node '{name}' exists")
            net_ifs = tuple(
                NetInterface(
                    NetIfName(it.name),
                    it.address,
                    draw.uuid(),
                    it.satellite_port,
                    Encryption(it.satellite_encryption or "PLAIN"),
                )
                for it in given
            )
            active = net_ifs[0].name if net_ifs else None
            node = Node(NodeName(name), draw.uuid(), net_interfaces=net_ifs, active_net_if=active)
            return Decision(
                (Put(node),),
                (entry(Operation.CREATE, Subject.NODE, name),),
                (Wait(name),) if net_ifs else (),
            )
        case commands.DeleteNode(node=name):
            return Decision((drop(cluster.nodes[key_of(name)]),))
        case commands.ModifyNetInterface(node=name, satellite_port=port):
            node = cluster.nodes[key_of(name)]
            moved = msgspec.structs.replace(node.net_interfaces[0], satellite_port=port)
            return Decision((Put(msgspec.structs.replace(node, net_interfaces=(moved,))),))
        case commands.CreatePool(node=name, name=pool_name):
            pool = StoragePool(NodeName(name), pool_name, draw.uuid(), ProviderKind.FILE_THIN)
            return Decision(
                (Put(pool),),
                (entry(Operation.CREATE, Subject.POOL, pool_name),),
                (Wait(name, pool=pool_name),),
                undo_if_failed=(drop(pool),),
            )
        case _:
            return decide_resources(command, world)


def decide_resources(command: Command, world: World) -> Decision:
    """The other half of the planner."""
    cluster, draw = world.cluster, world.draw
    match command:
        case commands.CreateDefinition(name=name):
            volume = VolumeDefinition(0, draw.uuid(), 1024)
            definition = ResourceDefinition(
                ResourceName(name), draw.uuid(), GroupName(command.group or DEFAULT_GROUP), volumes=(volume,)
            )
            return Decision((Put(definition),), (entry(Operation.CREATE, Subject.RESOURCE_DEFINITION, name),))
        case commands.CreateResources(definition=name, resources=given):
            made = [
                Resource(
                    ResourceName(name),
                    NodeName(it.node),
                    draw.uuid(),
                    volumes=(VolumeOnNode(0, draw.uuid(), "p"),),
                )
                for it in given
            ]
            return Decision(
                tuple(Put(it) for it in made),
                (entry(Operation.CREATE, Subject.RESOURCE, name),),
                tuple(Wait(it.node, resource=name, ready=True) for it in made),
            )
        case commands.DeleteResource(definition=name, node=on):
            resource = cluster.resources[key_of(name, on)]
            stone = Tombstone(resource.node, resource.definition, resource.uuid, resource.volumes)
            return Decision(
                (drop(resource), Put(stone)),
                (entry(Operation.DELETE, Subject.RESOURCE, name),),
                (Wait(on, resource=name),),
            )
        case commands.ModifyResource(definition=name, node=on):
            # Touches nothing of what it waits for.
            return Decision((Put(KeyValueStore("aside")),), (), (Wait(on, resource=name),))
        case commands.ModifyController():
            raise AssertionError("a planted bug")
        case commands.ModifyGroup():
            return Decision((Drop("no such kind", key_of("x")),))
        case commands.Tick():
            done = [
                drop(stone)
                for stone in cluster.tombstones.values()
                if stone.resource_uuid in world.observed.node(stone.node).removed
            ]
            return Decision(tuple(done))
        case _:
            raise AssertionError(command)


class FakeSatellite:
    """A satellite of few words on a loopback port: it does at once what its target says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.features: tuple[str, ...] = SATELLITE_FEATURES
        self.refusal: Refused | None = None
        self.problem: Problem | None = None
        self.mute = False
        """Take targets, answer pings, but report nothing more."""
        self.deaf = False
        """Answer nothing at all after the welcome."""
        self.forgetful = False
        """Ask for the whole at each delta."""
        self.garbage: bytes | None = None
        """Sent instead of a welcome."""
        self.messages: list[AnyMessage] = []
        self.target: Target | None = None
        self.links = 0
        self.port = 0
        self.disk_state = "UpToDate"
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port or self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()
        if self._handlers:
            await asyncio.wait(self._handlers)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        self.links += 1
        frames = FrameReader(FRAME_BYTES_MAX)
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                frames.feed(data)
                while (payload := frames.next()) is not None:
                    message = decode(payload)
                    if message is not None:
                        for answer in self._answers(message):
                            writer.write(answer if isinstance(answer, bytes) else encode(answer))
                        await writer.drain()
        writer.close()

    def _answers(self, message: AnyMessage) -> list[AnyMessage | bytes]:
        self.messages.append(message)
        match message:
            case Hello():
                if self.garbage is not None:
                    return [self.garbage]
                if self.refusal is not None:
                    return [self.refusal]
                return [Welcome(node=self.name, capabilities=Capabilities("9.9", features=self.features))]
            case _ if self.deaf:
                return []
            case Ping():
                return [Pong(number=message.number)]
            case TargetFull(target=target):
                self.target = target
                return self._report(complete=True, named=target.resources)
            case TargetPart():
                return self._take(message)
            case Query():
                return [QueryReply(number=message.number, body='"' + message.topic + '"')]
            case _:
                return []

    def _take(self, message: TargetPart) -> list[AnyMessage | bytes]:
        delta, target = message.delta, self.target
        assert target is not None
        if delta.base != target.revision or self.forgetful:
            return [NeedFull(revision=target.revision)]
        changed = {it.key: it for it in delta.resources}
        gone = {key_of(name) for name in delta.gone}
        kept = [it for it in target.resources if it.key not in changed and it.key not in gone]
        self.target = msgspec.structs.replace(
            target,
            revision=delta.revision,
            pools=target.pools if delta.pools is None else delta.pools,
            resources=(*kept, *delta.resources),
            tombstones=target.tombstones if delta.tombstones is None else delta.tombstones,
        )
        return self._report(complete=False, named=delta.resources, gone=tuple(delta.gone))

    def _report(
        self, *, complete: bool, named: tuple[TargetResource, ...], gone: tuple[ResourceName, ...] = ()
    ) -> list[AnyMessage | bytes]:
        target = self.target
        assert target is not None
        if self.mute and not complete:
            return []
        return [
            Report(
                observation=Observation(
                    NodeName(self.name),
                    complete=complete,
                    revision=target.revision,
                    pools=tuple(
                        SeenPool(it.name, it.uuid, 10, 20, problem=self.problem) for it in target.pools
                    ),
                    resources=tuple(self._seen(it, target.revision) for it in named),
                    gone=gone,
                    removed=tuple(it.resource_uuid for it in target.tombstones),
                )
            )
        ]

    def _seen(self, resource: TargetResource, revision: int) -> SeenResource:
        volumes = tuple(SeenVolume(it.number, disk_state=self.disk_state) for it in resource.volumes)
        return SeenResource(
            resource.name, resource.uuid, revision, settled=True, volumes=volumes, problem=self.problem
        )


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for a condition of this loop."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # any condition, not one that tells
            await asyncio.sleep(0.002)


async def first(stream: AsyncIterator[object], kind: type) -> object:
    """The next event of a kind."""
    async with asyncio.timeout(10):
        async for event in stream:
            if isinstance(event, kind):
                return event
    raise AssertionError("the stream ended")
