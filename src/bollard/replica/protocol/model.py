"""The state of one resource on one node: volumes, peers, and what they know of each other. No decisions here.

Everything else in the core is functions over these records; actions go out through `Core.out`.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Final

from bollard.replica.metadata.activity_log import ActivityLog
from bollard.replica.metadata.bitmap import Bitmap
from bollard.replica.metadata.superblock import Superblock
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.codec import channel_of
from bollard.replica.protocol.commands import CONNECTION_VOLUME, Channel
from bollard.replica.protocol.config import Options, PeerConfig, ResourceConfig, VolumeConfig, parse_options
from bollard.replica.protocol.dialect import SETUP, Dialect
from bollard.replica.protocol.events import Buffer, Request
from bollard.replica.protocol.exclusion import Exclusion
from bollard.replica.protocol.frames import FrameReader, encode_frame
from bollard.replica.protocol.states import ConnState, DiskState, ReplState, Role, StateWord
from bollard.replica.protocol.uuids import UNSET

if TYPE_CHECKING:
    from bollard.replica.protocol.bitmap_wire import BitmapReceiver
    from bollard.replica.protocol.generations import Generations
    from bollard.replica.protocol.meta_writer import MetaWriter
    from bollard.replica.protocol.outcomes import Basis, Decision, LostPrimary, Side
    from bollard.replica.protocol.pulling import Target
    from bollard.replica.protocol.reads import RemoteRead
    from bollard.replica.protocol.receiver import ReceivedEpoch
    from bollard.replica.protocol.verify import Run
    from bollard.replica.protocol.writes import FlushOp, Overtaken, Place, QuickOp, WriteOp

EIO = 5
EBUSY = 16
EINVAL = 22
EROFS = 30

DiskThen = Callable[[int, Buffer], None]


class Timer:
    """A pending call; `cancel` is final and may be repeated."""

    __slots__ = ("call", "when_s")

    def __init__(self, when_s: float, call: Callable[[], object]) -> None:
        self.when_s = when_s
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class SentEpoch:
    """What one peer was sent of one epoch: places of writes, until the peer says they are durable."""

    __slots__ = ("number", "ranges", "size_bytes")

    def __init__(self, number: int) -> None:
        self.number = number
        self.size_bytes = 0
        self.ranges: list[Place] = []


class Epoch:
    """Writes that may reach a peer's platter in any order. Holds the activity log extents they are in."""

    __slots__ = (
        "closed", "dagtag", "extents", "local_pending", "logs", "number", "peers_pending", "refused",
        "settled", "stored", "writes",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = False
        self.writes = 0
        self.local_pending = 0
        self.peers_pending: set[int] = set()
        self.extents: dict[int, set[int]] = {}
        self.logs: dict[int, ActivityLog] = {}
        self.dagtag = 0
        self.stored = 0
        self.refused = 0
        self.settled = False


class Route:
    """Where the writes of a volume go now.

    `send` get data, `tell` only places; `slots` are the bitmap slots to mark; `flags` the data flags by node.
    `numbered`: the writes go to several nodes, which have to know their place in our stream.
    """

    __slots__ = ("flags", "numbered", "send", "slots", "tell")

    def __init__(
        self,
        send: "list[PeerDevice]",
        tell: "list[PeerDevice]",
        slots: tuple[int, ...],
        flags: dict[int, int],
    ) -> None:
        self.send = send
        self.tell = tell
        self.slots = slots
        self.flags = flags
        self.numbered = len(send) + len(tell) > 1 or bool(slots and send)


class PeerDevice:
    """One volume as seen on one connection. Changes of `repl` and `disk` void the volume's routes."""

    def __init__(self, peer: "Peer", volume: "Volume") -> None:
        self.peer = peer
        self.volume = volume
        self._repl = ReplState.OFF
        self._disk = DiskState.UNKNOWN
        self.uuids: p.Uuids110 | None = None
        self.current_uuid = 0
        self.sizes: p.Sizes | None = None
        self.sync_param: p.SyncParam89 | None = None
        self.wire_state: StateWord | None = None
        self.got_state = False
        self.sent_side: Side | None = None
        self.was_connected = False
        self.plan: Decision | None = None
        self.parked: Basis | None = None
        self.other_primaries = 0
        self.equal = False
        self.patient_until_s = 0.0
        self.resync: Target | None = None
        self.bitmap_in: BitmapReceiver | None = None
        self.verify: Run | None = None
        self.out_of_sync_total_bits = 0
        self.resynced_bytes = 0
        self.verifies_done = 0
        self.last_resync_bytes = 0
        self.verify_out_of_sync_bytes = 0
        self.received_bytes = 0
        self.sent_bytes = 0

    @property
    def repl(self) -> ReplState:
        return self._repl

    @repl.setter
    def repl(self, value: ReplState) -> None:
        self._repl = value
        self.volume.reroute()

    @property
    def disk(self) -> DiskState:
        """The peer's disk as far as we know."""
        return self._disk

    @disk.setter
    def disk(self, value: DiskState) -> None:
        self._disk = value
        self.volume.reroute()

    @property
    def slot(self) -> int:
        """The bitmap slot of the peer, or -1 when there is none (either side diskless)."""
        superblock = self.volume.superblock
        return superblock.peers[self.peer.node_id].bitmap_index if superblock is not None else -1


class Volume:
    """One volume here, with or without a disk."""

    def __init__(self, config: VolumeConfig) -> None:
        self.configure(config)
        self.number = config.number
        self.disk = DiskState.DISKLESS
        self.disk_open = False
        self.superblock: Superblock | None = None
        self.superblock_changed = False
        self.v08 = False
        self.bitmap: Bitmap | None = None
        self.log: ActivityLog | None = None
        self.writer: MetaWriter | None = None
        self.superblock_offset_bytes = 0
        self.backing_bytes = 0
        self.meta_bytes = 0
        self.internal = True
        self.size_bytes = 0
        self.exposed_uuid = 0
        self.promised_uuid = 0
        """While our disk is not UpToDate: the generation of those with quorum whom we gave our vote."""
        self.quorum = True
        self.had_quorum = False
        self.restored_alone = False
        self.doubt = False
        self.no_data = False
        self.busy = Exclusion()
        self.route: Route | None = None
        self.absent: tuple[int, ...] | None = None
        self.thirds: dict[int, bool] = {}
        self.need_new_uuid = False
        self.urgent_new_uuid = False
        self.force_new_uuid = False
        self.rotating = 0
        self.before_rotation: Generations | None = None
        self.crashed_primary = False
        self.unsaved_bits = False
        self.unsaved_marks = False
        self.unsettled = False
        self.torn = False
        self.lost_quorum_as_primary = False
        self.held_completions: list[WriteOp | QuickOp | FlushOp] = []
        self.attach_tag: int | None = None
        self.openers = 0
        self.writers = 0
        self.read_bytes = 0
        self.written_bytes = 0
        self.al_writes = 0
        self.bm_writes = 0

    def configure(self, config: VolumeConfig) -> None:
        """Another configuration of the same volume."""
        self.config = config
        own, named = parse_options(config.options), {name for name, _ in config.options}
        self.on_io_error = own.on_io_error if "on-io-error" in named else None
        thin = "rs-discard-granularity" in named
        self.discard_granularity_bytes = own.rs_discard_granularity_bytes if thin else None

    def trust(self, disk: DiskState) -> None:
        """The local data are as good as this from now on; UpToDate, they have what our vote was given for."""
        self.disk = disk
        if disk == DiskState.UP_TO_DATE:
            self.promised_uuid = UNSET

    def reroute(self) -> None:
        """Who gets writes may have changed: work it out anew."""
        self.route = self.absent = None
        self.thirds.clear()


class Phase:
    """How far the opening of a link has come."""

    DOWN: Final = 0
    FEATURES: Final = 1
    AUTH: Final = 2
    PROTOCOL: Final = 3
    READY: Final = 4
    CONNECTED: Final = 5


class Peer:
    """One other node, and the connection to it."""

    def __init__(self, config: PeerConfig) -> None:
        self.config = config
        self.node_id = config.node_id
        self.wanted = False
        self._cstate = ConnState.STAND_ALONE
        self.role = Role.UNKNOWN
        self.devices: dict[int, PeerDevice] = {}
        self.discard_my_data = False
        self.link = 0
        self.sending: SentEpoch | None = None
        self.sent_epochs: OrderedDict[int, SentEpoch] = OrderedDict()
        self.unacked: dict[int, WriteOp | QuickOp] = {}
        self.reads: dict[int, tuple[RemoteRead, int]] = {}
        self.stream_dagtag = 0
        self.unconfirmed: deque[ReceivedEpoch] = deque()
        self.awaited: list[tuple[int, Callable[[], None]]] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything that belongs to one link."""
        assert not self.unacked, "a lost link was settled"
        assert not self.sent_epochs, "a lost link was settled"
        self.dialect: Dialect = SETUP
        self.readers = {channel: FrameReader(channel=channel) for channel in Channel}
        self.phase: int = Phase.DOWN
        self.resolve_conflicts = False
        self.native84 = False
        self.challenge = b""
        self.integrity_alg = ""
        self.handshake_sent = False
        self.sent_dagtag = -1
        self.received_id = 0
        self.sent_id = 0
        self.overtaken: list[Overtaken] = []
        self.told_lost: LostPrimary | None = None
        self.receiving: ReceivedEpoch | None = None
        self.received_epochs: deque[ReceivedEpoch] = deque()
        self.last_heard_s = 0.0
        self.timer: Timer | None = None
        self.ping_waiters: list[Callable[[bool], None]] = []
        self.oldest = [(0, 0.0)] * 3
        for device in self.devices.values():
            device.got_state = False
            device.wire_state = None
            device.uuids = None
            device.sizes = None
            device.sync_param = None
            device.plan = None
            device.bitmap_in = None

    @property
    def cstate(self) -> ConnState:
        return self._cstate

    @cstate.setter
    def cstate(self, value: ConnState) -> None:
        self._cstate = value
        for device in self.devices.values():
            device.volume.reroute()

    @property
    def connected(self) -> bool:
        return self._cstate is ConnState.CONNECTED


class Core:
    """One resource on one node. `draw_u64` gives random 64-bit numbers."""

    def __init__(self, config: ResourceConfig, draw_u64: Callable[[], int]) -> None:
        self.name = config.name
        self.node_id = config.node_id
        self.options: Options = config.options
        self.draw_u64 = draw_u64
        self.now_s = 0.0
        self.out: list[a.Action] = []
        self.volumes: dict[int, Volume] = {}
        self.peers: dict[int, Peer] = {}
        self.role = Role.SECONDARY
        self.auto_promoted = False
        self.suspended_user = False
        self.fencing: set[int] = set()
        self.fail_io = False
        self.stopping = False
        self.epoch = Epoch(1)
        self.epochs: OrderedDict[int, Epoch] = OrderedDict()
        self.epoch_timer: Timer | None = None
        self.held: deque[Request] = deque()
        self.running_writes = 0
        self.on_quiet: list[Callable[[], None]] = []
        self.flushes: list[FlushOp] = []
        self.retries: list[Request] = []
        self.reconsidering = False
        self.renegotiating: set[int] = set()
        self.starting_primary = False
        self.dagtag = 0
        self.lost: LostPrimary | None = None
        self.members = 0
        self.changed = True
        self._tags = count(1)
        self.last_op = 0
        self.disk_waiting: dict[int, tuple[Volume, DiskThen]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_count = count()

    # -- acting

    def log(self, level: str, text: str) -> None:
        self.out.append(a.Log(level, text))

    def next_op(self) -> int:
        """A number for a request on the wire; unique for the life of the process."""
        self.last_op += 1
        return self.last_op

    def disk_tag(self, volume: Volume, then: DiskThen) -> int:
        """A tag for a disk action; `then(errno, data)` comes with its DiskDone, or EIO when the disk goes."""
        tag = next(self._tags)
        self.disk_waiting[tag] = (volume, then)
        return tag

    def send(self, peer: Peer, packet: p.Packet, volume: int = CONNECTION_VOLUME) -> None:
        """Queue a packet; silently dropped when the link is down."""
        if peer.phase == Phase.DOWN:
            return
        frame = encode_frame(packet, peer.dialect, volume)
        self.out.append(a.Send(peer.node_id, channel_of(packet), tuple(frame)))

    # -- time

    def after(self, delay_s: float, call: Callable[[], object]) -> Timer:
        """Call once, `delay_s` from now; the result is of no interest."""
        timer = Timer(self.now_s + delay_s, call)
        heapq.heappush(self._timers, (timer.when_s, next(self._timer_count), timer))
        return timer

    @property
    def deadline_s(self) -> float:
        timers = self._timers
        while timers and timers[0][2].call is None:
            heapq.heappop(timers)
        return timers[0][0] if timers else float("inf")

    def run_timers(self) -> None:
        while self.deadline_s <= self.now_s:
            timer = heapq.heappop(self._timers)[2]
            call, timer.call = timer.call, None
            assert call is not None
            call()

    # -- questions

    def connected_peers(self) -> Iterator[Peer]:
        return (peer for peer in self.peers.values() if peer.connected)

    def devices(self, volume: Volume) -> Iterator[PeerDevice]:
        """The volume on each connection."""
        return (peer.devices[volume.number] for peer in self.peers.values())

    def diskful_peers(self) -> Iterator[Peer]:
        return (peer for peer in self.peers.values() if not peer.config.diskless)

    def primary_peers(self) -> list[Peer]:
        return [peer for peer in self.connected_peers() if peer.role == Role.PRIMARY]
