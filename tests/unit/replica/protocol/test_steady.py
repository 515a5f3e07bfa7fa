"""The short way of plain writes does exactly what the events do, whatever happens around it."""

from collections import defaultdict
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bollard.replica.metadata.superblock import decode
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.commands import Channel, Cmd, WireProtocol
from bollard.replica.protocol.config import Options, PeerConfig, ResourceConfig, VolumeConfig
from bollard.replica.protocol.model import Volume
from bollard.replica.protocol.resource import Resource
from bollard.replica.protocol.states import Role
from bollard.sim.replica.cluster import MAX_PEERS
from bollard.sim.replica.disk import SimDisk, device_bytes, make_metadata
from bollard.sim.replica.shortly import shortly

BLOCK = 4096
VOLUME_BYTES = 32 << 20
EIO = 5


class Pair:
    """Nodes joined by queues of bytes; disks answer at once. `short`: the short way is gone."""

    def __init__(self, options: Options, nodes: int, *, short: bool) -> None:
        self.short = short
        self.now_s = 0.0
        self.completed: list[tuple[int, int]] = []
        self.wire: dict[tuple[int, int, Channel], bytearray] = defaultdict(bytearray)
        self.sent: dict[tuple[int, int, Channel], bytearray] = defaultdict(bytearray)
        self.ends: dict[tuple[int, int, Channel], set[int]] = defaultdict(set)
        self.taken: dict[tuple[int, int, Channel], int] = defaultdict(int)
        self.linked: set[frozenset[int]] = set()
        self.quick = 0
        self.numbers = iter(range(1, 1 << 30))
        self.disks: list[SimDisk] = []
        self.cores: list[Resource] = []
        self.held: list[tuple[int, e.Event]] = []
        for node in range(nodes):
            disk = SimDisk(device_bytes(VOLUME_BYTES, MAX_PEERS))
            make_metadata(disk, max_peers=MAX_PEERS, day0_uuid=0x1234567890ABCDE0)
            self.disks.append(disk)
            config = ResourceConfig(name="r", node_id=node, options=options)
            self.cores.append(Resource(config, partial(Random(node).getrandbits, 64)))
        for node in range(nodes):
            self.give(node, e.AddVolume(VolumeConfig(number=0, minor=1, size_bytes=VOLUME_BYTES)))
            for peer in range(nodes):
                if peer != node:
                    self.give(node, e.AddPeer(PeerConfig(node_id=peer, name=f"n{peer}")))
            self.give(node, e.Attach(next(self.numbers), 0))
            for peer in range(nodes):
                if peer != node:
                    self.give(node, e.Connect(next(self.numbers), peer))
        for low in range(nodes):
            for high in range(low + 1, nodes):
                self.link(low, high)
        self.settle()
        for _ in range(40):
            # Changes of the cluster that met each other are tried again.
            if all(peer.connected for core in self.cores for peer in core.core.peers.values()):
                break
            self.pass_time(0.5)
            self.settle()
        self.give(0, e.Promote(next(self.numbers)))
        self.settle()
        assert self.cores[0].core.role is Role.PRIMARY

    def link(self, low: int, high: int) -> None:
        self.linked.add(frozenset((low, high)))
        self.give(low, e.LinkUp(high, True))
        self.give(high, e.LinkUp(low, False))

    def cut(self, low: int, high: int) -> None:
        pair = frozenset((low, high))
        if pair not in self.linked:
            return
        self.linked.discard(pair)
        for key in list(self.wire):
            if {key[0], key[1]} == pair:
                self.wire[key].clear()
                self.taken[key] = len(self.sent[key])
        self.give(low, e.LinkDown(high, "cut"))
        self.give(high, e.LinkDown(low, "cut"))

    def give(self, node: int, event: e.Event) -> None:
        core = self.cores[node]
        events: list[e.Event] = [event]
        if self.short:
            events = shortly(core, self.disks[node], event, self.now_s, lambda action: self.act(node, action))
            self.quick += not events
        for left in events:
            for action in core.step(left, self.now_s):
                self.act(node, action)
        while self.held:
            owner, done = self.held.pop(0)
            for action in self.cores[owner].step(done, self.now_s):
                self.act(owner, action)

    def act(self, node: int, action: a.Action) -> None:
        disk = self.disks[node]
        match action:
            case a.Send(peer, channel, buffers):
                data = b"".join(buffers)
                if frozenset((node, peer)) in self.linked:
                    self.wire[node, peer, channel] += data
                    self.sent[node, peer, channel] += data
                    self.ends[node, peer, channel].add(len(self.sent[node, peer, channel]))
            case a.HangUp(peer):
                self.linked.discard(frozenset((node, peer)))
            case a.Complete(request, errno):
                self.completed.append((request, errno))
            case a.WriteDisk(tag, _, offset, data):
                if not disk.failing:
                    disk.write(offset, bytes(data))
                self.held.append((node, e.DiskDone(tag, EIO if disk.failing else 0)))
            case a.ZeroDisk(tag, _, offset, length):
                if not disk.failing:
                    disk.write(offset, bytes(length))
                self.held.append((node, e.DiskDone(tag, EIO if disk.failing else 0)))
            case a.ReadDisk(tag, _, offset, length):
                self.held.append((node, e.DiskDone(tag, 0, disk.read(offset, length))))
            case a.FlushDisk(tag, _):
                self.held.append((node, e.DiskDone(tag)))
            case a.WriteMeta(tag, _, pieces):
                for offset, piece in pieces:
                    disk.write(offset, piece)
                self.held.append((node, e.DiskDone(tag)))
            case a.OpenDisk(volume):
                self.held.append((node, attached(disk, volume)))
            case _:
                pass

    def arrive(self, source: int, target: int, channel: Channel, limit: int) -> None:
        """Some bytes get through. By events packets come one by one: a disk answers before the next one."""
        key = source, target, channel
        data = bytes(self.wire[key][:limit])
        del self.wire[key][:limit]
        while data and frozenset((source, target)) in self.linked:
            begin = self.taken[key]
            ends = sorted(end - begin for end in self.ends[key] if begin < end <= begin + len(data))
            count = ends[0] if ends else len(data)
            resource = self.cores[target]
            marks = bool(resource.receiver.absent(resource.core.volumes[0]))
            if self.short and not marks and (not begin or begin in self.ends[key]):
                # As many writes or acks as there are; what is for the rule comes alone.
                start = 0
                for end in ends:
                    if not quick(data[start:end]):
                        break
                    start = end
                count = start or count
            self.taken[key] += count
            self.give(target, e.Received(source, channel, data[:count]))
            data = data[count:]

    def settle(self) -> None:
        """Everything under way arrives."""
        for _ in range(1000):
            keys = [key for key, waiting in sorted(self.wire.items()) if waiting]
            if not keys:
                return
            for key in keys:
                self.arrive(*key, 1 << 30)
        raise AssertionError("no end")

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        for node, core in enumerate(self.cores):
            if core.deadline_s <= self.now_s:
                self.give(node, e.Tick())

    def picture(self) -> Any:
        """Everything that can be told from outside, and the books that must not differ."""
        return (
            self.completed,
            {key: bytes(data) for key, data in self.sent.items() if data},
            [{block: versions[-1] for block, versions in disk.cache.items()} for disk in self.disks],
            [core.status_record() for core in self.cores],
            [books(core) for core in self.cores],
        )


