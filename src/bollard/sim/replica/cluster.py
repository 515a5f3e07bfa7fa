"""Simulated nodes that carry out the core's actions: virtual time, one event at a time, one seed."""

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

from bollard.domain.units import SECTOR_BYTES
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.superblock import decode
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import Options, PeerConfig, ResourceConfig, VolumeConfig
from bollard.replica.protocol.resource import Resource
from bollard.sim.replica.disk import SimDisk, device_bytes, make_metadata, meta_bytes
from bollard.sim.replica.network import Network
from bollard.sim.replica.shortly import shortly

MAX_PEERS = 3
EIO = 5


class SimNode:
    """A machine: its disk outlives crashes, its engine does not."""

    def __init__(self, node_id: int, disk: SimDisk | None, meta: SimDisk | None = None) -> None:
        """`meta`: the disk of the metadata, where it is not on `disk`."""
        self.node_id = node_id
        self.disk = disk
        self.meta = meta
        self.resource: Resource | None = None
        self.boot = 0
        self.disk_boot = 0
        self.tick_s = float("inf")
        self.crashes = 0


class Cluster:
    """Some nodes with a disk each, then `witnesses` without."""

    def __init__(
        self,
        seed: int,
        options: Options,
        *,
        diskful: int = 2,
        witnesses: int = 1,
        volume_bytes: int = 16 << 20,
        day0: bool = True,
        short_way: bool = False,
        external: bool = False,
    ) -> None:
        """`short_way`: plain writes and their acks go the core's short way, where it takes them.

        `external`: metadata is on disks of its own, whose caches lose other writes than those of the data.
        """
        self.short_way = short_way
        self.random = Random(seed)  # noqa: S311  repeatable on purpose
        self.options = options
        self.volume_bytes = volume_bytes
        self.now_s = 0.0
        self.trace: list[str] = []
        self.tracing = False
        self.network = Network(self)
        self.answers: dict[int, a.Answer] = {}
        self.held_resyncs: list[Callable[[], None]] | None = None
        """With a list resyncs stand still: their requests are kept in it as calls that send them."""
        self.on_complete: Callable[[int, a.Complete], None] = lambda _node, _action: None
        self.on_fence: Callable[[int, int], None] = lambda _node, _peer: None
        self.on_call: Callable[[int, a.Call], int] = lambda _node, _call: 0
        """A handler that is run: its exit code."""
        self.on_step: Callable[[SimNode], None] = lambda _node: None
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._tags = count(1)
        self.external = external
        size = volume_bytes if external else device_bytes(volume_bytes, MAX_PEERS)
        self.nodes: list[SimNode] = []
        for node_id in range(diskful + witnesses):
            node = SimNode(node_id, SimDisk(size) if node_id < diskful else None)
            self._format(node, 0x1234567890ABCDE0 if day0 else None)
            self.nodes.append(node)

    def _format(self, node: SimNode, day0_uuid: int | None) -> None:
        if node.disk is None:
            return
        if self.external:
            node.meta = SimDisk(meta_bytes(self.volume_bytes, MAX_PEERS))
        disk = node.meta or node.disk
        make_metadata(disk, max_peers=MAX_PEERS, day0_uuid=day0_uuid, external=self.external)

    # -- time

    def delay_s(self) -> float:
        """A delay of the network, mostly short."""
        short = self.random.random() * 0.002
        return short if self.random.random() < 0.95 else short * 40

    def at(self, delay_s: float, call: Callable[[], None]) -> None:
        self.at_time(self.now_s + delay_s, call)

    def at_time(self, when_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when_s, next(self._order), call))

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.now_s + seconds
        while self._queue and self._queue[0][0] <= end:
            when, _, call = heapq.heappop(self._queue)
            self.now_s = max(self.now_s, when)
            call()
        self.now_s = end

    def run_until(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Let time pass until something holds; False when it did not within the limit."""
        end = self.now_s + limit_s
        while not condition():
            if not self._queue or self._queue[0][0] > end:
                self.now_s = end
                return condition()
            when, _, call = heapq.heappop(self._queue)
            self.now_s = max(self.now_s, when)
            call()
        return True

    # -- nodes

    def start(self, node_id: int) -> None:
        """Boot: configure, attach, connect."""
        node = self.nodes[node_id]
        assert node.resource is None
        node.boot += 1
        node.resource = Resource(
            ResourceConfig(name="r0", node_id=node_id, options=self.options),
            lambda: self.random.getrandbits(64),
        )
        node.tick_s = float("inf")
        diskless = node.disk is None
        self.deliver(
            node_id,
            e.AddVolume(VolumeConfig(number=0, minor=1000, size_bytes=self.volume_bytes, diskless=diskless)),
        )
        for peer in self.nodes:
            if peer.node_id != node_id:
                name = f"n{peer.node_id}"
                config = PeerConfig(node_id=peer.node_id, name=name, diskless=peer.disk is None)
                self.deliver(node_id, e.AddPeer(config))
        if not diskless:
            self.command(node_id, lambda tag: e.Attach(tag, 0))
        self.command(node_id, e.Connect)

    def crash(self, node_id: int) -> None:
        """Power loss."""
        node = self.nodes[node_id]
        if node.resource is None:
            return
        self.note(f"crash {node_id}")
        node.resource = None
        node.boot += 1
        node.disk_boot += 1
        node.crashes += 1
        self.network.crashed(node_id)
        if node.disk is not None:
            node.disk.crash(self.random, self.volume_bytes)
        if node.meta is not None:
            node.meta.crash(self.random, 0)

    def replace_disk(self, node_id: int) -> None:
        """A new, empty disk with fresh metadata; the running engine is told to attach it."""
        node = self.nodes[node_id]
        assert node.disk is not None
        self.note(f"new disk in {node_id}")
        node.disk = SimDisk(node.disk.size_bytes)
        node.disk_boot += 1
        self._format(node, None)
        self.command(node_id, lambda tag: e.Attach(tag, 0))

    def alive(self, node_id: int) -> bool:
        return self.nodes[node_id].resource is not None

    def command(self, node_id: int, make: Callable[[int], e.Event]) -> int:
        """Give a command; its Answer will be in `answers` under the returned tag."""
        tag = next(self._tags)
        self.deliver(node_id, make(tag))
        return tag

    def deliver(self, node_id: int, event: e.Event) -> None:
        """One step of one engine, at the present time."""
        node = self.nodes[node_id]
        if node.resource is None:
            return
        if self.tracing:
            self.note(f"n{node_id} <- {_short(event)}")
        resource, boot = node.resource, node.boot
        events = [event]
        if self.short_way:
            events = shortly(resource, node.disk, event, self.now_s, lambda action: self._act(node, action))
        for left in events:
            for action in resource.step(left, self.now_s):
                self._act(node, action)
                if node.boot != boot:
                    return
        deadline = resource.deadline_s
        if deadline < node.tick_s:
            node.tick_s = deadline
            self.at_time(max(deadline, self.now_s), lambda: self._tick(node, boot, deadline))
        self.on_step(node)

    def _tick(self, node: SimNode, boot: int, planned: float) -> None:
        if node.boot != boot or node.tick_s != planned:
            return
        node.tick_s = float("inf")
        self.deliver(node.node_id, e.Tick())

    def note(self, text: str) -> None:
        self.trace.append(f"{self.now_s:.6f} {text}")

    # -- actions

    def _act(self, node: SimNode, action: a.Action) -> None:
        match action:
            case a.Send(peer, channel, buffers):
                self.network.send(node.node_id, peer, channel, b"".join(buffers))
            case a.Dial(peer, delay_s):
                self.network.dial(node.node_id, peer, delay_s)
            case a.HangUp(peer):
                self.network.hang_up(node.node_id, peer)
            case a.Complete():
                self.on_complete(node.node_id, action)
            case a.Fence(peer):
                self.on_fence(node.node_id, peer)
            case a.Call():
                self._call(node, action)
            case a.Answer(tag):
                self.answers[tag] = action
            case a.OpenDisk(volume):
                self._open(node, volume)
            case a.CloseDisk():
                node.disk_boot += 1
            case a.MetadataAt(_, offset) if node.disk is not None:
                node.disk.metadata_at = offset
            case a.Log(level, text):
                if self.tracing or level != "info":
                    self.note(f"n{node.node_id} {level}: {text}")
            case a.ReadDisk() | a.WriteDisk() | a.ZeroDisk() | a.FlushDisk() | a.WriteMeta():
                self._disk(node, action)
            case _:
                pass

    def _call(self, node: SimNode, action: a.Call) -> None:
        boot, code = node.boot, self.on_call(node.node_id, action)

        def ended() -> None:
            if node.boot == boot:
                self.deliver(node.node_id, e.CallDone(action.tag, code))

        self.at(self.random.random() * 0.05, ended)

    def _open(self, node: SimNode, volume: int) -> None:
        disk = node.disk
        assert disk is not None
        boot = node.boot

        def opened() -> None:
            if node.boot != boot:
                return
            if disk.failing:
                self.deliver(node.node_id, e.DiskOpenFailed(volume, "the disk does not answer"))
                return
            if node.meta is not None:
                self.deliver(node.node_id, _attached(volume, disk, node.meta, 0, internal=False))
                return
            offset = disk.size_bytes - 4096 & ~4095
            raw = disk.read(offset, 4096)
            try:
                decode(raw)
            except MetadataError:
                # The disk has grown, the volume not yet: as a real node remembers where its metadata is.
                offset = disk.metadata_at
            disk.metadata_at = offset
            self.deliver(node.node_id, _attached(volume, disk, disk, offset, internal=True))

        self.at(self.random.random() * 0.01, opened)

    def _disk(
        self, node: SimNode, action: a.ReadDisk | a.WriteDisk | a.ZeroDisk | a.FlushDisk | a.WriteMeta
    ) -> None:
        disk = node.disk
        assert disk is not None
        boot, disk_boot = node.boot, node.disk_boot
        covered = disk.cached_blocks() if isinstance(action, a.FlushDisk | a.WriteMeta) else {}
        delay = self.random.random() * 0.003
        if isinstance(action, a.WriteMeta):
            self.at(delay / 2, lambda: self._meta(node, (boot, disk_boot), action, covered, delay / 2))
            return

        def done() -> None:
            if node.boot != boot:
                return
            if disk.stalled:
                self.at(0.1, done)
                return
            errno, data = self._perform(disk, action, covered)
            if node.disk_boot == disk_boot:
                self.deliver(node.node_id, e.DiskDone(action.tag, errno, data))

        self.at(delay, done)

    def _meta(
        self,
        node: SimNode,
        boots: tuple[int, int],
        action: a.WriteMeta,
        covered: dict[int, int],
        delay_s: float,
    ) -> None:
        disk = node.meta or node.disk
        boot, disk_boot = boots
        if node.boot != boot or disk is None or node.disk is None:
            return
        if node.disk.failing:
            self.deliver(node.node_id, e.DiskDone(action.tag, EIO))
            return
        if action.flush_data:
            node.disk.harden(covered)
        for offset, data in action.pieces:
            disk.write(offset, data)

        def done() -> None:
            if node.boot != boot:
                return
            for offset, data in action.pieces:
                blocks = range(offset // 4096, (offset + len(data) - 1) // 4096 + 1)
                disk.harden(dict.fromkeys(blocks, 1 << 30))
            if node.disk_boot == disk_boot:
                self.deliver(node.node_id, e.DiskDone(action.tag))

        self.at(delay_s, done)

    @staticmethod
    def _perform(disk: SimDisk, action: a.Action, covered: dict[int, int]) -> tuple[int, bytes]:
        if disk.failing or (
            isinstance(action, a.ReadDisk | a.WriteDisk | a.ZeroDisk) and disk.is_bad(*_range(action))
        ):
            return EIO, b""
        match action:
            case a.ReadDisk(_, _, offset, length):
                return 0, disk.read(offset, length)
            case a.WriteDisk(_, _, offset, data, fua):
                disk.write(offset, data)
            case a.ZeroDisk(_, _, offset, length, _, fua):
                data = bytes(length)
                disk.write(offset, data)
            case _:
                disk.harden(covered)
                return 0, b""
        if fua:
            blocks = range(offset // 4096, (offset + len(data) - 1) // 4096 + 1)
            disk.harden(dict.fromkeys(blocks, 1 << 30))
        return 0, b""


def _attached(volume: int, disk: SimDisk, meta: SimDisk, offset: int, *, internal: bool) -> e.DiskAttached:
    """All that is read when a disk is attached."""
    raw = meta.read(offset, 4096)
    superblock = decode(raw)
    log_at = offset + superblock.al_offset_sectors * SECTOR_BYTES
    bits_at = offset + superblock.bitmap_offset_sectors * SECTOR_BYTES
    log = meta.read(log_at, superblock.al_blocks * 4096)
    bits = meta.read(bits_at, superblock.bitmap_pages * 4096)
    return e.DiskAttached(volume, disk.size_bytes, meta.size_bytes, offset, raw, log, bits, internal=internal)


def _range(action: a.ReadDisk | a.WriteDisk | a.ZeroDisk) -> tuple[int, int]:
    length = len(action.data) if isinstance(action, a.WriteDisk) else action.length_bytes
    return action.offset_bytes, length


def _short(event: e.Event) -> str:
    if isinstance(event, e.Received):
        return f"Received({event.peer}, {event.channel}, {bytes(event.data[4:8]).hex()} {len(event.data)})"
    if isinstance(event, e.DiskAttached):
        return "DiskAttached"
    text = repr(event)
    return text if len(text) < 160 else text[:157] + "..."
