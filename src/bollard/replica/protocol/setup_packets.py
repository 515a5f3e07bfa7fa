"""Packets that open a connection and exchange settings, sizes, states and generations."""

import msgspec

from bollard.replica.protocol.commands import AfterSplitBrain, WireProtocol
from bollard.replica.protocol.states import StateWord


class PacketBase(msgspec.Struct, frozen=True, gc=False):
    """What all records share: frozen, never part of a cycle."""


class InitialData(PacketBase, frozen=True):
    """First packet on the data connection."""


class InitialMeta(PacketBase, frozen=True):
    """First packet on the control connection."""


class ConnectionFeatures(PacketBase, frozen=True):
    """Version range and feature bits. Node ids are 0 from peers that know none (8.4)."""

    proto_min: int
    feature_flags: int
    proto_max: int
    sender_node_id: int = 0
    receiver_node_id: int = 0


class AuthChallenge(PacketBase, frozen=True):
    """Random bytes to be signed."""

    challenge: bytes


class AuthResponse(PacketBase, frozen=True):
    """The signature of the other side's challenge."""

    response: bytes


class Protocol(PacketBase, frozen=True):
    """Settings both sides must share. Flags are ConnFlag bits."""

    protocol: WireProtocol
    after_sb_0p: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    after_sb_1p: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    after_sb_2p: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    conn_flags: int = 0
    two_primaries: bool = False
    integrity_alg: str = ""


class ProtocolUpdate(PacketBase, frozen=True):
    """The same settings, changed while connected."""

    protocol: WireProtocol
    after_sb_0p: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    after_sb_1p: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    after_sb_2p: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    conn_flags: int = 0
    two_primaries: bool = False
    integrity_alg: str = ""


class SyncParam89(PacketBase, frozen=True):
    """Resync speed settings. Rates in KiB/s, plan_ahead and delay_target in 0.1 s, fill_target in sectors."""

    resync_rate_kib_s: int
    verify_alg: str = ""
    csums_alg: str = ""
    plan_ahead: int = 20
    delay_target: int = 10
    fill_target: int = 100
    max_rate_kib_s: int = 102400


class QueueLimits(PacketBase, frozen=True):
    """Block device limits inside P_SIZES; sizes in bytes, bitmap_block_shift 12 = 4 KiB."""

    physical_block_bytes: int = 512
    logical_block_bytes: int = 512
    alignment_offset: int = 0
    io_min_bytes: int = 512
    io_opt_bytes: int = 0
    discard_enabled: int = 0
    discard_zeroes: int = 0
    write_same: int = 0
    bitmap_block_shift: int = 12


class Sizes(PacketBase, frozen=True):
    """Sizes in 512-byte sectors (0 = none); flags are SizeFlag bits."""

    disk_sectors: int
    user_sectors: int
    current_sectors: int
    max_bio_bytes: int
    dds_flags: int = 0
    limits: QueueLimits | None = None


class State(PacketBase, frozen=True):
    """The sender's view of itself, of this peer and of their replication."""

    state: StateWord


class Uuids(PacketBase, frozen=True):
    """Generations of an 8.4 node; flags are UuidFlag bits."""

    current: int
    bitmap: int
    history: tuple[int, int]
    dirty_bits: int
    flags: int


class Uuids110(PacketBase, frozen=True):
    """Generations of a DRBD 9 node. `bitmap_uuids` are (node id, uuid) in ascending node id."""

    current: int
    dirty_bits: int
    flags: int
    node_mask: int = 0
    bitmap_uuids: tuple[tuple[int, int], ...] = ()
    history: tuple[int, ...] = ()


class SyncUuid(PacketBase, frozen=True):
    """8.4: the generation of a resync that starts."""

    uuid: int


class CurrentUuid(PacketBase, frozen=True):
    """A new generation by a diskless Primary (or the one a diskless peer knows)."""

    uuid: int
    weak_nodes: int = 0


class PeerDagtag(PacketBase, frozen=True):
    """How far the sender has received the change stream of a node."""

    dagtag: int
    node_id: int


class Disconnect(PacketBase, frozen=True):
    """The sender leaves on purpose."""


class EnableReplication(PacketBase, frozen=True):
    """Whether writes are sent from here on."""

    enable: bool


class EnableReplicationNext(PacketBase, frozen=True):
    """Whether writes are sent after the next resync start."""

    enable: bool