def quick(frame: bytes) -> bool:
    """A write or an acknowledgement."""
    return int.from_bytes(frame[6:8]) in {Cmd.DATA, Cmd.WRITE_ACK, Cmd.RECV_ACK}


def attached(disk: SimDisk, volume: int) -> e.Event:
    offset = disk.size_bytes - 4096 & ~4095
    raw = disk.read(offset, 4096)
    superblock = decode(raw)
    log_at = offset + superblock.al_offset_sectors * 512
    bits_at = offset + superblock.bitmap_offset_sectors * 512
    log = disk.read(log_at, superblock.al_blocks * 4096)
    size = disk.size_bytes
    return e.DiskAttached(volume, size, size, offset, raw, log, disk.read(bits_at, log_at - bits_at))


def books(resource: Resource) -> Any:
    core = resource.core
    return (
        core.dagtag,
        core.running_writes,
        (core.epoch.number, core.epoch.writes, core.epoch.local_pending, core.epoch.extents),
        [(number, sorted(epoch.peers_pending)) for number, epoch in core.epochs.items()],
        [
            (
                peer.node_id,
                sorted(peer.unacked),
                peer.sending
                and (peer.sending.number, [(place.start, place.end) for place in peer.sending.ranges]),
                [(number, len(sent.ranges)) for number, sent in peer.sent_epochs.items()],
                peer.receiving and (peer.receiving.count, peer.receiving.active, peer.receiving.volumes),
                [(device.received_bytes, device.sent_bytes) for device in peer.devices.values()],
            )
            for peer in core.peers.values()
        ],
        [volume_books(volume) for volume in core.volumes.values()],
    )


def volume_books(volume: Volume) -> Any:
    log, bitmap = volume.log, volume.bitmap
    return (
        volume.written_bytes,
        volume.busy.count,
        log and (log.active, log.held_count),
        bitmap and [bitmap.count(slot) for slot in range(MAX_PEERS)],
    )


PLACES = st.integers(0, VOLUME_BYTES // BLOCK - 17)
DEEDS = st.one_of(
    st.tuples(st.just("write"), PLACES, st.sampled_from((512, BLOCK, BLOCK, BLOCK, 16 * BLOCK))),
    st.tuples(st.just("write"), PLACES, st.just(BLOCK)),
    st.tuples(st.just("fua"), PLACES),
    st.tuples(st.just("trim"), PLACES),
    st.tuples(st.just("flush")),
    st.tuples(
        st.just("arrive"),
        st.integers(0, 2),
        st.integers(0, 2),
        st.sampled_from(list(Channel)),
        st.sampled_from((7, 40, 4136, 9000, 1 << 20)),
    ),
    st.tuples(st.just("settle")),
    st.tuples(st.just("time"), st.sampled_from((0.1, 0.3, 1.1))),
    st.tuples(st.just("cut"), st.sampled_from(((0, 1), (0, 2), (1, 2)))),
    st.tuples(st.just("mend"), st.sampled_from(((0, 1), (0, 2), (1, 2)))),
    st.tuples(st.just("break"), st.integers(0, 2)),
    st.tuples(st.just("suspend")),
    st.tuples(st.just("resume")),
)


def carry_out(pair: Pair, index: int, deed: tuple[Any, ...], nodes: int) -> None:
    request = 1_000_000 + index
    match deed:
        case ("write", block, length):
            data = bytes([index % 255 + 1]) * length
            pair.give(0, e.Request(0, request, e.Verb.WRITE, block * BLOCK, length, data))
        case ("fua", block):
            data = bytes([index % 255 + 1]) * BLOCK
            pair.give(0, e.Request(0, request, e.Verb.WRITE, block * BLOCK, BLOCK, data, True))
        case ("trim", block):
            pair.give(0, e.Request(0, request, e.Verb.TRIM, block * BLOCK, 2 * BLOCK))
        case ("flush",):
            pair.give(0, e.Request(0, request, e.Verb.FLUSH))
        case ("arrive", source, target, channel, limit) if source != target and max(source, target) < nodes:
            pair.arrive(source, target, channel, limit)
        case ("settle",):
            pair.settle()
        case ("time", seconds):
            pair.pass_time(seconds)
        case ("cut", (low, high)) if high < nodes:
            pair.cut(low, high)
        case ("mend", (low, high)) if high < nodes and frozenset((low, high)) not in pair.linked:
            pair.link(low, high)
        case ("break", node) if node < nodes:
            pair.disks[node].failing = True
        case ("suspend",):
            pair.give(0, e.SuspendIo(next(pair.numbers)))
        case ("resume",):
            pair.give(0, e.ResumeIo(next(pair.numbers)))
        case _:
            pass


def both_ways(deeds: list[tuple[Any, ...]], nodes: int, **options: Any) -> Pair:
    chosen = Options(**{"ping_interval_s": 50.0, "al_extents": 3, **options})
    rule, short = (Pair(chosen, nodes, short=way) for way in (False, True))
    assert rule.picture() == short.picture()
    for index, deed in enumerate(deeds):
        for pair in (rule, short):
            carry_out(pair, index, deed, nodes)
        assert rule.picture() == short.picture(), (index, deed)
    return short


@settings(deadline=None, max_examples=60, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    deeds=st.lists(DEEDS, max_size=40),
    nodes=st.sampled_from((1, 2, 2, 3)),
    protocol=st.sampled_from(list(WireProtocol)),
    most=st.sampled_from((2048, 20)),
)
def test_the_short_way_differs_in_nothing(
    deeds: list[tuple[Any, ...]], nodes: int, protocol: WireProtocol, most: int
) -> None:
    both_ways(deeds, nodes, protocol=protocol, max_epoch_size=most)


@pytest.mark.parametrize("nodes", [2, 3])
def test_plain_writes_go_the_short_way_on_both_sides(nodes: int) -> None:
    writes: list[tuple[Any, ...]] = [("write", block * 3, BLOCK) for block in range(20)]
    short = both_ways([*writes, ("settle",), ("time", 0.3), ("settle",)], nodes)
    assert len(short.completed) == 20
    assert short.quick >= 19, "all but the first of an epoch"


def test_a_disk_that_fails_under_a_short_write_is_given_up_and_the_write_lives_on_the_peer() -> None:
    short = both_ways(
        [("write", 1, BLOCK), ("settle",), ("break", 0), ("write", 1, BLOCK), ("settle",), ("settle",)], 2
    )
    assert short.completed[-1] == (1_000_003, 0)
    assert not short.cores[0].core.volumes[0].disk_open


def test_a_peers_disk_that_fails_under_short_writes_refuses_them() -> None:
    deeds = [("write", 1, BLOCK), ("settle",), ("break", 1), *[("write", 1, BLOCK)] * 3, ("settle",)]
    short = both_ways(deeds, 2)
    assert not short.cores[1].core.volumes[0].disk_open
    assert {errno for _, errno in short.completed} == {0}
